"""How a campaign comes to its end: a person's wish, heard by every plan between its steps."""

from dataclasses import dataclass


class Stop:
    """Set from any thread; read by whoever could begin something."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.now = False
        """A STOP: nothing is waited for, instruments are made safe at once."""
        self.trouble = False
        """Whether it was no person's wish."""

    def request(self, why: str, *, now: bool = False, trouble: bool = False) -> None:
        """Ask for a stop: after the current step, or in the middle of it."""
        self.trouble = self.trouble or (trouble and self.why is None)
        self.why = self.why or why
        self.now = self.now or now


@dataclass(frozen=True)
class Ending:
    """Why a campaign began nothing more."""

    why: str
    gave_up: bool = False
    """Trials only failed, all of them or too many in a row, and a person must look."""

    def __str__(self) -> str:
        return self.why
