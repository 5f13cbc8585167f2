"""An Alicat MC mass-flow or PC pressure controller that answers as its manuals say."""

from sdl.simulators.alicat.simulator import SimulatedAlicat

__all__ = ["SimulatedAlicat"]
