"""What the guard must know of an instrument's parts: names, signals, whether they can act."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ophyd_async.core import Device, SignalR

from sdl.safety.evaluation import Kind, Meaning

ACTING = ("set", "trigger", "kickoff", "prepare")
DEEPEST = 20  # parts within parts; what nests deeper is no instrument

_KINDS: Mapping[Any, Kind] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
}


def children(device: Any) -> list[str]:
    """The names of a device's parts; of a classic device, or its class, its components."""
    if isinstance(device, Device):
        return [name for name, _ in device.children()]
    return list(getattr(device, "component_names", ()))


def part(device: Any, names: list[str]) -> Any:
    """Return a part of a device, or None; of the class of a classic one the part's class."""
    for name in names:
        if inspect.isclass(device):
            component = getattr(device, name, None)
            device = getattr(component, "cls", None)
        else:
            device = getattr(device, name, None)
    return device


def is_signal(device: Any) -> bool:
    """Whether it has one value that can be read; of a classic device that is found by reading."""
    if isinstance(device, Device):
        return isinstance(device, SignalR)
    return hasattr(device, "read")


def can_act(device: Any) -> bool:
    """Whether any message could make it, or a part of it, do something."""
    if any(hasattr(device, name) for name in ACTING):
        return True
    return any(can_act(part(device, [name])) for name in children(device))


def parts(device: Any, depth: int = 0) -> Iterator[Any]:
    """The device and all parts of an ophyd-async one."""
    yield device
    if isinstance(device, Device) and depth < DEEPEST:
        for _, child in device.children():
            yield from parts(child, depth + 1)


def meaning(device: Any) -> Meaning:
    """What is known of a signal before it is connected."""
    backend = getattr(getattr(device, "_connector", None), "backend", None)
    kind = _KINDS.get(getattr(backend, "datatype", None))
    metadata = getattr(backend, "metadata", None)
    if kind != "a number" or not isinstance(metadata, Mapping):
        return Meaning(kind)
    return Meaning(kind, str(metadata.get("units") or ""))


def path_of(device: Any, instruments: Mapping[str, Any]) -> str:
    """How the lab calls a device: "pump.rate"; "" for one that is none of its own."""
    names: list[str] = []
    for _ in range(DEEPEST):
        if device is None:
            return ""
        instrument = next((n for n, own in instruments.items() if own is device), None)
        if instrument is not None:
            return ".".join([instrument, *reversed(names)])
        parent = getattr(device, "parent", None)
        names.append(_name_in(parent, device))
        device = parent
    return ""


def _name_in(parent: Any, device: Any) -> str:
    if isinstance(parent, Device):
        return next((name for name, child in parent.children() if child is device), "?")
    name = getattr(device, "attr_name", "")  # classic
    return name if isinstance(name, str) and name else "?"
