"""What a model has learned of its outcomes: relevance, slices, grids; and why points were proposed.

It comes from an optimizer's process (`sdl.suggest.Judges`), as JSON:

    best: {trial: 7, parameters: {temperature: 80.5, …}}
    relevance: {yield: {temperature: {lengthscale: 0.3, first: 0.6, first_low: …, total: …}, …}}
    slices: {yield: {temperature: {at: […], mean: […], low: […], high: […]}, …}}
    grids: {yield: {x: temperature, y: catalyst, xs: […], ys: […], mean: [[…], …]}}
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdl import stoprule
from sdl.errors import OptimizerError
from sdl.journal import Trial
from sdl.report.findings import Findings
from sdl.suggest.words import in_words

MOST_REASONS = 12  # points of which it is said why


@dataclass(frozen=True)
class Index:
    """A sensitivity index, 0 to 1, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Relevance:
    """How much an outcome depends on one parameter."""

    parameter: str
    first: Index | None
    """Share of the variance by itself; None: the model's mean is flat."""
    total: Index | None
    """Share with interactions."""
    lengthscale: float | None


@dataclass(frozen=True)
class Slice:
    """What is expected along one parameter, all others as in the best trial; 95 % bands."""

    parameter: str
    at: Sequence[Any]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Grid:
    """What is expected along two parameters: `mean` has a row for each of `ys`."""

    x: str
    y: str
    xs: Sequence[Any]
    ys: Sequence[Any]
    mean: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Learned:
    """By outcome; empty of an optimizer that cannot say it."""

    relevance: Mapping[str, Sequence[Relevance]] = field(default_factory=dict)
    """The most relevant parameter first."""
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    grids: Mapping[str, Grid] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the trial through which slices go."""
    trial: Any = None
    """Its number."""
    notes: Sequence[str] = ()

    @property
    def outcomes(self) -> list[str]:
        return list(dict.fromkeys([*self.relevance, *self.slices]))


def learned(judgement: Mapping[str, Any]) -> Learned:
    """Read what an optimizer answered.

    :raises OptimizerError: it is not what `sdl.suggest.Judges` promises.
    """
    try:
        return _learned(judgement)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OptimizerError(
            f"its judgement of the model is not usable: {type(error).__name__}: {error}"
        ) from error


def _learned(judgement: Mapping[str, Any]) -> Learned:
    best = judgement.get("best") or {}
    relevance = {
        str(outcome): sorted(
            (_relevance(str(n), told) for n, told in by_parameter.items()),
            key=lambda r: -(r.total.value if r.total else 0.0),
        )
        for outcome, by_parameter in (judgement.get("relevance") or {}).items()
    }
    slices = {
        str(outcome): [_slice(str(n), told) for n, told in by_parameter.items()]
        for outcome, by_parameter in (judgement.get("slices") or {}).items()
    }
    grids = {str(n): _grid(told) for n, told in (judgement.get("grids") or {}).items()}
    notes = [str(note) for note in judgement.get("notes") or ()]
    parameters = dict(best.get("parameters") or {})
    return Learned(relevance, slices, grids, parameters, best.get("trial"), notes)


def _relevance(name: str, told: Mapping[str, Any]) -> Relevance:
    length = told.get("lengthscale")
    return Relevance(
        name,
        _index(told, "first"),
        _index(told, "total"),
        None if length is None else _finite(length),
    )


def _index(told: Mapping[str, Any], key: str) -> Index | None:
    if told.get(key) is None:
        return None
    return Index(*(_finite(told[k]) for k in (key, f"{key}_low", f"{key}_high")))


def _slice(name: str, told: Mapping[str, Any]) -> Slice:
    rows = [[_finite(v) for v in told[key]] for key in ("mean", "low", "high")]
    if any(len(row) != len(told["at"]) for row in rows):
        raise ValueError(f"the slice along {name} has {len(told['at'])} places, not {len(rows[0])}")
    return Slice(name, list(told["at"]), *rows)


def _grid(told: Mapping[str, Any]) -> Grid:
    rows = [[_finite(v) for v in row] for row in told["mean"]]
    if len(rows) != len(told["ys"]) or any(len(row) != len(told["xs"]) for row in rows):
        raise ValueError(f"the grid of {told['x']} and {told['y']} has rows of other lengths")
    return Grid(str(told["x"]), str(told["y"]), list(told["xs"]), list(told["ys"]), rows)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


# -- why ------------------------------------------------------------------------------------------


def reasons(findings: Findings) -> list[tuple[Trial, str]]:
    """Return the newest trials of which the optimizer said why, and what it said."""
    found = [(trial, reason(trial, findings)) for trial in reversed(findings.trials)]
    return [(trial, text) for trial, text in found if text][:MOST_REASONS]


def reason(trial: Trial, findings: Findings) -> str:
    """Why a trial was proposed, in words; empty: nobody said."""
    why = trial.suggestion.get("why")
    if isinstance(why, Mapping):
        return in_words(why, findings.task)
    return why if isinstance(why, str) else ""


def outlook(findings: Findings) -> tuple[Trial, str] | None:
    """Return the newest trial with a forecast, and that in words; None where there is none."""
    for trial in reversed(findings.trials):
        forecast = trial.suggestion.get("forecast")
        if isinstance(forecast, Mapping) and (text := stoprule.in_words(forecast)):
            return trial, text
    return None
