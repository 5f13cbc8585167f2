"""Which trials are best: the Pareto front, as measured, and how much it dominates."""

import math
from collections.abc import Mapping, Sequence

from sdl.journal import Trial
from sdl.space import Objective

Gain = tuple[float, ...]
"""One number an objective, more is better."""


def pareto_front(trials: Sequence[Trial], objectives: Mapping[str, Objective]) -> list[Trial]:
    """Return the trials that no other beats in one objective without losing in another.

    With one objective that is the best trial. Trials without outcomes are left out.
    """
    gains = [
        (t, [o.sign * t.outcomes[name] for name, o in objectives.items()])
        for t in trials
        if t.outcomes is not None and all(name in t.outcomes for name in objectives)
    ]
    return [t for t, gain in gains if not any(_dominates(other, gain) for _, other in gains)]


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume between the reference point and the points, exactly.

    Points are dominated and repeated ones included; one that is not beyond the reference in every
    coordinate adds nothing. Recursion of While, Bradstreet and Barone, "A fast way of calculating
    exact hypervolumes", IEEE Trans. Evol. Comput. 16 (2012) 86, sections III and IV A.

    :param points: one row a point, more is better in every coordinate.
    :param reference: what is gained from, in the same coordinates.
    """
    return _volume(_front(_beyond(points, reference)))


def hypervolume_growth(
    points: Sequence[Sequence[float] | None], reference: Sequence[float]
) -> list[float]:
    """Return the hypervolume of the first 1, 2, … of the points; None adds nothing."""
    volume, front, grown = 0.0, list[Gain](), list[float]()
    for point in points:
        for gain in _beyond([] if point is None else [point], reference):
            if any(_dominates(other, gain) or other == gain for other in front):
                continue
            volume += _exclusive(gain, front)
            front = [other for other in front if not _dominates(gain, other)] + [gain]
        grown.append(volume)
    return grown


def _beyond(points: Sequence[Sequence[float]], reference: Sequence[float]) -> list[Gain]:
    """The points from the reference, those that gain in every coordinate."""
    gains = [tuple(x - r for x, r in zip(point, reference, strict=True)) for point in points]
    return [gain for gain in gains if all(x > 0 for x in gain)]


def _volume(front: Sequence[Gain]) -> float:
    """The volume between the origin and points of which none dominates another."""
    if not front:
        return 0.0
    if len(front[0]) == 1:
        return max(x for (x,) in front)
    # Worst in the last coordinate first: whatever the later points share with one of them is as
    # high as that one, so it is a volume of one dimension less.
    ordered = sorted(front, key=lambda gain: gain[-1])
    if len(front[0]) == 2:
        reached, area = 0.0, 0.0
        for x, y in reversed(ordered):
            if x > reached:
                area, reached = area + (x - reached) * y, x
        return area
    return sum(
        gain[-1] * _exclusive(gain[:-1], [other[:-1] for other in ordered[index + 1 :]])
        for index, gain in enumerate(ordered)
    )


def _exclusive(gain: Gain, others: Sequence[Gain]) -> float:
    """The volume that only `gain` dominates."""
    shared = [tuple(map(min, gain, other)) for other in others]
    return math.prod(gain) - _volume(_front(shared))


def _front(gains: Sequence[Gain]) -> list[Gain]:
    """The points that no other dominates, each once."""
    front: list[Gain] = []
    for gain in sorted(set(gains), reverse=True):  # nobody is dominated by one after it
        if not any(_dominates(other, gain) for other in front):
            front.append(gain)
    return front


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(
        x > y for x, y in zip(a, b, strict=True)
    )
