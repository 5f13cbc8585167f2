"""A protocol for a pipetting robot: dilute a compound, and give the series into an assay plate.

JSON protocol, schema 8, of the Opentrons robots, for single-channel pipettes of 300 uL (left) and
20 uL (right). It names its labware; a robot that does not know these names wants their definitions
in the protocol as well (`definitions`).
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdl.errors import ConfigError

JSON = dict[str, Any]

ROWS, COLUMNS = 8, 12
SLOTS = {"assay": "1", "dilution": "2", "reservoir": "3", "tips": "7", "small_tips": "8"}
LIBRARY = ("4", "5", "6")  # 384-well plates
LABWARE = {
    "assay": "corning_96_wellplate_360ul_flat",
    "dilution": "nest_96_wellplate_2ml_deep",
    "reservoir": "nest_12_reservoir_15ml",
    "library": "biorad_384_wellplate_50ul",
    "tips": "opentrons_96_tiprack_300ul",
    "small_tips": "opentrons_96_tiprack_20ul",
}
LARGE, SMALL = "p300", "p20"
MOUNTS = {LARGE: ("p300_single_gen2", "left"), SMALL: ("p20_single_gen2", "right")}
FLOW = {LARGE: 92.86, SMALL: 7.56}  # uL/s
RANGES = {LARGE: (20.0, 300.0), SMALL: (1.0, 20.0)}  # uL


@dataclass(frozen=True)
class Series:
    """What is to be pipetted. Volumes in uL, concentrations in mol/L."""

    top: float
    """the highest concentration, in the assay"""
    factor: float = 4.0
    points: int = 12
    replicates: int = 4
    controls: int = 6
    """wells of each control"""
    stock: float = 0.010
    filled: float = 80.0
    """of enzyme, in each well of the assay"""
    given: float = 20.0
    """of the dilution, into each well of the assay"""
    made: float = 120.0
    """of each dilution, at least"""
    mixes: int = 2

    def __post_init__(self) -> None:
        inner = (ROWS - 2) * (COLUMNS - 2)
        wells = self.points * self.replicates + 2 * self.controls
        problems = [
            problem
            for wrong, problem in (
                (not 4 <= self.points <= COLUMNS, f"{self.points} points: allowed are 4 to 12"),
                (min(self.replicates, self.controls) < 2, "less than two wells of a kind"),
                (wells > inner, f"{wells} wells: {inner} are not at the edge"),
                (not 2 <= self.factor <= 7, f"factor {self.factor}: allowed is 2 to 7"),
                (self.replicates * self.given > self.made, "replicates take more than is made"),
                (not 1 <= self.stocked <= 20, f"{self.stocked:.3g} uL of the stock: 1 to 20 uL"),
            )
            if wrong
        ]
        if problems:
            raise ConfigError(*(f"dilution series: {problem}" for problem in problems))

    @property
    def concentrations(self) -> Sequence[float]:
        """In the assay, from the highest on."""
        return [self.top / self.factor**k for k in range(self.points)]

    @property
    def carried(self) -> float:
        """Volume from one dilution into the next, uL."""
        return self.made / (self.factor - 1)

    @property
    def stocked(self) -> float:
        """Volume of the stock in the first dilution, uL."""
        first = self.top * (self.filled + self.given) / self.given
        return (self.made + self.carried) * first / self.stock

    def layout(self, seed: int) -> Mapping[str, Sequence[str]]:
        """Return the wells of each kind, at random but not at the edge.

        Kinds are `high` (no inhibitor), `low` (the reference), and `0`, `1`, … of the series.
        """
        inner = [f"{string.ascii_uppercase[r]}{c}" for r in range(1, 7) for c in range(2, 12)]
        order = [inner[k] for k in np.random.default_rng(seed).permutation(len(inner))]
        counts = {"high": self.controls, "low": self.controls}
        counts |= {str(k): self.replicates for k in range(self.points)}
        wells: dict[str, list[str]] = {}
        for kind, count in counts.items():
            wells[kind], order = sorted(order[:count], key=number), order[count:]
        return wells


@dataclass
class Steps:
    """The commands of a protocol, as they are written; tips are taken in their order."""

    commands: list[JSON] = field(default_factory=list)
    _tips: dict[str, int] = field(default_factory=dict)

    def load(self, slots: Mapping[str, str]) -> None:
        """Load the pipettes and the labware, each named and in its slot."""
        for pipette, (name, mount) in MOUNTS.items():
            self._do("loadPipette", pipetteName=name, mount=mount, pipetteId=pipette)
        for name, slot in slots.items():
            kind = LABWARE["library" if name.startswith("library") else name]
            where = {"location": {"slotName": slot}, "namespace": "opentrons", "version": 1}
            self._do("loadLabware", labwareId=name, loadName=kind, **where)

    def tip(self, pipette: str) -> None:
        used = self._tips.get(pipette, 0)
        self._tips[pipette] = used + 1
        well = f"{string.ascii_uppercase[used % ROWS]}{used // ROWS + 1}"
        rack = "tips" if pipette == LARGE else "small_tips"
        self._do("pickUpTip", pipetteId=pipette, labwareId=rack, wellName=well)

    def drop(self, pipette: str) -> None:
        self._do("dropTip", pipetteId=pipette, labwareId="fixedTrash", wellName="A1")

    def move(
        self, pipette: str, source: tuple[str, str], goals: Sequence[tuple[str, str]], volume: float
    ) -> None:
        """Give `volume` uL from a place into each of the others, as many at once as fit."""
        at_once = max(int(RANGES[pipette][1] // volume), 1)
        for first in range(0, len(goals), at_once):
            some = goals[first : first + at_once]
            self._pipette("aspirate", pipette, source, volume * len(some))
            for goal in some:
                self._pipette("dispense", pipette, goal, volume)

    def mix(self, pipette: str, place: tuple[str, str], volume: float, times: int) -> None:
        for _ in range(times):
            self._pipette("aspirate", pipette, place, volume)
            self._pipette("dispense", pipette, place, volume)

    def _pipette(self, what: str, pipette: str, place: tuple[str, str], volume: float) -> None:
        where = {"labwareId": place[0], "wellName": place[1]}
        volume = round(volume, 3)
        self._do(what, pipetteId=pipette, **where, volume=volume, flowRate=FLOW[pipette])

    def _do(self, kind: str, **parameters: Any) -> None:
        self.commands.append({"commandType": kind, "params": parameters})


def protocol(
    series: Series, molecule: int, seed: int, definitions: Mapping[str, Any] | None = None
) -> JSON:
    """Return the protocol of one plate.

    :param molecule: its place in the library, from 1 on.
    :param seed: of the layout.
    """
    slots = {**SLOTS, **{f"library{slot}": slot for slot in LIBRARY}}
    slot, well = library_place(molecule)
    dilutions = [("dilution", f"A{k + 1}") for k in range(series.points)]
    wells = series.layout(seed)
    steps = Steps()
    steps.load(slots)
    _dilute(steps, series, (f"library{slot}", well), dilutions)
    steps.tip(LARGE)  # one will do, from the most dilute on
    for k in reversed(range(series.points)):
        steps.move(LARGE, dilutions[k], _assay(wells[str(k)]), series.given)
    steps.drop(LARGE)
    for kind, source in (("high", "A1"), ("low", "A2")):
        steps.tip(LARGE)
        steps.move(LARGE, ("reservoir", source), _assay(wells[kind]), series.given)
        steps.drop(LARGE)
    return {
        "schemaVersion": 8,
        "metadata": {"protocolName": f"dose response of molecule {molecule}"},
        "robot": {"model": "OT-2 Standard", "deckId": "ot2_standard"},
        "labwareDefinitions": dict(definitions or {}),
        "commands": steps.commands,
    }


def _dilute(
    steps: Steps, series: Series, stock: tuple[str, str], dilutions: Sequence[tuple[str, str]]
) -> None:
    first, *others = dilutions
    buffer = ("reservoir", "A1")
    steps.tip(LARGE)
    steps.move(LARGE, buffer, [first], series.made + series.carried - series.stocked)
    steps.move(LARGE, buffer, others, series.made)
    steps.drop(LARGE)
    steps.tip(SMALL)
    steps.move(SMALL, stock, [first], series.stocked)
    steps.drop(SMALL)
    for here, there in zip(dilutions, [*others, None], strict=True):
        steps.tip(LARGE)
        steps.mix(LARGE, here, series.made / 2, series.mixes)
        if there is not None:
            steps.move(LARGE, here, [there], series.carried)
        steps.drop(LARGE)


def _assay(wells: Sequence[str]) -> list[tuple[str, str]]:
    return [("assay", well) for well in wells]


def library_place(molecule: int) -> tuple[str, str]:
    """Return slot and well of a molecule: column by column, plate by plate.

    :raises ConfigError: there is none of that number.
    """
    plate, well = divmod(molecule - 1, 384)
    if not 0 <= plate < len(LIBRARY):
        raise ConfigError(f"molecule {molecule}: the library has places 1 to {384 * len(LIBRARY)}")
    column, row = divmod(well, 16)
    return LIBRARY[plate], f"{string.ascii_uppercase[row]}{column + 1}"


def number(well: str) -> int:
    """Return the number of a well as a reader counts: A1, A2, … are 1, 2, …"""
    return string.ascii_uppercase.index(well[0]) * COLUMNS + int(well[1:])
