"""What libraries log goes to a file beside the journal, never into what a person looks at."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

LARGEST, KEPT = 10_000_000, 3  # bytes, files
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def to_file(file: Path) -> Iterator[None]:
    """Log to `file` until the end, warnings of Python too, and nowhere else."""
    handler = RotatingFileHandler(file, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    taken = _take_from_terminal()
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, other in taken:
            logger.addHandler(other)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


@contextmanager
def nowhere() -> Iterator[None]:
    """Say nothing of what libraries log: whoever asked gets an answer, or the error in words."""
    handler, taken = logging.NullHandler(), _take_from_terminal()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for logger, other in taken:
            logger.addHandler(other)


def _take_from_terminal() -> list[tuple[logging.Logger, logging.Handler]]:
    """Some libraries bring a handler of their own that writes to the terminal."""
    taken = []
    loggers = list(logging.root.manager.loggerDict.values())
    for logger in [logging.getLogger(), *loggers]:
        for handler in getattr(logger, "handlers", ())[:]:
            stream = getattr(handler, "stream", None)
            if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
                assert isinstance(logger, logging.Logger)  # placeholders have no handlers
                logger.removeHandler(handler)
                taken.append((logger, handler))
    return taken
