"""Where an operator decides something: a journal, open for writing, and the lab that is meant."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sdl.cli import places, snapshot
from sdl.cli.places import Place
from sdl.journal import CampaignRecord, Journal
from sdl.who import operator


@dataclass(frozen=True)
class Desk:
    """All that is written from it is written in the name of `who`, at the lab's time."""

    journal: Journal
    record: CampaignRecord
    """The campaign that is meant: the one named, or the one that was worked on last."""
    place: Place
    who: str
    now: float
    """The lab's time; on a twin the newest that its journal knows."""

    @property
    def lab(self) -> str:
        return self.record.lab

    @property
    def runtime(self) -> str:
        """Who runs the lab, in words, as far as can be told; empty if nobody does."""
        return snapshot.running(self.journal, self.record, self.journal.activities())


@contextmanager
def at(options: Namespace) -> Iterator[Desk]:
    """Open the journal that `place`, `--lab`, `--twin` and `--journal` mean, to write to it.

    :raises JournalError: there is none, or none of this version; none is made or brought up to
        date here.
    """
    place = places.find(options)
    with Journal.open(place.url, readonly=True) as there:
        shot = snapshot.take(there, place.campaign)
    with Journal.open(place.url) as journal:
        yield Desk(journal, shot.campaign, place, operator(), shot.now)
