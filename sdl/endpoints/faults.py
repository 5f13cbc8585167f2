"""The catalogue of faults: what can go wrong with an instrument, or between it and us.

One list for all simulators: scripts (`sdl simulate --faults`), chance (`sdl chaos`), the kit of
conformance tests (`sdl.testing`) and `sdl faults` use these names. A fault of the *line* happens to
the messages of any simulator, which knows nothing of it; one of the *instrument* happens inside of
a simulator that names it in `faults` (`sdl.simulators.simulated`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sdl.errors import ConfigError

Layer = Literal["line", "instrument"]


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    layer: Layer
    what: str
    """What happens, for a person."""

    size: tuple[float, str] | None = None
    """Its usual size, and what that is; None where a fault has no size."""

    lasts: bool = True
    """Whether it lasts for some seconds; else it happens to one exchange, or at one moment."""


def _line(what: str, size: tuple[float, str] | None = None, *, lasts: bool = False) -> Kind:
    return Kind("line", what, size, lasts)


def _inside(what: str, size: tuple[float, str] | None = None, *, lasts: bool = True) -> Kind:
    return Kind("instrument", what, size, lasts)


CATALOGUE: Mapping[str, Kind] = {
    "pacing": _line("bytes come at a line's speed", (9600, "baud"), lasts=True),
    "think time": _line(
        "the instrument takes its time before it answers", (0.3, "s at most, by chance"), lasts=True
    ),
    "early command": _line(
        "a request that comes too soon after the last reply is not heard",
        (0.25, "s that must lie between"),
        lasts=True,
    ),
    "split reply": _line("the reply comes in two pieces", (0.05, "s between them")),
    "lost request": _line("the request does not arrive"),
    "lost reply": _line("the request is acted upon, the reply does not arrive"),
    "late reply": _line("the reply comes later, behind what was said meanwhile", (3.0, "s")),
    "double reply": _line("the reply comes twice"),
    "stale reply": _line(
        "the reply is held back, and comes when the next request has been sent, before its reply"
    ),
    "dropped byte": _line("one byte of the reply is missing"),
    "garbled reply": _line("one byte of the reply has its highest bit turned"),
    "echo": _line("the request comes back before the reply", lasts=True),
    "silence": _line("the instrument hears, acts, and says nothing", lasts=True),
    "cut": _line("nothing arrives in either direction, from a reply on", lasts=True),
    "connection reset": _line("the connection is closed by the other side, and may be made again"),
    "second client": _line(
        "somebody else is connected to an instrument that takes one client", lasts=True
    ),
    "busy": _inside("it answers that it is busy, or does not act"),
    "stuck": _inside("what should move or change does not"),
    "drift": _inside("its sensor is off", (5, "% of the range")),
    "noise": _inside("its sensor is noisy", (2, "% of the range, one sigma")),
    "saturation": _inside("its sensor ends early", (10, "% of the range where it ends")),
    "power cycle": _inside(
        "power is lost for a moment, and all that is not kept with it", lasts=False
    ),
    "local mode": _inside("somebody has taken control at its front panel"),
    "watchdog expiry": _inside("its own watchdog has heard nothing and acts", lasts=False),
}
LINE = tuple(name for name, kind in CATALOGUE.items() if kind.layer == "line")
INSTRUMENT = tuple(name for name, kind in CATALOGUE.items() if kind.layer == "instrument")

_CONNECTIONS = ("connection reset", "second client")
_BYTES = ("pacing", "early command", "split reply", "dropped byte", "garbled reply", "echo")
_STALE = ("stale reply",)


def of_line(url: str) -> tuple[str, ...]:
    """Return the line faults that can happen on a wire with this URL.

    A serial line has no connections, and TCP brings bytes whole and in order: only what is a
    serial line behind a TCP device server (`tcp://`) can lose or garble them.
    """
    scheme = url.partition(":")[0]
    if scheme in ("serial", "modbus+rtu"):
        return tuple(kind for kind in LINE if kind not in _CONNECTIONS)
    if scheme == "tcp":
        return LINE
    if scheme == "modbus+tcp":
        left_out = ("dropped byte", "garbled reply", "echo", "early command", "pacing")
        return tuple(kind for kind in LINE if kind not in left_out)
    return tuple(kind for kind in LINE if kind not in (*_BYTES, *_STALE, "second client"))


@dataclass(frozen=True)
class Fault:
    """A fault that is planned: which, when, for how long and how bad."""

    kind: str
    """A name of the catalogue; or "event", when only what `Faulty` was given to do happens."""

    at: int = 1
    """At which exchange it happens or begins, counted from 1."""

    seconds: float = 3.0
    """How long it lasts; how late a late reply is."""

    size: float | None = None
    """How bad, in the catalogue's unit; None: the usual size."""

    where: float = 0.5
    """Where in a reply it is split, garbled, or a byte is missing: 0 its begin, 1 its end."""

    def __post_init__(self) -> None:
        problems = []
        if self.kind not in CATALOGUE and self.kind != "event":
            problems.append(f"no fault is called {self.kind!r}; known are {', '.join(CATALOGUE)}")
        if self.at < 1:
            problems.append(f"at={self.at}: exchanges are counted from 1")
        if not self.seconds >= 0:
            problems.append(f"seconds={self.seconds}: must not be negative")
        if not 0 <= self.where <= 1:
            problems.append(f"where={self.where}: allowed is 0 to 1")
        if problems:
            raise ConfigError(*problems)

    @property
    def lasts(self) -> bool:
        return self.kind in CATALOGUE and CATALOGUE[self.kind].lasts

    @property
    def amount(self) -> float:
        """Its size, or the usual one."""
        usual = CATALOGUE[self.kind].size if self.kind in CATALOGUE else None
        return self.size if self.size is not None else usual[0] if usual else 1.0
