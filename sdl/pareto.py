"""Which trials are best: the Pareto front, as measured."""

from collections.abc import Mapping, Sequence

from sdl.journal import Trial
from sdl.space import Objective


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


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(
        x > y for x, y in zip(a, b, strict=True)
    )
