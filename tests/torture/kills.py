"""Runtimes killed one after the other, at boundaries of steps or at any moment."""

import contextlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdl.errors import JournalError
from sdl.journal import Journal, Trial, TrialState
from sdl.judging import Judgement, judge
from tests.torture.bench import CAMPAIGN_NAME, PUMPS, Place

Boundary = tuple[int, str]

LONGEST_LIFE = 120.0  # s of real time; a runtime that says nothing for longer hangs
RANDOM_KILL = (0.5, 9.0)  # s after the start of the process; it reaches its first step after some 2
SHARE = 6  # one in so many of the boundaries still to be tried is a life's target
FEW = 24  # are all tried in one trial


class Hung(Exception):  # noqa: N818 (what a runtime did)
    """A runtime did not come to its end."""


@dataclass
class Toll:
    """What was done to the runtimes."""

    at_boundaries: Counter[str] = field(default_factory=Counter)
    """Kills by the kind of boundary."""
    at_random: int = 0
    lives: int = 0
    doubts: list[str] = field(default_factory=list)
    """Causes of the trials that were in doubt, and then given up."""
    seconds: float = 0.0
    changed: list[str] = field(default_factory=list)
    """Readings that were recorded when a life ended and were others later."""

    @property
    def kills(self) -> int:
        return self.at_random + self.at_boundaries.total()


class Torment:
    """One bench whose runtimes are killed. What was recorded as read is remembered from outside."""

    def __init__(
        self, place: Place, *, seed: int, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.place, self._random, self._tell = place, random.Random(seed), tell
        self.toll = Toll()
        self.open: list[Boundary] = []
        """Boundaries of the plan where nobody was killed yet."""
        self._known: dict[tuple[int, int], Any] = {}

    def learn(self) -> None:
        """Run one trial undisturbed: its boundaries are those of every trial."""
        self.place.budget(1)
        self._finish()
        lines = self.place.boundaries.read_text().splitlines()
        self.open = list(dict.fromkeys((n, where) for n, where, _ in map(json.loads, lines)))
        self._tell(f"{len(self.open)} boundaries")

    def at_boundaries(self, kills: int | None = None) -> None:
        """Kill a runtime at each boundary once, or at `kills` of them."""
        self.place.budget(10_000)
        before = self.toll.at_boundaries.total()
        wanted = len(self.open) if kills is None else kills
        while self.open and self.toll.at_boundaries.total() - before < wanted:
            few = len(self.open) <= FEW
            share = max(len(self.open) // SHARE, 1)
            targets = self.open if few else self._random.sample(self.open, share)
            began = time.monotonic()
            code = self.wait(self.place.live(targets), LONGEST_LIFE)
            n, where, killed = self.last_boundary()
            if killed and code is not None:
                self.open.remove((n, where))
                self.toll.at_boundaries[where] += 1
            elif code is not None:
                raise Hung(f"a runtime ended before its target: see {self.place.output}")
            self.after(f"killed at {n}, {where}", began)

    def at_random(self, kills: int) -> None:
        """Kill runtimes at any moment, while they start too."""
        self.place.budget(10_000)
        for _ in range(kills):
            began, seconds = time.monotonic(), self._random.uniform(*RANDOM_KILL)
            life = self.place.live()
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise Hung(f"a runtime ended with {life.wait(seconds)}: see {self.place.output}")
            life.kill()
            life.wait()
            self.toll.at_random += 1
            self.after(f"killed after {seconds:.1f} s", began)
            self._give_up_doubts()

    def while_dosing(self, pump: str, kills: int) -> None:
        """Kill runtimes as soon as the simulator of a pump says that it moves."""
        self.place.budget(10_000)
        for _ in range(kills):
            began, moves = time.monotonic(), self.place.moves(pump)
            life = self.place.live()
            while self.place.moves(pump) == moves:
                if time.monotonic() - began > LONGEST_LIFE or life.poll() is not None:
                    life.kill()
                    raise Hung(f"{pump} does not move: see {self.place.output}")
                time.sleep(0.02)
            life.kill()
            life.wait()
            self.toll.at_random += 1
            self.after(f"killed while {pump} moved", began)

    def judge(self) -> Judgement:
        """Let the trial under way come to its end, and judge."""
        with Journal.open(str(self.place.journal), readonly=True) as journal:
            count = len(journal.trials(CAMPAIGN_NAME))
        self.place.budget(max(count, 1))
        while not self._finish():
            self._tell("once more")
        time.sleep(0.5)  # for simulators to notice that a move is over
        lines = self.place.actions.read_text().splitlines()
        with Journal.open(str(self.place.journal), readonly=True) as journal:
            said = judge(journal, CAMPAIGN_NAME, map(json.loads, lines), PUMPS)
            self._compare(journal)
        said.lost += len(self.toll.changed)
        said.findings += self.toll.changed
        return said

    def _finish(self) -> bool:
        began = time.monotonic()
        code = self.wait(self.place.live(), LONGEST_LIFE)
        self.after(f"ended with {code}", began)
        return code is not None

    def wait(self, life: "subprocess.Popen[bytes]", seconds: float) -> int | None:
        """Wait for the end of a life; None: a trial came into doubt, and the runtime was killed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return life.wait(1.0)
            if self._in_doubt():
                life.kill()
                life.wait()
                self._give_up_doubts()
                return None
        life.kill()
        life.wait()
        raise Hung(f"a runtime was still at work after {seconds:g} s: see {self.place.output}")

    def _in_doubt(self) -> list[Trial]:
        try:
            with Journal.open(str(self.place.journal), readonly=True) as journal:
                return journal.trials(CAMPAIGN_NAME, {TrialState.IN_DOUBT})
        except JournalError:  # there is none yet
            return []

    def _give_up_doubts(self) -> None:
        """As an operator would who cannot tell either."""
        for trial in self._in_doubt():
            self.toll.doubts.append(f"trial {trial.number}: {trial.cause}")
            self._tell(f"in doubt: {self.toll.doubts[-1]}")
            self.place.abandon(trial.number)

    def last_boundary(self) -> tuple[int, str, bool]:
        n, where, killed = json.loads(self.place.boundaries.read_text().splitlines()[-1])
        return n, where, killed

    def newest(self) -> int:
        """The number of the newest trial; 0 if there is none."""
        with Journal.open(str(self.place.journal), readonly=True) as journal:
            return max((t.number for t in journal.trials(CAMPAIGN_NAME)), default=0)

    def owners(self) -> int:
        """How many runtimes have owned the lab."""
        try:
            with Journal.open(str(self.place.journal), readonly=True) as journal:
                owner = journal.owner("torture-bench")
        except JournalError:  # there is none yet
            return 0
        return 0 if owner is None else owner.epoch

    def after(self, what: str, began: float) -> None:
        seconds = time.monotonic() - began
        self.toll.lives += 1
        self.toll.seconds += seconds
        try:
            with Journal.open(str(self.place.journal), readonly=True) as journal:
                doing = self._compare(journal)
        except JournalError:  # killed before it was made
            doing = "no journal yet"
        self._tell(f"life {self.toll.lives}: {seconds:4.1f} s, {what}; {doing}")

    def _compare(self, journal: Journal) -> str:
        """See that no reading of the newest trials has changed; say where they are."""
        trials = journal.trials(CAMPAIGN_NAME)[-2:]
        for trial in trials:
            for step in journal.steps(trial):
                if step.command != "read" or not step.done:
                    continue
                known = self._known.setdefault((trial.number, step.n), step.result)
                if known != step.result:
                    text = f"trial {trial.number}, step {step.n}: a reading was replaced"
                    self.toll.changed.append(text)
        if not trials:
            return "no trial yet"
        newest = trials[-1]
        if newest.state is TrialState.IN_DOUBT:
            return f"trial {newest.number} is in doubt: {newest.cause}"
        return f"trial {newest.number} is {newest.state.value}"
