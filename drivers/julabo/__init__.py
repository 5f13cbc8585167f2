"""JULABO CORIO, MAGIO, DYNEO, circulator."""

from sdl.drivers.julabo.driver import Julabo

__all__ = ["Julabo"]
