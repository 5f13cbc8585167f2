"""Tecan Cavro XLP 6000, XMP 6000 and XCalibur syringe pumps, and the clone SY-01B."""

from sdl.simulators.cavro.simulator import SimulatedCavro

__all__ = ["SimulatedCavro"]
