"""Problems that are formulas, by name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdl import plugins
from sdl.errors import ConfigError
from sdl.leaderboard import functions as f
from sdl.leaderboard.baseline import draws
from sdl.leaderboard.problems import Ask, Known, Tried, in_turn
from sdl.mixture import Mixture
from sdl.space import Categorical, Continuous, Integer, Objective, Parameter, Point, Space
from sdl.task import OutcomeConstraint, Task

Formula = Callable[[Mapping[str, Any]], dict[str, float] | None]
"""True outcomes at a point; None: a trial there fails."""


@dataclass(frozen=True)
class Definition:
    """A formula and all that is known of it."""

    known: Known
    formula: Formula
    noise: float = 0.0
    """Standard deviation of what is measured."""


class Analytic:
    """A formula as a problem.

    Noise depends on seed and number of a trial only: strategies meet the same.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    @property
    def known(self) -> Known:
        return self._definition.known

    def starts(self, seed: int) -> list[Point]:
        """Return the first points of a scrambled Sobol sequence; of a mixture, random ones."""
        task, count = self.known.task, self.known.initial
        if task.space.mixtures:
            points = draws(task.space, seed)
            return [next(points) for _ in range(count)]
        return plugins.load("optimizers", "sobol")(task, seed=seed).suggest(count)

    def run(self, ask: Ask, *, seed: int, batch: int, record: Callable[[Tried], None]) -> None:
        def evaluate(point: Point, number: int) -> Tried:
            return self.tried(point, seed, number)

        in_turn(evaluate, ask, budget=self.known.budget, batch=batch, record=record)

    def tried(self, point: Mapping[str, Any], seed: int, number: int) -> Tried:
        truth = self._definition.formula(point)
        if truth is None:
            return Tried(dict(point), None, None, cause="failed")
        if not self._definition.noise:
            return Tried(dict(point), truth, truth)
        import numpy as np

        rng = np.random.default_rng([seed, number])
        noise = {n: self._definition.noise * float(rng.standard_normal()) for n in truth}
        return Tried(dict(point), {n: value + noise[n] for n, value in truth.items()}, truth)


def analytic(
    name: str,
    *,
    dimension: int | None = None,
    noise: float | None = None,
    budget: int | None = None,
    initial: int | None = None,
) -> Analytic:
    """Return a problem by its name.

    :param dimension: of those that have any.
    :param noise: standard deviation of what is measured, in the outcomes' units.
    :raises ConfigError: there is none of that name, or it has not this dimension.
    """
    if name in _ANY_DIMENSION:
        least, make = _ANY_DIMENSION[name]
        if dimension is not None and dimension < least:
            raise ConfigError(f"{name}: dimension must be at least {least}, not {dimension}")
        found = make(dimension or max(least, 6))
    elif name in _FIXED:
        found = _FIXED[name]()
        if dimension not in (None, found.known.task.space.dimension):
            own = found.known.task.space.dimension
            raise ConfigError(f"{name}: has the dimension {own}, not {dimension}")
    else:
        raise ConfigError(f"there is no problem {name!r}; known are: {', '.join(NAMES)}")
    given = {"budget": budget, "initial": initial}
    known = replace(found.known, **{k: v for k, v in given.items() if v is not None})
    known = replace(known, task=known.task.model_copy(update={"trials": known.budget}))
    return Analytic(replace(found, known=known, noise=found.noise if noise is None else noise))


def _cube(d: int, low: float = 0.0, high: float = 1.0) -> dict[str, Parameter]:
    return {f"x{k}": Continuous(low=low, high=high) for k in range(d)}


def _task(parameters: Mapping[str, Parameter], *objectives: str, **more: Any) -> Task:
    wanted = {n: Objective(direction="minimize") for n in objectives or ("y",)}
    return Task(space=Space(parameters=dict(parameters)), objectives=wanted, **more)


def _vector(point: Mapping[str, Any]) -> list[float]:
    return [point[f"x{k}"] for k in range(len(point))]


def _branin() -> Definition:
    axes = {"x0": Continuous(low=-5, high=10), "x1": Continuous(low=0, high=15)}
    known = Known(_task(axes), 25, 5, "Branin", 0.397887)
    return Definition(known, lambda p: {"y": f.branin(p["x0"], p["x1"])})


def _hartmann6() -> Definition:
    known = Known(_task(_cube(6)), 50, 10, "Hartmann 6", -3.32237)
    return Definition(known, lambda p: {"y": f.hartmann6(_vector(p))})


def _hartmann6_noisy() -> Definition:
    found = _hartmann6()
    about = "Hartmann 6, measured with a standard deviation of 0.3"
    return replace(found, known=replace(found.known, about=about), noise=0.3)


def _hartmann6_fail() -> Definition:
    def formula(p: Mapping[str, Any]) -> dict[str, float] | None:
        x = _vector(p)
        return None if f.hartmann6_fails(x) else {"y": f.hartmann6(x)}

    about = "Hartmann 6; 45 % of the cube fails without a measurement"
    return Definition(Known(_task(_cube(6)), 50, 10, about, -3.32237), formula)


def _plain(
    name: str, function: Callable[[list[float]], float], low: float, high: float
) -> Callable[[int], Definition]:
    def make(d: int) -> Definition:
        known = Known(_task(_cube(d, low, high)), 50, min(2 * d, 20), f"{name}, {d} d", 0.0)
        return Definition(known, lambda p: {"y": function(_vector(p))})

    return make


_CHOICES = {"A": 0.0, "B": 1.5, "C": -2.5, "D": 3.0, "E": 0.5}


def _ackley10_mixed() -> Definition:
    axes: dict[str, Parameter] = {f"x{k}": Continuous(low=-3, high=5) for k in range(5)}
    axes |= {f"k{k}": Integer(low=-4, high=6) for k in range(3)}
    axes |= {f"c{k}": Categorical(choices=tuple(_CHOICES)) for k in range(2)}

    def formula(p: Mapping[str, Any]) -> dict[str, float]:
        numbers = [p[f"x{k}"] - 0.7 for k in range(5)] + [p[f"k{k}"] for k in range(3)]
        return {"y": f.ackley([*numbers, _CHOICES[p["c0"]], _CHOICES[p["c1"]]])}

    about = "Ackley of five numbers, three whole numbers and two categories of five"
    return Definition(Known(_task(axes), 50, 12, about, 0.0), formula)


def _pressure_vessel() -> Definition:
    axes: dict[str, Parameter] = {
        "shell": Integer(low=1, high=99),
        "head": Integer(low=1, high=99),
        "radius": Continuous(low=10, high=200),
        "length": Continuous(low=10, high=200),
    }
    limit = OutcomeConstraint(high=0.0)
    constraints = dict.fromkeys(("shell_stress", "head_stress", "lacking_volume"), limit)
    task = _task(axes, "cost", outcome_constraints=constraints)
    about = "cheapest pressure vessel that holds (thicknesses in sixteenths of an inch)"
    return Definition(
        Known(task, 40, 10, about, 6059.714),
        lambda p: f.pressure_vessel(p["shell"] / 16, p["head"] / 16, p["radius"], p["length"]),
    )


def _gramacy() -> Definition:
    limit = OutcomeConstraint(high=0.0)
    task = _task(_cube(2), outcome_constraints={"wave": limit, "disc": limit})
    known = Known(task, 30, 6, "Gramacy's plane within two black-box constraints", 0.599788)
    return Definition(known, lambda p: f.gramacy(p["x0"], p["x1"]))


def _branin_currin() -> Definition:
    def formula(p: Mapping[str, Any]) -> dict[str, float]:
        x, y = p["x0"], p["x1"]
        return {"branin": f.branin(15 * x - 5, 15 * y), "currin": f.currin(x, y)}

    task = _task(_cube(2), "branin", "currin")
    reference = {"branin": 18.0, "currin": 6.0}
    known = Known(task, 40, 8, "Branin and Currin at once", 59.36011, reference)
    return Definition(known, formula)


def _zdt(number: int) -> Callable[[int], Definition]:
    def make(d: int) -> Definition:
        greatest = 121 - (1 / 3 if number == 1 else 2 / 3)
        reference = {"y": 11.0, "z": 11.0}
        known = Known(
            _task(_cube(d), "y", "z"),
            50,
            min(2 * d, 20),
            f"ZDT{number}, {d} d",
            greatest,
            reference,
        )
        names = ("y", "z")
        return Definition(known, lambda p: dict(zip(names, f.zdt(number, _vector(p)), strict=True)))

    return make


def _dtlz2(objectives: int) -> Callable[[int], Definition]:
    def make(d: int) -> Definition:
        names = [f"y{k}" for k in range(objectives)]
        ball = math.pi / 4 if objectives == 2 else math.pi / 6
        greatest = 1.1**objectives - ball
        about = f"DTLZ2, {objectives} objectives, {d} d"
        reference = dict.fromkeys(names, 1.1)
        known = Known(_task(_cube(d), *names), 50, min(2 * d, 20), about, greatest, reference)

        def formula(p: Mapping[str, Any]) -> dict[str, float]:
            return dict(zip(names, f.dtlz2(_vector(p), objectives), strict=True))

        return Definition(known, formula)

    return make


def _yarn() -> Definition:
    names = ("polyethylene", "polystyrene", "polypropylene")
    parts: dict[str, Parameter] = {name: Continuous(low=0, high=1) for name in names}
    task = Task(
        space=Space(parameters=parts, mixtures=(Mixture(of=names),)),
        objectives={"elongation": Objective(direction="maximize")},
    )
    best = f.yarn(6.7 / 22.8, 0.0, 1 - 6.7 / 22.8)  # on the edge without polystyrene
    known = Known(task, 20, 4, "elongation of a yarn of three polymers, a mixture", best)
    return Definition(known, lambda p: {"elongation": f.yarn(*(p[n] for n in names))})


_FIXED: dict[str, Callable[[], Definition]] = {
    "branin": _branin,
    "hartmann6": _hartmann6,
    "hartmann6_noisy": _hartmann6_noisy,
    "hartmann6_fail": _hartmann6_fail,
    "ackley10_mixed": _ackley10_mixed,
    "pressure_vessel": _pressure_vessel,
    "gramacy": _gramacy,
    "branin_currin": _branin_currin,
    "yarn": _yarn,
}
_ANY_DIMENSION: dict[str, tuple[int, Callable[[int], Definition]]] = {
    "ackley": (1, _plain("Ackley", f.ackley, -32.768, 32.768)),
    "rosenbrock": (2, _plain("Rosenbrock", f.rosenbrock, -5.0, 10.0)),
    "levy": (1, _plain("Levy", f.levy, -10.0, 10.0)),
    "zdt1": (2, _zdt(1)),
    "zdt2": (2, _zdt(2)),
    "dtlz2": (3, _dtlz2(3)),
    "dtlz2_2": (2, _dtlz2(2)),
}
NAMES = tuple(sorted([*_FIXED, *_ANY_DIMENSION]))
