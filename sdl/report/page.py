"""The page: findings and fits in, HTML out. Everything that was read is escaped by the template."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sdl.journal import Trial
from sdl.library import Library
from sdl.report import figures, model, model_figures, words
from sdl.report.findings import MOST_NOTES, MOST_OBJECTIVES, Findings
from sdl.report.fit import Judged
from sdl.space import Categorical, Continuous, Integer, Parameter

MOST_BEST = 20  # rows of the best trials; the table of all trials marks the others


@dataclass(frozen=True)
class Heading:
    """A column of numbers, and how it writes them."""

    key: str
    label: str
    units: str
    write: words.Column
    objective: bool = False


@dataclass(frozen=True)
class Method:
    """A way in which trials were proposed."""

    generator: str
    model: str
    acquisition: str


def render(findings: Findings, judged: Judged) -> str:
    """Return the whole page.

    :param judged: what the optimizer says of its model.
    """
    environment = Environment(
        loader=PackageLoader("sdl.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = _part("sort.js"), _part("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(
        "page.html"
    ).render(
        findings=findings,
        record=findings.record,
        spec=findings.record.spec,
        words=words,
        script=Markup(script),  # ours, not read from anywhere
        style=Markup(style),
        script_digest=digest,
        tiles=_tiles(findings),
        headings=headings(findings),
        best=findings.best[:MOST_BEST],
        best_numbers={t.number for t in findings.best},
        within=within_thresholds(findings),
        convergence=figures.convergence(findings) if findings.measured else [],
        dependence=figures.dependence(findings) if findings.measured else {},
        fronts=figures.fronts(findings),
        fits=[
            (fit, figures.prediction(findings, fit), model_figures.histogram(fit))
            for fit in judged.fits
        ],
        fit_remark=judged.remark,
        learned=judged.learned,
        learned_charts=model_figures.charts(findings, judged.learned),
        units_of=figures.units_of,
        reasons=model.reasons(findings),
        outlook=model.outlook(findings),
        without_model=any(not figures.from_model(t) for t in findings.trials),
        with_model=any(figures.from_model(t) for t in findings.trials),
        shaded=any(t.suggestion.get("generator") == "sobol" for t in findings.trials),
        thresholds=any(o.threshold is not None for o in findings.objectives.values()),
        causes=any(t.cause for t in findings.trials),
        parameters=[(n, p, described(p)) for n, p in findings.space.parameters.items()],
        budget=budget(findings.record.spec.get("budget") or {}),
        methods=methods(findings.trials),
        choices=choices(findings.trials),
        method=method,
        remarks=remarks,
        computed_versions=computed_versions(findings.trials),
        most_notes=MOST_NOTES,
        most_objectives=MOST_OBJECTIVES,
        specification=json.dumps(findings.record.spec, indent=2, ensure_ascii=False),
    )


def _part(name: str) -> str:
    return files("sdl.report").joinpath(name).read_text(encoding="utf-8")


def _tiles(findings: Findings) -> list[tuple[str, str, str]]:
    """What a person wants to know first: (what, value, more)."""
    states = [f"{n} {str(s).replace('_', ' ')}" for s, n in findings.counts.items()]
    tiles = [("trials", str(len(findings.trials)), ", ".join(states))]
    if findings.several:
        tiles.append(("on the Pareto front", str(len(findings.best)), ""))
        if findings.hypervolumes:
            origin = " and ".join(
                words.quantity(v, findings.objectives[n].units)
                for n, v in findings.reference.items()
            )
            value = words.number(findings.hypervolumes[-1])
            tiles.append(("hypervolume", value, f"from {origin}"))
    elif findings.best:
        ((name, objective),) = findings.objectives.items()
        trial = findings.best[0]
        value = words.quantity(findings.outcome(trial, name), objective.units)
        tiles.append((f"best {words.name(name)}", value, f"trial {trial.number}"))
    begun, ended = findings.record.created_at, findings.newest
    clock = "on a simulated clock" if words.simulated(begun) else "from first to last entry"
    return [*tiles, ("time", words.duration(ended - begun), clock)]


def headings(findings: Findings) -> list[Heading]:
    """The numbers of a trial: parameters, objectives, then what else its plan returned."""
    trials, found = findings.trials, list[Heading]()
    for name, parameter in findings.space.parameters.items():
        ratios = getattr(parameter, "scale", "") == "log"
        column = words.Column([t.parameters.get(name) for t in trials], ratios=ratios)
        units = words.units(getattr(parameter, "units", ""))
        found.append(Heading(name, words.name(name), units, column))
    more = dict.fromkeys(key for t in trials for key in t.outcomes or {})
    for name in dict.fromkeys([*findings.objectives, *more]):
        column = words.Column([(t.outcomes or {}).get(name) for t in trials])
        objective = findings.objectives.get(name)
        units = words.units(objective.units) if objective else ""
        found.append(Heading(name, words.name(name), units, column, objective is not None))
    return found


def within_thresholds(findings: Findings) -> str:
    """Say how many trials meet every threshold; empty if there is none."""
    limits = {n: o for n, o in findings.objectives.items() if o.threshold is not None}
    if not limits or not findings.measured:
        return ""
    meet = sum(
        all(
            o.sign * (findings.outcome(t, n) - (o.threshold or 0.0)) >= 0 for n, o in limits.items()
        )
        for t in findings.measured
    )
    which = "the threshold" if len(limits) == 1 else "every threshold"
    return f"{meet} of {words.count(len(findings.measured), 'completed trial')} reached {which}."


def described(parameter: Parameter) -> str:
    """What a parameter may be, without its units."""
    if isinstance(parameter, Categorical):
        return ", ".join(parameter.choices)
    if isinstance(parameter, Library):
        return f"{parameter.rows or 'the'} rows of {Path(parameter.library).name}"
    if isinstance(parameter, Continuous | Integer):
        kind = "whole numbers " if isinstance(parameter, Integer) else ""
        scale = ", log scale" if getattr(parameter, "scale", "") == "log" else ""
        return f"{kind}{words.number(parameter.low)} to {words.number(parameter.high)}{scale}"
    return ", ".join(words.number(v) for v in parameter.values)


def budget(spent: dict[str, Any]) -> str:
    """The budget in words."""
    said = []
    if spent.get("trials") is not None:
        said.append(words.count(int(spent["trials"]), "trial"))
    if spent.get("hours") is not None:
        said.append(f"{words.number(float(spent['hours']))} h")
    if spent.get("until"):
        wanted = (f"{words.name(n)} reaches {words.number(v)}" for n, v in spent["until"].items())
        said.append("until " + " and ".join(wanted))
    return ", ".join(said) or "none given"


def method(trial: Trial) -> Method:
    """How a trial was proposed, from what its optimizer said; each optimizer says it its way."""
    said = trial.suggestion
    acquisition = said.get("acquisition")
    if isinstance(acquisition, dict):
        acquisition = acquisition.get("name")
    return Method(str(said.get("generator") or "not said"), _model(said), str(acquisition or ""))


def _model(said: dict[str, Any]) -> str:
    model = said.get("model")
    if not isinstance(model, dict):
        return str(model or "")
    kinds: dict[str, list[str]] = {}
    for part, description in model.items():
        kind = description.get("class") if isinstance(description, dict) else description
        kinds.setdefault(str(kind), []).append(words.name(part))
    return "; ".join(f"{kind} ({', '.join(parts)})" for kind, parts in kinds.items())


def methods(trials: Iterable[Trial]) -> list[tuple[Method, str]]:
    """Every way in which trials were proposed, and which trials."""
    found: dict[Method, list[int]] = {}
    for trial in trials:
        found.setdefault(method(trial), []).append(trial.number)
    return [(how, ranges(numbers)) for how, numbers in found.items()]


def choices(trials: Sequence[Trial]) -> tuple[int, list[str]] | None:
    """What the optimizer chose for this task and why, as it said last; and of which trial."""
    for trial in reversed(trials):
        said = trial.suggestion.get("choice")
        if isinstance(said, list) and said:
            return trial.number, [str(reason) for reason in said]
    return None


def ranges(numbers: Sequence[int]) -> str:
    """`1-10, 14` of increasing numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}\N{EN DASH}{b}" for a, b in runs)


def remarks(trial: Trial) -> list[str]:
    """What the optimizer noted beside its suggestion."""
    notes = trial.suggestion.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def computed_versions(trials: Iterable[Trial]) -> list[tuple[str, str]]:
    """The versions that optimizers say they computed with, and for which trials."""
    found: dict[str, list[int]] = {}
    for trial in trials:
        versions = trial.suggestion.get("versions")
        if isinstance(versions, dict):
            text = ", ".join(f"{package} {version}" for package, version in versions.items())
            found.setdefault(text, []).append(trial.number)
    return [(text, ranges(numbers)) for text, numbers in found.items()]
