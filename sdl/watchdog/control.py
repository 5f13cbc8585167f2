"""Where `sdl stop` knocks: a port on loopback and a token, in a file only its owner may read.

One JSON line in (`token`, `who`, `why`), two lines out: `{"heard": seconds}` at once (how long it
may take), so that a watchdog that hangs is told from one at work, then the answer. TCP, not a Unix
socket: a socket's path may be 107 characters long, a lab's folder longer.
"""

import contextlib
import json
import os
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
HEARD_TIMEOUT = 2.0  # s until the watchdog says that it has heard
ANSWER_GRACE = 10.0  # s beyond what it said that it may take


class NobodyThereError(Exception):
    """No watchdog answers: there is none, or it hangs, or somebody else has its port."""


@dataclass(frozen=True)
class Control:
    """How to reach a watchdog."""

    port: int
    token: str
    pid: int
    """Of the runtime."""

    def write(self, file: Path) -> None:
        """Write it for its owner only, whole or not at all.

        :raises OSError: the disk is full, read-only, or gone.
        """
        if read(file) == self:  # one that was restarted: also a full disk keeps what it has
            return
        descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                json.dump(asdict(self), opened)
            os.replace(name, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def read(file: Path) -> Control | None:
    """Return what stands in a control file; None where there is none that can be read."""
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
        return Control(int(words["port"]), str(words["token"]), int(words["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(file: Path, mine: Control) -> None:
    """Take the file away if it still is ours."""
    if read(file) == mine:
        with contextlib.suppress(OSError):
            file.unlink()


@dataclass(frozen=True)
class Answer:
    """What came of a STOP."""

    instruments: dict[str, str | None]
    """For each instrument None if it confirmed its safe state, else why not."""

    by: str
    """Who did it, as a person should read it."""

    @property
    def all_safe(self) -> bool:
        return all(why is None for why in self.instruments.values())


def ask_to_stop(control: Control, who: str, why: str) -> Answer:
    """Knock, and wait until the lab is safe; blocks.

    :raises NobodyThereError: nobody who knows the token answered; nothing was done.
    :raises TimeoutError: the watchdog has heard and does not come to an end.
    """
    request = {"token": control.token, "who": who, "why": why}
    try:
        with socket.create_connection((HOST, control.port), HEARD_TIMEOUT) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            lines = connection.makefile("rb")
            seconds = _line(lines.readline()).get("heard")
            if not isinstance(seconds, int | float):
                raise NobodyThereError(f"port {control.port}: whoever is there, it is no watchdog")
            connection.settimeout(seconds + ANSWER_GRACE)
            return _answer(lines, seconds + ANSWER_GRACE)
    except TimeoutError as error:
        raise NobodyThereError(f"port {control.port}: no answer") from error
    except OSError as error:
        raise NobodyThereError(f"port {control.port}: {error}") from error


def _answer(lines: Any, timeout: float) -> Answer:
    try:
        said = _line(lines.readline())
    except TimeoutError:
        text = f"the watchdog has heard, and has not answered in {timeout:g} s"
        return Answer({"(the lab)": text}, "nobody knows")
    found = said.get("instruments")
    if not isinstance(found, dict):
        text = "the watchdog has heard, and died before it answered"
        return Answer({"(the lab)": text}, "nobody knows")
    return Answer(found, str(said.get("by", "")))


def _line(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
