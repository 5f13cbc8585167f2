"""Alicat MC / PC, mass-flow or pressure controller."""

from sdl.drivers.alicat.driver import Alicat

__all__ = ["Alicat"]
