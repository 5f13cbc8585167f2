"""How a campaign may go on: simulated on draws of the posterior, at a finite number of places.

Each simulated campaign has a truth of its own, drawn from the posterior; it asks by expected
improvement, observes that truth with noise, and learns as the model would. Hyperparameters stay
what they are, so that the spread of the answers is a little too narrow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Numbers = NDArray[np.float64]
JITTERS = (1e-12, 1e-10, 1e-8, 1e-6)  # of the largest variance


@dataclass(frozen=True)
class Simulated:
    """The posterior at `b` places, in the model's units; more is better.

    `mean`: b. `covariance`: b x b. `noise`: standard deviation of a measurement. `likely`: b,
    P(feasible), taken as independent. The last place is the best trial: nothing is tried there.
    """

    mean: Numbers
    covariance: Numbers
    noise: float
    likely: Numbers


@dataclass(frozen=True)
class Made:
    """How many trials each simulated campaign needed; infinite: more than were simulated."""

    to_target: Numbers
    """Until a trial is measured as good as the target."""
    to_gain: Numbers
    """Until no trial promises as much as the gain any more."""


def simulate(
    known: Simulated,
    *,
    draws: int,
    trials: int,
    seed: int,
    target: float | None = None,
    gain: float | None = None,
) -> Made:
    """Simulate `draws` campaigns of at most `trials` trials.

    :param target: outcome that one trial must reach, in the model's units.
    :param gain: expected improvement worth one more trial, in the model's units.
    """
    rng = np.random.default_rng(seed)
    b = len(known.mean)
    rows = np.arange(draws)
    truth = known.mean + rng.standard_normal((draws, b)) @ root(known.covariance).T
    feasible = rng.random((draws, b)) < known.likely
    mean = np.repeat(known.mean[None], draws, 0)
    variance = np.repeat(known.covariance.diagonal()[None], draws, 0).clip(0.0)
    learned = np.zeros((draws, trials, b))  # what each trial taught: a column of a factor
    tried = np.zeros((draws, b), dtype=bool)
    tried[:, -1] = True
    best = np.full(draws, known.mean[-1])
    to_target, to_gain = np.full(draws, np.inf), np.full(draws, np.inf)
    jitter = known.noise**2 + 1e-9 * float(known.covariance.diagonal().max())
    for number in range(trials):
        worth = _improvement(mean, variance, best) * known.likely
        worth[tried] = -1.0
        chosen = worth.argmax(1)
        if gain is not None:
            done = np.isinf(to_gain) & (worth[rows, chosen] < gain)
            to_gain[done] = number
        seen = truth[rows, chosen] + known.noise * rng.standard_normal(draws)
        good = feasible[rows, chosen]
        if target is not None:
            reached = np.isinf(to_target) & good & (seen >= target)
            to_target[reached] = number + 1
        before = learned[:, :number]
        at = np.take_along_axis(before, chosen[:, None, None], 2)[:, :, 0]
        column = known.covariance[chosen] - np.einsum("sk,skb->sb", at, before)
        spread = np.sqrt(np.maximum(column[rows, chosen], 0.0) + jitter)
        factor = column / spread[:, None]
        factor[~good] = 0.0  # a failure tells nothing of the outcome
        mean += factor * ((seen - mean[rows, chosen]) / spread)[:, None]
        variance = (variance - factor**2).clip(0.0)
        learned[:, number] = factor
        tried[rows, chosen] = True
        hopeful = np.where(tried & feasible, mean, -np.inf)
        best = np.maximum(hopeful.max(1), mean[:, -1])
        if not np.isinf(to_target if target is not None else to_gain).any() and (
            gain is None or not np.isinf(to_gain).any()
        ):
            break
    return Made(to_target, to_gain)


def root(covariance: Numbers) -> Numbers:
    """Return a factor R with R R^T = covariance, with as little added to it as can be.

    :raises numpy.linalg.LinAlgError: it is far from a covariance.
    """
    top = max(float(covariance.diagonal().max()), 1e-300)
    for jitter in JITTERS[:-1]:
        try:
            return np.linalg.cholesky(covariance + jitter * top * np.eye(len(covariance)))
        except np.linalg.LinAlgError:
            continue
    return np.linalg.cholesky(covariance + JITTERS[-1] * top * np.eye(len(covariance)))


def _improvement(mean: Numbers, variance: Numbers, best: Numbers) -> Numbers:
    sd = np.sqrt(variance) + 1e-300
    u = (mean - best[:, None]) / sd
    density = np.exp(-0.5 * np.minimum(u * u, 1400.0)) / np.sqrt(2 * np.pi)
    return np.maximum(sd * (u * ndtr(u) + density), 0.0)
