"""A campaign on its twin under random faults, and what the runtime did about each.

Virtual time, a journal of its own, faults from a seed: the same seed gives the same report. What
needs a person is settled as an operator would who can look at the instruments: the world tells.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from sdl.attending import Attended, Operator, Settled
from sdl.disturbing import ChanceOfFaults, FaultScript
from sdl.errors import ConfigError, SdlError, explain
from sdl.journal import Journal, Step
from sdl.judging import Judgement, judge
from sdl.reactions import Reaction, Record, tell
from sdl.stopping import Ending
from sdl.witness import Seen, Witness

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

RATE = 0.001
LONGEST = 30.0  # s
SESSIONS = 20  # after so many the campaign is given up
IDLE = 5  # of them in a row that spend nothing of the budget
OFF = 0.1, 0.01  # what a reading may differ: of the truth, and of the largest one
SENSORS = frozenset({"drift", "noise", "saturation", "stuck"})
"""Faults with which an instrument is wrong and cannot know it."""
LAG = 120.0  # s that an instrument's value may be old


@dataclass
class Outcome:
    """All that is known after a campaign under faults."""

    campaign: str
    lab: str
    script: FaultScript
    began: float
    reactions: list[Reaction]
    settled: list[Settled]
    endings: list[str]
    """Why each session ended; each but the first began with a new world."""
    judgement: Judgement
    trials: Counter[str]
    causes: Mapping[int, str]
    """Why trials failed or were given up, by number."""

    quarantined: Counter[str]
    """How often each instrument was in quarantine."""
    judged: Sequence[str]
    """Instruments whose doses were held against the world."""
    readings: int = 0
    """Those whose truth the world can tell."""
    wrong: list[str] = field(default_factory=list)
    """Readings that were wrong, and no sensor's fault."""
    deceived: int = 0
    """Readings that were wrong by a fault of the sensor, which nobody can tell."""

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, in words."""
        return [*self.judgement.findings, *self.wrong]


def script_for(
    lab: "Lab", *, seed: int, rate: float = RATE, kinds: Sequence[str] = ()
) -> FaultScript:
    """Return faults by chance for all instruments of a lab.

    :raises ConfigError: a kind is unknown, or can happen to none of them.
    """
    chance = ChanceOfFaults(rate=rate, kinds=tuple(kinds), longest=LONGEST)
    script = FaultScript(seed=seed, chance=chance)
    script.check(lab)
    return script


def run(campaign: "Campaign", lab: "Lab", script: FaultScript, journal: str) -> Outcome:
    """Run a checked campaign on the twin of `lab` under faults; blocks.

    :param journal: a file of its own; the campaign begins there.
    :raises ConfigError: the lab has no twin, or the faults do not fit it.
    """
    if lab.wires and lab.world is None:
        message = "has no `world:`, so it has no twin; add e.g. `world: {use: snar_flow}`"
        raise ConfigError(lab.document.problem((), message))
    witness = Witness(script)
    twin = lab.twin().with_faults(witness)
    operator = Operator(journal, campaign.campaign, lab.lab, witness)
    endings = _sessions(campaign, twin, journal, operator)
    with Journal.open(journal, readonly=True) as record:
        return _told(record, campaign, lab, witness, operator, endings)


# -- running --------------------------------------------------------------------------------------


def _sessions(campaign: "Campaign", lab: "Lab", journal: str, operator: "Operator") -> list[str]:
    """One session after the other, as an operator starts them, until the budget is spent."""
    said, idle = list[str](), 0
    while len(said) < SESSIONS and idle < IDLE:
        before = operator.counted()
        ending = _one(campaign, lab, journal, operator)
        said.append(str(ending))
        operator.tidy_up()
        if (isinstance(ending, Ending) and not ending.gave_up) or _spent(campaign, operator):
            break
        idle = idle + 1 if operator.counted() == before else 0
    return said


def _one(campaign: "Campaign", lab: "Lab", journal: str, operator: "Operator") -> Ending | str:
    with Attended(campaign, lab, journal, operator) as session:
        try:
            return session.wait()
        except SdlError as error:
            return explain(error)


def _spent(campaign: "Campaign", operator: "Operator") -> bool:
    budget = campaign.budget.trials
    return budget is not None and operator.counted() >= budget


# -- telling --------------------------------------------------------------------------------------


def _told(
    journal: Journal,
    campaign: "Campaign",
    lab: "Lab",
    witness: Witness,
    operator: Operator,
    endings: list[str],
) -> Outcome:
    name = campaign.campaign
    record = Record.of(journal, name, operator.verdicts)
    actions = [{**a, "trial": _trial_of(record, a)} for a in witness.actions]
    judged = sorted(witness.dosing)
    outcome = Outcome(
        campaign=name,
        lab=lab.lab,
        script=witness.script,
        began=journal.campaign(name).created_at,
        reactions=tell(record, witness.seen),
        settled=operator.settled,
        endings=endings,
        judgement=judge(journal, name, actions, judged, events=False),
        trials=Counter(str(trial.state) for trial in record.trials),
        causes={trial.number: trial.cause for trial in record.trials if trial.cause},
        quarantined=operator.quarantined,
        judged=judged,
    )
    _judge_values(outcome, record, witness)
    return outcome


def _trial_of(record: Record, action: Mapping[str, Any]) -> int | None:
    """The trial in whose time something was moved; what moved before belongs to the first."""
    found = record.trials[0].number if record.trials else None
    for trial in record.trials:
        sets = (s for s in record.steps[trial.number] if s.instrument == action["instrument"])
        if any(s.command == "set" and s.started_at <= action["at"] for s in sets):
            found = trial.number
    return found


def _judge_values(outcome: Outcome, record: Record, witness: Witness) -> None:
    """Hold readings against what was true when they were taken."""
    found: dict[tuple[str, str], list[tuple[int, Step, float, float]]] = {}
    for trial in record.trials:
        for step in record.steps[trial.number]:
            if step.command != "read" or step.error is not None or step.ended_at is None:
                continue
            truths = witness.truths.get(step.ended_at, {})
            for signal, value in _scalars(step):
                key = (step.instrument, signal)
                if key in truths:
                    found.setdefault(key, []).append((trial.number, step, value, truths[key]))
    for (name, signal), readings in found.items():
        largest = max(abs(truth) for *_, truth in readings)
        off = [_off(value, truth, largest) for *_, value, truth in readings]
        if median(off) > 1:  # what the part calls so is something else
            continue
        outcome.readings += len(readings)
        for (number, step, value, truth), far in zip(readings, off, strict=True):
            if far <= 1:
                continue
            if _deceived(witness.seen, name, step):
                outcome.deceived += 1
            else:
                said = f"{name}-{signal} was {value:.4g}, and in truth {truth:.4g}"
                outcome.wrong.append(f"trial {number}, step {step.n}: {said}")


def _scalars(step: Step) -> list[tuple[str, float]]:
    result = step.result if isinstance(step.result, Mapping) else {}
    found = []
    for key, reading in result.items():
        value = reading.get("value") if isinstance(reading, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found.append((key.removeprefix(step.instrument).lstrip("-"), float(value)))
    return found


def _off(value: float, truth: float, largest: float) -> float:
    allowed = max(OFF[0] * abs(truth), OFF[1] * largest, 1e-9)
    return abs(value - truth) / allowed


def _deceived(seen: Sequence[Seen], name: str, step: Step) -> bool:
    """Whether a sensor's fault lasts, or has just been."""
    at = step.ended_at or 0.0
    for each in seen:
        mine = each.happening.instrument == name and each.happening.fault.kind in SENSORS
        if mine and each.happening.time <= at <= each.until + LAG:
            return True
    return False
