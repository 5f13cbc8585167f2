"""A Sparkplug B edge node with one device, or none: a gateway that reports what a part is."""

from sdl.simulators.sparkplug.simulator import SimulatedSparkplug

__all__ = ["SimulatedSparkplug"]
