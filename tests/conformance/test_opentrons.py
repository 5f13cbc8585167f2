"""An Opentrons robot, its driver and its simulator, in the conformance kit."""

from typing import Any

import numpy as np

from sdl.drivers.opentrons import Opentrons
from sdl.simulators.opentrons import SimulatedOpentrons
from sdl.simulators.parts.deck import Deck, HotPlate
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth


class Transfer(dict[str, Any]):
    """A protocol that gives mL into well B1 of slot 2; as a number, how much."""

    def __init__(self, volume: float) -> None:
        self._volume = volume
        where = {"pipetteId": "p", "flowRate": 100.0, "volume": 1000 * volume}
        commands: list[tuple[str, dict[str, Any]]] = [
            ("loadPipette", {"pipetteName": "p300_single_gen2", "mount": "left", "pipetteId": "p"}),
            *(("loadLabware", _labware(name, slot)) for name, slot in LABWARE.items()),
            ("pickUpTip", {"pipetteId": "p", "labwareId": "tips", "wellName": "A1"}),
            ("aspirate", {**where, "labwareId": "source", "wellName": "A1"}),
            ("dispense", {**where, "labwareId": "plate", "wellName": "B1"}),
            ("dropTip", {"pipetteId": "p", "labwareId": "fixedTrash", "wellName": "A1"}),
        ]
        super().__init__(
            schemaVersion=8,
            metadata={"protocolName": "transfer"},
            robot={"model": "OT-2 Standard", "deckId": "ot2_standard"},
            commands=[{"commandType": kind, "params": params} for kind, params in commands],
        )

    def __float__(self) -> float:
        return self._volume


LABWARE = {"source": "1", "plate": "2", "tips": "3"}


def _labware(name: str, slot: str) -> dict[str, Any]:
    return {
        "labwareId": name,
        "loadName": "any",
        "namespace": "sdl",
        "version": 1,
        "location": {"slotName": slot},
    }


def rig() -> Rig:
    world = StillWorld()
    deck = Deck(world, temperature_module=HotPlate(world))
    deck.fill("1", "A1", 10.0)
    return Rig(SimulatedOpentrons(deck, rng=np.random.default_rng(1), noise=False), deck)


def change(deck: Deck, n: int) -> None:
    deck.door_open, deck.lights = n % 2 == 1, n % 2 == 0
    assert deck.temperature_module is not None
    deck.temperature_module.target = None
    deck.temperature_module.temperature = 20.0 + 5 * (n % 9)


def plate(deck: Deck) -> HotPlate:
    assert deck.temperature_module is not None
    return deck.temperature_module


class TestOpentrons(Conformance):
    subject = Subject(
        driver=lambda wire: Opentrons(
            wire, temperature_module=True, longest_run=60.0, name="robot"
        ),
        rig=rig,
        url=Opentrons.delivered,
        identity=r"Opentrons OT-2 Standard '[\w-]+', software [\w.]+, system \S+, firmware \S+",
        truths={
            "door": Truth(lambda deck: "open" if deck.door_open else "closed"),
            "lights": Truth(lambda deck: deck.lights),
            "block": Truth(lambda deck: plate(deck).temperature, within=0.3, units="degC"),
        },
        change=change,
        settings=[
            Setting(
                Transfer(0.2),
                took=lambda deck: abs(deck.volume("2", "B1") - 0.2) < 1e-9,
                refused=("", 5, {"commands": []}, {"protocol": "x", "speed": 1}),
            ),
            Setting(True, took=lambda deck: deck.lights, signal="lights"),
            Setting(
                40.0,
                took=lambda deck: plate(deck).target == 40.0,
                signal="block",
                refused=(100.0, -10.0, float("nan")),
            ),
        ],
        dosed=lambda deck: deck.dispensed,
        safe=lambda deck: plate(deck).target is None,
    )
