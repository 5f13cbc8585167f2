"""The files of one lab's watchdog. They lie where its journal is."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Places:
    """Where a watchdog and those who look for it meet."""

    lock: Path
    """Held (`flock`) by the watchdog for its life, and by whoever makes the lab safe instead."""

    control: Path
    """Where to knock for a STOP; see `sdl.watchdog.control`."""

    log: Path


def places(journal: str, lab: str, folder: Path | None) -> Places:
    """Return the files for `lab` recorded in `journal`.

    :param journal: a file, `sqlite:///file` or `postgresql://…`; of the last nothing is on this
        machine, so the files lie in the lab's folder.
    """
    title = quote(lab, safe="")
    file = _file(journal)
    if file is None:
        home = (folder or Path.cwd()).resolve()
        stem = title
    else:
        home, stem = file.parent, f"{file.name}.{title}"
    return Places(home / f"{stem}.watchdog", home / f"{stem}.control", home / "sdl.log")


def _file(journal: str) -> Path | None:
    """As `sdl.journal.address` reads it, without loading a database for it."""
    scheme, found, rest = journal.partition("://")
    if not found:
        return Path(journal).expanduser().resolve()
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(rest.partition("?")[0].removeprefix("/")).expanduser().resolve()
