"""The live view: a screen of what the journal says, a few times a second."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sdl.cli import snapshot, view, words
from sdl.cli.snapshot import Snapshot
from sdl.journal import Journal


class LiveView:
    """Reads only the journal, so it shows what would be there after a crash."""

    def __init__(self, journal: Journal, campaign: str | None, console: Console) -> None:
        self._journal, self._campaign, self._console = journal, campaign, console
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._message, self._began, self._counted = "", time.monotonic(), -1

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def look(self, ended: str | None = None) -> None:
        """Show what is now; with `ended`, the last picture."""
        shot = snapshot.take(self._journal, self._campaign)
        if self._counted < 0:
            self._began, self._counted = time.monotonic(), shot.counted
        size = self._console.size
        room = view.Room(size.width, size.height - bool(self._message))
        picture = view.screen(shot, room, ended=ended, here=self._time_left_here(shot))
        if self._message and ended is None:
            picture = Group(picture, Text(self._message, style="bold yellow"))
        self._live.update(picture, refresh=True)

    def say(self, text: str) -> None:
        """Keep a message to the operator in sight."""
        self._message = text
        self.look()

    def _time_left_here(self, shot: Snapshot) -> str:
        """On a simulated clock: how long the one who watches has to wait, from the pace so far."""
        left, done = shot.seconds_left(), shot.counted - self._counted
        budget = shot.campaign.spec["budget"].get("trials")
        if not shot.simulated or left is None or done < 1 or not budget:
            return ""
        pace = (time.monotonic() - self._began) / done
        return f"about {words.duration((budget - shot.counted) * pace)} left"
