"""The first rows of a campaign on a library, before there is an outcome to learn from."""

from dataclasses import replace

import numpy as np

from sdl.optimizers.library._gp import Floats, Success, distances
from sdl.optimizers.library._model import MOST_TRIALS, Features, Rows, Trials, correlation

SAMPLE = 2048  # rows that stand for a library


def spread(
    features: Features, trials: Trials, n: int, *, seed: int = 0, popcount: str = "auto"
) -> list[int]:
    """Return rows that stand for the library: each resembles as many others as possible.

    Greedy facility location (Nemhauser, Wolsey and Fisher 1978) on a random sample: the mean, over
    the sample, of the correlation with the nearest row that is tried or chosen. Where trials have
    failed, a row counts as much as it is likely to succeed.
    """
    random = np.random.default_rng(seed)
    excluded = np.unique(np.array(trials.rows, np.int64))
    sample = np.sort(random.choice(features.rows, min(SAMPLE, features.rows), replace=False))
    free = np.setdiff1d(sample, excluded)
    if len(free) < n:  # a small library, or one that is nearly exhausted
        free = _some_free(features.rows, excluded, n, random)
    everything = features.take(sample)
    length = None
    if not features.packed:
        apart = distances(everything[:256])
        length = float(np.median(apart[apart > 0])) / 2 if (apart > 0).any() else 1.0
    similar = correlation(features.take(free), length, popcount)(everything).T  # free x sample
    covered = np.zeros(len(sample), np.float32)
    if len(excluded):
        tried = correlation(features.take(excluded[-MOST_TRIALS:]), length, popcount)
        covered = tried(everything).max(1)
    likely = _likely(features, trials, free, length, popcount)
    picks: list[int] = []
    open_ = np.ones(len(free), bool)
    for _ in range(n):
        gain = np.maximum(similar - covered, 0.0).mean(1) * likely
        place = int(np.where(open_, gain, -1.0).argmax())
        open_[place] = False
        picks.append(int(free[place]))
        covered = np.maximum(covered, similar[place])
    return picks


def _some_free(rows: int, excluded: Rows, n: int, random: np.random.Generator) -> Rows:
    """Return rows that are not excluded: all, or at least `n` of very many."""
    if rows <= 50 * SAMPLE:
        free = np.setdiff1d(np.arange(rows), excluded)
        return np.sort(random.choice(free, min(len(free), max(n, SAMPLE)), replace=False))
    drawn = random.choice(rows, n + len(excluded), replace=False)
    return np.setdiff1d(drawn, excluded)


def _likely(
    features: Features, trials: Trials, free: Rows, length: float | None, popcount: str
) -> Floats:
    """Return P(success) of rows."""
    trials = replace(trials.most_telling(), pending=())
    if trials.labels.all():
        return np.ones(len(free))
    reference = features.take(trials.rows)
    correlated = correlation(reference, length, popcount)
    success = Success(correlated(reference).astype(np.float64), trials.labels)
    cross = success.sharpened(correlated(features.take(free)).astype(np.float64))
    taken = np.square(cross @ success.whiten.T).sum(1)
    return np.exp(success.log_probability(success.mean + cross @ success.weights, taken))
