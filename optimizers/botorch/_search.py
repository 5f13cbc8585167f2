"""Where an acquisition function is largest, among the points that a space allows.

Search coordinates are unit coordinates, but for logarithmic and ordinal parameters that a linear
constraint names: these are searched along their value, so that the constraint stays linear, and
turned into unit coordinates before the model sees them.
"""

import math
from collections.abc import Callable, Sequence

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions.errors import BotorchError
from botorch.optim import optimize_acqf, optimize_acqf_mixed_alternating
from botorch.optim.initializers import initialize_q_batch
from torch import Tensor

from sdl.optimizers._design import Design
from sdl.optimizers.botorch._gp import NUMERICAL
from sdl.optimizers.botorch._success import Success
from sdl.space import Categorical, Continuous, Integer, Ordinal, Point, Space

MARGIN = 1e-8  # of the unit range: what the solver may step over a constraint
LISTED = 1000  # an integer with more levels is searched as if it were continuous, then rounded
Row = tuple[Tensor, Tensor, float]


class Searched(AcquisitionFunction):
    """An acquisition function in log units, over search coordinates, times P(success)."""

    def __init__(
        self, inner: AcquisitionFunction, to_unit: Callable[[Tensor], Tensor], success: Success
    ) -> None:
        super().__init__(model=inner.model)
        self._inner, self._to_unit, self._success = inner, to_unit, success

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803 (the library's name)
        """Evaluate `b x q x d` points; returns `b`."""
        units = self._to_unit(X)
        return self._inner(units) + self._success.log_probability(units).sum(-1)


class Search:
    """Search coordinates, bounds, levels and constraints of a space as tensors.

    :param like: a tensor whose type and device all of it gets.
    """

    def __init__(self, space: Space, design: Design, like: Tensor) -> None:
        self._space, self._design, self._like = space, design, like
        named = {name for c in space.constraints for name in c.terms}
        self._warped: dict[int, Continuous | Ordinal] = {}
        self._discrete: dict[int, list[float]] = {}
        self._categories: dict[int, list[float]] = {}
        high = [1.0] * space.dimension
        for column, (name, p) in enumerate(space.parameters.items()):
            if name in named and (
                isinstance(p, Ordinal) or (isinstance(p, Continuous) and p.scale == "log")
            ):
                self._warped[column] = p
            if isinstance(p, Categorical):
                self._categories[column] = [float(i) for i in range(len(p.choices))]
                high[column] = len(p.choices) - 1.0
            elif isinstance(p, Integer) and len(p.levels) > LISTED:
                continue
            elif isinstance(p, Integer | Ordinal):
                self._discrete[column] = [self._coordinate(column, p, v) for v in p.levels]
        self._bounds = torch.stack([self._tensor([0.0] * space.dimension), self._tensor(high)])
        self._upper, self._equal = self._rows()

    def best(
        self,
        acquisition: AcquisitionFunction,
        success: Success,
        *,
        starts: Sequence[Point],
        excluded: set[tuple[object, ...]],
        restarts: int,
        raw_samples: int,
        notes: list[str],
    ) -> Point | None:
        """Return the best point found that is allowed and not excluded; None if there is none.

        :param acquisition: over unit coordinates, in log units.
        :param starts: allowed points to begin from.
        :param excluded: keys (`Design.key`) of points that were tried.
        """
        target = Searched(acquisition, self.to_unit, success)
        allowed = [p for p in starts if self._design.key(p) not in excluded]
        scored = self._score(target, allowed)
        top = max(range(len(allowed)), key=scored.__getitem__, default=None)
        if self._design.everything is None:
            try:
                found = self._climb(target, starts, restarts, raw_samples)
            except (BotorchError, ValueError, *NUMERICAL) as error:
                notes.append(f"acquisition not optimized, best of {len(allowed)} samples: {error}")
                found = []
            for point in found:
                usable = not self._space.check(point) and self._design.key(point) not in excluded
                if usable and (top is None or self._score(target, [point])[0] >= scored[top]):
                    return point
        return None if top is None else allowed[top]

    def to_unit(self, searched: Tensor) -> Tensor:
        """Turn search coordinates `... x d` into unit coordinates."""
        if not self._warped:
            return searched
        columns = list(searched.unbind(-1))
        for column, p in self._warped.items():
            z = columns[column]
            if isinstance(p, Continuous):
                ratio = p.high / p.low
                columns[column] = torch.log1p(z.clamp(0, 1) * (ratio - 1)) / math.log(ratio)
            else:
                columns[column] = _interpolate(z, self._tensor(self._discrete[column]))
        return torch.stack(columns, -1)

    def _score(self, target: AcquisitionFunction, points: Sequence[Point]) -> list[float]:
        if not points:
            return []
        with torch.no_grad():
            batches = self._coordinates(points).unsqueeze(-2).split(256)
            values = torch.cat([target(batch) for batch in batches])
        return values.nan_to_num(nan=-math.inf, neginf=-math.inf).tolist()

    def _climb(
        self, target: AcquisitionFunction, starts: Sequence[Point], restarts: int, raw: int
    ) -> list[Point]:
        """Follow the gradient from the best of the starts; return what was found, best first."""
        fixed = self._discrete.keys() | self._categories.keys()
        held_equal = any(fixed & set(row[0].tolist()) for row in self._equal)
        if fixed and not held_equal:
            found, _ = optimize_acqf_mixed_alternating(
                target,
                self._bounds,
                discrete_dims=self._discrete or None,
                cat_dims=self._categories or None,
                q=1,
                raw_samples=raw,
                num_restarts=max(restarts // 2, 1),
                options={"maxiter_alternating": 8, "initialization_strategy": "random"},
                inequality_constraints=self._upper or None,
                equality_constraints=self._equal or None,
            )
            return [self._point(found[0])]
        begin = self._coordinates(starts).unsqueeze(-2)
        with torch.no_grad():
            values = torch.cat([target(batch) for batch in begin.split(256)])
        if fixed:  # an equality ties discrete parameters: move the continuous ones alone
            best = begin[values.argmax()]
            return [self._ascend(target, best[None], {c: float(best[0, c]) for c in fixed})]
        begin, _ = initialize_q_batch(begin, values, n=min(restarts, len(begin)))
        return [self._ascend(target, begin, None)]

    def _ascend(
        self, target: AcquisitionFunction, begin: Tensor, fixed: dict[int, float] | None
    ) -> Point:
        found, _ = optimize_acqf(
            target,
            self._bounds,
            q=1,
            num_restarts=len(begin),
            batch_initial_conditions=begin,
            inequality_constraints=self._upper or None,
            equality_constraints=self._equal or None,
            fixed_features=fixed,
            options={"maxiter": 100},
            retry_on_optimization_warning=False,
        )
        return self._point(self._onto_equalities(found[0], set(fixed or ())))

    def _onto_equalities(self, searched: Tensor, fixed: set[int]) -> Tensor:
        """Remove the solver's tolerance: the nearest point that keeps the equalities exactly."""
        if not self._equal:
            return searched
        free = [
            column
            for column in range(len(searched))
            if column not in fixed and MARGIN < searched[column] < self._bounds[1, column] - MARGIN
        ]
        matrix = torch.zeros(len(self._equal), len(searched)).to(searched)
        for i, (columns, coefficients, _) in enumerate(self._equal):
            matrix[i, columns] = coefficients
        missing = self._tensor([row[2] for row in self._equal]) - matrix @ searched
        moved = searched.clone()
        if free:
            moved[free] += torch.linalg.pinv(matrix[:, free]) @ missing
        return moved

    def _point(self, searched: Tensor) -> Point:
        units = self.to_unit(searched).detach().cpu().numpy()
        return self._space.from_unit(units[None])[0]

    def _coordinates(self, points: Sequence[Point]) -> Tensor:
        """Return search coordinates of points: n x d."""
        coordinates = self._tensor(self._space.to_unit(points).tolist())
        for column, p in self._warped.items():
            name = self._space.names[column]
            values = [self._coordinate(column, p, float(point[name])) for point in points]
            coordinates[:, column] = self._tensor(values)
        return coordinates

    def _coordinate(self, column: int, p: Continuous | Integer | Ordinal, value: float) -> float:
        if column not in self._warped:
            return p.to_unit(value)
        low, high = _range(p)
        return (value - low) / (high - low)

    def _rows(self) -> tuple[list[Row], list[Row]]:
        """Return the constraints as `sum >= bound` and as `sum == bound`, the library's form."""
        upper: list[Row] = []
        equal: list[Row] = []
        for c in self._space.constraints:
            columns = [self._space.names.index(name) for name in c.terms]
            ranges = [_range(self._space.parameters[name]) for name in c.terms]
            offset = sum(a * low for a, (low, _) in zip(c.terms.values(), ranges, strict=True))
            weights = [
                a * (high - low) for a, (low, high) in zip(c.terms.values(), ranges, strict=True)
            ]
            size = max(map(abs, weights))  # a well-scaled row helps the solver
            index = torch.tensor(columns, device=self._like.device)
            row = self._tensor(weights) / size
            if c.equality:
                equal.append((index, row, (c.upper - offset) / size))
            elif c.upper < math.inf:
                upper.append((index, -row, (offset - c.upper) / size + MARGIN))
            else:
                upper.append((index, row, (c.lower - offset) / size + MARGIN))
        return upper, equal

    def _tensor(self, values: Sequence[float] | list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=self._like.dtype, device=self._like.device)


def _range(p: Continuous | Integer | Ordinal | Categorical) -> tuple[float, float]:
    if isinstance(p, Ordinal):
        return float(p.values[0]), float(p.values[-1])
    if isinstance(p, Categorical):
        raise TypeError("a categorical parameter is in no linear constraint")
    return float(p.low), float(p.high)


def _interpolate(z: Tensor, levels: Tensor) -> Tensor:
    """Map the position of each level to its index / (count - 1), linearly in between."""
    z = z.clamp(0, 1).contiguous()
    last = len(levels) - 1
    right = torch.searchsorted(levels, z.detach()).clamp(1, last)
    left = right - 1
    share = (z - levels[left]) / (levels[right] - levels[left])
    return (left + share) / last
