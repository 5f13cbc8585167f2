"""Somebody beside a session on a twin, who settles what needs a person by what the world knows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdl.journal import Journal, Step, Trial, TrialState
from sdl.judging import tolerance
from sdl.loop import COUNTED
from sdl.session import Session
from sdl.stopping import Ending
from sdl.witness import Witness

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

WHO = "chaos"


@dataclass(frozen=True)
class Settled:
    """What was decided in a person's stead."""

    time: float
    what: str
    """`trial 3, step 12 (…)`, or an instrument."""
    verdict: str
    why: str


class Attended(Session):
    """A session with somebody beside it who settles what needs a person, at once.

    In the lab's loop, so that it happens at the same virtual time in every run.
    """

    def __init__(
        self, campaign: "Campaign", lab: "Lab", journal: str, operator: "Operator"
    ) -> None:
        super().__init__(campaign, lab, journal=journal, on_boundary=self._at_boundary)
        self._operator = operator

    async def _run(self, plan: Any, recovery: Any, alive_until: dict[str, float]) -> Ending:
        # whatever a person is told of, the operator hears first
        self._notifier = _Heard(self._notifier, self._operator, self._now)  # type: ignore[assignment]
        try:
            return await super()._run(plan, recovery, alive_until)
        finally:
            self._operator.witness.leave()

    def _at_boundary(self, n: int, where: str) -> None:
        if where == "after act":
            self._operator.witness.sample()


class _Heard:
    """A notifier that calls the operator."""

    def __init__(self, notifier: Any, operator: "Operator", now: Callable[[], float]) -> None:
        self._notifier, self._operator, self._now = notifier, operator, now

    def send(self, level: Any, text: str) -> None:
        if level == "error":
            self._operator.act(self._now())
        self._notifier.send(level, text)


class Operator:
    """Settles doubts by what the world knows, and lets instruments out of quarantine."""

    def __init__(self, journal: str, campaign: str, lab: str, witness: Witness) -> None:
        self._journal, self._campaign, self._lab = journal, campaign, lab
        self.witness = witness
        self.settled: list[Settled] = []
        self.quarantined: Counter[str] = Counter()
        self.verdicts: dict[int, str] = {}
        """What was decided of each trial."""

    def counted(self) -> int:
        return sum(trial.state in COUNTED for trial in self._trials())

    def _trials(self) -> list[Trial]:
        with Journal.open(self._journal, rederivable=True) as journal:
            return journal.trials(self._campaign) if journal.campaigns() else []

    def act(self, now: float) -> None:
        """Look at all that waits for a person."""
        with Journal.open(self._journal, rederivable=True) as journal:
            for trial in journal.trials(self._campaign, {TrialState.IN_DOUBT}):
                self._settle(journal, trial, now)
            for name, claim in journal.claims(self._lab).items():
                if claim.quarantined is not None:
                    note = "it was looked at"
                    journal.unquarantine(self._lab, name, time=now, who=WHO, note=note)
                    self.quarantined[name] += 1
                    self.settled.append(Settled(now, name, "released", claim.quarantined))

    def tidy_up(self) -> None:
        """After a session: what it left is given up, as the next one has another world."""
        with Journal.open(self._journal, rederivable=True) as journal:
            if not journal.campaigns():
                return
            now = max((a.time for a in journal.activities().values()), default=0.0)
            left = journal.trials(self._campaign, {TrialState.RUNNING, TrialState.IN_DOUBT})
            for trial in left:
                self._abandon(journal, trial, now, "its session ended, and its bench with it")
        self.act(now)

    def _settle(self, journal: Journal, trial: Trial, now: float) -> None:
        open_ = [s for s in _newest(journal.steps(trial)) if s.ended_at is None and s.findings]
        for step in open_:
            moved = self._moved(journal, trial, step)
            verdict, why = _verdict(step, moved)
            what = f"trial {trial.number}, step {step.n} ({step.command} {step.instrument})"
            if verdict is None:
                self.settled.append(Settled(now, what, "abandon", why))
                self._abandon(journal, trial, now, why)
                return
            self.settled.append(Settled(now, what, verdict, why))
            details = {"time": now, "who": WHO, "note": why}
            journal.settle_step(trial, step.n, verdict, **details)
        if not open_:
            self._abandon(journal, trial, now, f"no step is in question: {trial.cause}")
            return
        self.verdicts[trial.number] = self.settled[-1].verdict
        journal.move(trial, TrialState.RUNNING, time=now, who=WHO, note="settled by the world")

    def _moved(self, journal: Journal, trial: Trial, step: Step) -> float | None:
        """What moved for a step in truth, mL, all its attempts together; None: nobody knows."""
        if step.instrument not in self.witness.dosing or step.command != "set":
            return None
        first = next(s for s in journal.steps(trial) if s.n == step.n)
        return self.witness.moved(step.instrument, first.started_at)

    def _abandon(self, journal: Journal, trial: Trial, now: float, why: str) -> None:
        self.verdicts[trial.number] = "abandoned"
        details = {"time": now, "who": WHO, "note": why, "cause": f"given up: {why}"}
        journal.move(trial, TrialState.ABANDONED, **details)
        journal.release(self._lab, trial, time=now)


def _newest(steps: Sequence[Step]) -> list[Step]:
    return list({step.n: step for step in steps}.values())


def _verdict(step: Step, moved: float | None) -> tuple[Any, str]:
    """What an operator finds out by looking: done, not done, or None where it is neither."""
    if moved is None:
        return None, "the world cannot tell what became of it"
    asked, said = float(step.argument), f"{moved:.4g} of {step.argument:.4g} mL moved"
    allowed = tolerance(asked, 2)
    if abs(moved - asked) <= allowed:
        return "done", said
    if abs(moved) <= allowed:
        return "not done", said
    return None, said
