"""PalmSens EmStat Pico / EmStat4, potentiostat."""

from sdl.drivers.emstat.driver import EmStat

__all__ = ["EmStat"]
