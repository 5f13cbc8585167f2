"""`sdl stop`: put every instrument of a lab into its safe state, now, and say which confirmed.

Nothing heavy is imported before a watchdog was asked: this must be quick, and work on a full disk.
"""

import signal
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdl import files
from sdl.errors import ConfigError, JournalError
from sdl.watchdog import control
from sdl.watchdog.control import Answer, NobodyThereError, ask_to_stop
from sdl.watchdog.places import Places, places
from sdl.who import operator

if TYPE_CHECKING:
    from sdl.lab import Lab

PATIENCE = 4.0  # s to find a watchdog: one that died is started again within two
KILL_AFTER = 8.0  # s that a runtime without a watchdog has to make the lab safe and end
POLL = 0.2  # s
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one kind
REAL, TWIN = "journal.db", "twin.db"


@dataclass(frozen=True)
class Target:
    """Which lab is meant, as far as its file can be read."""

    file: Path
    name: str
    journal: str
    twin: bool

    @property
    def places(self) -> Places:
        return places(self.journal, self.name, self.file.parent)


def run(options: Namespace) -> int:
    who = operator()
    why = options.why or "no reason given"
    target = _target(options)
    answer = _stop(target, who, why)
    width = max(map(len, answer.instruments), default=0)
    for name, problem in answer.instruments.items():
        text = "safe" if problem is None else f"DID NOT CONFIRM: {problem}"
        print(f"{name:<{width}}  {text}")
    print(f"{target.name}: stopped by {answer.by}")
    return 0 if answer.all_safe else 1


def _stop(target: Target, who: str, why: str) -> Answer:
    """Ask the watchdog; without one end the runtime; without that too, do it here."""
    began, told = time.monotonic(), ""
    while True:
        found = control.read(target.places.control)
        if found is not None:
            try:
                return ask_to_stop(found, who, why)
            except NobodyThereError:
                pass  # stale, or being started again
        from sdl.watchdog import alone

        with alone.owned(target.journal, target.name, target.places) as owned:
            if owned:
                if target.twin and not told:
                    raise JournalError(f"no runtime of the twin {target.name} is at work")
                if target.twin:
                    return Answer({}, f"the runtime ({told}), which has ended")
                return alone.make_safe(_lab(target), target.journal, who, why)
        waited = time.monotonic() - began
        if not told and (found is None or waited > PATIENCE):
            told = alone.end_runtime(target.journal, target.name, signal.SIGTERM)
            print(f"no watchdog answers; {told} was told to stop", file=sys.stderr)
            began = time.monotonic()
        elif told and waited > KILL_AFTER:
            told = alone.end_runtime(target.journal, target.name, KILL)
            print(f"it did not; {told} was ended", file=sys.stderr)
            began = time.monotonic()
        time.sleep(POLL)


def _lab(target: Target) -> "Lab":
    from sdl.lab import Lab

    return Lab.read(target.file)


def _target(options: Namespace) -> Target:
    """:raises ConfigError: no lab file can be found or read; the message says which was meant."""
    place: Path = options.place
    file: Path | None = options.lab
    if file is None and place.is_dir():
        file = place / "lab.yaml"
    elif file is None:
        named = files.read(place).data.get("lab")
        file = place.parent / (named if isinstance(named, str) else "lab.yaml")
    words = files.read(file).data
    name = words.get("lab")
    if not isinstance(name, str):
        raise ConfigError.at(file, "lab", "is missing: which lab is meant?")
    return Target(file, name, _journal(options, file, words.get("journal")), options.twin)


def _journal(options: Namespace, lab: Path, named: object) -> str:
    if options.journal:
        return options.journal
    if options.twin:
        return str(lab.parent / TWIN)
    found = named if isinstance(named, str) and named else REAL
    return found if "://" in found else str(lab.parent / found)
