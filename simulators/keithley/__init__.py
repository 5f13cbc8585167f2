"""Keithley 2400 and 2450 source-measure units, simulated."""

from sdl.simulators.keithley.model2400 import Simulated2400
from sdl.simulators.keithley.model2450 import Simulated2450

__all__ = ["Simulated2400", "Simulated2450"]
