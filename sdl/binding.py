"""A plan's arguments, and where each comes from: an instrument, a parameter, a fixed value."""

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdl import assembly, plugins, signature
from sdl.bench import Bench
from sdl.errors import ConfigError, Problem
from sdl.files import Key
from sdl.plugins import PluginError
from sdl.signature import Argument
from sdl.space import Categorical, Continuous, Integer, Ordinal, Point, Space
from sdl.wires.urls import open_wire

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

Mistakes = Iterator[tuple[Key, str]]


def load_plan(campaign: "Campaign", lab: "Lab") -> Any:
    """Return the plan's generator function.

    :raises PluginError: there is none of that name.
    """
    if not isinstance(campaign.plan, str):
        return campaign.plan
    folder = campaign.document.path.resolve().parent
    try:
        return plugins.load("plans", campaign.plan, lab.folder)
    except PluginError:
        if lab.folder is not None and folder == lab.folder:
            raise
        return plugins.load("plans", campaign.plan, folder)


def arguments(campaign: "Campaign", bench: Bench, point: Point) -> dict[str, Any]:
    """What the plan is called with for one trial."""
    devices = {name: bench.find(path) for name, path in campaign.instruments.items()}
    return {**campaign.fixed, **point, **devices}


def problems(campaign: "Campaign", lab: "Lab") -> list[Problem]:
    """Everything in which a campaign does not fit its lab and its plan."""
    found = [campaign.document.problem(key, text) for key, text in _mistakes(campaign, lab)]
    return sorted(set(found), key=lambda p: (p.line or 0, p.key))


def _mistakes(campaign: "Campaign", lab: "Lab") -> Mistakes:
    yield from _space_mistakes(campaign, lab)
    for name in campaign.objectives:
        if name in campaign.parameters:
            yield (("objectives", name), "is a parameter too; what is varied is no outcome")
    for name in campaign.budget.until:
        if name not in campaign.objectives:
            known = ", ".join(campaign.objectives)
            yield (("budget", "until", name), f"is not an objective; objectives are: {known}")
    try:
        plan = load_plan(campaign, lab)
        wanted = signature.arguments(plan) if callable(plan) else None
    except (PluginError, TypeError) as error:
        yield (("plan",), str(error))
        return
    if not inspect.isgeneratorfunction(inspect.unwrap(plan)):
        yield (("plan",), f"{campaign.plan_name} is not a plan: a plan is a generator function")
        return
    devices = _devices(lab)
    for name, path in campaign.instruments.items():
        if path.split(".")[0] not in lab.instruments:
            known = ", ".join(lab.instruments)
            message = f"the lab has no instrument {path!r}; known are: {known}"
            yield (("instruments", name), message)
    if wanted is not None:
        yield from _argument_mistakes(campaign, wanted)
        yield from _instrument_mistakes(campaign, wanted, devices)
        yield from _value_mistakes(campaign, wanted)


def _space_mistakes(campaign: "Campaign", lab: "Lab") -> Mistakes:
    known = {name: p for name, p in campaign.parameters.items() if p is not None}
    if not known:
        return  # what is wrong with them is said already
    try:
        space = Space(parameters=known, constraints=campaign.constraints)
    except ValidationError as error:
        for entry in error.errors():
            message = entry["msg"].removeprefix("Value error, ")
            key = tuple(p for p in entry["loc"] if p in ("constraints", *campaign.parameters))
            yield (key or ("parameters",), message)
        return
    try:
        use = plugins.load("optimizers", campaign.optimizer.use, lab.folder)
        use(space, campaign.objectives, seed=campaign.seed, **campaign.optimizer.options)
    except PluginError as error:
        yield (("optimizer", "use"), str(error))
    except (ConfigError, TypeError, ValueError) as error:
        yield (("optimizer",), str(error))


def _argument_mistakes(campaign: "Campaign", wanted: Mapping[str, Argument]) -> Mistakes:
    """Each argument of the plan comes from exactly one place."""
    groups = {
        "instruments": campaign.instruments,
        "parameters": campaign.parameters,
        "fixed": campaign.fixed,
    }
    for group, given in groups.items():
        for name in given:
            if name not in wanted:
                allowed = ", ".join(wanted)
                message = f"{campaign.plan_name} has no such argument; it has: {allowed}"
                yield ((group, name), message)
            others = [g for g in groups if g != group and name in groups[g]]
            if others and group > others[0]:
                yield ((group, name), f"is given under {others[0]} too; keep one")
    for argument in wanted.values():
        if argument.required and not any(argument.name in given for given in groups.values()):
            group = "instruments" if _is_instrument(argument) else "parameters or fixed"
            message = f"{campaign.plan_name} needs {argument.name!r}: give it under {group}"
            yield ((group,) if group in groups else ("plan",), message)


def _instrument_mistakes(
    campaign: "Campaign", wanted: Mapping[str, Argument], devices: Mapping[str, Any]
) -> Mistakes:
    for name, path in campaign.instruments.items():
        if name not in wanted:
            continue
        instrument, *children = path.split(".")
        device = devices.get(instrument)
        if device is None:
            continue  # it is not there, or what is wrong with it is said already
        for child in children:
            device = getattr(device, child, None)
        protocol = assembly.protocol_of(wanted[name].annotation)
        if device is None:
            yield (("instruments", name), f"{instrument} has no signal {'.'.join(children)!r}")
        elif not _is_instrument(wanted[name]) and wanted[name].annotation is not Any:
            message = f"{campaign.plan_name} wants a value here, not an instrument"
            yield (("instruments", name), message)
        elif (why := assembly.keeps(device, protocol)) is not None:
            called = getattr(protocol, "__name__", str(protocol))
            kind = device.__name__ if inspect.isclass(device) else type(device).__name__
            message = f"the plan wants a {called}, but {path} ({kind}) {why}"
            yield (("instruments", name), message)


def _value_mistakes(campaign: "Campaign", wanted: Mapping[str, Argument]) -> Mistakes:
    samples = {("parameters", n): _extremes(p) for n, p in campaign.parameters.items()}
    samples |= {("fixed", n): [v] for n, v in campaign.fixed.items()}
    for (group, name), values in samples.items():
        if name not in wanted:
            continue
        if _is_instrument(wanted[name]):
            message = f"{campaign.plan_name} wants an instrument here: give it under instruments"
            yield ((group, name), message)
            continue
        for value in values:
            try:
                signature.convert(value, wanted[name].annotation)
            except ValueError as error:
                yield ((group, name), f"does not fit {campaign.plan_name}: {error}")
                break


def _extremes(parameter: Any) -> list[Any]:
    if isinstance(parameter, Continuous):
        middle = (parameter.low + parameter.high) / 2 + 1e-3 * (parameter.high - parameter.low)
        return [middle, parameter.low, parameter.high]
    if isinstance(parameter, Integer):
        return [parameter.low, parameter.high]
    if isinstance(parameter, Ordinal):
        return list(parameter.values)
    # a parameter whose words are wrong is None, and nothing is known of its values
    return list(parameter.choices) if isinstance(parameter, Categorical) else []


def _is_instrument(argument: Argument) -> bool:
    """Whether the plan wants a device: a protocol, or a class of devices, not a value."""
    protocol = assembly.protocol_of(argument.annotation)
    if protocol is None or protocol in (int, float, str, bool, list, dict, tuple):
        return False
    return getattr(protocol, "_is_protocol", False) or hasattr(protocol, "set_name")


def _devices(lab: "Lab") -> dict[str, Any]:
    """The lab's devices that build, not connected; of classic ones the class."""
    devices = {}
    for name, entry in lab.instruments.items():
        try:
            wire = lab.wires[entry.wire] if entry.wire is not None else None
            opened = None if wire is None else open_wire(wire.url, timeout=wire.timeout)
            devices[name] = assembly.build(lab, name, entry, opened)
        except (ConfigError, PluginError, KeyError, TypeError):
            continue
    return devices
