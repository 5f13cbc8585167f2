"""What an action takes of reagents and vials, and what it fills: refused where it is short."""

import math
from collections.abc import Callable, Iterator, Mapping

from sdl.errors import JournalError, UnsafeError
from sdl.instrument import Effect
from sdl.journal.records import Booking
from sdl.safety.action import Action
from sdl.safety.limits import number, told
from sdl.safety.rules import Item, Taking

COUNTED = ("set", "trigger", "kickoff")  # what `each` counts as one
SLACK = 1e-9  # of what is there: sums of many bookings are not exact


class Inventory:
    """Works out bookings; keeps back what was let through and is not in the journal yet."""

    def __init__(
        self, items: Mapping[str, Item], balances: Callable[[], Mapping[str, float]]
    ) -> None:
        """:param balances: what the journal says is left, now; an item that is not in it has its
        `amount` of the lab file.
        """
        self._items, self._balances = dict(items), balances
        self._reserved: list[tuple[Action, list[Booking]]] = []

    def reserve(self, action: Action) -> list[Booking]:
        """Keep back what the action takes, until `release`.

        :raises UnsafeError: too little is left, or too little room, or nobody can tell.
        """
        bookings = [b for b in self._bookings(action) if b.change]
        if bookings:
            self._check(action, bookings)
            self._reserved.append((action, bookings))
        return bookings

    def release(self, action: Action) -> None:
        """The action is in the journal, or will not be done: nothing is kept back for it."""
        self._reserved = [entry for entry in self._reserved if entry[0] is not action]

    def low(self) -> list[str]:
        """A line for each item of which a person should think now."""
        left = self._left() if self._items else {}
        return [
            f"{name}: {_amount(left[name], item)} are left (low: {_amount(item.low, item)})"
            for name, item in self._items.items()
            if item.low is not None and left[name] <= item.low
        ]

    def _bookings(self, action: Action) -> Iterator[Booking]:
        for name, item in self._items.items():
            taken = _counts(item, item.taken_by.get(action.path), action)
            filled = _counts(item, item.filled_by.get(action.path), action)
            yield Booking(name, filled - taken)

    def _check(self, action: Action, bookings: list[Booking]) -> None:
        left = self._left()
        for booking in bookings:
            item, here = self._items[booking.item], left[booking.item]
            after, slack = here + booking.change, SLACK * max(1.0, abs(here), item.capacity or 0)
            if not math.isfinite(after):
                raise _refused(item, action, f"{booking.item}: the journal says {here}")
            if booking.change < 0 and after < -slack:
                words = f"{_amount(here, item)} are left, {_amount(-booking.change, item)} asked"
                raise _refused(item, action, f"{booking.item}: {words}")
            if item.capacity is not None and booking.change > 0 and after > item.capacity + slack:
                room = _amount(max(item.capacity - here, 0.0), item)
                words = f"there is room for {room}, {_amount(booking.change, item)} would come"
                raise _refused(item, action, f"{booking.item}: {words}")

    def _left(self) -> dict[str, float]:
        try:
            known = self._balances()
        except JournalError as error:
            raise UnsafeError(f"nobody can tell what is left: {error}") from error
        left = {name: known.get(name, item.amount) for name, item in self._items.items()}
        for _, bookings in self._reserved:
            for booking in bookings:
                left[booking.item] += booking.change
        return left


def _counts(item: Item, taking: Taking | None, action: Action) -> float:
    """How much of an item the action moves, from 0."""
    if taking is None or action.command not in COUNTED:
        return 0.0
    if taking == "each":
        return 1.0
    if action.command != "set":
        if action.effect is not Effect.RELATIVE:
            return 0.0
        raise _refused(item, action, f"nobody can tell how much {action.command} takes")
    value = number(action.argument)
    if value is None:
        raise _refused(item, action, f"nobody can tell how much {action.argument!r} is")
    return max(value if taking == "positive" else -value, 0.0)


def _amount(value: float | None, item: Item) -> str:
    return f"{value:.6g} {item.units}".rstrip()


def _refused(item: Item, action: Action, why: str) -> UnsafeError:
    return UnsafeError(f"{item.place}: inventory: {why}; refused: {told(action)}")
