"""Tables of the reference that are made from the code: `python -m tests.docs.tables` writes them.

A page holds each between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import argparse
import ast
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from ophyd_async.core import SignalR, SignalRW
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from sdl import assembly, errors
from sdl.campaign import Budget, Campaign, ContextEntry, OptimizerEntry
from sdl.candidates import Candidates
from sdl.cli import parser as command_line
from sdl.journal.schema import metadata
from sdl.lab import InstrumentEntry, Lab, TwinEntry, WireEntry, WorldEntry
from sdl.mixture import Mixture
from sdl.optimizers.adaptive import Adaptive
from sdl.optimizers.botorch import BoTorch
from sdl.plugins import PluginError, load, names
from sdl.safety.rules import Interlock, Item, Limit, SafetyRules, Watchdog
from sdl.space import Categorical, Continuous, Desirability, Integer, Objective, Ordinal
from sdl.task import Costs, Fidelity, OutcomeConstraint

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SHELF = ROOT / "examples" / "shelf" / "lab.yaml"
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

WORDS = {  # of keys whose code needs no docstring
    "Campaign.campaign": "Its name in the journal: the same name goes on with the same campaign.",
    "Campaign.parameters": "What is varied, by name; see below.",
    "Campaign.constraints": "Known ones, as text: `temperature + 2*residence_time <= 130`.",
    "Campaign.mixtures": "Parameters that are the parts of a whole; see below.",
    "Campaign.costs": "What trials and changes cost; see below.",
    "Candidates.sha256": "Filled in by the runtime.",
    "ContextEntry.parameter": "Its `low` and `high`, `values` or `choices`, beside `signal`.",
    "Desirability.worst": "The outcome that is worth nothing.",
    "Desirability.best": "The outcome that cannot be bettered.",
    "OutcomeConstraint.low": "Lowest allowed value.",
    "OutcomeConstraint.high": "Highest allowed value.",
    "Fidelity.parameter": "Its name.",
    "Costs.trial": "What one costs by itself.",
    "Mixture.total": "What the amounts add up to.",
    "Objective.weight": "What its whole range is worth beside the others'.",
    "Objective.desirability": "How good each value is, from 0 to 1; see below.",
    "Campaign.objectives": "What is wanted, by the name of the plan's outcome; see below.",
    "Campaign.optimizer": "A name, or a mapping; see below.",
    "Campaign.budget": "When it is over; see below.",
    "Campaign.seed": "Of the optimizer.",
    "OptimizerEntry.use": "An optimizer by name; all other keys are its options.",
    "Continuous.low": "Lowest value.",
    "Continuous.high": "Highest value.",
    "Continuous.scale": "On `log`, equal ratios count as equal steps.",
    "Integer.low": "Lowest value.",
    "Integer.high": "Highest value.",
    "Ordinal.values": "At least two, increasing.",
    "Categorical.choices": "At least two.",
    "units": "For people and descriptors; nothing is converted.",
    "type": "Inferred where it is left out; `integer` has to be said.",
    "Objective.direction": "What is better.",
    "Objective.threshold": "The worst value still of interest; with several objectives the "
    "reference point of the hypervolume.",
    "Lab.lab": "Its name: a lab has one runtime at a time.",
    "Lab.wires": "By name: a URL, or a mapping; see below.",
    "Lab.instruments": "By name; see below.",
    "Lab.world": "What the twin's simulators share; without it the lab has no twin.",
    "WireEntry.url": "See [wire URLs](wire-urls.md).",
    "InstrumentEntry.driver": "An entry point, a file of the lab's `drivers/`, `file:Name`, or "
    "`module:Class` of an allowed package.",
    "InstrumentEntry.wire": "The name of its wire, for a driver that needs one.",
    "InstrumentEntry.twin": "See below.",
    "WorldEntry.use": "A world by name: an entry point, or a file of the lab's `worlds/`.",
    "WorldEntry.seed": "Of everything that is random in it.",
}


class _Schema(GenerateJsonSchema):
    """Takes what JSON cannot say: functions in Python."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> dict[str, Any]:
        return {"type": "callable"}


def keys(model: type[BaseModel]) -> str:
    """Every key of a model: type and what is allowed, default, meaning."""
    properties = model.model_json_schema(schema_generator=_Schema)["properties"]
    said = _docstrings(model)
    rows = []
    for name, field in model.model_fields.items():
        meaning = said.get(name) or WORDS.get(f"{model.__name__}.{name}") or WORDS.get(name)
        assert meaning, f"say in WORDS what {model.__name__}.{name} is"
        default = "**required**" if field.is_required() else _default(field)
        rows.append((f"`{name}`", _type(properties[name]), default, " ".join(meaning.split())))
    return _table(("key", "type", "default", ""), rows)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings under the fields."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = ast.literal_eval(below.value)
    return found


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        left = {k: v for k, v in value.model_dump().items() if v not in (None, {}, ())}
        return f"`{_plain(left)}`"
    return "none" if value in (None, ()) else f"`{_plain(value)}`"


def _given(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "**required**"
    return "none" if default in (None, ()) else f"`{_plain(default)}`"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    return '""' if value == "" else str(value.value if isinstance(value, Enum) else value)


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = [_type(s) for s in schema["anyOf"] if s.get("type") not in ("null", "callable")]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "`absolute`, `relative`, `measure`" if name == "Effect" else "mapping"
    names = {"integer": "whole number", "string": "text", "object": "mapping", "array": "list"}
    kind = str(schema.get("type", "any value"))
    return names.get(kind, kind) + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    limits = {
        "exclusiveMinimum": "above",
        "minimum": "from",
        "maximum": "to",
        "exclusiveMaximum": "below",
        "maxLength": "at most",
        "minProperties": "at least",
    }
    said = [
        f"{word} {_power(schema[key])}"
        + {"maxLength": " characters", "minProperties": " entry"}.get(key, "")
        for key, word in limits.items()
        if key in schema
    ]
    return f", {' '.join(said)}" if said else ""


def _power(number: float) -> str:
    return "2^63" if number == 2**63 else f"{number:g}"


def options(target: type) -> str:
    """The options of a driver's constructor, as a lab file gives them."""
    doc = inspect.getdoc(target.__init__) or ""
    if ":param" not in doc:
        doc = inspect.getdoc(target) or ""
    found = re.findall(r":param (\w+): (.*?)(?=\n:|\Z)", doc, re.DOTALL)
    said = {name: " ".join(text.split()) for name, text in found}
    given = ("self", "wire", "name", "space", "objectives", "seed", "unknown")
    rows = [
        (
            f"`{name}`",
            _given(p.default),
            said.get(name, ""),
        )
        for name, p in inspect.signature(target.__init__).parameters.items()
        if name not in given
    ]
    return _table(("option", "default", ""), rows)


def instrument(name: str) -> str:
    """All that a driver's class says of itself, and its signals where the shelf's lab has it."""
    driver = load("drivers", name)
    module = inspect.getdoc(sys.modules[driver.__module__]) or ""
    wire = getattr(driver, "delivered", "")
    does = [f"`set` is {driver.effect}"] if getattr(driver, "effect", None) else []
    does.append(f"stop policy: {getattr(driver, 'stop_policy', 'stop')}")
    for method, said in ASKED.items():
        if hasattr(driver, method):
            does.append(said)
    parts = [
        "\n\n".join(" ".join(part.split()) for part in module.split("\n\n")),
        _list("Wire as delivered", [f"`{wire}`"] if wire else []),
        f"{'; '.join(does)}.".capitalize(),
        " ".join((inspect.getdoc(driver) or "").split("\n\n")[0].split()),
        _signals(name),
        options(driver).rstrip(),
        _faults_of(name),
        _list("Unverified", getattr(driver, "unverified", ())),
    ]
    return "\n" + "\n\n".join(part for part in parts if part) + "\n\n"


ASKED = {
    "trigger": "`trigger` measures or runs",
    "reconcile": "it can be asked what became of an action (`reconcile`)",
    "arm_watchdog": "it has a watchdog of its own (`arm_watchdog`)",
}


def _list(head: str, said: Sequence[str]) -> str:
    return f"{head}: {'; '.join(said)}." if said else ""


def _faults_of(name: str) -> str:
    try:
        simulator = load("simulators", name)
    except PluginError:
        return ""
    return _list("Faults inside its simulator", sorted(getattr(simulator, "faults", ())))


@cache
def _shelf() -> dict[str, Any]:
    """One instance of each driver that the shelf's lab has, by the driver's name."""
    lab = Lab.load(SHELF)
    made = assembly.devices(lab)
    return {str(lab.instruments[name].driver): device for name, device in made.items()}


def _signals(name: str) -> str:
    device = _shelf().get(name)
    if device is None:
        return ""
    rows = []
    for child, signal in device.children():
        backend = getattr(getattr(signal, "_connector", None), "backend", None)
        if not isinstance(signal, SignalR) or backend is None:
            continue
        kind = getattr(backend.datatype, "__name__", str(backend.datatype)).replace("|", "or")
        units = backend.metadata.get("units", "")
        settable = "yes" if isinstance(signal, SignalRW) else ""
        rows.append((f"`{child}`", kind, units, settable))
    return _table(("signal", "type", "units", "can be set"), rows).rstrip() if rows else ""


def commands() -> str:
    """Every command with its arguments, from argparse."""
    parts = []
    for name, command in sorted(_parsers().items()):
        text = " ".join((command.description or "").split())
        rows = [
            (_called(action), (action.help or "").replace("|", "\\|"))
            for action in command._actions
            if action.dest != "help"
        ]
        parts.append(f"## sdl {name}\n\n{text[:1].upper()}{text[1:]}\n")
        parts.append(_table(("argument", ""), rows))
    return "\n".join(parts)


def _parsers() -> dict[str, argparse.ArgumentParser]:
    kept: list[argparse.ArgumentParser] = []

    class Kept(argparse.ArgumentParser):
        def parse_args(self, *args: Any, **more: Any) -> Any:
            kept.append(self)

    original = command_line.Parser
    command_line.Parser = Kept  # type: ignore[misc]
    try:
        command_line.parse([])
    finally:
        command_line.Parser = original  # type: ignore[misc]
    for action in kept[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("sdl has no commands")


def _called(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return f"`{metavar if action.metavar else action.dest}`".replace("|", "\\|")
    value = "" if action.nargs == 0 else f" {metavar}"
    return f"`{', '.join(action.option_strings)}{value}`".replace("|", "\\|")


def tree() -> str:
    """The error tree, as its module draws it."""
    lines = (errors.__doc__ or "").strip().splitlines()[2:]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def schema() -> str:
    """Every table of the journal."""
    parts = []
    for table in metadata.sorted_tables:
        rows = [
            (
                f"`{column.name}`" + (" (key)" if column.primary_key else ""),
                type(column.type).__name__.lower(),
                "yes" if column.nullable else "",
            )
            for column in table.columns
        ]
        parts.append(f"### {table.name}\n\n" + _table(("column", "type", "may be null"), rows))
    return "\n".join(parts)


def plugins() -> str:
    """The entry-point groups and what this package registers in each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rows = [
        (f"`{group}`", ", ".join(f"`{name}`" for name in points))
        for group, points in project["entry-points"].items()
    ]
    return _table(("group", "registered by sdl itself"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells).replace("|  |", "| |") + " |\n" for cells in lines)


MODELS = (
    *(Campaign, Budget, OptimizerEntry, Continuous, Integer, Ordinal, Categorical, Mixture),
    *(Candidates, Objective, Desirability, OutcomeConstraint, ContextEntry, Fidelity, Costs),
)
LAB_MODELS = (Lab, WireEntry, InstrumentEntry, TwinEntry, WorldEntry)
SAFETY_MODELS = (SafetyRules, Limit, Interlock, Item, Watchdog)
OPTIONS = (Adaptive, BoTorch)
DRIVERS = sorted(names("drivers"))

TABLES: dict[str, Callable[[], str]] = {
    **{m.__name__: (lambda m=m: keys(m)) for m in (*MODELS, *LAB_MODELS, *SAFETY_MODELS)},
    **{c.__name__: (lambda c=c: options(c)) for c in OPTIONS},
    **{name: (lambda name=name: instrument(name)) for name in DRIVERS},
    "commands": commands,
    "errors": tree,
    "schema": schema,
    "plugins": plugins,
}


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page with generated tables, its text, and what it should be."""
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text("utf-8")
        if "<!-- generated:" in text:
            yield page, text, MARKED.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)


def main() -> None:
    for page, text, wanted in pages():
        if text != wanted:
            page.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
