"""IKA RCT digital, C-MAG HS, RET control-visc, hotplate stirrer."""

from sdl.drivers.ika.driver import IkaPlate

__all__ = ["IkaPlate"]
