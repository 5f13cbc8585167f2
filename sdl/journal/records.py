"""What the journal answers with: frozen values. Times are seconds since 1970 on the lab's clock."""

from collections.abc import Mapping, Sequence
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
    mark: Any = None
    """What the driver remembered of the instrument before it acted (`mark`), for `reconcile`."""
    error_type: str | None = None
    """The class of the error, `module:QualName`."""
    findings: Sequence[Mapping[str, Any]] = ()
    """What was found out about it afterwards, oldest first: verdict, evidence, who."""

    @property
    def done(self) -> bool:
        """Whether it ended, well or not, and happened as far as anybody knows.

        If neither `done` nor `not_done`, its effect may or may not have happened.
        """
        return self.ended_at is not None and not self.not_done

    @property
    def not_done(self) -> bool:
        """Whether it was settled that it did not happen: it is to be acted (again)."""
        return (
            self.ended_at is not None
            and self.error is None
            and bool(self.findings)
            and self.findings[-1].get("verdict") == "not done"
        )


@dataclass(frozen=True)
class Booking:
    """What a step takes from the lab's inventory (`change` below 0) or puts there."""

    item: str
    change: float


@dataclass(frozen=True)
class LedgerLine:
    """One change of what there is of an item; the sum of an item's lines is its balance."""

    id: int
    item: str
    time: float
    change: float
    trial: str | None
    """`campaign/number`, where a step of a trial changed it."""
    n: int | None
    note: str


@dataclass(frozen=True)
class Claim:
    """Who holds an instrument: a trial, a quarantine, or both."""

    instrument: str
    trial: str | None
    since: float
    quarantined: str | None
    """Why nobody may use it, if so."""


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
class RunRecord:
    """A Bluesky run of a trial."""

    uid: str
    started: int
    """The cursor of its start document."""
    stop: str | None
    """The exit status in its stop document; None: it has none, the run was cut off."""


@dataclass(frozen=True)
class AuditEntry:
    """One entry of the append-only audit; see `sdl.journal.chain` for its hash."""

    seq: int
    time: float
    kind: str
    who: str
    subject: str
    body: Any
    hash: str


@dataclass(frozen=True)
class AuditHead:
    """The newest entry of the audit: who knows it can tell whether anything before was changed."""

    seq: int
    """0 where there is no entry yet."""
    hash: str
    time: float


@dataclass(frozen=True)
class Verification:
    """Whether the audit's chain holds, and whether the journal says the same as it."""

    entries: int
    head: AuditHead
    breaks: list[str]
    """One line each, saying where; empty if all is well."""


@dataclass(frozen=True)
class Request:
    """What an operator asked of a runtime, and what came of it."""

    id: int
    lab: str
    time: float
    kind: str
    target: str
    who: str
    why: str
    body: dict[str, Any]
    taken_at: float | None
    answer: str | None
    ok: bool | None
    """None: nobody has answered yet."""


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
