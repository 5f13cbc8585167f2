"""Put a lab together from its description: load what it names, check it, build it.

Everything here works on a `Lab`'s words: `problems` builds what can be built without a connection
and says every mistake; `wires` and `instruments` build it for use.
"""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from ophyd_async.core import Device
from typing_extensions import get_protocol_members, is_protocol

from sdl import clock, endpoints, plugins, signature
from sdl.errors import ConfigError, Problem
from sdl.files import Key
from sdl.instrument import Effect, effect_of_command
from sdl.plugins import PluginError
from sdl.wires import Wire
from sdl.wires.urls import open_wire

if TYPE_CHECKING:
    from sdl.lab import InstrumentEntry, Lab

GIVEN = ("wire", "name")  # what the lab supplies to a driver
GIVEN_TO_SIMULATOR = ("part", "rng")
GIVEN_TO_WORLD = ("seed", "clock")


def problems(lab: "Lab") -> list[Problem]:
    """Everything that is wrong with a lab whose words are well formed. Touches nothing."""
    found = [lab.document.problem(key, message) for key, message in _mistakes(lab)]
    return sorted(set(found), key=lambda p: (p.line or 0, p.key))


def _mistakes(lab: "Lab") -> Iterator[tuple[Key, str]]:
    usable: dict[str, Wire] = {}
    for name, entry in lab.wires.items():
        try:
            usable[name] = open_wire(entry.url, timeout=entry.timeout)
        except ConfigError as error:
            yield (("wires", name), str(error))
    wrong = set[str]()
    for name, entry in lab.instruments.items():
        for mistake in _instrument_mistakes(lab, name, entry, usable):
            wrong.add(name)
            yield mistake
    if lab.journal is not None and "://" in lab.journal:
        scheme = lab.journal.partition("://")[0]
        if scheme not in ("sqlite", "postgresql", "postgresql+psycopg"):
            message = f"should be a file or a postgresql:// URL, not {scheme}://"
            yield (("journal",), message)
    yield from _world_mistakes(lab, wrong)


def _instrument_mistakes(
    lab: "Lab", name: str, entry: "InstrumentEntry", wires: Mapping[str, Wire]
) -> Iterator[tuple[Key, str]]:
    key: Key = ("instruments", name)
    if entry.wire is not None and entry.wire not in lab.wires:
        known = ", ".join(lab.wires) or "none"
        yield ((*key, "wire"), f"there is no wire {entry.wire!r}; known are: {known}")
    try:
        driver = load_driver(lab, entry)
        wanted = signature.arguments(driver)
        _, wrong = signature.check(driver, entry.options, given=GIVEN)
    except (PluginError, TypeError) as error:
        yield ((*key, "driver"), str(error))
        return
    for option, message in wrong:
        yield ((*key, option), message)
    wire_mistakes = list(_wire_mistakes(key, entry, driver, wanted, wires)) if wanted else []
    yield from wire_mistakes
    if not wrong and not wire_mistakes and (entry.wire is None or entry.wire in wires):
        try:
            device = build(lab, name, entry, wires.get(entry.wire or ""))
        except ConfigError as error:
            yield (key, str(error))
            return
        yield from _retry_mistakes((*key, "retries"), entry, device)


def _retry_mistakes(key: Key, entry: "InstrumentEntry", device: Any) -> Iterator[tuple[Key, str]]:
    """What must not be repeated: a dose is given once, or a person is asked."""
    for command, times in entry.retries.items():
        said = entry.effect if command == "set" else None
        effects = [said or effect_of_command(device, command)]
        if command == "set":  # it is repeated for the instrument's signals too
            effects += [effect_of_command(inner, command) for inner in _parts(device)]
        if times and Effect.RELATIVE in effects:
            message = f"{command} is relative here: what it does adds up, so it is never repeated"
            yield ((*key, command), message)


def _parts(device: Any) -> Iterator[Any]:
    """All that is inside an ophyd-async device."""
    for _, child in device.children() if isinstance(device, Device) else ():
        yield child
        yield from _parts(child)


def _wire_mistakes(
    key: Key,
    entry: "InstrumentEntry",
    driver: Callable[..., Any],
    wanted: Mapping[str, signature.Argument],
    wires: Mapping[str, Wire],
) -> Iterator[tuple[Key, str]]:
    name = getattr(driver, "__name__", str(driver))
    if "wire" not in wanted:
        if entry.wire is not None:
            yield ((*key, "wire"), f"{name} has no wire of ours; leave the key out")
        return
    if entry.wire is None:
        if wanted["wire"].required:
            yield ((*key, "wire"), f"is missing: {name} needs a wire")
        return
    kind = wanted["wire"].annotation
    wire = wires.get(entry.wire)
    if wire is not None and isinstance(kind, type) and not isinstance(wire, kind):
        message = f"{name} needs a {kind.__name__}, but {entry.wire!r} ({wire.url}) is a "
        yield ((*key, "wire"), message + type(wire).__name__)


def _world_mistakes(lab: "Lab", wrong: Collection[str]) -> Iterator[tuple[Key, str]]:
    """What is wrong with the twin; of instruments that are `wrong` themselves nothing is said."""
    if lab.world is None:
        return
    try:
        world = build_world(lab, lambda: 0.0)
    except (PluginError, TypeError) as error:
        yield (("world", "use"), str(error))
        return
    except ConfigError as error:
        for problem in error.problems:
            yield (
                (("world", problem.key), problem.message)
                if isinstance(problem, Problem)
                else (("world",), problem)
            )
        return
    for name, entry in lab.instruments.items():
        if name in wrong:
            continue
        key: Key = ("instruments", name, "twin")
        try:
            build_simulator(lab, name, entry, world)
        except (PluginError, TypeError) as error:
            yield (key, str(error))
        except ConfigError as error:
            for problem in error.problems:
                yield (
                    ((*key, problem.key), problem.message)
                    if isinstance(problem, Problem)
                    else (key, problem)
                )


def load_driver(lab: "Lab", entry: "InstrumentEntry") -> Callable[..., Any]:
    if callable(entry.driver):
        return entry.driver
    driver = plugins.load("drivers", entry.driver, lab.folder)
    if not callable(driver):
        raise PluginError(f"{entry.driver!r} is not a class that makes an instrument")
    return driver


def build(lab: "Lab", name: str, entry: "InstrumentEntry", wire: Wire | None) -> Any:
    """Make the device; it is not connected.

    :raises ConfigError: its constructor refuses the options.
    """
    driver = load_driver(lab, entry)
    options, _ = signature.check(driver, entry.options, given=GIVEN)
    if wire is not None:
        options["wire"] = wire
    if is_classic(driver):  # a classic device looks for its hardware as soon as it is made
        return driver
    return _made(driver, name, options, entry)


def _made(
    driver: Callable[..., Any], name: str, options: dict[str, Any], entry: "InstrumentEntry"
) -> Any:
    try:
        device = driver(**options, name=name)
    except Exception as error:  # whatever a plug-in raises, it is a mistake of the file
        said = str(error) if isinstance(error, ConfigError | ValueError) else repr(error)
        raise ConfigError(f"{getattr(driver, '__name__', driver)}: {said}") from error
    if entry.effect is not None:
        device.effect = entry.effect
    return device


def devices(lab: "Lab") -> dict[str, Any]:
    """The lab's devices that build, not connected; of classic ones the class."""
    made = {}
    for name, entry in lab.instruments.items():
        try:
            wire = lab.wires[entry.wire] if entry.wire is not None else None
            opened = None if wire is None else open_wire(wire.url, timeout=wire.timeout)
            made[name] = build(lab, name, entry, opened)
        except (ConfigError, PluginError, KeyError, TypeError):  # `problems` says it
            continue
    return made


def is_classic(driver: object) -> bool:
    """Whether it makes classic `ophyd` devices, which are connected by being made."""
    lineage = inspect.getmro(driver) if inspect.isclass(driver) else ()
    return any(c.__module__.split(".")[0] == "ophyd" for c in lineage)


def instruments(lab: "Lab", open_wires: Mapping[str, Wire]) -> dict[str, Any]:
    """Make all devices of the lab; they are not connected yet."""
    made = {}
    for name, entry in lab.instruments.items():
        driver = load_driver(lab, entry)
        if lab.is_twin and is_classic(driver) and _is_mocked(entry, driver):
            driver = _fake(driver)
        options, _ = signature.check(driver, entry.options, given=GIVEN)
        if entry.wire is not None:
            options["wire"] = open_wires[entry.wire]
        made[name] = _made(driver, name, options, entry)
    return made


def mocked(lab: "Lab") -> set[str]:
    """The instruments that this lab, if it is a twin, must connect to nothing."""
    if not lab.is_twin:
        return set()
    entries = lab.instruments.items()
    return {name for name, entry in entries if _is_mocked(entry, load_driver(lab, entry))}


def _is_mocked(entry: "InstrumentEntry", driver: Callable[..., Any]) -> bool:
    simulation = getattr(driver, "__module__", "").startswith("ophyd.sim")
    return entry.wire is None and entry.twin.device == "mock" and not simulation


def _fake(driver: Any) -> Callable[..., Any]:
    from sdl.instrument.classic import fake  # only labs with classic devices load it

    return fake(driver)


async def wires(lab: "Lab", stack: AsyncExitStack) -> dict[str, Wire]:
    """Describe the wires of the lab, or join a twin's wires to its simulators."""
    if not lab.is_twin:
        return {n: open_wire(e.url, timeout=e.timeout) for n, e in lab.wires.items()}
    simulated = simulators(lab, clock.monotonic)
    joined = {}
    for name, entry in lab.wires.items():
        joining = endpoints.memory_wire(entry.url, simulated[name], timeout=entry.timeout)
        joined[name] = await stack.enter_async_context(joining)
        if lab.disturbance is not None:
            lab.disturbance.join(name, joined[name])
    return joined


def simulators(
    lab: "Lab",
    time: Callable[[], float],
    told: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, list[Any]]:
    """Make the simulators of the lab, wire by wire, on one world, with the lab's faults.

    :param told: hears what physically happens in the world.
    :raises ConfigError: the lab file describes no world, or its faults do not fit it.
    """
    if lab.world is None:
        if not lab.wires:
            return {}
        message = "has no `world:`, so it has no twin; add e.g. `world: {use: snar_flow}`"
        raise ConfigError(lab.document.problem((), message))
    world, disturbance = build_world(lab, time), lab.disturbance
    if told is not None:
        world.tell_actions(told)
    if disturbance is not None:
        disturbance.enter(lab, world)
    found: dict[str, list[Any]] = {name: [] for name in lab.wires}
    for name, entry in lab.instruments.items():
        if entry.wire is not None:
            device = build_simulator(lab, name, entry, world)
            device = device if disturbance is None else disturbance.around(name, device)
            found[entry.wire].append(device)
    return found


def build_world(lab: "Lab", time: Callable[[], float]) -> Any:
    assert lab.world is not None
    use = lab.world.use
    world = use if callable(use) else plugins.load("worlds", use, lab.folder)
    options, wrong = signature.check(world, lab.world.options, given=GIVEN_TO_WORLD)
    _refuse(lab, ("world",), wrong)
    return world(seed=lab.world.seed, clock=time, **options)


def build_simulator(lab: "Lab", name: str, entry: "InstrumentEntry", world: Any) -> Any:
    """Make the simulator of one instrument; None where the instrument has no wire of ours."""
    if entry.wire is None:
        return None
    label = entry.twin.simulator or entry.driver
    if not isinstance(label, str):
        raise PluginError("say which simulator stands in for it: `twin: {simulator: …}`")
    simulator = plugins.load("simulators", label, lab.folder)
    part = entry.twin.part or name
    if part not in world.parts:
        known = ", ".join(world.parts)
        raise ConfigError(f"the world has no part {part!r}; known are: {known}")
    known_options = signature.arguments(simulator) or {}
    shared = {k: v for k, v in entry.options.items() if k in known_options}
    chosen = {**shared, **entry.twin.options}
    options, wrong = signature.check(simulator, chosen, given=GIVEN_TO_SIMULATOR)
    _refuse(lab, ("instruments", name, "twin"), wrong)
    return simulator(world.parts[part], rng=world.rng(name), **options)


def _refuse(lab: "Lab", key: Key, wrong: list[tuple[str, str]]) -> None:
    if wrong:
        raise ConfigError(*(Problem(str(lab.document.path), None, k, m) for k, m in wrong))


def keeps(device: Any, protocol: Any) -> str | None:
    """Why `device` (or the class of a classic one) does not keep `protocol`; None if it does."""
    if not is_protocol(protocol):
        if not isinstance(protocol, type) or protocol is object:
            return None  # nothing to check against
        right = isinstance(device, protocol) or (
            inspect.isclass(device) and issubclass(device, protocol)
        )
        return None if right else f"is not a {protocol.__name__}"
    members = get_protocol_members(protocol)
    missing = sorted(m for m in members if not hasattr(device, m))
    return f"has no {', '.join(missing)}" if missing else None


def protocol_of(annotation: Any) -> Any:
    """`Movable[float]`, also `| None`, → `Movable`; anything that cannot be checked → None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        annotation = kinds[0] if len(kinds) == 1 else None
    origin = typing.get_origin(annotation) or annotation
    return origin if inspect.isclass(origin) else None
