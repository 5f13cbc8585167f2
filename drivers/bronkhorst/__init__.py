"""Bronkhorst EL-FLOW, mass-flow controller."""

from sdl.drivers.bronkhorst.driver import Bronkhorst

__all__ = ["Bronkhorst"]
