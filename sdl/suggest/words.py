"""Why a point was suggested, in words: made of the numbers that its provenance has."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sdl.task import Task

NEAR, FAR = 0.1, 0.3
"""Of the space's diagonal: a trial nearer than the first refines, beyond the second explores."""


def in_words(why: Mapping[str, Any], task: Task) -> str:
    """Say why this point; empty where the provenance does not say.

    :param why: `expected` (outcome → `mean`, `sd`), `p_feasible`, `distance_to_nearest` (in unit
        coordinates), `log_acquisition`, each in its own way optional.
    """
    said = [*_expected(why, task), *_feasible(why, task), *_distance(why, task)]
    if (value := _number(why.get("log_acquisition"))) is not None:
        said.append(f"log acquisition {value:.3g}")
    return "; ".join(said)


def _expected(why: Mapping[str, Any], task: Task) -> Iterator[str]:
    expected = why.get("expected")
    if not isinstance(expected, Mapping):
        return
    for name, told in expected.items():
        if not isinstance(told, Mapping):
            continue
        mean, sd = _number(told.get("mean")), _number(told.get("sd"))
        if mean is None:
            continue
        spread = "" if sd is None else f" ± {sd:.2g}"
        yield f"expects {name} {mean:.4g}{spread} {_units(name, task)}".rstrip()


def _units(name: str, task: Task) -> str:
    wanted = task.objectives.get(name) or task.outcome_constraints.get(name)
    return wanted.units if wanted is not None else ""


def _feasible(why: Mapping[str, Any], task: Task) -> Iterator[str]:
    chance = _number(why.get("p_feasible"))
    if chance is None:
        return
    what = "keeps its limits" if task.outcome_constraints else "succeeds"
    share = f"{100 * chance:.0f} %" if chance >= 0.01 else f"{100 * chance:.1g} %"
    yield f"{what} with probability {share if chance < 0.995 else 'over 99 %'}"


def _distance(why: Mapping[str, Any], task: Task) -> Iterator[str]:
    distance = _number(why.get("distance_to_nearest"))
    if distance is None:
        return
    diagonal = math.sqrt(task.space.dimension)
    share = distance / diagonal
    kind = "in between"
    if distance == 0:
        kind = "repeats a trial"
    elif share < NEAR:
        kind = "refines what is known"
    elif share > FAR:
        kind = "explores"
    yield f"{kind}: the nearest trial is {distance:.2g} away (of {diagonal:.2g})"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
