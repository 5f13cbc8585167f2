"""What a journal says at one moment: all that a view shows comes from here, and nothing else."""

import math
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdl.cli.doubt import in_question
from sdl.errors import JournalError
from sdl.journal import (
    Activity,
    CampaignRecord,
    Claim,
    Journal,
    Note,
    Reading,
    Step,
    Trial,
    TrialState,
)
from sdl.pareto import pareto_front
from sdl.space import Objective

COUNTED = frozenset({TrialState.COMPLETED, TrialState.FAILED})


@dataclass(frozen=True)
class Snapshot:
    """One campaign, and what its lab does now. Times are those of the lab's clock."""

    place: str
    campaign: CampaignRecord
    trials: Sequence[Trial]
    activities: Mapping[str, Activity]
    readings: Mapping[str, Reading]
    notes: Sequence[Note]
    running: str
    """Who runs it, in words; empty if nobody does."""
    doubts: Mapping[int, Sequence[Step]] = field(default_factory=dict)
    """The steps that a person has to settle, by trial in doubt."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """Who holds which instrument of the lab."""

    @property
    def simulated(self) -> bool:
        return self.campaign.twin

    @property
    def now(self) -> float:
        """The lab's time: the wall clock's, or of a twin the newest that its journal knows."""
        return self.newest if self.simulated else time.time()

    @property
    def elapsed(self) -> float:
        """Seconds from the campaign's first start to now, or to when it was last worked on."""
        return (self.now if self.running else self.newest) - self.campaign.created_at

    @property
    def newest(self) -> float:
        """When something was last written."""
        times = [self.campaign.created_at, *(n.time for n in self.notes)]
        times += [a.time for key, a in self.activities.items() if key != "runtime"]
        times += [r.time for r in self.readings.values()]
        for t in self.trials:
            times += [x for x in (t.suggested_at, t.started_at, t.ended_at) if x is not None]
        return max(times)

    @property
    def objectives(self) -> dict[str, Objective]:
        return {n: Objective(**words) for n, words in self.campaign.spec["objectives"].items()}

    @property
    def best(self) -> list[Trial]:
        """The best trial or, with several objectives, the Pareto front; the best first."""
        done = [t for t in self.trials if t.state is TrialState.COMPLETED]
        goals = self.objectives
        name, goal = next(iter(goals.items()))
        front = pareto_front(done, goals)
        return sorted(front, key=lambda t: goal.sign * (t.outcomes or {})[name], reverse=True)

    @property
    def counted(self) -> int:
        """How many trials of the budget are spent."""
        return sum(t.state in COUNTED for t in self.trials)

    @property
    def in_flight(self) -> list[tuple[Trial, Mapping[str, Any]]]:
        """Running trials with what they do now."""
        return [
            (
                t,
                self.activities[key].value
                if (key := f"trial/{t.number}") in self.activities
                else {},
            )
            for t in self.trials
            if t.state is TrialState.RUNNING
        ]

    @property
    def doing(self) -> str:
        """What the runtime does beside trials."""
        if not self.running:
            return ""
        state = str(self.activities["runtime"].value.get("state", ""))
        if state.startswith("paused"):
            return state
        if "optimizer" in self.activities:
            return str(self.activities["optimizer"].value.get("doing", ""))
        return "" if state == "running" and self.in_flight else state

    def seconds_left(self) -> float | None:
        """Time on the lab's clock until the budget is spent, if that can be told."""
        if not self.running:
            return None
        budget = self.campaign.spec["budget"]
        spent = [t for t in self.trials if t.state in COUNTED and t.started_at and t.ended_at]
        left = math.inf
        if budget.get("trials") is not None and spent:
            mean = sum(t.ended_at - t.started_at for t in spent) / len(spent)  # type: ignore[operator]
            begun = [self.now - t.started_at for t, _ in self.in_flight if t.started_at]
            work = (budget["trials"] - self.counted) * mean - sum(min(b, mean) for b in begun)
            left = max(work, 0.0) / self.campaign.spec.get("parallel", 1)
        if budget.get("hours") is not None:
            ends = self.campaign.created_at + budget["hours"] * 3600
            left = min(left, max(ends - self.now, 0.0))
        return None if math.isinf(left) else left


def take(journal: Journal, campaign: str | None = None) -> Snapshot:
    """Look at one campaign.

    :param campaign: its name; default the one that was worked on last.
    :raises JournalError: there is no such campaign, or none at all.
    """
    record = journal.campaign(campaign) if campaign else latest(journal)
    activities, trials = journal.activities(), journal.trials(record.name)
    doubtful = [t for t in trials if t.state is TrialState.IN_DOUBT]
    return Snapshot(
        journal.place,
        record,
        trials,
        activities,
        journal.readings(),
        journal.notes(campaign=record.name, limit=30, newest=True),
        running(journal, record, activities),
        {t.number: in_question(journal.steps(t)) for t in doubtful},
        journal.claims(record.lab),
    )


def latest(journal: Journal) -> CampaignRecord:
    """The campaign that was worked on last.

    :raises JournalError: there is none.
    """
    records = journal.campaigns()
    if not records:
        raise JournalError(f"{journal.place}: no campaign was begun yet")
    if len(records) == 1:
        return records[0]
    return max(records, key=lambda r: (_last_change(journal, r), r.id))


def _last_change(journal: Journal, record: CampaignRecord) -> float:
    trials = journal.trials(record.name)[-5:]
    times = [t.ended_at or t.started_at or t.suggested_at for t in trials]
    return max([record.created_at, *times])


def running(journal: Journal, record: CampaignRecord, activities: Mapping[str, Activity]) -> str:
    """Who runs the campaign's lab now; a process that was killed does not."""
    owner = journal.owner(record.lab)
    if owner is None or not owner.held or "runtime" not in activities:
        return ""
    if owner.host != socket.gethostname():
        return f"process {owner.pid} on {owner.host}"
    return f"process {owner.pid}" if _alive(owner.pid) else ""


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # there, asking like this would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
