"""What a runtime did about each fault that a witness saw, told from its journal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sdl.endpoints.faults import CATALOGUE
from sdl.journal import Journal, Note, Step, Trial, TrialState
from sdl.step import in_words
from sdl.witness import Seen

LINGER = 60.0  # s in which notes about an instrument belong to its fault
SHOWN = 120  # characters of a message

UNNOTICED, AGAIN, RETRIED, ASKED = (
    "nobody noticed",
    "asked again",
    "step retried",
    "dose asked about",
)
FAILED, ABANDONED, DOUBT, STOPPED = "trial failed", "trial abandoned", "in doubt", "lab stopped"
STEP, WATCH = "step failed", "watch failed"
OUTCOMES = (UNNOTICED, AGAIN, WATCH, RETRIED, ASKED, STEP, STOPPED, DOUBT, ABANDONED, FAILED)
"""From what nobody felt to what cost most."""

AFTERWARDS = frozenset(
    {"power cycle", "watchdog expiry", "late reply", "double reply", "split reply"}
)
"""What may be felt only by the next step."""


@dataclass(frozen=True)
class Reaction:
    """One fault, the step it came in, and what was done about it."""

    seen: Seen
    outcome: str
    """One of `OUTCOMES`."""

    said: tuple[str, ...]
    """What was done, in words, in order."""

    trial: int | None = None
    """Which was under way."""

    step: int | None = None
    what: str = ""
    """The step in words, or why there is none."""


@dataclass
class Record:
    """A campaign's record, read once."""

    trials: Sequence[Trial]
    steps: Mapping[int, Sequence[Step]]
    notes: Sequence[Note]
    settled: Mapping[int, str] = field(default_factory=dict)
    """What was decided of each trial in doubt, by number."""

    @classmethod
    def of(cls, journal: Journal, campaign: str, settled: Mapping[int, str]) -> "Record":
        trials = journal.trials(campaign)
        steps = {trial.number: journal.steps(trial) for trial in trials}
        notes = journal.notes(campaign=campaign, limit=1_000_000)
        return cls(trials, steps, notes, settled)

    def reaction(self, seen: Seen) -> Reaction:
        """Tell what came of a fault."""
        said, outcome = list[str](), UNNOTICED
        if seen.failed:
            said.append(_on_the_wire(seen))
            outcome = AGAIN
        found = self._step(seen)
        noted, worst = self._noted(seen)
        if found is None:
            trial = self._trial_at(seen.happening.time)
            outcome = _worse(WATCH if seen.failed and seen.answered is None else outcome, worst)
            number, what = (trial.number, "between steps") if trial else (None, "outside trials")
            return Reaction(seen, outcome, (*said, *noted), number, None, what)
        trial, attempts = found
        steps, on_step = self._on_the_step(seen, trial, attempts)
        outcome = _worse(_worse(outcome, on_step), worst)
        if outcome == FAILED:
            steps += self._others_failed(seen, trial)
        last = attempts[-1]
        what = in_words(last.command, last.instrument, last.argument)
        return Reaction(seen, outcome, (*said, *steps, *noted), trial.number, last.n, what)

    def _step(self, seen: Seen) -> tuple[Trial, list[Step]] | None:
        """The step that the fault came in: the newest attempts of one number, since the fault.

        Of several under way that which had trouble; else, where a fault is felt late, the next.
        """
        begin, end = seen.happening.time, max(seen.until, seen.first or 0.0)
        closed = math.inf if seen.closed is None else seen.closed
        inside, later = [], []
        for trial in self.trials:
            for attempts in _by_number(self.steps[trial.number], seen.happening.instrument):
                since = [a for a in attempts if _ended(a) >= begin and a.started_at <= closed]
                if since and since[0].started_at <= end:
                    inside.append((trial, since))
                elif since and seen.happening.fault.kind in AFTERWARDS:
                    later.append((trial, since))
        inside.sort(key=lambda found: _first_to_fail(found[1]))
        later.sort(key=lambda found: found[1][0].started_at)
        if inside and (_troubled(inside[0][1]) or not later):
            return inside[0]
        if later and _troubled(later[0][1]):
            return later[0]
        return inside[0] if inside else None

    def _on_the_step(
        self, seen: Seen, trial: Trial, since: Sequence[Step]
    ) -> tuple[list[str], str]:
        said, outcome = list[str](), UNNOTICED
        due = [a for a in since if _due_to(seen, a)]  # attempts in which it was felt
        told = [f for a in due for f in a.findings if f.get("verdict") != "failed"]
        if told:
            outcome = ASKED
            said += [f"asked: {f['verdict']} ({f.get('evidence', '')})" for f in told]
        last = due[-1] if due else since[0]
        later = [a for a in since if a.attempt > last.attempt]
        if due and (later or len(due) > 1):
            outcome = _worse(outcome, RETRIED)
            times = len(due) - (0 if later else 1)
            said.append(f"retried {'once' if times == 1 else f'{times} times'}")
        if due and not later and last.error is not None:
            how, outcome = self._failed(seen, trial, last, outcome)
            said.append(how)
        elif outcome != UNNOTICED and since[-1].ended_at is not None and since[-1].error is None:
            said.append("step done")
        if any(f.get("verdict") == "unknown" for f in told) and trial.number in self.settled:
            outcome = ABANDONED if trial.state is TrialState.ABANDONED else DOUBT
            said.append(f"trial {trial.number} in doubt, settled: {self.settled[trial.number]}")
        return said, outcome

    def _failed(self, seen: Seen, trial: Trial, step: Step, outcome: str) -> tuple[str, str]:
        """Say in words what became of the plan, and the outcome."""
        kind, error = (step.error_type or "").rpartition(":")[2], step.error or ""
        how, cause = f"step failed: {kind}: {_short(error)}", trial.cause or ""
        if trial.state not in (TrialState.FAILED, TrialState.ABANDONED):
            return f"{how}; the plan went on", STEP
        if cause.startswith(error):
            return f"{how}; trial {trial.number} failed", FAILED
        others = (s.error for s in self.steps[trial.number] if s.error)
        if seen.failed and not any(map(cause.startswith, others)):  # the plan gave up waiting
            return f"{how}; trial {trial.number} failed: {_short(cause)}", FAILED
        if kind != "StoppedError" and "told to stop" not in error:
            return how, _worse(outcome, STEP)
        return "the plan ended meanwhile, by another step", outcome

    def _others_failed(self, seen: Seen, trial: Trial) -> list[str]:
        """Tell of trials that failed at the same instrument while the fault went on."""
        name, begin = seen.happening.instrument, seen.happening.time
        found = [
            str(each.number)
            for each in self.trials
            if each.number != trial.number and each.state is TrialState.FAILED
            if (each.cause or "").startswith(f"{name}: ") and begin <= _end_of(each) <= seen.until
        ]
        many = "trials" if len(found) > 1 else "trial"
        return [f"so did {many} {', '.join(found)}"] if found else []

    def _noted(self, seen: Seen) -> tuple[list[str], str]:
        """What was noted of the instrument meanwhile: quarantine, no safe state, a STOP."""
        name, said, outcome = seen.happening.instrument, dict[str, None](), UNNOTICED
        end = seen.until + LINGER
        for note in self.notes:
            if not seen.happening.time <= note.time <= min(end, seen.closed or end):
                continue
            if note.level == "error" and note.text.startswith(f"{name} "):
                quarantine = note.text.startswith(f"{name} is in quarantine")
                said["in quarantine" if quarantine else _short(note.text.partition(":")[0])] = None
            elif note.text.startswith("an interlock tripped") and f"{name}." in note.text:
                said[_short(note.text)] = None
                outcome = STOPPED
        return list(said), outcome

    def _trial_at(self, time: float) -> Trial | None:
        for trial in self.trials:
            if trial.started_at is not None and trial.started_at <= time <= _end_of(trial):
                return trial
        return None


def tell(record: Record, seen: Iterable[Seen]) -> list[Reaction]:
    """Tell what came of each fault, in their order."""
    return [record.reaction(each) for each in seen]


def _on_the_wire(seen: Seen) -> str:
    why = _short(seen.said)
    many = f"{seen.failed} exchanges failed, the first: {why}" if seen.failed > 1 else why
    if seen.answered is None:
        return f"{many}; never answered again"
    took = seen.answered - seen.happening.time
    return f"{many}; answered again {took:.3g} s after the fault"


def _by_number(steps: Sequence[Step], instrument: str) -> Iterable[list[Step]]:
    """The attempts of each step of an instrument, or of a signal of it."""
    found: dict[int, list[Step]] = {}
    for step in steps:
        if step.instrument == instrument or step.instrument.startswith(f"{instrument}-"):
            found.setdefault(step.n, []).append(step)
    return found.values()


def _due_to(seen: Seen, attempt: Step) -> bool:
    """Whether what went wrong in an attempt can have come from the fault."""
    if attempt.error is None and not attempt.findings:
        return False
    if CATALOGUE[seen.happening.fault.kind].layer == "instrument":
        return True
    if (attempt.error_type or "").endswith(":FaultError"):  # an alarm is the instrument's own
        return False
    return seen.over is None or (seen.failed > 0 and _ended(attempt) <= seen.over)


def _first_to_fail(attempts: Sequence[Step]) -> tuple[bool, bool, float]:
    """Puts what had trouble first, and of that what ended first; else what began last."""
    troubled, cleaning = _troubled(attempts), attempts[0].command in ("stop", "unstage")
    when = _ended(attempts[0]) if troubled else -attempts[0].started_at
    return not troubled, cleaning, when


def _troubled(attempts: Sequence[Step]) -> bool:
    return len(attempts) > 1 or any(a.error is not None or a.findings for a in attempts)


def _worse(one: str, other: str) -> str:
    return max(one, other, key=OUTCOMES.index)


def _ended(step: Step) -> float:
    return math.inf if step.ended_at is None else step.ended_at


def _end_of(trial: Trial) -> float:
    return math.inf if trial.ended_at is None else trial.ended_at


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
