"""Universal Robots e-Series or CB3, robot arm (Dashboard Server)."""

from sdl.drivers.ur_dashboard.driver import UrDashboard

__all__ = ["UrDashboard"]
