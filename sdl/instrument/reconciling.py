"""After a dose of which nobody heard the end: what the instrument can tell about it.

A driver whose actions are `Effect.RELATIVE` offers `mark` and `reconcile` where its instrument can
tell. The durable engine calls `mark` before the action, writes what it returns to the journal with
the intent, and hands it to `reconcile` when the end of the action was not heard: in the same
process after a lost reply, or in another one after a crash.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Verdict(StrEnum):
    DONE = "done"
    NOT_DONE = "not done"
    PARTLY = "partly done"
    """Part of it happened, the instrument is at rest, and the rest can be asked for."""

    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What became of an action, and how that is known."""

    verdict: Verdict
    evidence: str
    """Plain words with numbers: "dispensed 3.000 -> 4.000 mL, as asked; stopped"."""

    rest: Any = None
    """With `PARTLY`: the argument that completes the action."""


@runtime_checkable
class Reconcilable(Protocol):
    """An instrument that can be asked what became of an action."""

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Return what the instrument says before the action: JSON, for `reconcile` to compare.

        :param command: Bluesky's: "set", "trigger", "kickoff", …
        """
        ...

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Say what became of an action that was begun, perhaps, after `mark`; move nothing.

        If the action is still under way, wait for its end. May be asked again.

        :raises InstrumentError: it cannot be asked now; nothing is known.
        """
        ...
