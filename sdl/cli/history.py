"""`sdl history`: what happened to a sample, line by line."""

import textwrap
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdl.cli.story import Event

WIDTH = 100  # columns


def run(options: Namespace) -> int:
    from sdl.cli import places, snapshot, story, trials, words
    from sdl.journal import Journal

    place = places.find(options)
    with Journal.open(place.url, readonly=True) as journal:
        shot = snapshot.take(journal, place.campaign)
        trial = trials.find(journal, shot.campaign, options.trial)
        record = journal.campaign(trial.campaign)
        events = story.tell(journal, record, trial, everything=options.steps)
        state = words.state(trial.state)
        bench = f"the twin of {record.lab}" if record.twin else record.lab
        print(f"trial {trial.id} on {bench}: {state}")
        for line in _lines(events, record.created_at if record.twin else None):
            print(line)
    return 0


def _lines(events: "Sequence[Event]", since: float | None) -> Iterator[str]:
    """The events with their times; on a real lab each day is named."""
    from sdl.cli import words

    day = ""
    for event in events:
        date = "" if since is not None else time.strftime("%Y-%m-%d", time.localtime(event.time))
        if date != day:
            day = date
            yield date
        head = f"{words.moment(event.time, since)}  "
        yield from _wrapped(head, event.text, " " * (len(head) + 2))
        for text in event.below:
            indent = " " * (len(head) + 4)
            yield from _wrapped(indent, text, indent + "  ")


def _wrapped(head: str, text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        head + " ".join(text.splitlines()),
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
