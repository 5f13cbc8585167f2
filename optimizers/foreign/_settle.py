"""Points that come from elsewhere, put into a space."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sdl.space import Categorical, Continuous, Point, Space

ROUNDS = 8  # of projection; each may break a constraint that held before


def settle(space: Space, answer: Mapping[str, Any]) -> tuple[Point | None, Sequence[str]]:
    """Return the point of the space that is meant, or None and what is wrong with the answer.

    Values are rounded to what the parameters can be, numbers of numpy made plain. A point that then
    breaks linear constraints or mixtures moves to the nearest one that keeps them: solvers leave
    them broken by their own tolerance.
    """
    plain: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if name not in answer:
            return None, [f"{name}: missing"]
        value = answer[name]
        value = value.item() if hasattr(value, "item") else value
        if isinstance(parameter, Categorical):
            value = str(value)
        elif not _number(value):
            return None, [f"{name}: must be a number, not {value!r}"]
        plain[name] = value
    point = space.round(plain)
    mistakes = space.check(point)
    if not mistakes:
        return point, []
    moved = _projected(space, point)
    left = mistakes if moved is None else space.check(moved)
    return (None, left) if left else (moved, [])


def _number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _projected(space: Space, point: Point) -> Point | None:
    """Move the continuous parameters, as little as possible of their ranges, onto what is broken.

    :return: a point that may still break something; None where nothing can move.
    """
    import numpy as np

    free = {n: p for n, p in space.parameters.items() if isinstance(p, Continuous)}
    ranges = np.array([p.high - p.low for p in free.values()])
    for _ in range(ROUNDS):
        broken = _broken(space, point)
        if not broken:
            return point
        rows = np.array([[terms.get(n, 0.0) for n in free] for terms, _ in broken]) * ranges
        gaps = np.array([gap for _, gap in broken])
        step = np.linalg.lstsq(rows, gaps, rcond=None)[0]
        if not rows.any() or not np.isfinite(step).all():
            return None
        moves = dict(zip(free, (step * ranges).tolist(), strict=True))
        point = space.round({**point, **{n: float(point[n]) + moves[n] for n in free}})
    return point


def _broken(space: Space, point: Point) -> list[tuple[Mapping[str, float], float]]:
    """Return the terms of each linear relation that does not hold, and what its sum lacks."""
    found: list[tuple[Mapping[str, float], float]] = []
    for constraint in space.linear:
        if not constraint.holds(point):
            total = math.fsum(c * float(point[n]) for n, c in constraint.terms.items())
            bound = min(max(total, constraint.lower), constraint.upper)
            found.append((constraint.terms, bound - total))
    for mixture in space.mixtures:
        total = math.fsum(float(point[n]) for n in mixture.of)
        if mixture.mistakes(point) and total != mixture.total:
            found.append((dict.fromkeys(mixture.of, 1.0), mixture.total - total))
    return found
