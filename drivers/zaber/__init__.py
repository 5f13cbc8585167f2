"""Zaber X-series, linear stage."""

from sdl.drivers.zaber.driver import Zaber

__all__ = ["Zaber"]
