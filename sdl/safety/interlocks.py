"""What must be so before an instrument acts, and while it does."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ophyd_async.core import Device

from sdl import clock
from sdl.bench import Bench
from sdl.errors import UnsafeError, explain
from sdl.safety.action import Action
from sdl.safety.devices import meaning, part
from sdl.safety.evaluation import Meaning, holds, mistakes
from sdl.safety.expression import signals
from sdl.safety.limits import told
from sdl.safety.readings import fresh_units, look
from sdl.safety.rules import Interlock


@dataclass(frozen=True)
class Finding:
    """How a rule stands now."""

    so: bool
    why: str
    """With the values and their ages."""

    known: bool = True
    """False: it cannot be evaluated."""


class Interlocks:
    """Looks before an action, and goes on looking until the instrument was made safe."""

    def __init__(
        self, rules: Sequence[Interlock], bench: Bench, on_trip: Callable[[str], None]
    ) -> None:
        self._bench, self._on_trip = bench, on_trip
        self._rules = list(enumerate(rules))
        self._covers = {index: covered(rule, bench.instruments) for index, rule in self._rules}
        self._units: dict[str, str] = {}
        self._watches: dict[int, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Look at every rule once.

        :raises UnsafeError: all that cannot be evaluated. One that is not satisfied is none of it.
        """
        answers = await asyncio.gather(*(self._start(rule) for _, rule in self._rules))
        if wrong := [why for why in answers if why]:
            raise UnsafeError("\n  ".join(["nothing runs: the guard cannot tell whether", *wrong]))

    async def _start(self, rule: Interlock) -> str:
        paths = signals(rule.parsed.expression)
        known = {path: meaning(self._bench.find(path)) for path in paths}
        asked = [p for p in paths if known[p].units is None]
        units = await asyncio.gather(
            *(fresh_units(self._bench, p) for p in asked), return_exceptions=True
        )
        for path, found in zip(asked, units, strict=True):
            if isinstance(found, str) and found:
                known[path] = Meaning(known[path].kind, found)
        self._units |= {p: m.units for p, m in known.items() if m.units}
        if wrong := mistakes(rule.parsed.expression, known):
            return f"{rule}: {'; '.join(wrong)}"
        finding = await self._find(rule)
        return "" if finding.known else f"{rule}: {finding.why}"

    async def check(self, action: Action) -> list[int]:
        """:returns: the rules that cover the action, for `watch`.
        :raises UnsafeError: one of them is not satisfied, or cannot be evaluated.
        """
        rules = [(i, r) for i, r in self._rules if _within(action.path, self._covers[i])]
        findings = await asyncio.gather(*(self._find(rule) for _, rule in rules))
        wrong = [f"{r}: {f.why}" for (_, r), f in zip(rules, findings, strict=True) if not f.so]
        if wrong:
            raise UnsafeError(f"{'; '.join(wrong)}; refused: {told(action)}")
        return [index for index, _ in rules]

    def watch(self, covering: Collection[int]) -> None:
        """Look at these rules from now on, each in its period."""
        for index in covering:
            if index not in self._watches:
                task = asyncio.create_task(self._watch(self._rules[index][1]))
                task.add_done_callback(self._ended)
                self._watches[index] = task

    def made_safe(self, names: Collection[str]) -> None:
        """Look no longer at the rules of instruments that are in their safe state."""
        for index in list(self._watches):
            if self._covers[index].partition(".")[0] in names:
                self._watches.pop(index).cancel()

    async def shut_down(self) -> None:
        tasks = list(self._watches.values())
        self._watches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def watched(self) -> int:
        """How many rules are being watched."""
        return len(self._watches)

    async def _watch(self, rule: Interlock) -> None:
        """Return when the rule fails, having said so."""
        due = clock.monotonic() + rule.period
        while True:
            await asyncio.sleep(due - clock.monotonic())
            finding = await self._find(rule)
            if not finding.so:
                self._on_trip(f"{rule}: {finding.why}")
                return
            due = max(due + rule.period, clock.monotonic())

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A watch that broke is one that does not look: as bad as a rule that fails."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_trip(f"an interlock is not watched any more: {explain(error)}")

    async def _find(self, rule: Interlock) -> Finding:
        parsed = rule.parsed.expression
        found = await look(self._bench, signals(parsed), rule.max_age)
        seen = [replace(x, units=self._units.get(path, "")) for path, x in found.items()]
        said = ", ".join(map(str, seen))
        values = {path: x.value for path, x in found.items() if x.value is not None}
        try:
            so = holds(parsed, values)
        except UnsafeError as error:
            why = said if len(values) < len(found) else f"{error}; {said}"
            return Finding(False, f"cannot be evaluated: {why}", known=False)
        return Finding(so, said if so else f"not so: {said}")


def covered(rule: Interlock, instruments: Mapping[str, Any]) -> str:
    """What a rule covers: its target, or the whole instrument if the target is a readback."""
    target = rule.parsed.target
    name, *names = target.split(".")
    device = part(instruments.get(name), names)
    if not names or hasattr(device, "set"):
        return target
    is_group = isinstance(device, Device) and any(True for _ in device.children())
    return target if is_group else name


def _within(path: str, covers: str) -> bool:
    return path == covers or path.startswith(f"{covers}.")
