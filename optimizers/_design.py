"""Space-filling points that keep the constraints: a scrambled Sobol sequence (Owen 1998).

Where few points of the sequence keep the constraints (an equality, a thin wedge), its numbers fill
the feasible set instead: parameter after parameter is put at that fraction of the interval which
the constraints leave to it, found by linear programming; which parameter comes first rotates.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice, product
from typing import TYPE_CHECKING

from sdl.errors import OptimizerError
from sdl.library import Library
from sdl.mixture import Mixture
from sdl.optimizers._history import same
from sdl.space import Categorical, Continuous, Integer, Ordinal, Parameter, Point, Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE = 1024  # points of the sequence that decide whether rejection is affordable
ENOUGH = 32  # of them
PATIENCE = 4096  # points without a new one after which the sequence counts as exhausted
PATIENCE_FILLING = 128  # the same where each costs some linear programs
FEW = 32  # points that are filled for a search to begin from
COUNTABLE = 10_000  # a discrete space up to this size is enumerated when it matters


class Design:
    """The feasible points of a space in a fixed order that depends on the seed alone."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def points(self, start: int = 0) -> Iterator[Point]:
        """Yield distinct feasible points, ever finer; ends when no new ones turn up.

        :param start: place in the sequence to begin at.
        """
        if self._space.candidates is not None:
            rows = self.everything or []
            yield from (rows[i] for i in self._shuffled(len(rows))[start:])
            return
        seen: set[tuple[object, ...]] = set()
        since_new = 0
        for index, fractions in enumerate(self._sequence(start), start):
            if self.rejects:
                point = self._drawn(fractions, index)
            else:
                point = self._fill(fractions[0].tolist(), index)
            key = self.key(point)
            since_new += 1
            if key not in seen and not self._space.check(point):
                seen.add(key)
                since_new = 0
                yield point
            if since_new > (PATIENCE if self.rejects else PATIENCE_FILLING):
                break
        yield from (point for point in self.everything or () if self.key(point) not in seen)

    def next(self, n: int, start: int, tried: Sequence[Point]) -> tuple[list[Point], bool]:
        """Return `n` points from place `start` on that were not tried, and whether all are new.

        A space without enough new points repeats old ones.

        :raises OptimizerError: not one feasible point was found.
        """
        known = {self.key(point) for point in tried}
        new: list[Point] = []
        before: list[Point] = []  # passed over, kept for the end of a small discrete space
        # filling is slow, so it does not count from 0; what it passes over was tried
        origin = 0 if self.rejects else start
        for index, point in enumerate(self.points(origin), origin):
            if len(new) == n:
                break
            fresh = index >= start and self.key(point) not in known
            (new if fresh else before).append(point)
        left = [point for point in before if self.key(point) not in known]
        chosen = (new + left)[:n]
        fresh = len(chosen) == n
        repeats = before or chosen
        if not repeats and not fresh:
            texts = "; ".join(map(str, (*self._space.constraints, *self._space.mixtures)))
            raise OptimizerError(f"no point was found that keeps the constraints: {texts}")
        while len(chosen) < n:
            chosen.append(repeats[(start + len(chosen)) % len(repeats)])
        return chosen, fresh

    @cached_property
    def everything(self) -> list[Point] | None:
        """All feasible points of a table, or of a discrete space of moderate size, else None."""
        if self._space.candidates is not None:
            rows = self._space.candidates.points(self._space.parameters)
            return [row for row in rows if not self._space.check(row)]
        levels: list[Sequence[float | int | str]] = []
        for parameter in self._space.parameters.values():
            if isinstance(parameter, Continuous):
                return None
            if isinstance(parameter, Library):
                if len(parameter.index) > COUNTABLE:
                    return None
                levels.append([parameter.index[row] for row in range(len(parameter.index))])
                continue
            categorical = isinstance(parameter, Categorical)
            levels.append(parameter.choices if categorical else parameter.levels)
        if math.prod(map(len, levels)) > COUNTABLE:
            return None
        points = [dict(zip(self._space.names, p, strict=True)) for p in product(*levels)]
        return [point for point in points if not self._space.check(point)]

    def _shuffled(self, count: int) -> list[int]:
        import numpy as np

        return np.random.default_rng(self._seed).permutation(count).tolist()

    def key(self, point: Point) -> tuple[object, ...]:
        """What two points that count as the same have in common."""
        return same(self._space, point)

    @cached_property
    def rejects(self) -> bool:
        """Whether points are drawn from the whole cube and the infeasible ones left out."""
        if self._space.boxed:
            return True
        feasible = 0
        for index, fractions in enumerate(self._sequence()):
            if feasible >= ENOUGH or index >= PROBE:
                break
            feasible += not self._space.check(self._drawn(fractions, index))
        return feasible >= ENOUGH

    def _sequence(self, start: int = 0) -> Iterator["NDArray[np.float64]"]:
        """Yield the sequence's points, each of shape (1, dimension)."""
        from scipy.stats import qmc

        engine = qmc.Sobol(self._space.dimension, scramble=True, rng=self._seed)
        if start:
            engine.fast_forward(start)
        size = 64 - start % 64
        while True:
            block, size = engine.random(size), 64  # a power of 2, or scipy warns
            for row in range(len(block)):
                yield block[row : row + 1]

    def _levels(self, fractions: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Turn numbers in [0, 1) into unit coordinates in which every level is as likely."""
        units = fractions.copy()
        for column, parameter in enumerate(self._space.parameters.values()):
            if isinstance(parameter, Continuous):
                continue
            unordered = isinstance(parameter, Categorical | Library)
            count = _choices(parameter) if unordered else len(parameter.levels)
            level = (units[:, column] * count).astype(int).clip(0, count - 1)
            units[:, column] = level if unordered else level / (count - 1)
        return units

    def _drawn(self, fractions: "NDArray[np.float64]", index: int) -> Point:
        point = self._space.from_unit(self._levels(fractions))[0]
        for mixture in self._space.mixtures:
            self._blend(mixture, point, fractions[0], index)
        return point

    def _blend(
        self, mixture: Mixture, point: Point, fractions: "NDArray[np.float64]", index: int
    ) -> None:
        """Replace amounts by ones that add up: evenly spread over who is present, and how much."""
        columns = [self._space.names.index(name) for name in mixture.of]
        ends = [_bounds(self._space.parameters[name]) for name in mixture.of]
        shares = [-math.log(max(float(fractions[c]), 1e-12)) for c in columns]
        count = len(shares)
        if mixture.at_most is not None or mixture.minimum > 0:
            count = 1 + index % mixture.most
        order = sorted(range(len(shares)), key=lambda i: -shares[i])
        present = set(order[:count]) | {i for i, (low, _) in enumerate(ends) if low > 0}
        floors = [
            max(low, mixture.minimum) if i in present else 0.0 for i, (low, _) in enumerate(ends)
        ]
        amounts = list(floors)
        free = set(present)
        for _ in range(len(shares)):  # whoever is full passes on what is left
            left = mixture.total - math.fsum(amounts)
            weight = math.fsum(shares[i] for i in free)
            if left <= 0 or not free or weight <= 0:
                break
            for i in list(free):
                amounts[i] += left * shares[i] / weight
                if amounts[i] >= ends[i][1]:
                    amounts[i] = ends[i][1]
                    free.discard(i)
        for name, amount in zip(mixture.of, amounts, strict=True):
            point[name] = amount

    @cached_property
    def few(self) -> list[Point]:
        """Allowed points where each costs some linear programs; else none."""
        return [] if self.rejects else list(islice(self.points(), FEW))

    def _fill(self, fractions: list[float], index: int) -> Point:
        from scipy.optimize import linprog

        parameters = self._space.parameters
        numeric = [n for n, p in parameters.items() if not isinstance(p, Categorical | Library)]
        bounds = {n: _bounds(parameters[n]) for n in numeric}
        rows, limits, equal_rows, equal_limits = [], [], [], []
        for c in self._space.linear:
            row = [c.terms.get(n, 0.0) for n in numeric]
            if c.equality:
                equal_rows.append(row)
                equal_limits.append(c.upper)
            elif c.upper < float("inf"):
                rows.append(row)
                limits.append(c.upper)
            else:
                rows.append([-value for value in row])
                limits.append(-c.lower)
        first = index % len(numeric) if numeric else 0
        fraction = dict(zip(parameters, fractions, strict=True))
        for name in numeric[first:] + numeric[:first]:
            ends = []
            for sign in (1.0, -1.0):
                found = linprog(
                    [sign * (n == name) for n in numeric],
                    A_ub=rows or None,
                    b_ub=limits or None,
                    A_eq=equal_rows or None,
                    b_eq=equal_limits or None,
                    bounds=[bounds[n] for n in numeric],
                )
                if not found.success:
                    break  # rounding left nothing for the rest; the check rejects the point
                ends.append(sign * found.fun)
            if len(ends) == 2:
                value = _within(parameters[name], ends[0], ends[1], fraction[name])
                bounds[name] = (value, value)
        point: Point = {n: bounds[n][0] for n in numeric}
        for name, parameter in parameters.items():
            if isinstance(parameter, Categorical | Library):
                count = _choices(parameter)
                point[name] = parameter.from_unit(min(int(fraction[name] * count), count - 1))
        return self._space.round({name: point[name] for name in parameters})


def _choices(parameter: Categorical | Library) -> int:
    return len(parameter.choices if isinstance(parameter, Categorical) else parameter.index)


def _bounds(parameter: Parameter) -> tuple[float, float]:
    if isinstance(parameter, Ordinal):
        return parameter.values[0], parameter.values[-1]
    if isinstance(parameter, Categorical | Library):
        raise TypeError("choices have no bounds")
    return parameter.low, parameter.high


def _within(
    parameter: Parameter,
    low: float,
    high: float,
    fraction: float,
) -> float:
    """Return the value at this fraction of the interval, along the parameter's scale or levels."""
    if isinstance(parameter, Integer | Ordinal):
        slack = 1e-7 * (1 + abs(high))
        levels = parameter.levels
        if isinstance(levels, range):  # as many as 10^9: by arithmetic
            first, last = round(low + 0.5 - slack), round(high - 0.5 + slack)
            levels = range(first, last + 1)
        else:
            levels = [v for v in levels if low - slack <= v <= high + slack]
        if levels:
            return float(levels[min(int(fraction * len(levels)), len(levels) - 1)])
        return low
    if isinstance(parameter, Continuous) and parameter.scale == "log":
        bottom = max(low, parameter.low)
        return bottom * (max(high, bottom) / bottom) ** fraction
    return low + fraction * (high - low)
