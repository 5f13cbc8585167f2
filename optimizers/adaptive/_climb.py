"""Where a target is largest among the points that a space allows.

Spread points and points near good ones are scored; from the best of them one climbs: along the
slope in what is continuous, from neighbour to neighbour in what is not, in turns. Where known
constraints, mixtures or a table leave only some points, the differences of allowed points are the
steps (Storn and Price 1997), as these keep every linear equation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from sdl.optimizers._design import Design
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.space import Continuous, Point, Space

Units = NDArray[np.float64]
SPREADS = (0.2, 0.05, 0.01)  # of the unit range: how far points lie from the good ones
MOST_CHANGED = 20  # coordinates changed at once: in many dimensions, a few directions at a time
STEPS = 24  # of L-BFGS from one start
SWEEPS = 8  # of climbing from neighbour to neighbour
NEIGHBOURS = 24  # tried of one discrete parameter at a time
CHUNK = 2048  # points scored at once
GENERATIONS = 24  # of steps between allowed points
ALLOWED = 512  # allowed points that are sought where few are


@dataclass(frozen=True)
class Effort:
    """How hard to look."""

    raw: int = 384
    starts: int = 5


class Climb:
    """Candidates of one space.

    :param seed: of everything random.
    """

    def __init__(self, space: Space, encoding: Encoding, design: Design, seed: int) -> None:
        self._space, self._encoding, self._design = space, encoding, design
        self._rng = np.random.default_rng(seed)
        self._seed = seed

    def best(
        self,
        target: Callable[[Tensor], Tensor],
        good: Units,
        excluded: set[tuple[object, ...]],
        fixed: dict[int, float],
        effort: Effort,
    ) -> tuple[Point, float] | None:
        """Return the best point found that may be tried and is not excluded, and its value.

        :param good: unit coordinates near which it is worth looking, best first; may be empty.
        :param excluded: keys (`Design.key`) of points that were tried.
        """
        self._fixed, self._target = fixed, target
        if self._design.everything is not None:
            pool = self._whole(self._encoding.units(self._design.everything))
            return self._choose(pool, self._score(pool), excluded, check=False)
        if self._space.boxed:
            pool = self._snapped(
                np.concatenate([self._spread(effort.raw), self._near(good, effort)])
            )
            scores = self._score(pool)
            starts = self._starts(pool, scores, effort.starts)
            found = self._climbed(starts)
            scores = np.concatenate([self._score(found), scores])
            return self._choose(np.concatenate([found, pool]), scores, excluded, check=False)
        pool = self._allowed(good, effort)
        if not len(pool):
            return None
        pool, scores = self._evolved(pool)
        return self._choose(pool, scores, excluded, check=True)

    # -- scoring and choosing ---------------------------------------------------------------------

    def _score(self, pool: Units) -> Units:
        with torch.no_grad():
            parts = [
                self._target(self._encoding.tensor(pool[i : i + CHUNK])).cpu().numpy()
                for i in range(0, len(pool), CHUNK)
            ]
        return np.nan_to_num(np.concatenate(parts), nan=-math.inf)

    def _choose(
        self, pool: Units, scores: Units, excluded: set[tuple[object, ...]], *, check: bool
    ) -> tuple[Point, float] | None:
        for index in np.argsort(-scores, kind="stable").tolist():
            (point,) = self._encoding.points(pool[index : index + 1])
            if self._design.key(point) in excluded:
                continue
            if not check or not self._space.check(point):
                return point, float(scores[index])
        return None

    def _starts(self, pool: Units, scores: Units, count: int) -> Units:
        """The best, and of the rest some in proportion to what they promise."""
        order = np.argsort(-scores, kind="stable")
        chosen = [int(order[0])]
        finite = np.isfinite(scores)
        spread = float(np.std(scores[finite])) if finite.any() else 0.0
        if spread > 0 and count > 1:
            weights = np.where(finite, np.exp(2.0 * (scores - scores[order[0]]) / spread), 0.0)
            weights[chosen[0]] = 0.0
            available = int((weights > 0).sum())
            if available:
                picks = self._rng.choice(
                    len(pool), min(count - 1, available), replace=False, p=weights / weights.sum()
                )
                chosen += [int(p) for p in picks]
        return pool[chosen]

    # -- where to begin ---------------------------------------------------------------------------

    def _whole(self, units: Units) -> Units:
        """Put in what is not chosen."""
        whole = units.copy()
        for column, value in self._fixed.items():
            whole[:, column] = value
        return whole

    def _spread(self, count: int) -> Units:
        from scipy.stats import qmc

        d = self._encoding.chosen
        size = 2 ** math.ceil(math.log2(max(count, 2)))
        drawn = qmc.Sobol(d, scramble=True, rng=self._seed).random(size)[:count]
        whole = np.zeros((count, self._encoding.dimension))
        whole[:, :d] = drawn
        for column, levels in self._encoding.levels.items():
            at = (drawn[:, column] * len(levels)).astype(int).clip(0, len(levels) - 1)
            whole[:, column] = levels[at]
        return self._whole(whole)

    def _near(self, good: Units, effort: Effort) -> Units:
        """Points around good ones, at several distances, a few coordinates changed at a time."""
        if not len(good):
            return np.zeros((0, self._encoding.dimension))
        rng, d = self._rng, self._encoding.chosen
        rows = [self._whole(good)]
        each = max(effort.raw // 8, 8)
        for spread in SPREADS:
            base = good[rng.integers(len(good), size=each)].copy()
            changed = rng.random((each, d)) < max(min(1.0, MOST_CHANGED / d), 1.0 / d)
            base[:, :d] += changed * spread * rng.standard_normal((each, d))
            for column, levels in self._encoding.levels.items():
                if self._encoding.is_choice(column):
                    base[:, column] = np.clip(np.round(base[:, column]), 0, len(levels) - 1)
                    other = changed[:, column] & (rng.random(each) < 2 * spread + 1.0 / d)
                    base[other, column] = rng.integers(len(levels), size=int(other.sum()))
            rows.append(self._whole(base))
        return np.concatenate(rows)

    def _snapped(self, units: Units) -> Units:
        """Put every coordinate where its parameter can be."""
        snapped = units.copy()
        for column in self._encoding.free:
            snapped[:, column] = snapped[:, column].clip(0.0, 1.0)
        for column, levels in self._encoding.levels.items():
            last = len(levels) - 1
            size = 1.0 if self._encoding.is_choice(column) else 1.0 / max(last, 1)
            index = np.round(snapped[:, column] / size).clip(0, last)
            snapped[:, column] = index * size
        return snapped

    # -- climbing ---------------------------------------------------------------------------------

    def _climbed(self, starts: Units) -> Units:
        points, stages = starts, [starts]
        if self._encoding.free:
            points = self._along_slope(points, STEPS)
            stages.append(points)
        if self._encoding.levels:
            for _ in range(2):
                before = points
                points = self._between_levels(points)
                if np.array_equal(points, before):
                    break
                if self._encoding.free:
                    points = self._along_slope(points, STEPS // 2)
                stages.append(points)
        return np.concatenate(stages[::-1])

    def _along_slope(self, starts: Units, steps: int) -> Units:
        """Climb from all starts at once, in what is continuous: L-BFGS-B on their sum."""
        free = self._encoding.free
        base = self._encoding.tensor(starts)
        shape = (len(starts), len(free))

        def loss(flat: Units) -> tuple[float, Units]:
            moving = self._encoding.tensor(flat.reshape(shape)).requires_grad_(True)
            if len(free) == base.shape[1]:
                units = moving
            else:
                units = base.clone()
                units[:, free] = moving
            values = self._target(units)
            (slope,) = torch.autograd.grad(values.sum(), moving)
            total = -float(values.detach().sum())
            slope_flat = -slope.cpu().numpy().ravel()
            if not math.isfinite(total) or not np.isfinite(slope_flat).all():
                return 1e10, np.zeros_like(flat)
            return total, slope_flat

        found = minimize(
            loss,
            starts[:, free].ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * (shape[0] * shape[1]),
            options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-4, "maxcor": 10},
        )
        moved = starts.copy()
        moved[:, free] = found.x.reshape(shape)
        return moved

    def _between_levels(self, starts: Units) -> Units:
        """Go to the best neighbour in what is not continuous, as long as one is better."""
        points, scores = starts.copy(), self._score(starts)
        alive = np.ones(len(points), dtype=bool)
        for _ in range(SWEEPS):
            rows = np.flatnonzero(alive)
            if not len(rows):
                break
            tried, owner = self._neighbours(points[rows], rows)
            values = self._score(tried)
            alive[:] = False
            for row in rows.tolist():
                mine = np.flatnonzero(owner == row)
                top = mine[int(values[mine].argmax())]
                if values[top] > scores[row] + 1e-9:
                    points[row], scores[row], alive[row] = tried[top], values[top], True
        return points

    def _neighbours(
        self, points: Units, rows: NDArray[np.int64]
    ) -> tuple[Units, NDArray[np.int64]]:
        tried: list[Units] = []
        owner: list[NDArray[np.int64]] = []
        for column, levels in self._encoding.levels.items():
            last = len(levels) - 1
            choice = self._encoding.is_choice(column)
            size = 1.0 if choice else 1.0 / max(last, 1)
            for point, row in zip(points, rows, strict=True):
                at = round(float(point[column]) / size)
                others = self._others(at, last, choice)
                moved = np.repeat(point[None], len(others), 0)
                moved[:, column] = np.array(others) * size
                tried.append(moved)
                owner.append(np.full(len(others), row))
        return np.concatenate(tried), np.concatenate(owner)

    def _others(self, at: int, last: int, choice: bool) -> list[int]:
        """Which levels to try instead: all, or the next ones and some further away."""
        if last <= NEIGHBOURS:
            return [level for level in range(last + 1) if level != at]
        if choice:
            drawn = self._rng.choice(last + 1, NEIGHBOURS, replace=False)
            return [int(level) for level in drawn if level != at]
        far = [round(last * share) for share in (0.05, 0.15)]
        steps = [1, 2, 3, 5, *far]
        both = [at + s for s in steps] + [at - s for s in steps]
        return sorted({min(max(level, 0), last) for level in both} - {at})

    # -- where not everything is allowed ----------------------------------------------------------

    def _allowed(self, good: Units, effort: Effort) -> Units:
        """Allowed points, spread out, and good ones."""
        points = self._design.few
        if points:
            units = self._blended(self._encoding.units(points))
        else:
            points = list(islice(Design(self._space, self._seed).points(), ALLOWED))
            units = self._encoding.units(points) if points else good[:0]
        kept = [g for g in good if not self._space.check(self._encoding.points(g[None])[0])]
        return self._whole(np.concatenate([np.array(kept).reshape(-1, good.shape[1]), units]))

    def _blended(self, units: Units) -> Units:
        """Between allowed points lie more of them, as long as what forbids is linear."""
        one, other = (units[self._rng.integers(len(units), size=ALLOWED // 2)] for _ in range(2))
        share = self._rng.random((len(one), 1))
        between = share * one + (1.0 - share) * other
        for column in self._encoding.levels:
            between[:, column] = one[:, column]
        return np.concatenate([units, self._permitted(self._snapped(between))])

    def _remixed(self, units: Units) -> Units:
        """Put amounts of mixtures where they add up again: few enough, none too small."""
        if not self._space.mixtures:
            return units
        mixed = units.copy()
        for mixture in self._space.mixtures:
            columns = [self._space.names.index(name) for name in mixture.of]
            parts = [self._space.parameters[name] for name in mixture.of]
            low = np.array([p.low for p in parts if isinstance(p, Continuous)])
            width = np.array([p.high for p in parts if isinstance(p, Continuous)]) - low
            amounts = low + mixed[:, columns] * width
            ranks = (-amounts).argsort(1).argsort(1)
            absent = (ranks >= mixture.most) | (amounts < mixture.minimum / 2)
            amounts = np.where(absent & (ranks > 0), 0.0, np.maximum(amounts, mixture.minimum))
            over = np.maximum(amounts - mixture.minimum, 0.0)
            present = amounts > 0
            wanted = mixture.total - mixture.minimum * present.sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                scaled = over * (wanted / over.sum(1))[:, None]
            amounts = np.where(present, mixture.minimum + scaled, 0.0)
            mixed[:, columns] = (amounts - low) / width
        return np.where(np.isfinite(mixed), mixed, 0.0)

    def _evolved(self, pool: Units) -> tuple[Units, Units]:
        """Step from the best points by differences of allowed ones; keep what is better."""
        scores, rng = self._score(pool), self._rng
        order = np.argsort(-scores, kind="stable")[:64]
        pool, scores = pool[order], scores[order]
        d = self._encoding.chosen
        scale = 1.0
        for _ in range(GENERATIONS):
            elite = pool[: max(len(pool) // 4, 1)]
            count = 192
            base = elite[rng.integers(len(elite), size=count)]
            one, other = (pool[rng.integers(len(pool), size=count)] for _ in range(2))
            factor = scale * rng.uniform(0.0, 1.0, size=(count, 1))
            step = factor * (one - other)
            tried = base.copy()
            tried[:, :d] += step[:, :d]
            for column in self._encoding.levels:
                if self._encoding.is_choice(column):
                    swap = rng.random(count) < 0.2
                    tried[:, column] = np.where(swap, one[:, column], base[:, column])
            tried = self._permitted(self._remixed(self._snapped(tried)))
            if len(tried):
                values = self._score(tried)
                pool, scores = np.concatenate([pool, tried]), np.concatenate([scores, values])
                order = np.argsort(-scores, kind="stable")[:64]
                improved = bool((order[: max(len(pool) // 4, 1)] >= 64).any())
                pool, scores = pool[order], scores[order]
                scale = min(scale * 1.1, 1.0) if improved else scale * 0.7
            else:
                scale *= 0.7
        return pool, scores

    def _permitted(self, units: Units) -> Units:
        """Keep the points that may be tried, as they are after rounding."""
        points = self._encoding.points(units)
        kept = [i for i, point in enumerate(points) if not self._space.check(point)]
        if not kept:
            return units[:0]
        rounded = self._encoding.units([points[i] for i in kept])
        whole = units[kept].copy()
        whole[:, : self._encoding.chosen] = rounded[:, : self._encoding.chosen]
        return whole
