"""Faults for a whole lab on simulators: planned in a file, or by chance from a seed.

    seed: 1
    faults:
      - {instrument: heater, kind: lost reply, at: 12}
      - {instrument: substrate_pump, kind: cut, at: 40, seconds: 20}
    chance: {rate: 0.001, kinds: [garbled reply, late reply], instruments: [heater]}

Which kinds there are stands in `sdl.endpoints.faults`; which can happen to an instrument depends on
its wire and on its simulator (`possible`). Real instruments are never touched.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, PrivateAttr

from sdl import assembly, clock, files
from sdl.endpoints.faults import CATALOGUE, Fault, of_line
from sdl.endpoints.faulty import Chance, Faulty
from sdl.errors import ConfigError
from sdl.files import Document, Key, Strict

if TYPE_CHECKING:
    from sdl.lab import Lab


class PlannedFault(Strict):
    """One fault: to which instrument, which, and when."""

    instrument: str
    kind: str
    at: Annotated[int, Field(ge=1, strict=True)] = 1
    """At which exchange of the instrument, counted from 1; on a shared wire each that it hears."""

    seconds: Annotated[float, Field(ge=0)] = 3.0
    """How long it lasts; how late a late reply is."""

    size: float | None = None
    """How bad, in the unit of `sdl faults`; default: its usual size."""

    where: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Where in a reply it happens: 0 its begin, 1 its end."""


class ChanceOfFaults(Strict):
    """Faults that nobody has planned."""

    rate: Annotated[float, Field(gt=0, le=1)]
    """How probable one is in each exchange of each instrument."""

    kinds: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Which may come; default: all that can happen to the instrument."""

    instruments: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """To which; default: all."""

    longest: Annotated[float, Field(gt=0)] = 30.0
    """s that one lasts at most."""


class FaultScript(Strict):
    """What a file of faults may say."""

    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    """The same seed gives the same faults."""

    faults: Annotated[tuple[PlannedFault, ...], Field(strict=False)] = ()
    chance: ChanceOfFaults | None = None

    _document: Document | None = PrivateAttr(None)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file of faults; whether they can happen in a lab is checked by `check`.

        :raises ConfigError: everything that is wrong with the file's words.
        """
        document = files.read(Path(path))
        script = files.parse(document, cls)
        script._document = document  # noqa: SLF001 (our own)
        return script

    def check(self, lab: "Lab") -> None:
        """:raises ConfigError: what names no instrument of the lab, or cannot happen to it."""
        document = self._document or Document(Path("<faults>"), {}, {})
        found = [document.problem(key, said) for key, said in self._mistakes(lab)]
        if found:
            raise ConfigError(*found)

    def _mistakes(self, lab: "Lab") -> Iterator[tuple[Key, str]]:
        can = possible(lab)
        for n, planned in enumerate(self.faults):
            yield from _mistaken(("faults", n), planned.instrument, planned.kind, can)
        if self.chance is None:
            return
        for n, name in enumerate(self.chance.instruments):
            if name not in can:
                yield ("chance", "instruments", n), _no_instrument(name, can)
        chosen = self.chance.instruments or tuple(can)
        for n, kind in enumerate(self.chance.kinds):
            if kind not in CATALOGUE:
                yield ("chance", "kinds", n), _no_kind(kind)
            elif not any(kind in can.get(name, ()) for name in chosen):
                yield ("chance", "kinds", n), f"{kind} can happen to none of {', '.join(chosen)}"


def _mistaken(
    key: Key, name: str, kind: str, can: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Key, str]]:
    if name not in can:
        yield (*key, "instrument"), _no_instrument(name, can)
    if kind not in CATALOGUE:
        yield (*key, "kind"), _no_kind(kind)
    elif name in can and kind not in can[name]:
        allowed = ", ".join(can[name]) or "nothing"
        yield (*key, "kind"), f"{kind} cannot happen to {name}; what can: {allowed}"


def _no_instrument(name: str, can: Mapping[str, Sequence[str]]) -> str:
    return f"there is no instrument {name!r}; known are: {', '.join(can)}"


def _no_kind(kind: str) -> str:
    return f"there is no fault {kind!r}; known are: {', '.join(CATALOGUE)}"


def possible(lab: "Lab") -> dict[str, tuple[str, ...]]:
    """Return the kinds of fault that can happen to each instrument: on its wire, and inside.

    Without a world there are no simulators, and nothing is known of what can happen inside. Of
    several units on one Modbus line only the first has faults: a station has those of one.
    """
    inside = {name: getattr(each, "faults", frozenset()) for name, each in _simulators(lab)}
    found, stations = dict[str, tuple[str, ...]](), set[str]()
    for name, entry in lab.instruments.items():
        if entry.wire is None or entry.wire in stations:
            found[name] = ()
            continue
        url = lab.wires[entry.wire].url
        if url.startswith("modbus"):
            stations.add(entry.wire)
        on_line, own = of_line(url), inside.get(name, frozenset[str]())
        found[name] = tuple(k for k in CATALOGUE if k in on_line or k in own)
    return found


def _simulators(lab: "Lab") -> Iterator[tuple[str, Any]]:
    if lab.world is None:
        return
    world = assembly.build_world(lab, lambda: 0.0)
    for name, entry in lab.instruments.items():
        if entry.wire is not None:
            yield name, assembly.build_simulator(lab, name, entry, world)


@dataclass(frozen=True)
class Happening:
    """A fault that happened, or began."""

    time: float
    """On the lab's clock."""
    instrument: str
    fault: Fault
    """`at` is its exchange."""

    def __str__(self) -> str:
        lasts = f" for {self.fault.seconds:.3g} s" if self.fault.lasts else ""
        return f"{self.instrument}: {self.fault.kind}{lasts} (exchange {self.fault.at})"


class Disturbance:
    """Has a script's faults happen to a lab's simulators as they are put together."""

    def __init__(
        self, script: FaultScript, *, tell: Callable[[Happening], object] | None = None
    ) -> None:
        """:param tell: called in the lab's loop with each fault, as it happens or begins."""
        self.script, self._tell = script, tell
        self._possible: Mapping[str, Sequence[str]] = {}
        self.worlds = 0
        """How often the lab was put together: what is planned happens in the first of its worlds,
        by chance come others in each."""

    # For `sdl.assembly`, in this order

    def enter(self, lab: "Lab", world: Any) -> None:
        """Get to know the lab, and the world in which its simulators will live."""
        self._possible = possible(lab)
        self.worlds += 1

    def around(self, name: str, simulator: Any) -> Any:
        """Return what stands in a simulator's place, with its faults; or the simulator itself."""
        planned, chance = self._planned(name), self._chance(name)
        if not planned and chance is None:
            return simulator
        return self._faulty(
            name,
            simulator,
            planned,
            rng=np.random.default_rng([self.script.seed, zlib.crc32(name.encode()), self.worlds]),
            chance=chance,
            tell=lambda fault: self.happened(Happening(clock.now(), name, fault)),
        )

    def join(self, name: str, wire: Any) -> None:
        """Get to know a twin's wire, which leads to simulators."""

    def happened(self, happening: Happening) -> None:
        """Hear of a fault as it happens."""
        if self._tell is not None:
            self._tell(happening)

    def _faulty(
        self, name: str, simulator: Any, planned: Sequence[Fault], **details: Any
    ) -> Faulty:
        return Faulty(simulator, *planned, **details)

    def _planned(self, name: str) -> list[Fault]:
        if self.worlds > 1:  # what is planned happens once
            return []
        mine = [entry for entry in self.script.faults if entry.instrument == name]
        return [Fault(e.kind, e.at, e.seconds, e.size, e.where) for e in mine]

    def _chance(self, name: str) -> Chance | None:
        chance = self.script.chance
        if chance is None or (chance.instruments and name not in chance.instruments):
            return None
        can = self._possible.get(name, ())
        kinds = [k for k in can if not chance.kinds or k in chance.kinds]
        return Chance(chance.rate, kinds, chance.longest) if kinds else None
