"""What an interlock looks at and switches: contacts, an air flow, power for what is dangerous."""

from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper

HEALTHY: tuple[str, ...] = ("estop", "door", "hood", "heat", "leak", "gas")
POWERED: tuple[str, ...] = ("heaters", "pumps", "gas_supply", "buzzer")


class Switches(Acting):
    """The contacts of a bench, each closed while all is well there, and what its power goes to.

    `open` a contact to let something go wrong; `close` it again. Its actions: `contact` (`name`,
    `healthy`) and `power` (`name`, `on`), each when that changes.
    """

    def __init__(self, world: Timekeeper, *, hood_flow: float = 50.0) -> None:
        """:param hood_flow: cm/s, of the air into the fume hood."""
        self._world = world
        self._healthy = dict.fromkeys(HEALTHY, True)
        self._powered = dict.fromkeys(POWERED, False)
        self._hood_flow = hood_flow
        self._watchers: list[Callable[[], object]] = []

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` whenever a contact or the air flow has changed."""
        self._watchers.append(changed)

    @property
    def hood_flow(self) -> float:
        """Of the air into the fume hood, cm/s."""
        self._world.advance()
        return self._hood_flow

    @hood_flow.setter
    def hood_flow(self, cm_per_s: float) -> None:
        self._world.advance()
        self._hood_flow = cm_per_s
        self._tell_watchers()

    def healthy(self, name: str) -> bool:
        """Whether the contact is closed."""
        self._world.advance()
        return self._healthy[name]

    def open(self, name: str) -> None:
        self._set(name, False)

    def close(self, name: str) -> None:
        self._set(name, True)

    def powered(self, name: str) -> bool:
        return self._powered[name]

    def power(self, name: str, on: bool) -> None:
        """Switch power; only the interlock does."""
        self._world.advance()
        if self._powered[name] is not on:
            self._powered[name] = on
            self._act(self._world.now, "power", name=name, on=on)

    def _set(self, name: str, healthy: bool) -> None:
        self._world.advance()
        if self._healthy[name] is not healthy:
            self._healthy[name] = healthy
            self._act(self._world.now, "contact", name=name, healthy=healthy)
            self._tell_watchers()

    def _tell_watchers(self) -> None:
        for changed in self._watchers:
            changed()
