"""What the journal answers with: frozen values. Times are seconds since 1970 on the lab's clock."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sdl.journal.states import TrialState

Level = Literal["info", "warning", "error"]
Value = float | int | str


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as last revised; `spec` is what its file said."""

    id: int
    name: str
    lab: str
    twin: bool
    spec: dict[str, Any]
    versions: dict[str, str]
    created_at: float
    revision: int
    """1 at first; one more each time the budget or the software versions changed."""


@dataclass(frozen=True)
class Trial:
    """One suggestion being made real, as it was when it was read."""

    campaign: str
    number: int
    """From 1, in the order of suggestion, without gaps."""
    state: TrialState
    parameters: dict[str, Value]
    outcomes: dict[str, float] | None
    cause: str | None
    """Why it is in this state, where there is something to say."""
    suggestion: dict[str, Any]
    """How it was proposed: generator, model, seed, …"""
    suggested_at: float
    started_at: float | None
    ended_at: float | None
    epoch: int
    """The owner that wrote it last (0: written by somebody who owned no lab)."""

    @property
    def id(self) -> str:
        return f"{self.campaign}/{self.number}"


@dataclass(frozen=True)
class Transition:
    """One line of a trial's history; the first comes from nowhere."""

    time: float
    from_state: TrialState | None
    to_state: TrialState
    who: str
    note: str
    cause: str | None
    epoch: int


@dataclass(frozen=True)
class Step:
    """One message of a trial's plan that touches the world."""

    n: int
    attempt: int
    """1, or more where the same step was begun again on purpose."""
    command: str
    instrument: str
    argument: Any
    result: Any
    error: str | None
    started_at: float
    ended_at: float | None

    @property
    def done(self) -> bool:
        """Whether it ended, well or not; if not, its effect may or may not have happened."""
        return self.ended_at is not None


@dataclass(frozen=True)
class StoredDocument:
    """One Bluesky document; `doc` is what JSON made of it."""

    cursor: int
    run: str
    trial: str | None
    name: str
    doc: dict[str, Any]
    time: float


@dataclass(frozen=True)
class Note:
    """What a person should know, in plain words."""

    id: int
    time: float
    level: Level
    source: str
    text: str
    campaign: str | None


@dataclass(frozen=True)
class Owner:
    """Who took a lab last. `held` stays true when the owner was killed: the lock is the truth."""

    lab: str
    epoch: int
    host: str
    pid: int
    since: float
    held: bool


class Activity(NamedTuple):
    """What something is doing now, and since when that is known."""

    value: dict[str, Any]
    time: float


class Reading(NamedTuple):
    """The newest value of a signal."""

    value: Any
    units: str
    time: float
