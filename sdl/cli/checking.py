"""A campaign file and its lab file, read together: every mistake in both, in one go."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sdl import files
from sdl.campaign import Budget, Campaign, OptimizerEntry
from sdl.errors import ConfigError, Problem
from sdl.files import Document, Strict
from sdl.lab import InstrumentEntry, Lab, WireEntry, WorldEntry
from sdl.space import Constraint, Objective, Parameter

T = TypeVar("T")
E = TypeVar("E", bound=Strict)
Mistake = Problem | str
SOBOL = OptimizerEntry(use="sobol")  # stands for one whose words are wrong


def load(path: Path, lab_path: Path | None = None) -> tuple[Campaign, Lab]:
    """Return a campaign and a lab that fit; touch nothing.

    :param lab_path: default: the lab that the campaign names, from the campaign's folder.
    :raises ConfigError: every mistake in both files and in how they fit.
    """
    found: list[Mistake] = []
    campaign = _try(lambda: Campaign.load(path), found)
    document = campaign.document if campaign is not None else _try(lambda: files.read(path), [])
    place = lab_path or path.parent / _lab_named_in(document)
    lab = None
    if lab_path is not None or place.is_file():
        lab = _try(lambda: Lab.read(place), found)
        found += lab.problems() if lab is not None else ()
    elif document is not None:
        message = f"there is no lab file {place}; name another here, or with --lab"
        found.append(document.problem(("lab",), message))
    if lab is None and place.is_file():
        found += _what_is_readable(place).problems()
    readable = campaign or (document and _readable_campaign(document))
    if readable:
        fit = readable.problems(lab if lab is not None else _for_names(place, readable))
        said = {(m.file, m.key) for m in found if isinstance(m, Problem)}
        found += [problem for problem in fit if (problem.file, problem.key) not in said]
    if found or campaign is None or lab is None:
        raise ConfigError(*_in_order(found))
    return campaign, lab


def _readable_campaign(document: Document) -> Campaign | None:
    """Of a campaign whose words are wrong, what is right: None stands for a wrong parameter."""
    data = document.data
    if not isinstance(data.get("plan"), str):
        return None
    given = {key: data.get(key) or {} for key in ("parameters", "instruments", "fixed")}
    parameters = {
        n: _or(Parameter, given["parameters"][n], None) for n in _names(given["parameters"])
    }
    whole = all(p is not None for p in parameters.values())
    named = {n: given["instruments"][n] for n in _names(given["instruments"])}
    use = data.get("optimizer") or {}
    campaign = Campaign.model_construct(
        campaign="?",
        plan=data["plan"],
        recovery=recovery if isinstance(recovery := data.get("recovery"), str) else None,
        instruments={n: paths for n, given in named.items() if (paths := _paths(given))},
        fixed={n: given["fixed"][n] for n in _names(given["fixed"])},
        parameters=parameters,
        constraints=_or(tuple[Constraint, ...], data.get("constraints"), ()) if whole else (),
        objectives=dict.fromkeys(_names(data.get("objectives")), Objective(direction="maximize")),
        optimizer=_or(OptimizerEntry, {"use": use} if isinstance(use, str) else use, SOBOL),
        budget=_or(Budget, data.get("budget"), Budget(trials=1)),
        seed=0,
    )
    campaign._document = document  # noqa: SLF001 (half a campaign)
    return campaign


def _paths(given: object) -> str | tuple[str, ...] | None:
    """An instrument, or one for each station; None where it is neither."""
    if isinstance(given, list) and all(isinstance(path, str) for path in given):
        return tuple(given) or None
    return given if isinstance(given, str) and given else None


def _or(kind: Any, given: object, otherwise: Any) -> Any:
    """What was given, as `kind`, or something else that is right."""
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError:
        return otherwise


def _lab_named_in(document: Document | None) -> str:
    named = None if document is None else document.data.get("lab")
    return named if isinstance(named, str) and named else "lab.yaml"


def _try(load: Callable[[], T], found: list[Mistake]) -> T | None:
    try:
        return load()
    except ConfigError as error:
        found += error.problems
        return None


def _what_is_readable(place: Path) -> Lab:
    """Of a lab whose words are wrong, the entries that are right."""
    document = _try(lambda: files.read(place), []) or Document(place, {}, {})
    data = document.data
    wires = _entries(data.get("wires"), WireEntry)
    instruments = {
        name: entry
        for name, entry in _entries(data.get("instruments"), InstrumentEntry).items()
        if entry.wire in wires or entry.wire not in _names(data.get("wires"))
    }
    world = _entries({"world": data.get("world")}, WorldEntry).get("world")
    lab = Lab.model_construct(lab="?", wires=wires, instruments=instruments, world=world)
    lab._document, lab._folder = document, place.resolve().parent  # noqa: SLF001 (half a lab)
    return lab


def _for_names(place: Path, campaign: Campaign) -> Lab:
    """What is readable of a lab, with a stand-in for every other instrument that may be there.

    Without them the campaign would be blamed for what is wrong with the lab.
    """
    lab = _what_is_readable(place)
    names = _names(lab.document.data.get("instruments"))
    asked_for = [p.partition(".")[0] for station in campaign.stations for p in station.values()]
    for name in names or asked_for:
        lab.instruments.setdefault(name, InstrumentEntry.model_construct(driver="?"))
    return lab


def _entries(given: object, model: type[E]) -> dict[str, E]:
    found: dict[str, E] = {}
    for name in _names(given):
        assert isinstance(given, Mapping)  # it has names
        value = given[name]
        try:
            found[name] = model.model_validate({"url": value} if isinstance(value, str) else value)
        except ValidationError:
            continue
    return found


def _names(given: object) -> list[str]:
    return [n for n in given if isinstance(n, str)] if isinstance(given, Mapping) else []


def _in_order(found: Sequence[Mistake]) -> list[Mistake]:
    """Without repetition, by file in the order of reading, then by line."""
    kept = list(dict.fromkeys(found))
    order = list(dict.fromkeys(_file(mistake) for mistake in kept))
    return sorted(kept, key=lambda m: (order.index(_file(m)), _line(m)))


def _file(mistake: Mistake) -> str:
    return mistake.file if isinstance(mistake, Problem) else ""


def _line(mistake: Mistake) -> int:
    return (mistake.line or 0) if isinstance(mistake, Problem) else 0
