"""A line that fails at any exchange of a trial, on a twin in memory with virtual time.

One mishap a trial. A session goes on with the next trial as long as trials complete; after one that
did not, the next session begins with a new world. All worlds write down what happens in them.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from sdl import Campaign, Lab, assembly
from sdl.endpoints import modbus
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.journal import Journal, TrialState
from sdl.judging import Judgement, judge
from sdl.session import Session
from tests.torture.bench import CAMPAIGN, CAMPAIGN_NAME, LAB, PUMPS

LONGEST = 120.0  # s of real time for one session
EXACT = 0.05  # by which outcomes may differ from those of a trial without mishap, relatively
WORLD = 100_000  # moves are numbered anew in each world


@dataclass(frozen=True)
class Planned:
    """What goes wrong in a trial."""

    wire: str
    """"pumps" or "heater"."""
    mishap: Fault
    power_cycle: bool = False
    """Whether the pump that is spoken to then loses its power for a moment."""


@dataclass
class Told:
    """What came of a number of mishaps."""

    judgement: Judgement
    happened: int
    wrong: list[str]
    """Outcomes that are others than without a mishap."""


@dataclass
class Worlds:
    """The simulators of one campaign, and the mishaps that are planned for them."""

    folder: Path
    plans: list[Planned | None]
    mode: str = "basic"
    actions: list[dict[str, Any]] = field(default_factory=list)
    exchanges: dict[str, int] = field(default_factory=dict)
    """How many there were on each wire in the newest trial that had no mishap."""
    happened: int = 0
    doubts: list[str] = field(default_factory=list)
    """Causes of the trials that were in doubt, and then given up."""
    _lines: dict[str, list[tuple[Faulty, Any]]] = field(default_factory=dict)
    _trial: int = -1
    _worlds: int = 0

    def run(self) -> None:
        """One trial for each plan."""
        write(self.folder, trials=len(self.plans), mode=self.mode)
        while self._trial + 1 < len(self.plans):
            before = self._trial
            self._session()
            if self._trial == before:
                raise AssertionError(f"no trial was begun after {self._trial + 1}")

    def told(self, undisturbed: dict[int, dict[str, float]] | None = None) -> Told:
        with Journal.open(str(self.folder / "twin.db"), readonly=True) as journal:
            said = judge(journal, CAMPAIGN_NAME, self.actions, PUMPS)
            trials = journal.trials(CAMPAIGN_NAME, {TrialState.COMPLETED})
        wrong = [
            f"trial {t.number} ({self.plans[t.number - 1]}): {t.outcomes}, and not {right}"
            for t in trials
            if undisturbed is not None
            and (right := undisturbed.get(t.number)) is not None
            and any(abs((t.outcomes or {})[k] / right[k] - 1) > EXACT for k in right)
        ]
        return Told(said, self.happened, wrong)

    # -- one session ------------------------------------------------------------------------------

    def _session(self) -> None:
        campaign = Campaign.load(self.folder / "campaign.yaml")
        twin = Lab.load(self.folder / "lab.yaml").twin()
        with self._patched(), Session(campaign, twin, on_boundary=self._on_boundary) as session:
            deadline = threading.Event()
            timer = threading.Timer(LONGEST, deadline.set)
            timer.start()
            try:
                while session.running:
                    with contextlib.suppress(TimeoutError):
                        session.wait(0.1)
                    if deadline.is_set():
                        raise TimeoutError(f"a session was still at work after {LONGEST:g} s")
                    if self._doubts():
                        session.stop("a trial is in doubt")
            finally:
                timer.cancel()
        self._count()
        self._lines.clear()
        self._let_go()

    def _on_boundary(self, n: int, where: str) -> None:
        if (n, where) == (1, "before intent"):
            self._count()
            self._trial += 1
            # a trial that was given up is no part of the budget: one more comes in its place
            self._plan(self.plans[self._trial] if self._trial < len(self.plans) else None)

    def _plan(self, planned: Planned | None) -> None:
        for wire, lines in self._lines.items():
            for line, device in lines:
                due = planned if planned is not None and planned.wire == wire else None
                event = device.power_cycle if due is not None and due.power_cycle else None
                line.plan(*([] if due is None else [due.mishap]), event=event)

    def _count(self) -> None:
        """Look back at the trial that was under way, if there was one."""
        lines = [line for found in self._lines.values() for line, _ in found]
        self.happened += any(line.happened for line in lines)
        if lines and not any(line.planned for line in lines):
            self.exchanges = {w: max(x.exchanges for x, _ in f) for w, f in self._lines.items()}

    def _doubts(self) -> list[Any]:
        with Journal.open(str(self.folder / "twin.db"), readonly=True) as journal:
            return journal.trials(CAMPAIGN_NAME, {TrialState.IN_DOUBT})

    def _let_go(self) -> None:
        """What an operator does after a failure: instruments are looked at, and used again."""
        with Journal.open(str(self.folder / "twin.db")) as journal:
            for name, claim in journal.claims("torture-bench").items():
                if claim.quarantined:
                    journal.unquarantine(
                        "torture-bench", name, time=claim.since, who="torture", note="looked at"
                    )
            for trial in journal.trials(CAMPAIGN_NAME, {TrialState.IN_DOUBT}):
                self.doubts.append(f"trial {trial.number}: {trial.cause}")
                at = journal.activities()["runtime"].time
                journal.move(
                    trial, TrialState.ABANDONED, time=at, who="torture", cause="it was in doubt"
                )
                journal.release("torture-bench", trial, time=at)

    # -- simulators with unlucky lines ------------------------------------------------------------

    @contextmanager
    def _patched(self) -> Iterator[None]:
        with ExitStack() as stack:
            for where, name, wrapped in (
                (assembly, "build_world", self._world),
                (assembly, "build_simulator", self._simulator),
                (modbus, "Station", self._station),
            ):
                original = getattr(where, name)
                stack.enter_context(mock.patch.object(where, name, wrapped(original)))
            yield

    def _world(self, build: Callable[..., Any]) -> Callable[..., Any]:
        def unlucky_world(*args: Any) -> Any:
            world = build(*args)
            self._worlds += 1
            first = self._worlds * WORLD

            def tell(action: dict[str, Any]) -> None:
                instrument = f"{action['part']}_pump"
                number = {"number": first + action["number"]} if "number" in action else {}
                whose = {"instrument": instrument, "trial": self._trial + 1}
                self.actions.append({**action, **number, **whose})

            world.tell_actions(tell)
            return world

        return unlucky_world

    def _simulator(self, build: Callable[..., Any]) -> Callable[..., Any]:
        def unlucky_simulator(lab: Any, name: str, *args: Any) -> Any:
            device = build(lab, name, *args)
            if name not in PUMPS:
                return device
            line = Faulty(device)
            self._lines.setdefault("pumps", []).append((line, device))
            return line

        return unlucky_simulator

    def _station(self, build: Callable[..., Any]) -> Callable[..., Any]:
        def unlucky_station(*args: Any) -> Any:
            line = Faulty(build(*args))
            self._lines.setdefault("heater", []).append((line, None))
            return line

        return unlucky_station


def write(folder: Path, *, trials: int, mode: str = "basic") -> None:
    """Write the lab; a session ends with the first trial that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    lab = LAB if mode == "basic" else LAB.replace("diameter: 50,", f"diameter: 50, mode: {mode},")
    (folder / "lab.yaml").write_text(lab)
    campaign = CAMPAIGN.replace("failures_in_a_row: 1000", "failures_in_a_row: 1")
    (folder / "campaign.yaml").write_text(f"{campaign}budget: {{trials: {trials}}}\n")


def undisturbed(folder: Path, trials: int) -> tuple[Worlds, dict[int, dict[str, float]]]:
    """Run trials without mishaps; return what an exchange count may be, and their outcomes."""
    worlds = Worlds(folder, [None] * trials)
    worlds.run()
    with Journal.open(str(folder / "twin.db"), readonly=True) as journal:
        done = journal.trials(CAMPAIGN_NAME, {TrialState.COMPLETED})
    return worlds, {t.number: dict(t.outcomes or {}) for t in done}
