"""Keithley 2400 and 2450 source-measure units."""

from sdl.drivers.keithley.driver import Keithley2400, Keithley2450

__all__ = ["Keithley2400", "Keithley2450"]
