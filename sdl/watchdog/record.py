"""What a watchdog did, for the journal: by an own connection, in a thread, for a limited time."""

import threading
import time
from collections.abc import Mapping

from sdl.errors import SdlError

TIMEOUT = 5.0  # s; a disk may hang for ever


def record(
    journal: str,
    lab: str,
    text: str,
    answers: Mapping[str, str | None],
    *,
    who: str,
    at: float | None = None,
    timeout: float = TIMEOUT,
) -> str | None:
    """Note what was done; best effort, in a thread of its own.

    :param answers: see `Bench.confirm`.
    :param at: the lab's time; default now.
    :returns: why it is not in the journal; None if it is.
    """
    failed: list[str] = ["the journal did not answer in time"]

    def write() -> None:
        try:
            _write(journal, lab, text, answers, who, time.time() if at is None else at)
            failed.clear()
        except (SdlError, OSError) as error:
            failed[0] = str(error)

    writer = threading.Thread(target=write, name="journal", daemon=True)
    writer.start()
    writer.join(timeout)
    return failed[0] if failed else None


def _write(
    journal: str, lab: str, text: str, answers: Mapping[str, str | None], who: str, at: float
) -> None:
    from sdl.journal import Journal  # who only asks a watchdog loads no database

    with Journal.open(journal) as opened:
        opened.note("error", "watchdog", text, time=at)
        opened.audit("runtime", lab, {"did": text, "safe": dict(answers)}, time=at, who=who)


def summary(answers: Mapping[str, str | None]) -> str:
    """In words: how many are safe, and which did not confirm."""
    failed = {name: why for name, why in answers.items() if why is not None}
    if not failed:
        return f"all {len(answers)} instruments confirmed their safe state"
    told = "; ".join(f"{n}: {why.removeprefix(f'{n}: ')}" for n, why in failed.items())
    return f"{len(answers) - len(failed)} of {len(answers)} instruments are safe; {told}"
