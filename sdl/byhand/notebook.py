"""A campaign and the journal in which its trials stand, with or without a lab."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sdl import binding, provenance
from sdl.byhand.sheet import NOTE, STATE, TRIAL
from sdl.campaign import BY_HAND, Campaign
from sdl.errors import ConfigError
from sdl.journal import Journal, Trial
from sdl.journal.address import parse_address
from sdl.lab import Lab
from sdl.who import operator


@dataclass(frozen=True)
class Notebook:
    """All that is written in it is written in the name of `who`, at the time of the wall clock."""

    campaign: Campaign
    lab: Lab | None
    """The lab that the campaign's trials could run on; by hand none is needed."""
    url: str
    """The journal: a file or a postgresql:// URL."""
    who: str

    @classmethod
    def load(cls, path: Path, lab: Lab | None = None, *, journal: str | None = None) -> "Notebook":
        """Read a campaign file without a plan and check it, with the optimizer's options.

        :param lab: where its journal is kept; by hand none is needed.
        :raises ConfigError: everything that is wrong with the campaign; nothing was touched.
        """
        campaign = Campaign.load(path)
        found = campaign.problems(_nothing(path))
        if wrong := [problem for problem in found if problem.key != "plan"]:
            raise ConfigError(*wrong)
        return cls.of(campaign, lab, journal=journal)

    @classmethod
    def of(
        cls, campaign: Campaign, lab: Lab | None = None, *, journal: str | None = None
    ) -> "Notebook":
        """Take a campaign that was checked.

        :param journal: default the lab's, or `<campaign>.db` beside the campaign file.
        :raises ConfigError: something in it is called as a column of the sheet is.
        """
        for group in ("parameters", "objectives", "outcome_constraints", "contexts"):
            for name in sorted({TRIAL, STATE, NOTE} & set(getattr(campaign, group))):
                message = "is what a column of the spreadsheet is called; give it another name"
                raise ConfigError(campaign.document.problem((group, name), message))
        if journal is None and lab is None:
            journal = str(campaign.document.path.parent / f"{campaign.campaign}.db")
        elif journal is None and lab is not None:
            journal = lab.journal_url
        assert journal is not None  # it is one of the three
        return cls(campaign, lab, journal, operator())

    @property
    def name(self) -> str:
        return self.campaign.campaign

    @property
    def folder(self) -> Path:
        """Where an optimizer of the lab's own would stand."""
        beside = self.campaign.document.path.resolve().parent
        return beside if self.lab is None or self.lab.folder is None else self.lab.folder

    @property
    def bench(self) -> str:
        """The lab's name in the record."""
        return BY_HAND if self.lab is None else self.lab.lab

    def trials(self, *, readonly: bool = False) -> list[Trial]:
        """Return the trials by number; none where nothing was begun. Makes no journal file.

        :param readonly: does not bring a journal of an older sdl up to date either.
        :raises JournalError: the journal cannot be read.
        """
        file = parse_address(self.url).file
        if file is not None and not file.exists():
            return []
        with Journal.open(self.url, readonly=readonly) as journal:
            known = any(record.name == self.name for record in journal.campaigns())
            return journal.trials(self.name) if known else []

    @contextmanager
    def open(self) -> Iterator[Journal]:
        """Open the journal to write to it, and begin the campaign there or go on with it.

        :raises JournalError: it cannot be used, or has another campaign of this name.
        """
        with Journal.open(self.url) as journal:
            journal.add_campaign(
                self.name,
                provenance.specification(self.campaign),
                lab=self.bench,
                twin=False,
                versions=self._versions(),
                time=time.time(),
            )
            yield journal

    def _versions(self) -> dict[str, str]:
        if self.lab is not None and self.campaign.plan is not None:
            plan = binding.load_plan(self.campaign, self.lab)
            return provenance.versions(self.campaign, self.lab, plan)
        found = {"python": platform.python_version()}
        for package in provenance.RECORDED:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
        return found | {"plan": BY_HAND}


def _nothing(path: Path) -> Lab:
    """A lab with no instrument, beside the campaign file."""
    lab = Lab.model_construct(lab=BY_HAND, wires={}, instruments={}, world=None)
    lab._folder = path.resolve().parent  # noqa: SLF001 (it was read from no file)
    return lab
