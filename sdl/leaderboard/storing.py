"""Files that are there whole or not at all, whatever dies meanwhile."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

HALF = ".half-"
"""How the names of files begin that are being written."""


def replace(file: Path, content: bytes) -> None:
    """Write a file, over an older one.

    :raises OSError: it cannot be written; the older one is as it was.
    """
    with NamedTemporaryFile("wb", dir=file.parent, prefix=HALF, delete=False) as half:
        half.write(content)
        half.flush()
        os.fsync(half.fileno())
    os.chmod(half.name, 0o644)
    os.replace(half.name, file)


def tidy(folder: Path) -> None:
    """Remove what was being written when somebody was killed."""
    for half in folder.glob(f"{HALF}*"):
        half.unlink(missing_ok=True)
