"""New Era NE-1000, syringe pump."""

from sdl.drivers.ne1000.driver import NE1000

__all__ = ["NE1000"]
