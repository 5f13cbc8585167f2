"""What the Dashboard Server says, as regular expressions, and where a reply ends.

Source: Universal Robots, "Dashboard Server, port 29999" (FAQ 15690) and its e-Series edition; the
words in local mode: see `ur_dashboard.driver`.
"""

import re
from dataclasses import dataclass

from sdl.errors import GarbledError
from sdl.wires.frames import Frame

BANNER = "Connected: Universal Robots Dashboard Server\n"
NOT_REMOTE = (
    "Command is not allowed due to safety reasons, please switch robot to Remote Control mode and "
    "reconnect to port 29999"
)
_UNKNOWN = r"could not understand: .*"

PROGRAM_NAME = r"/?(?:[\w.-]+/)*[\w. -]*[\w-]\.urp"
VERSION = r"URSoftware \d+\.\d+\.\d+\.\d+(?: \([A-Za-z]{3} \d{1,2} \d{4}\))?"
MODE = (
    r"Robotmode: (NO_CONTROLLER|DISCONNECTED|CONFIRM_SAFETY|BOOTING|POWER_OFF|POWER_ON|IDLE"
    r"|BACKDRIVE|RUNNING)"
)
SAFETY = (
    r"Safety(?:status|mode): (NORMAL|REDUCED|PROTECTIVE_STOP|RECOVERY|SAFEGUARD_STOP"
    r"|SYSTEM_EMERGENCY_STOP|ROBOT_EMERGENCY_STOP|VIOLATION|FAULT|AUTOMATIC_MODE_SAFEGUARD_STOP"
    r"|SYSTEM_THREE_POSITION_ENABLING_STOP)"
)
SAFE = ("NORMAL", "REDUCED")  # in which it moves
RUNNING = r"Program running: (true|false)"
STATE = r"(STOPPED|PLAYING|PAUSED)(?: .*)?"
LOADED = r"Loaded program: (?:/[^\r\n]*)"
NONE_LOADED = "No program loaded"


@dataclass(frozen=True)
class Version:
    """Of PolyScope: 5 on e-Series, 3 on CB3."""

    text: str
    number: tuple[int, int]

    @classmethod
    def of(cls, said: str) -> "Version":
        """Read the answer to `PolyscopeVersion`.

        :raises GarbledError: it is none.
        """
        match = re.fullmatch(r"URSoftware ((\d+)\.(\d+)\.\S+).*", said)
        if match is None:
            raise GarbledError("", f"{said!r} is no version")
        return cls(match[1], (int(match[2]), int(match[3])))

    @property
    def has_safetystatus(self) -> bool:
        return self.number >= (5, 4) or (3, 11) <= self.number < (4, 0)

    @property
    def has_remote_mode(self) -> bool:
        return self.number >= (5, 6)

    @property
    def tells_model(self) -> bool:
        return self.number >= (5, 6) or (3, 12) <= self.number < (4, 0)


def frame(pattern: str) -> Frame:
    """One line that matches `pattern`, or says no; the greeting may stand before it."""
    answer = re.compile(rf"(?:{pattern}|{re.escape(NOT_REMOTE)}|{_UNKNOWN})")

    def find(received: bytes) -> int | None:
        begin = len(BANNER) if received.startswith(BANNER.encode()) else 0
        end = received.find(b"\n", begin)
        if end < 0:
            return None
        said = received[begin:end].decode("latin-1").rstrip("\r")
        if answer.fullmatch(said) is None or not said.isascii():
            raise GarbledError("", f"{said!r} is no answer to it")
        return end + 1

    return find


def parse_reply(reply: bytes) -> str:
    """Return the line without its end, and without the greeting."""
    return reply.decode("latin-1").removeprefix(BANNER).rstrip("\r\n")
