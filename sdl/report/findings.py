"""What the journal holds of one campaign, read once; everything in a report is made from this."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from sdl.errors import JournalError
from sdl.journal import CampaignRecord, Journal, Note, Step, Trial, TrialState
from sdl.pareto import hypervolume_growth, pareto_front
from sdl.space import Objective, Space
from sdl.task import Task
from sdl.telling import task_of, told

MOST_NOTES = 1000
MOST_DOCUMENTS = 100_000  # of one trial
MOST_OBJECTIVES = 5  # above, an exact hypervolume takes minutes
LOST = frozenset(
    {TrialState.FAILED, TrialState.REJECTED, TrialState.ABANDONED, TrialState.IN_DOUBT}
)
"""States of trials that gave no outcome, though they were meant to."""


@dataclass(frozen=True)
class Run:
    """One Bluesky run of a trial."""

    uid: str
    exit_status: str
    """Of its stop document; empty if there is none."""


@dataclass(frozen=True)
class Inquiry:
    """A step whose end was not heard, and what was found out about it."""

    trial: int
    step: int
    what: str
    verdict: str
    evidence: str
    who: str


@dataclass(frozen=True)
class Findings:
    """A campaign: what was wanted, what was tried and what came of it."""

    place: str
    record: CampaignRecord
    task: Task
    trials: Sequence[Trial]
    notes: Sequence[Note]
    runs: dict[int, list[Run]]
    inquiries: Sequence[Inquiry] = ()
    """What was asked about steps after interruptions and lost replies, in order."""
    repeated: dict[int, int] = field(default_factory=dict)
    """How many steps of a trial were sent more than once, where there are any."""

    @property
    def space(self) -> Space:
        return self.task.space

    @property
    def objectives(self) -> Mapping[str, Objective]:
        return self.task.objectives

    @cached_property
    def measured(self) -> list[Trial]:
        """Completed trials with a finite number for every objective."""
        return [t for t in self.trials if t.state is TrialState.COMPLETED and self._finite(t)]

    @cached_property
    def lost(self) -> list[Trial]:
        return [t for t in self.trials if t.state in LOST]

    @cached_property
    def best(self) -> list[Trial]:
        """The best trial or, with several objectives, the Pareto front; by the first objective."""
        first, objective = next(iter(self.objectives.items()))
        front = pareto_front(self.measured, self.objectives)
        return sorted(front, key=lambda t: objective.sign * (t.outcomes or {})[first], reverse=True)

    @property
    def several(self) -> bool:
        return len(self.objectives) > 1

    @cached_property
    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state, in the order of a trial's life."""
        found = Counter(t.state for t in self.trials)
        return {state: found[state] for state in TrialState if found[state]}

    @cached_property
    def reference(self) -> dict[str, float]:
        """From where the hypervolume is measured: thresholds; else the worst that was measured."""
        return {
            name: o.threshold
            if o.threshold is not None
            else min((self.outcome(t, name) * o.sign for t in self.measured), default=0.0) * o.sign
            for name, o in self.objectives.items()
        }

    @cached_property
    def hypervolumes(self) -> list[float]:
        """The hypervolume after each trial; empty where it has no meaning or is not computed."""
        if not 1 < len(self.objectives) <= MOST_OBJECTIVES or not self.measured:
            return []
        signs = {name: o.sign for name, o in self.objectives.items()}
        known = {t.number for t in self.measured}
        gains = [
            [s * self.outcome(t, n) for n, s in signs.items()] if t.number in known else None
            for t in self.trials
        ]
        return hypervolume_growth(gains, [s * self.reference[n] for n, s in signs.items()])

    @cached_property
    def newest(self) -> float:
        """When something was last written."""
        times = [self.record.created_at, *(note.time for note in self.notes)]
        for t in self.trials:
            times += [x for x in (t.suggested_at, t.started_at, t.ended_at) if x is not None]
        return max(times)

    @cached_property
    def ending(self) -> str:
        """Why the campaign ended, or that nothing says so."""
        said = ""
        for note in (n for n in self.notes if n.source == "runtime"):
            if note.text == "started":
                said = ""
            elif note.text.startswith("ended: "):
                said = note.text.removeprefix("ended: ")
            elif note.level == "error":
                said = f"broke off: {note.text}"
        if said or not self.trials:
            return said or "nothing was tried yet"
        return "it has not ended: it runs now, or its runtime was killed"

    def best_so_far(self, objective: str) -> list[float | None]:
        """The best outcome after each trial; None before the first."""
        known, sign = {t.number for t in self.measured}, self.objectives[objective].sign
        best: float | None = None
        reached = []
        for trial in self.trials:
            if trial.number in known:
                value = self.outcome(trial, objective)
                best = value if best is None else sign * max(sign * best, sign * value)
            reached.append(best)
        return reached

    def told(self, measured: Sequence[Trial]) -> list[dict[str, Any]]:
        """Trials as the loop tells the optimizer of them (see `sdl.suggest`).

        :param measured: those of the measured ones that it hears of.
        """
        known = {t.number for t in measured}
        completed = TrialState.COMPLETED
        return [
            told(t, self.task) for t in self.trials if t.state is not completed or t.number in known
        ]

    def _finite(self, trial: Trial) -> bool:
        outcomes = trial.outcomes or {}
        return all(n in outcomes and math.isfinite(outcomes[n]) for n in self.objectives)

    @staticmethod
    def outcome(trial: Trial, objective: str) -> float:
        assert trial.outcomes is not None  # it is measured
        return float(trial.outcomes[objective])


def gather(journal: Journal, campaign: str) -> Findings:
    """Read everything.

    :raises JournalError: there is no such campaign, or its specification is none of ours.
    """
    record = journal.campaign(campaign)
    spec = record.spec
    try:
        task = task_of(spec)
    except (KeyError, AttributeError, ValidationError) as error:
        raise JournalError(
            f"{journal.place}: campaign {campaign}: its specification cannot be read by this "
            f"version of sdl: {type(error).__name__}: {error}"
        ) from error
    trials = journal.trials(campaign)
    notes = journal.notes(campaign=campaign, limit=MOST_NOTES, newest=True)
    begun = [t for t in trials if t.started_at is not None]
    runs = {t.number: _runs(journal, t) for t in begun}
    inquiries, repeated = list[Inquiry](), dict[int, int]()
    for trial in begun:
        steps = journal.steps(trial)
        inquiries += [i for step in steps for i in _inquiries(trial, step)]
        if again := len({step.n for step in steps if step.attempt > 1}):
            repeated[trial.number] = again
    return Findings(journal.place, record, task, trials, notes, runs, inquiries, repeated)


def _inquiries(trial: Trial, step: Step) -> list[Inquiry]:
    argument = "" if step.argument is None else str(step.argument)
    what = " ".join(word for word in (step.command, step.instrument, argument) if word)
    return [
        Inquiry(
            trial.number,
            step.n,
            what,
            str(finding.get("verdict", "unknown")),
            str(finding.get("evidence") or ""),
            str(finding.get("who") or step.instrument),
        )
        for finding in step.findings
    ]


def _runs(journal: Journal, trial: Trial) -> list[Run]:
    found: dict[str, Run] = {}
    for document in journal.documents(trial=trial, limit=MOST_DOCUMENTS):
        if document.name == "start":
            found[document.run] = Run(document.run, "")
        elif document.name == "stop":
            status = str(document.doc.get("exit_status", ""))
            found[document.run] = Run(document.run, status)
    return list(found.values())
