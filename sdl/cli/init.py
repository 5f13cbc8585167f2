"""`sdl init`: a lab folder that runs at once."""

import re
from argparse import Namespace
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from sdl.errors import ConfigError

NAME = "mylab"
"""What the scaffold calls its lab; every occurrence becomes the folder's name."""

RENAMED = {"gitignore.txt": ".gitignore"}  # build tools leave hidden files out
LEFT = ("__pycache__", "__init__.py")


def run(options: Namespace) -> int:
    folder: Path = options.folder
    files = dict(_files(resources.files("sdl") / "scaffold", Path()))
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder")
    there = sorted(str(path) for path in files if (folder / path).exists())
    if there:
        raise ConfigError(
            f"{folder}: has {', '.join(there)} already; nothing is overwritten: name a new folder"
        )
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._") or NAME
    try:
        for path, source in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8").replace(NAME, name)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    print(
        f"{folder} is a lab of its own: its README.md says what each file is. Next:\n"
        f"  cd {folder}\n"
        "  sdl check campaign.yaml\n"
        "  sdl run campaign.yaml --twin"
    )
    return 0


def _files(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        if entry.name in LEFT:
            continue
        if entry.is_dir():
            yield from _files(entry, path / entry.name)
        else:
            yield path / RENAMED.get(entry.name, entry.name), entry
