"""A Bronkhorst EL-FLOW mass-flow controller that answers as its manuals say."""

from sdl.simulators.bronkhorst.simulator import SimulatedBronkhorst

__all__ = ["SimulatedBronkhorst"]
