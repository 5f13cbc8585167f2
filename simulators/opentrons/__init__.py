"""Simulated Opentrons OT-2 or Flex: its HTTP API, version 3, on port 31950."""

from sdl.simulators.opentrons.simulator import SimulatedOpentrons

__all__ = ["SimulatedOpentrons"]
