"""A robot arm that goes through programs: how long each takes, and which were finished."""

from collections.abc import Mapping

from sdl.simulators.parts.acting import Acting, Timekeeper


class RobotArm(Acting):
    """An arm with the programs that were taught to it.

    It is exact at every moment. Its actions: `program` when one begins (`name`), `ended` when it is
    over (`name`, `why`: done, stopped, power lost), `held` and `gone on` in between.
    """

    def __init__(self, world: Timekeeper, *, programs: Mapping[str, float]) -> None:
        """:param programs: s that each takes, by its name."""
        self._world, self.programs = world, dict(programs)
        self._name, self._left, self._since = "", 0.0, 0.0  # s left when it began, or went on
        self._held = False
        self._done: list[str] = []
        self.begun: list[str] = []
        """all that were begun, in their order"""

    def start(self, name: str) -> None:
        """Begin a program from its beginning."""
        self.stop()
        self._name, self._left, self._since = name, self.programs[name], self._world.now
        self._held = False
        self.begun.append(name)
        self._act(self._since, "program", name=name)

    def hold(self) -> None:
        """Stand still in the middle of a program."""
        if self.playing:
            self._left, self._held = self.time_left, True
            self._act(self._world.now, "held", name=self._name)

    def go_on(self) -> None:
        """Go on with a program that is held."""
        self._world.advance()
        if self._held:
            self._held, self._since = False, self._world.now
            self._act(self._since, "gone on", name=self._name)

    def stop(self, why: str = "stopped") -> None:
        self._catch_up()
        if self._name:
            self._act(self._world.now, "ended", name=self._name, why=why)
        self._name, self._held = "", False

    @property
    def playing(self) -> bool:
        """Whether it moves."""
        self._catch_up()
        return bool(self._name) and not self._held

    @property
    def held(self) -> bool:
        """Whether it stands still in the middle of a program."""
        return self._held

    @property
    def time_left(self) -> float:
        """Seconds until the program is over, once it moves."""
        self._catch_up()
        if not self._name:
            return 0.0
        gone = 0.0 if self._held else self._world.now - self._since
        return max(self._left - gone, 0.0)

    @property
    def done(self) -> list[str]:
        """The programs that were gone through to their end."""
        self._catch_up()
        return self._done

    def _catch_up(self) -> None:
        self._world.advance()
        if self._name and not self._held and self._world.now - self._since >= self._left - 1e-9:
            self._done.append(self._name)
            self._act(self._since + self._left, "ended", name=self._name, why="done")
            self._name = ""
