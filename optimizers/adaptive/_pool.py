"""Places at which a posterior is looked at: spread over the space, and where the best may lie."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdl.optimizers._design import Design
from sdl.optimizers.adaptive._encoding import Encoding
from sdl.optimizers.adaptive._gaussian import GaussianProcess
from sdl.space import Point, Space

Units = NDArray[np.float64]

SPREAD = 1024  # points all over the space
LOCAL = 256  # points around good ones, at each distance
DISTANCES = (0.2, 0.05, 0.01, 0.002)  # of the unit range
OPTIMISM = (0.0, 0.7, 1.5, 2.5)  # standard deviations above the mean at which places are promising


def pool(
    space: Space,
    encoding: Encoding,
    design: Design,
    seed: int,
    good: Sequence[Point],
    tried: set[tuple[object, ...]],
) -> list[Point]:
    """Return distinct points that may be tried and were not.

    :param good: around which there are more of them.
    :param tried: keys (`Design.key`) of what was.
    """
    found: list[Point] = []
    if design.everything is not None:
        found = design.everything
    else:
        found = [*islice(Design(space, seed).points(), SPREAD)]
        near = [p for p in _near(encoding, seed, good) if space.boxed or not space.check(p)]
        found += [space.round(p) for p in near]
    kept = {design.key(point): point for point in found}
    return [point for key, point in kept.items() if key not in tried]


def _near(encoding: Encoding, seed: int, good: Sequence[Point]) -> list[Point]:
    if not good:
        return []
    rng = np.random.default_rng(seed)
    centres, rows = encoding.units(good), list[Units]()
    d = encoding.chosen
    for distance in DISTANCES:
        base = centres[rng.integers(len(centres), size=LOCAL)].copy()
        changed = rng.random((LOCAL, d)) < max(min(1.0, 20 / d), 1 / d)
        base[:, :d] += changed * distance * rng.standard_normal((LOCAL, d))
        for column, levels in encoding.levels.items():
            last = len(levels) - 1
            size = 1.0 if encoding.is_choice(column) else 1.0 / max(last, 1)
            jump = changed[:, column] & (rng.random(LOCAL) < distance + 1 / d)
            base[jump, column] = rng.integers(last + 1, size=int(jump.sum())) * size
            base[:, column] = (np.round(base[:, column] / size).clip(0, last)) * size
        for column in encoding.free:
            base[:, column] = base[:, column].clip(0.0, 1.0)
        rows.append(base)
    return encoding.points(np.concatenate(rows))


def promising(gp: GaussianProcess, z: Tensor, likely: Tensor, most: int) -> Tensor:
    """Return the indices of the places where a draw's maximum may lie.

    :param likely: P(feasible) of each, `b`; what is unlikely counts as mediocre.
    """
    if len(z) <= most:
        return torch.arange(len(z), device=z.device)
    mean, sd = gp.posterior(z)
    low = mean.min()
    chosen: list[Tensor] = []
    for k in OPTIMISM:
        value = likely * (mean + k * sd - low)
        chosen.append(torch.topk(value, most // len(OPTIMISM)).indices)
    return torch.unique(torch.cat(chosen))
