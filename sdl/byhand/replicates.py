"""Several rows of one trial as one result.

Of numbers the mean counts, with its standard error as `<outcome>_sd`: the standard deviation of the
rows over the root of their count or, where each row gives its own and they come to more, the root
of the sum of their squares over their count. Rows that agree to the last digit say nothing of the
noise: no standard error is made of them. Of limits on the same side the tightest counts.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdl.byhand.cells import Line
from sdl.byhand.sheet import CENSORED, SD


def together(lines: Sequence[Line]) -> dict[str, float]:
    """The outcomes of replicates as one.

    :raises ValueError: they cannot be taken together.
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for line in lines for name in line.values):
        told = [line for line in lines if name in line.values]
        values = [line.values[name] for line in told]
        sides = {line.censored.get(name, 0) for line in told}
        if sides == {0}:
            found[name] = statistics.fmean(values)
            sd = _standard_error(values, [line.sds.get(name) for line in told])
            found |= {} if sd is None else {name + SD: sd}
        elif len(sides) == 1:
            (side,) = sides
            found |= {name: min(values) if side < 0 else max(values), name + CENSORED: side}
        else:
            raise ValueError(
                f"{name}: of rows of one trial some are numbers and some are limits (< or >), "
                "which have no mean: clear the number of the trial in some of them, and they are "
                "trials of their own"
            )
    return found


def _standard_error(values: Sequence[float], sds: Sequence[float | None]) -> float | None:
    """Of the mean of replicates, or of a single value; None where nothing is known of it."""
    given = [sd for sd in sds if sd is not None]
    said = math.hypot(*given) / len(values) if len(given) == len(values) else None
    if len(values) == 1:
        return said
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return max(spread, said or 0.0) or said


def context(lines: Sequence[Line]) -> dict[str, Any]:
    """Numbers as their mean; of names the last."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for line in lines for name in line.context):
        values = [line.context[name] for line in lines if name in line.context]
        mixed = any(isinstance(value, str) for value in values)
        found[name] = values[-1] if mixed or len(values) == 1 else statistics.fmean(values)
    return found


def merged(given: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mapping in given:
        found |= mapping
    return found
