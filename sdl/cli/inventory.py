"""`sdl inventory`: what is left of reagents, vials, waste; what a person filled or emptied."""

import math
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdl import files
from sdl.cli import words
from sdl.errors import ConfigError

Items = Mapping[str, Mapping[str, Any]]


def run(options: Namespace) -> int:
    return _book(options) if options.book else _show(options)


def _show(options: Namespace) -> int:
    from sdl.cli import places, snapshot
    from sdl.journal import Journal

    place = places.find(options)
    items = described(place.lab)
    with Journal.open(place.url, readonly=True) as journal:
        left = journal.balances(snapshot.take(journal, place.campaign).campaign.lab)
    if not left and not items:
        print(f"{place.lab.name} has no `inventory:`, and nothing was ever booked")
    for line in table(items, left):
        print(line)
    return 0


def _book(options: Namespace) -> int:
    from sdl.cli import desk

    item, change = options.book[0], _number(options.book[1])
    if not (options.note or "").strip():
        raise ConfigError("--note: say what was filled or emptied; the record keeps it")
    with desk.at(options) as here:
        items, left = described(here.place.lab), here.journal.balances(here.lab)
        if item not in items and item not in left:
            known = ", ".join(dict.fromkeys([*items, *left])) or "none"
            raise ConfigError(f"--book {item}: there is no such item in the inventory; has {known}")
        words_of = items.get(item, {})
        before = left.get(item, float(words_of.get("amount") or 0.0))
        units, most = str(words_of.get("units") or ""), words_of.get("capacity")
        _check(item, before, change, most, units)
        if item not in left:
            here.journal.open_item(here.lab, item, before, time=here.now)
        here.journal.book(here.lab, item, change, time=here.now, note=options.note, who=here.who)
        after = here.journal.balances(here.lab)[item]
    print(f"{item}: {words.value(before)} -> {words.quantity(after, units)}")
    return 0


def _check(item: str, before: float, change: float, most: Any, units: str) -> None:
    after = before + change
    if after < 0:
        raise ConfigError(
            f"--book {item} {change:g}: only {words.quantity(before, units)} are there; book at "
            f"most {-before:g} (and look: the record and the bench differ)"
        )
    if isinstance(most, int | float) and after > most:
        raise ConfigError(
            f"--book {item} {change:+g}: {words.quantity(before, units)} are there and it holds "
            f"{words.quantity(most, units)}"
        )


def _number(text: str) -> float:
    try:
        change = float(text)
    except ValueError:
        change = math.nan
    if not math.isfinite(change) or not change:
        raise ConfigError(f"--book: should be a number such as +100 or -2000, not {text!r}")
    return change


def described(lab: Path) -> Items:
    """What the lab file says of its inventory; nothing where it cannot be read."""
    try:
        given = files.read(lab).data.get("inventory")
    except ConfigError:  # the record can be looked at all the same
        return {}
    entries = given.items() if isinstance(given, Mapping) else ()
    return {str(name): entry for name, entry in entries if isinstance(entry, Mapping)}


def table(items: Items, left: Mapping[str, float]) -> Iterator[str]:
    """One line for each item: what is left, of how much, and whether that is little."""
    names = list(dict.fromkeys([*items, *left]))
    width = max(map(len, names), default=0)
    for name in names:
        yield f"{name:<{width}}  {amount(items.get(name, {}), left.get(name))}"


def line(lab: Path, left: Mapping[str, float]) -> str:
    """All items in one line."""
    items = described(lab)
    return ", ".join(f"{name} {amount(items.get(name, {}), left[name])}" for name in left)


def amount(item: Mapping[str, Any], left: float | None) -> str:
    """`212.5 of 250 mL`, with a remark where it is low, full, or not begun."""
    units = str(item.get("units") or "")
    first, most, low = (_or_none(item.get(key)) for key in ("amount", "capacity", "low"))
    of = most if most is not None else first
    remark = "" if left is not None else "  (nothing was booked yet)"
    now = first if left is None else left
    if now is None:
        return f"? {units}{remark}"
    if low is not None:
        remark += f"  (low: at {words.quantity(low, units)})" if now <= low else ""
    if most is not None and most - now <= 0.1 * most:
        remark += "  (nearly full)"
    full = of is not None and now <= of  # a refill may bring more than there was at first
    said = f"{words.value(now)} of {words.value(of)}" if full else words.value(now)
    return f"{said} {units}".rstrip() + remark


def _or_none(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
