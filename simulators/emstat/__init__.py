"""A PalmSens EmStat Pico or EmStat4 that runs MethodSCRIPT, byte for byte."""

from sdl.simulators.emstat.simulator import SimulatedEmStat

__all__ = ["SimulatedEmStat"]
