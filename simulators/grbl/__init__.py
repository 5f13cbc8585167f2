"""A motion controller with Grbl 1.1h, on a gantry."""

from sdl.simulators.grbl.simulator import SimulatedGrbl

__all__ = ["SimulatedGrbl"]
