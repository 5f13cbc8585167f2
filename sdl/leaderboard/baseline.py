"""Random search: what acceleration and enhancement are measured against."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError, OptimizerError
from sdl.library import Library
from sdl.mixture import Mixture
from sdl.space import Categorical, Continuous, Parameter, Point, Space, Value
from sdl.task import Task

if TYPE_CHECKING:
    import numpy as np

NAME = "random"
PATIENCE = 100_000  # draws in a row that break a constraint


class Random:
    """Independent points, uniform in the space; rows of a table without replacement.

    A point is drawn uniformly along each parameter's scale or levels (the parts of a mixture from a
    flat Dirichlet distribution over as many components as may be present) and kept where the
    constraints hold. Which points come depends on space and seed alone.
    """

    incremental = True

    def __init__(self, task: Task, *, seed: int, **options: Any) -> None:
        if options:
            raise ConfigError(f"{NAME}: unknown option {', '.join(options)}; it has none")
        self._space, self._seed = task.space, seed
        self._tried: set[tuple[Value, ...]] = set()
        self._points: Iterator[Point] | None = None

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in points; outcomes change nothing."""
        names = self._space.names
        self._tried |= {tuple(point[name] for name in names) for point in points}

    def suggest(
        self, n: int, pending: Sequence[Mapping[str, Any]] = (), **context: Any
    ) -> list[Point]:
        """Return the next `n` points.

        :raises OptimizerError: the table is exhausted, or no point keeps the constraints.
        """
        if self._points is None:
            self._points = draws(self._space, self._seed)
        self.ingest(pending)
        found: list[Point] = []
        for point in self._points:
            key = tuple(point.values())
            if self._space.candidates is None or key not in self._tried:
                self._tried.add(key)
                found.append(point)
            if len(found) == n:
                return found
        raise OptimizerError(f"{NAME}: all rows of the table were tried")

    @property
    def provenance(self) -> dict[str, Any]:
        return {"generator": NAME, "seed": self._seed}


def draws(space: Space, seed: int) -> Iterator[Point]:
    """Yield random points; of a table its rows in a random order, each once.

    :raises OptimizerError: none of very many draws keeps the constraints.
    """
    import numpy as np

    rng = np.random.default_rng([seed, 0x5D1])  # not the stream that a strategy makes of its seed
    if space.candidates is not None:
        rows = space.candidates.points(space.parameters)
        yield from (rows[k] for k in rng.permutation(len(rows)))
        return
    failures = 0
    while failures < PATIENCE:
        point = _drawn(space, rng)
        failures += 1
        if not space.check(point):
            failures = 0
            yield point
    raise OptimizerError(f"{NAME}: no point was found that keeps the constraints")


def _drawn(space: Space, rng: "np.random.Generator") -> Point:
    point = {name: _value(p, float(rng.random())) for name, p in space.parameters.items()}
    for mixture in space.mixtures:
        point |= _blend(mixture, space.parameters, rng)
    return point


def _value(parameter: Parameter, fraction: float) -> Value:
    if isinstance(parameter, Continuous):
        return parameter.from_unit(fraction)
    if isinstance(parameter, Library):
        return parameter.from_unit(int(fraction * len(parameter.index)))
    levels = parameter.choices if isinstance(parameter, Categorical) else parameter.levels
    return levels[int(fraction * len(levels))]


def _blend(
    mixture: Mixture, parameters: Mapping[str, Parameter], rng: "np.random.Generator"
) -> dict[str, Value]:
    """Draw which components are present and how the total is shared beyond their least amounts."""
    lows = {n: p.low for n in mixture.of if isinstance(p := parameters[n], Continuous)}
    count = len(lows) if mixture.at_most is None else int(rng.integers(1, mixture.most + 1))
    present = [mixture.of[k] for k in rng.permutation(len(lows))[:count]]
    least = {n: max(lows[n], mixture.minimum) if n in present else lows[n] for n in mixture.of}
    free = mixture.total - sum(least.values())
    shares = dict(zip(present, rng.dirichlet([1.0] * count), strict=True))
    amounts = {n: least[n] + free * float(shares.get(n, 0.0)) for n in mixture.of}
    return dict(amounts)
