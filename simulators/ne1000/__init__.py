"""A New Era NE-1000 that speaks its protocol byte for byte."""

from sdl.simulators.ne1000.simulator import SimulatedNE1000

__all__ = ["SimulatedNE1000"]
