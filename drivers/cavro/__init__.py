"""Tecan Cavro XLP 6000, syringe pump with valve."""

from sdl.drivers.cavro.driver import Cavro

__all__ = ["Cavro"]
