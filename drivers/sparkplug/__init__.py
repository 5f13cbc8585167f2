"""Sparkplug B edge node, any device."""

from sdl.drivers.sparkplug.driver import Sparkplug

__all__ = ["Sparkplug"]
