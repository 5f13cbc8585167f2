"""`sdl verify`: recompute the audit's chain, and say in plain lines where it breaks."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from sdl.errors import ConfigError


def run(options: Namespace) -> int:
    from sdl.cli import places
    from sdl.journal import Journal

    anchor = None if options.anchor is None else _read(options.anchor)
    place = places.find(options)
    with Journal.open(place.url, readonly=True) as journal:
        found = journal.verify(anchor=anchor)
        print(f"{journal.place}: {found.entries} entries, the head is {head_words(found.head)}")
        if options.export is not None:
            _write(options.export, journal.export_anchor())
    for line in found.breaks:
        print(f"  {line}")
    if found.breaks:
        print(f"The record is broken in {_places(len(found.breaks))}.")
        return 1
    print("The record is whole: each entry follows from the one before, and the tables agree.")
    if anchor is not None:
        print(f"It contains the head in {options.anchor}.")
    if options.export is not None:
        print(f"The head was written to {options.export}: keep it where the journal is not.")
    return 0


def head_words(head: Any) -> str:
    """`1234 9f3c…`, in full: a person compares it with a note."""
    return f"{head.seq} {head.hash}" if head is not None and head.seq else "none: it is empty"


def _places(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"


def _read(file: Path) -> dict[str, Any]:
    try:
        anchor = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--anchor {file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"--anchor {file}: is not JSON: {error}") from error
    if not isinstance(anchor, dict):
        raise ConfigError(f"--anchor {file}: is no anchor; `sdl verify --export` writes one")
    return anchor


def _write(file: Path, anchor: dict[str, Any]) -> None:
    """At once and whole: half an anchor proves nothing."""
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(json.dumps(anchor, indent=2) + "\n", encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise ConfigError(f"--export {file}: cannot be written: {error.strerror}") from error
