"""The guard: asked before every message that acts, below plan and optimizer. It fails closed."""

from collections.abc import Callable, Collection, Mapping

from sdl.bench import Bench
from sdl.errors import UnsafeError
from sdl.journal.records import Booking
from sdl.safety import devices
from sdl.safety.action import Action
from sdl.safety.interlocks import Interlocks
from sdl.safety.inventory import Inventory
from sdl.safety.limits import Limits, told
from sdl.safety.rules import Item, SafetyRules

NEVER_REFUSED = frozenset({"stop", "read", "locate", "collect", "describe"})
"""STOP is never gated, and what was measured is always read."""

ENDING = frozenset({"unstage"})
"""Puts back what a plan has changed: no rule keeps its holder from that."""


class Guard:
    """What stands between plans and instruments. All calls come in the lab's loop.

    `check` reserves what an action takes from the inventory. Whoever was let through says `booked`
    when the journal has the bookings, or `unbooked` when the action will not be done.
    """

    def __init__(
        self,
        rules: SafetyRules,
        inventory: Mapping[str, Item],
        bench: Bench,
        *,
        balances: Callable[[], Mapping[str, float]],
        on_trip: Callable[[str], None],
    ) -> None:
        """Describe a guard of an open lab.

        :param balances: what the journal says is left of each item now; an item that it does not
            name has its `amount` of the lab file.
        :param on_trip: told once, with the reason, when an interlock trips while an instrument
            acts; the guard is closed by then. It must make the lab safe.
        """
        self._bench, self._on_trip = bench, on_trip
        self._limits = Limits(rules.limits, bench)
        self._interlocks = Interlocks(rules.interlocks, bench, self._trip)
        self._inventory = Inventory(inventory, balances)
        self._started = not rules.interlocks
        self.closed: str | None = None
        """Why nothing is let through, if so."""

    async def start(self) -> None:
        """Evaluate every interlock once.

        :raises UnsafeError: all that cannot be evaluated; nothing may run.
        """
        await self._interlocks.start()
        self._started = True

    async def check(
        self, action: Action, holds: Collection[str], *, again: bool = False
    ) -> list[Booking]:
        """Let an action through, or not. From then on its interlocks are watched.

        :param holds: the instruments that whoever asks has claimed.
        :param again: an earlier attempt of it was let through: what it takes is booked.
        :returns: what the action takes (negative) and fills; kept back until `booked` or
            `unbooked` is called with the same action.
        :raises UnsafeError: which rule, why, with values and their ages; nothing has moved.
        """
        if action.command in NEVER_REFUSED:
            return []
        self._check_owner(action, holds)
        if action.command in ENDING:
            return []
        self._check_open(action)
        async with self._limits.turn(action.path):
            await self._limits.check(action)
            covering = await self._interlocks.check(action)
            self._check_open(action)  # a STOP may have come while instruments were asked
            bookings = [] if again else self._inventory.reserve(action)
            self._limits.passed(action)
            self._interlocks.watch(covering)
            return bookings

    def booked(self, action: Action) -> None:
        """The journal has the action's bookings: its balances count them."""
        self._inventory.release(action)

    def unbooked(self, action: Action) -> None:
        """The action will not be done: nothing is taken."""
        self._inventory.release(action)

    def low(self) -> list[str]:
        """A line for each item of which little is left.

        :raises UnsafeError: nobody can tell what is left.
        """
        return self._inventory.low()

    def made_safe(self, names: Collection[str]) -> None:
        """These instruments have confirmed their safe state: they are not watched any more."""
        self._interlocks.made_safe(names)
        self._limits.made_safe(names)

    def close(self, why: str) -> None:
        """Let nothing through any more; the first reason stays."""
        self.closed = self.closed or why

    async def shut_down(self) -> None:
        """End all watching."""
        await self._interlocks.shut_down()

    def path_of(self, device: object) -> str:
        """How the lab calls a device: "substrate_pump.rate"; "" for one that is none of its own."""
        return devices.path_of(device, self._bench.instruments)

    def _check_owner(self, action: Action, holds: Collection[str]) -> None:
        instrument = action.path.partition(".")[0]
        if instrument not in self._bench.instruments:
            known = ", ".join(self._bench.instruments)
            what = f"is no instrument of {self._bench.name}; known are: {known}"
            raise UnsafeError(f"{action.path or 'it'} {what}; refused: {told(action)}")
        if instrument not in holds:
            held = ", ".join(sorted(holds)) or "nothing"
            why = f"{instrument} is not held by who asks, which holds: {held}"
            raise UnsafeError(f"{why}; refused: {told(action)}")

    def _check_open(self, action: Action) -> None:
        if self.closed is not None:
            raise UnsafeError(f"STOP is in force: {self.closed}; refused: {told(action)}")
        if not self._started:
            raise UnsafeError(f"the guard has not been started; refused: {told(action)}")

    def _trip(self, reason: str) -> None:
        if self.closed is None:
            self.close(f"an interlock tripped: {reason}")
            self._on_trip(reason)
