"""Opentrons OT-2 and Flex, liquid handlers."""

from sdl.drivers.opentrons.driver import Opentrons

__all__ = ["Opentrons"]
