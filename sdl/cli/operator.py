"""What the person at the terminal wants: Ctrl-C once, twice, or `kill`."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from sdl.session import Session

FIRST = "stopping after the current step; Ctrl-C again stops now"
SECOND = "stopping now; instruments are made safe"
PATIENCE = "still making the instruments safe"

SIGNALS = [s for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


class Operator:
    """Counts signals while it is entered; `act` passes on what they mean, not the handler."""

    def __init__(self) -> None:
        self._wish = self._acted = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in SIGNALS:
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self._wish = max(self._wish + 1, 1 if number == signal.SIGINT else 2)

    def act(self, session: Session) -> str | None:
        """Tell the session, and return what to tell the operator, if there is anything new."""
        if self._wish == self._acted:
            return None
        self._acted = self._wish
        if self._wish == 1:
            session.stop("by the operator, after the current step")
            return FIRST
        session.abort("by the operator, at once")
        if self._wish > 2:
            session.give_up()
        return SECOND if self._wish == 2 else PATIENCE
