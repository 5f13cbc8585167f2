"""Every error this project raises, split by what the operator may assume.

SdlError
├── ConfigError           a file or an argument is wrong; nothing has moved
├── InstrumentError       an instrument could not do what it was asked
│   ├── NoReplyError      nothing whole came back in time; its state is unknown
│   │   └── GarbledError  something came back that is no reply to what was asked; state unknown
│   ├── RefusedError      the instrument said no; its state is unchanged
│   ├── StaleError        the newest reading is older than it may be
│   └── FaultError        the instrument reports an alarm; it needs a person
├── UnsafeError           the guard said no; nothing has moved
├── InDoubtError          nobody can tell whether an action happened; a person must look
├── JournalError          the journal cannot be read, written or owned
│   └── ConflictError     somebody else moved the record first; nothing was written
├── OptimizerError        no suggestion could be made; nothing has moved
├── PlanError             a plan did not keep its contract (outcomes missing, not finite)
│   ├── UnrepeatableError entered again, the plan does something else; nothing has moved
│   └── SpoiledError      the sample waited longer than it may; it is not used any more
└── StoppedError          an operator stopped the plan; its clean-up has run
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 500  # characters of a message about a file: it may quote what it found there


class SdlError(Exception):
    """Base of all errors raised on purpose; anything else is a bug."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a file: where it is, what is wrong, what is allowed."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        message = self.message if len(self.message) <= LONGEST else f"{self.message[:LONGEST]} …"
        return f"{place}: {self.key}: {message}" if self.key else f"{place}: {message}"


class ConfigError(SdlError):
    """All that is wrong with what was asked for, in one go."""

    def __init__(self, *problems: "Problem | str") -> None:
        self.problems: Sequence[Problem | str] = problems
        super().__init__("\n".join(map(str, problems)))

    @classmethod
    def at(cls, file: Path | str, key: str, message: str, line: int | None = None) -> "ConfigError":
        return cls(Problem(str(file), line, key, message))


class InstrumentError(SdlError):
    """`instrument: what was asked: what came back`."""

    def __init__(self, instrument: str, message: str) -> None:
        super().__init__(f"{instrument}: {message}" if instrument else message)
        self.instrument = instrument


class NoReplyError(InstrumentError): ...


class GarbledError(NoReplyError): ...


class RefusedError(InstrumentError): ...


class StaleError(InstrumentError): ...


class FaultError(InstrumentError): ...


class UnsafeError(SdlError): ...


class InDoubtError(SdlError): ...


class JournalError(SdlError): ...


class ConflictError(JournalError): ...


class OptimizerError(SdlError): ...


class PlanError(SdlError): ...


class UnrepeatableError(PlanError): ...


class SpoiledError(PlanError): ...


class StoppedError(SdlError): ...


def cause_of(error: BaseException) -> BaseException:
    """Return what really went wrong: Bluesky hides it in `FailedStatus.__cause__`."""
    seen: set[int] = set()
    while type(error).__name__ in ("FailedStatus", "WaitForTimeoutError") and id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or next((a for a in error.args if isinstance(a, Exception)), None)
        if inner is None:
            break
        error = inner
    return error


def explain(error: BaseException) -> str:
    """One line a person can act on: the cause, with its kind unless the message says it."""
    cause = cause_of(error)
    text = str(cause) or repr(cause)
    return text if isinstance(cause, SdlError) else f"{type(cause).__name__}: {text}"
