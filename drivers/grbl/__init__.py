"""Grbl 1.1, motion controller of a gantry."""

from sdl.drivers.grbl.driver import Grbl

__all__ = ["Grbl"]
