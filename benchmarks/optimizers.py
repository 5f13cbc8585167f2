"""How long a proposal takes: `adaptive` beside BoTorch's reference and Optuna's GP sampler.

Hartmann 6 with noise of 0.01, the same points for all, one thread, CPU seconds: the median of some
proposals, each after the one before was told. The baselines are timed in the same run: BoTorch's
SingleTaskGP with qLogNEI, 10 restarts from 512 samples, and Optuna's GPSampler as it comes.

    python benchmarks/optimizers.py [--trials 50,200] [--batches 1,4] [--rounds 5]
"""

# ruff: noqa: E402 (threads are set before torch is imported)

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdl.optimizers.adaptive import Adaptive
from sdl.space import Continuous, Objective, Space
from sdl.task import Task

A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
Ask = Callable[[int], NDArray[np.float64]]
Tell = Callable[[NDArray[np.float64], NDArray[np.float64]], None]


def hartmann6(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hartmann's function in six dimensions (Dixon and Szegö 1978), n x 6 to n."""
    squared = (A * (x[:, None, :] - P) ** 2).sum(-1)
    return -(ALPHA * np.exp(-squared)).sum(-1)


def ours(seed: int) -> tuple[Ask, Tell]:
    names = [f"x{k}" for k in range(6)]
    space = Space(parameters={n: Continuous(low=0, high=1) for n in names})
    task = Task.of(space, {"y": Objective(direction="minimize")})
    optimizer = Adaptive(task, seed=seed, device="cpu")
    told = [0]

    def tell(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        points = []
        for row, value in zip(x.tolist(), y.tolist(), strict=True):
            point = dict(zip(names, row, strict=True))
            points.append({"_id": told[0], "_state": "completed", **point, "y": value})
            told[0] += 1
        optimizer.ingest(points)

    return lambda q: np.array([list(p.values()) for p in optimizer.suggest(q)], float), tell


def reference(seed: int) -> tuple[Ask, Tell]:
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood

    kept: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    bounds = torch.tensor([[0.0] * 6, [1.0] * 6], dtype=torch.float64)

    def ask(q: int) -> NDArray[np.float64]:
        x = torch.tensor(np.concatenate([x for x, _ in kept]))
        y = -torch.tensor(np.concatenate([y for _, y in kept]))[:, None]
        model = SingleTaskGP(x, y, outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([128]), seed=seed)
        gain = qLogNoisyExpectedImprovement(model, x, sampler=sampler, prune_baseline=True)
        found, _ = optimize_acqf(
            gain, bounds=bounds, q=q, num_restarts=10, raw_samples=512, sequential=q > 1
        )
        return found.numpy()

    return ask, lambda x, y: kept.append((x, y))


def optuna_gp(seed: int) -> tuple[Ask, Tell]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=10)
    study = optuna.create_study(sampler=sampler)
    kinds = {f"x{k}": optuna.distributions.FloatDistribution(0, 1) for k in range(6)}
    pending: list[Any] = []

    def ask(q: int) -> NDArray[np.float64]:
        pending[:] = [study.ask(dict(kinds)) for _ in range(q)]
        return np.array([list(trial.params.values()) for trial in pending])

    def tell(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        if pending:
            for trial, value in zip(pending, y.tolist(), strict=True):
                study.tell(trial, value)
            pending.clear()
            return
        for row, value in zip(x.tolist(), y.tolist(), strict=True):
            params = dict(zip(kinds, row, strict=True))
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=dict(kinds), value=value)
            )

    return ask, tell


PEERS = {"adaptive": ours, "BoTorch reference": reference, "Optuna GPSampler": optuna_gp}
BARS = {"BoTorch reference": 5.0, "Optuna GPSampler": 2.0}


def seconds(peer: str, n: int, q: int, rounds: int) -> tuple[float, float]:
    """Return CPU seconds of a proposal (median) and of telling one point."""
    rng = np.random.default_rng(n * 100 + q)
    ask, tell = PEERS[peer](seed=1)
    x = rng.random((n, 6))
    tell(x, hartmann6(x) + 0.01 * rng.standard_normal(n))
    asked, told = [], []
    for _ in range(rounds):
        began = time.process_time()
        new = ask(q)
        asked.append(time.process_time() - began)
        y = hartmann6(new) + 0.01 * rng.standard_normal(q)
        began = time.process_time()
        tell(new, y)
        told.append((time.process_time() - began) / q)
    return statistics.median(asked), statistics.median(told)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", default="50,200")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=1000, help="ours alone; the bar is 2 s; 0: no")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    worst = dict.fromkeys(BARS, float("inf"))
    print("baselines: BoTorch reference (bar: 5 times ours), Optuna GPSampler (bar: 2 times ours)")
    for n in map(int, given.trials.split(",")):
        for q in map(int, given.batches.split(",")):
            own, telling = seconds("adaptive", n, q, given.rounds)
            print(f"n={n} q={q}: adaptive {own:.3f} CPU s, telling {telling * 1e3:.3f} ms", end="")
            for peer in BARS:
                theirs, _ = seconds(peer, n, q, given.rounds)
                worst[peer] = min(worst[peer], theirs / own)
                print(f"; {peer} {theirs:.3f} ({theirs / own:.1f} times)", end="", flush=True)
            print(flush=True)
    if given.large:
        own, _ = seconds("adaptive", given.large, 1, 3)
        print(f"n={given.large} q=1: adaptive {own:.2f} CPU s (bar 2)")
    for peer, ratio in worst.items():
        print(f"least ratio to {peer}: {ratio:.1f} (bar {BARS[peer]:g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
