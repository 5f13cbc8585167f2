"""What physically happened, against what the record says: the judge of torture and chaos.

The world's log of actions (of its parts, `PumpHead` first) is the truth; the journal is what is
judged. A dose step that the journal has as done must have moved exactly what the plan asked for;
one that it does not have as done (a trial in doubt, failed or left), at most that. Nothing else
moves.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdl import values
from sdl.journal import Journal, Step, Trial, TrialState

SLACK = 2  # of the counter's digits that the pump's driver allows
DIGITS = 4  # of volumes that a pump is told, and of its counters


@dataclass(frozen=True)
class Dose:
    """What a plan asked of a pump."""

    trial: int
    n: int
    volume: float
    """mL, + out, - in."""
    whole: bool
    """Whether the journal says that it was done; else anything up to all of it may have been."""

    def __str__(self) -> str:
        return f"trial {self.trial}, step {self.n}, {self.volume:g} mL"


@dataclass
class Judgement:
    """The counts that the bars are about, and every finding in words."""

    doses: int = 0
    pieces: int = 0
    """Doses that were given in more than one move: a kill came in their middle."""
    repeated: int = 0
    skipped: int = 0
    worst: float = 0.0
    """mL by which a dose differs from what was asked, at most."""
    readings: int = 0
    lost: int = 0
    states: Counter[str] = field(default_factory=Counter)
    doubts: list[str] = field(default_factory=list)
    """The causes of trials in doubt."""
    causes: Counter[str] = field(default_factory=Counter)
    """Of trials that failed."""
    breaks: int = 0
    """Places where the audit's chain does not hold, or says otherwise than the journal."""
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.findings


def judge(
    journal: Journal,
    campaign: str,
    actions: Iterable[Mapping[str, Any]],
    pumps: Sequence[str],
    *,
    events: bool = True,
) -> Judgement:
    """Judge a campaign that nobody runs any more.

    :param actions: the world's log; if its `move`s name their `trial`, each trial is judged by its
        own, else they are taken in order, which can be told where no trial has failed.
    :param events: each reading must stand in an event; no plan reads what it does not save.
    """
    said, trials = Judgement(), journal.trials(campaign)
    steps = {trial.number: journal.steps(trial) for trial in trials}
    actions = list(actions)
    for pump in pumps:
        doses, moves = doses_of(pump, trials, steps), moves_of(pump, actions)
        if any(number is not None for number, _ in moves):
            for trial in trials:
                own = [d for d in doses if d.trial == trial.number]
                judge_pump(said, pump, own, [mL for n, mL in moves if n == trial.number])
        else:
            judge_pump(said, pump, doses, [mL for _, mL in moves])
    for trial in trials:
        said.states[trial.state.value] += 1
        if trial.state is TrialState.IN_DOUBT:
            said.doubts.append(f"trial {trial.number}: {trial.cause}")
        elif trial.state is TrialState.FAILED:
            said.causes[str(trial.cause)] += 1
        elif trial.state is TrialState.COMPLETED:
            if events:
                _judge_readings(said, journal, trial, steps[trial.number])
        elif trial.state is not TrialState.ABANDONED:
            said.findings.append(f"trial {trial.number} is {trial.state.value}: nobody ended it")
        if trial.state is not TrialState.COMPLETED and not trial.cause:
            said.findings.append(f"trial {trial.number} is {trial.state.value} without a cause")
    breaks = journal.verify().breaks
    said.breaks = len(breaks)
    said.findings += map(str, breaks)
    return said


# -- doses ----------------------------------------------------------------------------------------


def doses_of(pump: str, trials: Sequence[Trial], steps: Mapping[int, Sequence[Step]]) -> list[Dose]:
    """All doses that plans asked of a pump, in order, with the volume of the first attempt."""
    found = list[Dose]()
    for trial in trials:
        first: dict[int, Step] = {}
        newest: dict[int, Step] = {}
        for step in steps[trial.number]:
            if step.command == "set" and step.instrument == pump:
                first.setdefault(step.n, step)
                newest[step.n] = step
        for n in sorted(first):
            whole = newest[n].done and newest[n].error is None
            found.append(Dose(trial.number, n, float(first[n].argument), whole))
    return found


def moves_of(pump: str, actions: Iterable[Mapping[str, Any]]) -> list[tuple[int | None, float]]:
    """What a pump has moved: of which trial, if that is known, and mL (NaN: not ended)."""
    begun: dict[int, tuple[int | None, float]] = {}
    for action in actions:
        if action["instrument"] == pump and action["action"] == "move":
            begun[action["number"]] = action.get("trial"), math.nan
        elif action["instrument"] == pump and action["action"] == "moved":
            begun[action["number"]] = begun[action["number"]][0], float(action["moved"])
    return [(trial, volume) for trial, volume in begun.values() if volume != 0.0]


def judge_pump(said: Judgement, pump: str, doses: Sequence[Dose], moves: Sequence[float]) -> None:
    """Hold what a pump has moved (mL, move by move) against its doses, both in order."""
    said.doses += len(doses)
    left = list(moves)
    for k, dose in enumerate(doses):
        given = _given(dose, left, doses[k + 1 :])
        total = sum(given)
        del left[: len(given)]
        difference = abs(total) - abs(dose.volume)
        allowed = tolerance(dose.volume, len(given))
        said.pieces += len(given) > 1
        if dose.whole:
            said.worst = max(said.worst, abs(difference))
        if difference > allowed or math.isnan(difference):
            said.repeated += 1
            said.findings.append(f"{pump}, {dose}: repeated: it moved {given}")
        elif dose.whole and difference < -allowed:
            said.skipped += 1
            said.findings.append(f"{pump}, {dose}: skipped: it moved {given}, left are {left[:3]}")
    if left:
        said.repeated += len(left)
        said.findings.append(f"{pump}: nobody asked for these moves (mL): {left}")


def _given(dose: Dose, moves: Sequence[float], later: Sequence[Dose]) -> list[float]:
    """The moves that belong to a dose: the next ones its way, until it is whole."""
    given: list[float] = []
    for move in moves:
        if move * dose.volume < 0:
            break
        short = abs(dose.volume) - abs(sum(given))
        if short <= tolerance(dose.volume, len(given)):
            break
        if not dose.whole and abs(move) > short + tolerance(dose.volume, 2):
            break  # it must be a later one's
        if not dose.whole and not given and _is_whole(later, move):
            break
        given.append(move)
    return given


def _is_whole(later: Sequence[Dose], move: float) -> bool:
    """Whether a move is just what the next dose asks for."""
    return bool(later) and abs(move - later[0].volume) <= tolerance(later[0].volume, 1)


def tolerance(volume: float, moves: int) -> float:
    """By how much (mL) a dose may differ: its four digits; in pieces, what the counter resolves.

    A driver clears the counter when it is more than five times the dose and too coarse, so it
    shows less than six times the dose.
    """
    told = 10.0 ** (math.floor(math.log10(abs(volume))) + 1 - DIGITS)
    counted = 10.0 ** (math.floor(math.log10(6 * abs(volume))) + 1 - DIGITS)
    return 0.5 * told + 1e-9 + (SLACK * counted * (moves - 1) if moves > 1 else 0.0)


# -- readings -------------------------------------------------------------------------------------


def _judge_readings(said: Judgement, journal: Journal, trial: Trial, steps: Sequence[Step]) -> None:
    """Each reading that was recorded stands in the run that completed the trial, unchanged."""
    runs = journal.runs(trial)
    if not runs or runs[-1].stop != "success":
        said.findings.append(f"trial {trial.number}: its last run did not end in success")
        return
    kept = events_of(journal, runs[-1].uid)
    newest = {step.n: step for step in steps if step.command == "read"}
    seen = {(key, str(at), str(value)) for event in kept for key, at, value in _points(event)}
    for n, step in newest.items():
        said.readings += 1
        if not step.done or step.error is not None:
            said.lost += 1
            said.findings.append(f"trial {trial.number}, step {n}: read, and not recorded as done")
            continue
        for key, reading in step.result.items():
            value = values.plain(values.from_json(reading["value"]))
            if (key, str(reading["timestamp"]), str(value)) not in seen:
                said.lost += 1
                said.findings.append(f"trial {trial.number}, step {n}: {key} is in no event")
    for run in runs[:-1]:
        for event in events_of(journal, run.uid):
            for key, at, value in _points(event):
                if (key, str(at), str(value)) not in seen:
                    text = f"trial {trial.number}: {key} of run {run.uid} is not in the last run"
                    said.lost += 1
                    said.findings.append(text)
    _judge_streams(said, journal, trial, runs[-1].uid, kept)


def _judge_streams(
    said: Judgement, journal: Journal, trial: Trial, run: str, kept: Sequence[dict[str, Any]]
) -> None:
    """Events are numbered without gaps, and the stop document counts them."""
    found = journal.documents(run=run, limit=100_000)
    names = {d.doc["uid"]: d.doc["name"] for d in found if d.name == "descriptor"}
    numbers: dict[str, list[int]] = {name: [] for name in names.values()}
    for event in kept:
        numbers[names[event["descriptor"]]].append(event["seq_num"])
    (stop,) = (d.doc for d in found if d.name == "stop")
    for name, seen in numbers.items():
        counted = stop["num_events"].get(name)
        if seen != list(range(1, len(seen) + 1)) or counted != len(seen):
            said.lost += 1
            text = f"trial {trial.number}: events of {name}: {seen}; counted {counted}"
            said.findings.append(text)


def events_of(journal: Journal, run: str) -> list[dict[str, Any]]:
    return [d.doc for d in journal.documents(run=run, limit=100_000) if d.name == "event"]


def _points(event: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for key, value in event["data"].items():
        yield key, event["timestamps"][key], value
