"""A plan's arguments, and where each comes from: an instrument, a parameter, a fixed value.

The recovery plan takes those of a trial's arguments that it has too.
"""

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdl import assembly, plugins, signature
from sdl.bench import Bench
from sdl.errors import ConfigError, Problem
from sdl.files import Key
from sdl.plugins import PluginError
from sdl.signature import Argument
from sdl.space import Categorical, Continuous, Integer, Ordinal, Point, Space
from sdl.task import Task

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.lab import Lab

Mistakes = Iterator[tuple[Key, str]]


def load_plan(campaign: "Campaign", lab: "Lab") -> Any:
    """Return the plan's generator function.

    :raises PluginError: there is none of that name.
    """
    return _load(campaign.plan, campaign, lab)


def load_recovery(campaign: "Campaign", lab: "Lab") -> Any | None:
    """Return the recovery plan's generator function; None where the campaign has none.

    :raises PluginError: there is none of that name.
    """
    return None if campaign.recovery is None else _load(campaign.recovery, campaign, lab)


def _load(plan: Any, campaign: "Campaign", lab: "Lab") -> Any:
    if not isinstance(plan, str):
        return plan
    folder = campaign.document.path.resolve().parent
    try:
        return plugins.load("plans", plan, lab.folder)
    except PluginError:
        if lab.folder is not None and folder == lab.folder:
            raise
        return plugins.load("plans", plan, folder)


def arguments(
    campaign: "Campaign", bench: Bench, point: Point, station: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the plan is called with for one trial.

    :param station: one of `campaign.stations`; default the first.
    """
    station = campaign.stations[0] if station is None else station
    devices = {name: bench.find(path) for name, path in station.items()}
    return {**campaign.fixed, **point, **devices}


def recovery_arguments(
    campaign: "Campaign",
    recovery: Any,
    bench: Bench,
    point: Point,
    station: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the recovery plan is called with after the trial of these arguments failed."""
    given = arguments(campaign, bench, point, station)
    wanted = signature.arguments(recovery)
    return given if wanted is None else {n: value for n, value in given.items() if n in wanted}


def problems(campaign: "Campaign", lab: "Lab") -> list[Problem]:
    """Everything in which a campaign does not fit its lab and its plans."""
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
    for key, path in _paths(campaign):
        if path.split(".")[0] not in lab.instruments:
            known = ", ".join(lab.instruments)
            yield (key, f"the lab has no instrument {path!r}; known are: {known}")
    devices = assembly.devices(lab)
    of_plan = list(_plan_mistakes(campaign, lab, devices))
    yield from of_plan
    if campaign.recovery is not None:
        yield from _recovery_mistakes(campaign, lab, devices, {key for key, _ in of_plan})


def _plan_mistakes(campaign: "Campaign", lab: "Lab", devices: Mapping[str, Any]) -> Mistakes:
    called = campaign.plan_name
    try:
        plan = load_plan(campaign, lab)
        wanted = _wanted(plan, called)
    except (PluginError, TypeError) as error:
        yield (("plan",), str(error))
        return
    if wanted is not None:
        yield from _argument_mistakes(campaign, wanted)
        yield from _instrument_mistakes(campaign, called, wanted, devices)
        yield from _value_mistakes(campaign, called, wanted)


def _recovery_mistakes(
    campaign: "Campaign", lab: "Lab", devices: Mapping[str, Any], said: Collection[Key]
) -> Mistakes:
    """What does not fit the recovery plan, which has nothing but a trial's arguments.

    :param said: the keys that do not fit the plan either; of them nothing more is said.
    """
    called = campaign.recovery_name or ""
    try:
        wanted = _wanted(load_recovery(campaign, lab), called)
    except (PluginError, TypeError) as error:
        yield (("recovery",), str(error))
        return
    if wanted is None:
        return
    given = [*campaign.instruments, *campaign.parameters, *campaign.fixed]
    for argument in wanted.values():
        if argument.required and argument.name not in given:
            message = f"{called} needs {argument.name!r}, which no trial has; trials have: "
            yield (("recovery",), message + ", ".join(given))
    for key, text in (
        *_instrument_mistakes(campaign, called, wanted, devices),
        *_value_mistakes(campaign, called, wanted),
    ):
        if key not in said:
            yield (("recovery",), f"{'.'.join(map(str, key))}: {text}")


def _wanted(plan: Any, called: str) -> dict[str, Argument] | None:
    """The arguments of a plan; None if it takes any.

    :raises TypeError: it is no plan, or has no readable signature.
    """
    if not inspect.isgeneratorfunction(inspect.unwrap(plan)):
        raise TypeError(f"{called} is not a plan: a plan is a generator function")
    return signature.arguments(plan)


def _paths(campaign: "Campaign") -> Iterator[tuple[Key, str]]:
    """Every instrument that is named, and where: each station's own, those they share once."""
    for name, paths in campaign.instruments.items():
        if isinstance(paths, str):
            yield (("instruments", name), paths)
        else:
            yield from ((("instruments", name, k), path) for k, path in enumerate(paths))


_SPACE = ("constraints", "mixtures", "candidates", "outcome_constraints", "fidelity", "costs")


def _space_mistakes(campaign: "Campaign", lab: "Lab") -> Mistakes:
    known = {name: p for name, p in campaign.parameters.items() if p is not None}
    if not known:
        return  # what is wrong with them is said already
    if not campaign.objectives:
        return
    whole = len(known) == len(campaign.parameters)
    try:
        task = campaign.task if whole else Task.of(Space(parameters=known), campaign.objectives)
        if task.space.candidates is not None:
            task.space.candidates.points(task.space.parameters)
    except ValidationError as error:
        for entry in error.errors():
            message = entry["msg"].removeprefix("Value error, ")
            key = tuple(p for p in entry["loc"] if p in _SPACE or p in campaign.parameters)
            named = tuple(k for k in _SPACE if message.startswith(f"{k}:"))
            yield (key or named or ("parameters",), message)
        return
    except ValueError as error:  # a file that cannot be read
        of = "parameters" if campaign.candidates is None else "candidates"
        yield ((of,), str(error))
        return
    try:
        use = plugins.load("optimizers", campaign.optimizer.use, lab.folder)
        use(task, seed=campaign.seed, **campaign.optimizer.options)
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
    campaign: "Campaign", called: str, wanted: Mapping[str, Argument], devices: Mapping[str, Any]
) -> Mistakes:
    for key, path in _paths(campaign):
        name = str(key[1])
        if name not in wanted:
            continue
        instrument, *children = path.split(".")
        device = devices.get(instrument)
        if device is None:
            continue  # it is not there, or what is wrong with it is said already
        for child in children:
            device = getattr(device, child, None)
        annotation = wanted[name].annotation
        protocol = assembly.protocol_of(annotation)
        if device is None:
            yield (key, f"{instrument} has no signal {'.'.join(children)!r}")
        elif annotation is Any:
            continue  # nothing was said of what it must be
        elif not _is_instrument(wanted[name]):
            yield (key, f"{called} wants a value here, not an instrument")
        elif (why := assembly.keeps(device, protocol)) is not None:
            role = getattr(protocol, "__name__", str(protocol))
            kind = device.__name__ if inspect.isclass(device) else type(device).__name__
            yield (key, f"the plan wants a {role}, but {path} ({kind}) {why}")


def _value_mistakes(campaign: "Campaign", called: str, wanted: Mapping[str, Argument]) -> Mistakes:
    samples = {("parameters", n): _extremes(p) for n, p in campaign.parameters.items()}
    samples |= {("fixed", n): [v] for n, v in campaign.fixed.items()}
    for (group, name), values in samples.items():
        if name not in wanted:
            continue
        if _is_instrument(wanted[name]):
            message = f"{called} wants an instrument here: give it under instruments"
            yield ((group, name), message)
            continue
        for value in values:
            try:
                signature.convert(value, wanted[name].annotation)
            except ValueError as error:
                yield ((group, name), f"does not fit {called}: {error}")
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
