"""Whether a version may replace the promoted one: no violation, nothing worse beyond chance."""

import math
from collections.abc import Iterator, Sequence

from sdl.evaluation.scores import Evaluation, Score
from sdl.leaderboard.statistics import Mean, mean


def gate(candidate: Evaluation, promoted: Evaluation | None) -> list[str]:
    """Say what speaks against a version, one line each; empty: nothing.

    Where both were measured from the same seeds, differences are taken seed by seed (of regrets,
    which differ by orders of magnitude, those of their logarithms), and a score is worse if the
    95 % interval of their mean lies on the wrong side; else if its mean lies beyond the promoted
    version's interval. Regrets are compared on all tasks together, too.

    :param promoted: None: there is none yet.
    """
    found = [f"violation: {text}" for text in candidate.violations]
    if promoted is None:
        return found
    if candidate.suite != promoted.suite:
        return [
            *found,
            "it was evaluated on other tasks or seeds than the promoted version: use that suite "
            f"({promoted.suite}), or evaluate the promoted version with this one",
        ]
    return [*found, *_worse(candidate, promoted), *_worse_on_all(candidate, promoted)]


def _worse(candidate: Evaluation, promoted: Evaluation) -> Iterator[str]:
    for before in promoted.scores:
        if before.kind not in candidate.gate:
            continue
        now = candidate.score(before.name)
        if now is None:
            yield f"{before.name}: could not be measured; it was {before.mean:.4g}"
        elif why := _difference(now, before):
            yield f"{before.name}: {why}"


def _worse_on_all(candidate: Evaluation, promoted: Evaluation) -> Iterator[str]:
    """Whether regrets are worse on all tasks together, though it may be chance on each."""
    if "regret" not in candidate.gate:
        return
    ratios = list[float]()
    for before in promoted.scores:
        now = candidate.score(before.name)
        if before.kind == "regret" and now is not None and _positive(now, before):
            ratios += _paired(now, before)
    if len(ratios) >= 2 and _sure(found := _mean(ratios)):
        yield f"regret of all tasks: from the same starts {_told(found, ratio=True)}"


def _difference(now: Score, before: Score) -> str:
    """Say how a score is worse; empty: it is not."""
    paired = _paired(now, before)
    if len(paired) >= 2:
        found = _mean(paired)
        if not _sure(found):
            return ""
        more = _told(found, ratio=_positive(now, before))
        return f"{now.mean:.4g} instead of {before.mean:.4g}; from the same starts {more}"
    sign = 1.0 if now.better == "lower" else -1.0
    ends = [end for end in (before.low, before.high) if end is not None] or [before.mean]
    worst = max(ends) if sign > 0 else min(ends)
    if sign * (now.mean - worst) <= 0:
        return ""
    return f"{now.mean:.4g}, beyond {before.interval or f'{before.mean:.4g}'}"


def _paired(now: Score, before: Score) -> list[float]:
    """How much worse each seed is, 0: as good; of regrets in logarithms."""
    if len(now.values) != len(before.values):
        return []
    both = zip(now.values, before.values, strict=True)
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    if _positive(now, before):
        return [math.log(a / b) for a, b in pairs]
    sign = 1.0 if now.better == "lower" else -1.0
    return [sign * (a - b) for a, b in pairs]


def _positive(now: Score, before: Score) -> bool:
    """Whether they are regrets of which there are logarithms."""
    values = [v for v in (*now.values, *before.values) if v is not None]
    return now.kind == "regret" and bool(values) and min(values) > 0


def _mean(differences: Sequence[float]) -> Mean:
    found = mean(differences)
    assert found is not None  # there are some
    return found


def _sure(found: Mean) -> bool:
    return found.low is not None and found.low > 0


def _told(found: Mean, *, ratio: bool) -> str:
    low, high = found.low or 0.0, found.high or 0.0
    if ratio:
        middle, low, high = (math.exp(min(v, 700.0)) for v in (found.mean, low, high))
        return f"{middle:.3g} times as much ({low:.3g} to {high:.3g})"
    return f"worse by {found.mean:.3g} ({low:.3g} to {high:.3g})"
