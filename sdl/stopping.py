"""The wish of a person that a campaign should stop: heard by every plan between its steps."""


class Stop:
    """Set from any thread, once; read by whoever could begin something."""

    def __init__(self) -> None:
        self.why: str | None = None

    def request(self, why: str) -> None:
        """Ask for a stop after the current step."""
        self.why = self.why or why
