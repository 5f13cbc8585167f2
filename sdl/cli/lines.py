"""A running campaign as plain lines: for a file, a pipe, a service manager."""

import re
from collections.abc import Callable
from typing import Any

from sdl.cli import snapshot, words
from sdl.cli.snapshot import Snapshot
from sdl.journal import ENDED, Journal, Trial, TrialState

FAILURE = re.compile(r"trial \d+ failed: ")
AGAIN = re.compile(r"in doubt|settled")  # what may happen to a trial more than once
LAST = 10**9  # a note comes after what a trial did in the same moment

Event = tuple[float, int, int, str]  # time, trial, order of events of one moment, text


class Lines:
    """Prints each thing that happens once, in the order of the lab's time."""

    def __init__(
        self, journal: Journal, campaign: str, write: Callable[[str], Any] = print
    ) -> None:
        self._journal, self._campaign, self._write = journal, campaign, write
        self._told: set[tuple[int, str]] = set()
        self._note = 0
        self._begin()

    def _begin(self) -> None:
        """What was before this start is told in one line."""
        shot = snapshot.take(self._journal, self._campaign)
        owner = self._journal.owner(shot.campaign.lab)
        now = owner.epoch if owner is not None else None
        trials = [t for t in shot.trials if t.epoch != now]  # this runtime may be at work already
        for trial in trials:
            self._told |= {(trial.number, text) for _, _, _, text in self._events(trial, shot)}
        before = [n for n in shot.notes if n.text != "started"]
        self._note = before[-1].id if before else 0
        self._before = {t.number: t.state for t in shot.trials}
        if shot.counted:
            self._write(f"going on with {shot.campaign.name}: {shot.counted} trials are done")
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self._write(f"trial {trial.number} was interrupted; it goes on with its sample")
            elif trial.state is TrialState.IN_DOUBT:
                self._write(f"trial {trial.number} is in doubt; {_to_type(trial)}")

    def look(self) -> None:
        """Print what is new."""
        shot = snapshot.take(self._journal, self._campaign)
        events = [e for trial in shot.trials for e in self._events(trial, shot)]
        events += self._resolved(shot)
        new = [e for e in events if (e[1], e[3]) not in self._told]
        self._told |= {(number, text) for _, number, _, text in new}
        for note in self._journal.notes(self._note, self._campaign):
            self._note = note.id
            if not FAILURE.match(note.text):  # which the trial says itself
                text = note.text if note.level == "info" else f"{note.level}: {note.text}"
                new.append((note.time, LAST, 0, text))
        since = shot.campaign.created_at if shot.simulated else None
        for at, _, _, text in sorted(new, key=lambda e: e[:3]):
            self._write(f"{words.moment(at, since)}  {text}")

    def say(self, text: str) -> None:
        self._write(text)

    def _resolved(self, shot: Snapshot) -> list[Event]:
        """Trials that were in doubt and go on; they may be in doubt again."""
        states, found = {t.number: t.state for t in shot.trials}, []
        for number, before in self._before.items():
            if before is TrialState.IN_DOUBT and states.get(number) is TrialState.RUNNING:
                again = {(n, text) for n, text in self._told if n == number and AGAIN.search(text)}
                self._told -= again
                found.append((shot.newest, number, 3, f"trial {number} was settled and goes on"))
        self._before = states
        return found

    def _events(self, trial: Trial, shot: Snapshot) -> list[Event]:
        name, number = f"trial {trial.number}", trial.number
        found: list[Event] = []
        point = _numbers(trial.parameters, shot.campaign.spec["parameters"])
        found.append((trial.suggested_at, number, 0, f"{name} suggested: {point}"))
        if trial.started_at is not None:
            found.append((trial.started_at, number, 1, f"{name} started"))
        if trial.state in ENDED or trial.state is TrialState.IN_DOUBT:
            at = trial.ended_at or shot.newest
            text = f"{name} {words.state(trial.state)}{_end(trial, shot)}"
            if trial.state is TrialState.IN_DOUBT:
                text += f"; {_to_type(trial)}"
            found.append((at, number, 2, text))
        return found


def _to_type(trial: Trial) -> str:
    return f"to settle it: sdl resolve {trial.number} --done|--not-done|--retry|--abandon --note …"


def _end(trial: Trial, shot: Snapshot) -> str:
    if trial.outcomes is None:
        return f": {trial.cause}" if trial.cause else ""
    took = ""
    if trial.started_at is not None and trial.ended_at is not None:
        took = f" in {words.duration(trial.ended_at - trial.started_at)}"
    return f"{took}: {_numbers(trial.outcomes, shot.campaign.spec['objectives'])}"


def _numbers(values: dict[str, Any], described: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {words.quantity(value, described.get(name, {}).get('units') or '')}"
        for name, value in values.items()
    )
