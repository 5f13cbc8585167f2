"""Who sees all that happens on a twin: the faults, what wires made of them, and the world itself.

What a witness saw is the truth that a journal is held against (`sdl.reactions`, `sdl.judging`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdl import assembly, clock
from sdl.disturbing import Disturbance, FaultScript, Happening
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty

if TYPE_CHECKING:
    from sdl.lab import Lab

CALM = 2  # exchanges in a row that must go well until a fault counts as got over
WORLD = 1_000_000  # moves are numbered anew in each world


@dataclass
class Seen:
    """A fault, and how its wire fared afterwards."""

    happening: Happening
    wire: str
    failed: int = 0
    """Exchanges on the wire that failed until it was got over."""

    said: str = ""
    """Why the first of them failed."""

    first: float | None = None
    """When the wire knew of that."""

    answered: float | None = None
    """When one went well again after that."""

    calm: int = 0
    over: float | None = None
    """When it was got over, as far as the wire can tell."""

    closed: float | None = None
    """When its world came to its end."""

    @property
    def until(self) -> float:
        """When the fault itself was at its end."""
        fault, closed = self.happening.fault, self.closed
        lasting = fault.lasts or fault.kind == "late reply"
        end = self.happening.time + (fault.seconds if lasting else 0.0)
        return end if closed is None else min(end, closed)

    def hear(self, failed: int, well: int, why: str | None, now: float) -> None:
        """Take note of exchanges that have ended since the last time."""
        if failed:
            self.said, self.first = self.said or why or "", self.first or now
            self.failed, self.calm, self.answered = self.failed + failed, 0, None
        elif well:
            if self.failed and self.answered is None:
                self.answered = now
            self.calm += well
            if self.calm >= CALM and now >= self.until:
                self.over = now


class Witness(Disturbance):
    """Has a script's faults happen, and remembers; for one lab, on one world after the other."""

    def __init__(self, script: FaultScript) -> None:
        super().__init__(script)
        self.seen: list[Seen] = []
        self.actions: list[dict[str, Any]] = []
        """All that physically happened, each with its instrument and `at` on the lab's clock."""
        self.truths: dict[float, dict[tuple[str, str], float]] = {}
        """What instruments would read had they no faults: by time, instrument and signal."""
        self.dosing: frozenset[str] = frozenset()
        """The instruments whose doses the world can tell."""
        self._parts: Mapping[str, Any] = {}
        self._signals: Mapping[str, Sequence[str]] = {}
        self._wire_of: Mapping[str, str] = {}
        self._wires: dict[str, Any] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def enter(self, lab: "Lab", world: Any) -> None:
        super().enter(lab, world)
        entries = {n: e for n, e in lab.instruments.items() if e.wire is not None}
        self._wire_of = {name: entry.wire or "" for name, entry in entries.items()}
        names = {entry.twin.part or name: name for name, entry in entries.items()}
        self._parts = {name: world.parts[part] for part, name in names.items()}
        self.dosing = frozenset(n for n, p in self._parts.items() if hasattr(p, "capacity_mL"))
        self._signals = {n: _signals(d) for n, d in assembly.devices(lab).items()}
        self._wires.clear()
        self._last.clear()
        first = self.worlds * WORLD

        def told(action: dict[str, Any]) -> None:
            number = {"number": first + action["number"]} if "number" in action else {}
            whose = {"instrument": names.get(action["part"]), "at": clock.now()}
            self.actions.append({**action, **number, **whose})

        if hasattr(world, "tell_actions"):
            world.tell_actions(told)

    def join(self, name: str, wire: Any) -> None:
        self._wires[name] = wire

    def happened(self, happening: Happening) -> None:
        super().happened(happening)
        self.seen.append(Seen(happening, self._wire_of[happening.instrument]))

    def look(self, wire: str) -> None:
        """See what has become of the exchanges on a wire since the last look."""
        if (joined := self._wires.get(wire)) is None:
            return
        health = joined.health
        before = self._last.get(wire, (0, 0))
        self._last[wire] = (health.failures, health.exchanges)
        failed, well = health.failures - before[0], health.exchanges - before[1]
        for seen in self.seen if failed or well else ():
            if seen.wire == wire and seen.over is None and seen.closed is None:
                seen.hear(failed, well, health.last_error, clock.now())

    def leave(self) -> None:
        """See what has become of the last exchanges; the world is at its end."""
        for wire in self._wires:
            self.look(wire)
        for seen in self.seen:
            if seen.closed is None:
                seen.closed = clock.now()

    def sample(self) -> None:
        """Note what is true now of all that instruments can read."""
        now = clock.now()
        for name, part in self._parts.items():
            for signal in self._signals.get(name, ()):
                value = getattr(part, signal, None)
                if isinstance(value, int | float) and math.isfinite(value):
                    self.truths.setdefault(now, {})[name, signal] = float(value)

    def moved(self, instrument: str, since: float) -> float:
        """What an instrument has moved from then on in its present world, mL."""
        first = self.worlds * WORLD
        mine = (a for a in self.actions if a["instrument"] == instrument and a["at"] >= since)
        ended = (a for a in mine if a["action"] == "moved" and a["number"] > first)
        return sum(float(action["moved"]) for action in ended)

    def _faulty(
        self, name: str, simulator: Any, planned: Sequence[Fault], **details: Any
    ) -> Faulty:
        return _Watched(self, self._wire_of[name], simulator, planned, details)


class _Watched(Faulty):
    """Looks at the wire before each exchange: then the last one is over."""

    def __init__(
        self,
        witness: Witness,
        wire: str,
        simulator: Any,
        planned: Sequence[Fault],
        details: Mapping[str, Any],
    ) -> None:
        super().__init__(simulator, *planned, **details)
        self._witness, self._wire = witness, wire

    def begin_exchange(self) -> None:
        self._witness.look(self._wire)
        super().begin_exchange()


def _signals(device: Any) -> tuple[str, ...]:
    children = getattr(device, "children", None)
    if children is None or isinstance(device, type):
        return ()
    return tuple(name for name, _ in children())
