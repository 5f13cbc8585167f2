"""Whether a lab's safety rules and inventory fit its instruments. Touches nothing."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sdl.files import Key
from sdl.instrument import Effect, effect_of
from sdl.safety.devices import can_act, children, is_signal, meaning, part
from sdl.safety.evaluation import mistakes as mistakes_in
from sdl.safety.expression import signals
from sdl.safety.interlocks import covered
from sdl.safety.rules import Interlock, Item, Limit, SafetyRules

Mistakes = Iterator[tuple[Key, str]]


class Instruments:
    """The lab's devices that could be built, not connected; of classic ones the class."""

    def __init__(
        self,
        names: Collection[str],
        devices: Mapping[str, Any],
        effects: Mapping[str, Effect | None],
    ) -> None:
        """:param names: all instruments; nothing is said of what those that did not build have.
        :param effects: what the lab file says of setting them.
        """
        self._names, self._effects = names, effects
        self.devices = devices

    def missing(self, path: str) -> str | None:
        """Why there is nothing of this path, if so."""
        name, *names = path.split(".")
        if name not in self._names:
            return f"there is no instrument {name!r}; known are: {', '.join(self._names)}"
        device = self.devices.get(name)
        for depth, child in enumerate(names):
            if device is None:
                return None
            inner = part(device, [child])
            if inner is None:
                at = ".".join([name, *names[:depth]])
                known = ", ".join(f"{at}.{c}" for c in children(device)) or "none"
                return f"{at} has no signal {child!r}; known are: {known}"
            device = inner
        return None

    def find(self, path: str) -> Any:
        """The device, or None where it did not build or is not there."""
        name, *names = path.split(".")
        return part(self.devices.get(name), names)

    def effect(self, path: str) -> Effect:
        return self._effects.get(path) or effect_of(self.find(path))


def of_rules(rules: SafetyRules, instruments: Instruments) -> Mistakes:
    for path, limit in rules.limits.items():
        for said in _of_limit(path, limit, instruments):
            yield (("limits", path), said)
    for index, interlock in enumerate(rules.interlocks):
        for said in _of_interlock(interlock, instruments):
            yield (("interlocks", index), said)


def _of_limit(path: str, limit: Limit, instruments: Instruments) -> Iterator[str]:
    if why := instruments.missing(path):
        yield why
        return
    device = instruments.find(path)
    if device is None:
        return
    if not hasattr(device, "set"):
        yield f"{path} cannot be set, so there is nothing to limit"
    elif limit.max_step is None and limit.max_ramp is None:
        return
    elif instruments.effect(path) is not Effect.RELATIVE and not _can_tell(device):
        yield f"max_step and max_ramp need to know where {path} is, and it has no locate"


def _can_tell(device: Any) -> bool:
    return hasattr(device, "locate") or is_signal(device)


def _of_interlock(interlock: Interlock, instruments: Instruments) -> Iterator[str]:
    rule = interlock.parsed
    if why := instruments.missing(rule.target):
        yield why
    target = instruments.find(covered(interlock, instruments.devices))
    if target is not None and not can_act(target):
        yield f"{rule.target} cannot be made to do anything, so there is nothing to hold back"
    paths = signals(rule.expression)
    if not paths:
        yield f"{rule.expression} asks no signal"
    known = {}
    for path in paths:
        device = instruments.find(path)
        if why := instruments.missing(path):
            yield why
        elif device is not None and not is_signal(device):
            inside = ", ".join(f"{path}.{c}" for c in children(device)) or "none"
            yield f"{path} is no signal; known are: {inside}"
        else:
            known[path] = meaning(device)
    if len(known) == len(paths):
        yield from mistakes_in(rule.expression, known)


def of_inventory(inventory: Mapping[str, Item], instruments: Instruments) -> Mistakes:
    for name, item in inventory.items():
        for group, targets in (("taken_by", item.taken_by), ("filled_by", item.filled_by)):
            for path, taking in targets.items():
                if said := _of_target(path, taking, instruments):
                    yield ((name, group, path), said)


def _of_target(path: str, taking: str, instruments: Instruments) -> str | None:
    if why := instruments.missing(path):
        return why
    device = instruments.find(path)
    if device is None:
        return None
    if taking == "each":
        return None if can_act(device) else f"{path} cannot be made to do anything"
    if not hasattr(device, "set"):
        return f"{path} cannot be set, so it takes and fills nothing"
    if (effect := instruments.effect(path)) is not Effect.RELATIVE:
        return (
            f"setting {path} is {effect.value}, not relative: what it is set to is no amount; use "
            f"`each`, or `effect: relative` if it doses"
        )
    return None
