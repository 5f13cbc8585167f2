"""Where the record of a lab is: from a campaign file, a folder, a lab file or a URL.

Reads no more of the files than two names, so that a record can be looked at while its files are
being edited, or are gone.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from sdl import files
from sdl.errors import ConfigError, JournalError

REAL, TWIN = "journal.db", "twin.db"


@dataclass(frozen=True)
class Place:
    """A journal, and which campaign in it is meant."""

    url: str
    campaign: str | None
    folder: Path
    """Where reports and logs go."""
    lab: Path
    """The lab file; it may be gone, or wrong."""


def find(options: Namespace) -> Place:
    """Return the journal that `place`, `--lab`, `--twin` and `--journal` mean.

    :raises ConfigError: a file that was named cannot be read.
    :raises JournalError: there is no journal there.
    """
    target: Path = options.place
    campaign = None
    lab: Path | None = options.lab
    if target.is_dir():
        lab = lab or target / "lab.yaml"
    else:
        words = files.read(target)
        campaign = _text(words, "campaign")
        beside = target.parent / (_text(words, "lab") or "lab.yaml")
        by_hand = target.parent / f"{campaign}.db"
        named = lab is not None or options.journal or words.data.get("plan") is not None
        if not named and by_hand.is_file() and not beside.is_file():
            return Place(str(by_hand), campaign, target.parent, beside)
        lab = lab or beside
    if options.journal:
        folder = target if target.is_dir() else target.parent
        return Place(options.journal, campaign, folder, lab)
    return Place(_of_lab(lab, twin=options.twin), campaign, lab.parent, lab)


def _of_lab(lab: Path, *, twin: bool) -> str:
    folder = lab.parent
    real = _named_in(lab)
    if "://" in real and not twin:
        return real
    choices = [folder / TWIN] if twin else [folder / real, folder / TWIN]
    for file in choices:
        if file.is_file():
            return str(file)
    looked = " and no ".join(file.name for file in choices)
    raise JournalError(
        f"{folder}: there is no {looked}: nothing was run here yet; name the campaign file or the "
        "lab's folder, or the journal with --journal"
    )


def _named_in(lab: Path) -> str:
    if not lab.is_file():
        return REAL
    try:
        return _text(files.read(lab), "journal") or REAL
    except ConfigError:  # its record is still there
        return REAL


def _text(document: files.Document, key: str) -> str | None:
    value = document.data.get(key)
    return value if isinstance(value, str) and value else None
