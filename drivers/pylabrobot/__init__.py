"""Backends of PyLabRobot as instruments."""

from sdl.drivers.pylabrobot.device import PylabrobotPump, PylabrobotScale, PylabrobotTemperature
from sdl.drivers.pylabrobot.plates import PylabrobotHandler, PylabrobotPlateReader

__all__ = [
    "PylabrobotHandler",
    "PylabrobotPlateReader",
    "PylabrobotPump",
    "PylabrobotScale",
    "PylabrobotTemperature",
]
