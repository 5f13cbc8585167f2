"""What runtime and watchdog tell each other: JSON lines over the watchdog's stdin and stdout.

To the watchdog: its orders (the first line), then `{"beat": lab's time}`, `{"ack": number}`,
`{"safe": number, "failures": {…}}`, `{"cannot": number, "why": …}`, `{"stand_down": true}`.

From it: `{"ready": {port, token, pid}}` or `{"failed": why}`, `{"stop": number, "who": …,
"why": …}`, `{"note": text}`.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

ACK_TIMEOUT = 0.5  # s for the runtime's loop to say that it has heard a STOP
REPORT_GRACE = 1.0  # s beyond one instrument's time-out for the runtime to report


@dataclass(frozen=True)
class Orders:
    """All that the watchdog is told at its start."""

    lab: str
    """The lab's name."""

    file: str | None
    """Its lab file; None where only the runtime can reach the instruments (a twin, a lab in
    Python)."""

    instruments: list[str]
    journal: str
    timeout: float
    """s without a beat after which the runtime is dead."""

    safe_timeout: float
    """s for one instrument to confirm its safe state."""

    pid: int
    """Of the runtime."""

    lock: str
    control: str
    log: str
    simulated: bool = False
    """Whether the journal's times are a simulated clock's."""

    port: int = 0
    token: str = ""
    """Of the watchdog before this one, so that its control file stays right; else 0 and empty."""

    def line(self) -> bytes:
        return encode(asdict(self))

    @classmethod
    def read(cls, line: bytes) -> "Orders":
        """:raises TypeError: these are no orders. :raises ValueError: nor is it JSON."""
        return cls(**json.loads(line))


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return a message; an empty one for what is none (half a line, of a writer that died)."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
