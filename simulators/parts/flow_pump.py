"""A pump that flows until it is stopped, against a pressure."""

from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper

COMPRESSION = 60.0  # bar that a pump builds up in each second against a shut line


class FlowPump(Acting):
    """A double-piston pump: what it delivers, in all, and the pressure at its outlet.

    Exact at every moment, whatever the steps of the world. Its actions: `flow` (`rate`, mL/min, 0
    when it stops) whenever that changes; `blocked` and `freed`, faults.
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        resistance: float = 10.0,
        pressure: Callable[[float], float] | None = None,
        scale: float = 1.0,
    ) -> None:
        """:param resistance: bar for each mL/min, of what is downstream.
        :param pressure: bar at the outlet at a flow (mL/min), in place of `resistance`.
        :param scale: mL that really flow for each mL that the pump is believed to deliver.
        """
        self._world, self.scale = world, scale
        self._pressure_at = pressure or (lambda flow: resistance * flow)
        self._rate, self._since, self._total = 0.0, 0.0, 0.0
        self._blocked_since: float | None = None
        self._watchers: list[Callable[[], object]] = []

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` when the line is blocked or freed."""
        self._watchers.append(changed)

    @property
    def rate(self) -> float:
        """mL/min that the pistons deliver, as the pump believes; 0 while it stands."""
        return self._rate

    def start(self, rate: float) -> None:
        """Flow at `rate` mL/min from now on, until `stop` or another rate."""
        self._world.advance()
        self._book()
        if rate != self._rate:
            self._rate = rate
            self._act(self._world.now, "flow", rate=rate)

    def stop(self) -> None:
        self.start(0.0)

    @property
    def flow(self) -> float:
        """mL/min that really leave it now."""
        self._world.advance()
        return 0.0 if self._blocked_since is not None else self.scale * self._rate

    @property
    def pressure(self) -> float:
        """At the outlet, bar."""
        self._world.advance()
        if self._blocked_since is None:
            return self._pressure_at(self.scale * self._rate)
        shut = self._world.now - max(self._blocked_since, self._since)
        return self._pressure_at(self.scale * self._rate) + COMPRESSION * shut * (self._rate > 0)

    @property
    def blocked(self) -> bool:
        """A fault to inject: the line is shut; nothing flows, and the pressure rises."""
        return self._blocked_since is not None

    @blocked.setter
    def blocked(self, value: bool) -> None:
        if value is self.blocked:
            return
        self._world.advance()
        self._book()
        self._blocked_since = self._world.now if value else None
        self._act(self._world.now, "blocked" if value else "freed")
        for changed in self._watchers:
            changed()

    def total(self, t: float | None = None) -> float:
        """True mL that have left it since the world began, at `t` (s of the world; now)."""
        if t is None:
            self._world.advance()
            t = self._world.now
        running = 0.0 if self.blocked else self._rate * max(t - self._since, 0.0) / 60.0
        return self._total + self.scale * running

    def _book(self) -> None:
        """Keep what has flowed; what comes is counted from now."""
        self._total, self._since = self.total(self._world.now), self._world.now
