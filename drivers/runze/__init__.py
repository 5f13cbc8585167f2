"""Runze selector valves and syringe pumps."""

from sdl.drivers.runze.driver import RunzePump, RunzeValve

__all__ = ["RunzePump", "RunzeValve"]
