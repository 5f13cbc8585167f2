"""What the model is worth: BoTorch against a Sobol sequence in the demo's campaign, one run.

    python benchmarks/demo_hypervolume.py [--seeds 0-9] [--trials 25] [--jobs 2] [--direct]

Both run the campaign of `examples/flow_chemistry` on the twin, same budget, same seed of campaign
and world. What counts is the hypervolume beyond the campaign's thresholds: of the outcomes as
measured, and of the true ones (the reactor's exact steady state at the same conditions, without
calibration errors and noise). The baseline is Sobol. Runs are subprocesses, so that the seeds can
share the cores and no state.

`--direct` asks the steady state itself and adds 1 % of noise: for work on the optimizer.
"""

import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sdl import Campaign, Lab
from sdl.campaign import OptimizerEntry
from sdl.pareto import hypervolume
from sdl.plans.green_metrics import e_factor, space_time_yield
from sdl.plugins import load
from sdl.simulators.physics import chemistry
from sdl.simulators.physics.flow import TanksInSeries
from sdl.simulators.snar_flow import CELL_ML, MIXER_ML, REACTOR_ML, VESSELS

DEMO = Path(__file__).parents[1] / "examples" / "flow_chemistry"
CAMPAIGN = Campaign.load(DEMO / "campaign.yaml")
OPTIMIZERS = ("botorch", "sobol")
WANTED = 0.9  # of the seeds
NOISE = 0.01
AIR = 22.0  # degC of the mixer and the cell
VOLUMES = np.array([MIXER_ML, *[REACTOR_ML / VESSELS] * VESSELS, CELL_ML])

Outcomes = dict[str, float]


def true_outcomes(
    temperature: float,
    residence_time: float,
    equivalents: float,
    concentration: float,
    factor: float = 1.0,
) -> Outcomes:
    """Return the outcomes of the exact steady state, with the product's concentration * factor."""
    celsius = np.full(len(VOLUMES), temperature)
    celsius[[0, -1]] = AIR
    k = chemistry.rate_constants(celsius)
    inlet = np.zeros(len(chemistry.SPECIES))
    inlet[[chemistry.A, chemistry.B]] = concentration, equivalents * concentration
    tube, seconds = TanksInSeries(VOLUMES, len(inlet)), 60.0 * residence_time
    for _ in range(5):  # reactor volumes, as many as a steady state takes
        tube.advance(seconds, REACTOR_ML / seconds, inlet, lambda c, dt: chemistry.react(c, k, dt))
    product = float(tube.concentrations[chemistry.O, -1]) * factor
    recovered = float(CAMPAIGN.fixed.get("solvent_recovery", 0.0))
    return {
        "space_time_yield": space_time_yield(product, residence_time),
        "e_factor": e_factor(
            product, concentration, equivalents * concentration, solvent_recovery=recovered
        ),
    }


def volume(found: Sequence[Mapping[str, float]]) -> float:
    """Return the hypervolume beyond the thresholds, in the objectives' units."""
    goals = CAMPAIGN.objectives
    reference = [o.sign * o.threshold for o in goals.values() if o.threshold is not None]
    return hypervolume([[o.sign * f[n] for n, o in goals.items()] for f in found], reference)


def on_the_twin(optimizer: str, seed: int, trials: int) -> tuple[list[Outcomes], list[Outcomes]]:
    """Return outcomes as measured, and the true ones of the same conditions."""
    lab = Lab.load(DEMO / "lab.yaml").twin()
    assert lab.world is not None
    lab_of_seed = lab.model_copy(update={"world": lab.world.model_copy(update={"seed": seed})})
    campaign = CAMPAIGN.model_copy(
        update={
            "optimizer": OptimizerEntry(use=optimizer),
            "budget": CAMPAIGN.budget.model_copy(update={"trials": trials}),
            "seed": seed,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        results = campaign.run_blocking(lab_of_seed, journal=f"{folder}/journal.db")
    done = results.completed
    return (
        [dict(t.outcomes or {}) for t in done],
        [true_outcomes(**{n: float(v) for n, v in t.parameters.items()}) for t in done],
    )


def directly(optimizer: str, seed: int, trials: int) -> tuple[list[Outcomes], list[Outcomes]]:
    """The same without instruments."""
    proposer = load("optimizers", optimizer, None)(CAMPAIGN.task, seed=seed)
    rng = np.random.default_rng([seed, trials])
    measured: list[Outcomes] = []
    true: list[Outcomes] = []
    for number in range(1, trials + 1):
        (point,) = proposer.suggest(1)
        factor = 1.0 + NOISE * rng.standard_normal()
        measured.append(true_outcomes(**point, factor=factor))
        true.append(true_outcomes(**point))
        proposer.ingest([{"_id": number, "_state": "completed", **point, **measured[-1]}])
    return measured, true


def one(optimizer: str, seed: int, trials: int, direct: bool) -> dict[str, float]:
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    measured, true = (directly if direct else on_the_twin)(optimizer, seed, trials)
    took = time.perf_counter() - start
    return {"measured": volume(measured), "true": volume(true), "n": len(true), "seconds": took}


def in_a_process(optimizer: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", optimizer, "--seeds", str(seed)]
    command += ["--trials", str(given.trials), *(["--direct"] if given.direct else [])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, env=os.environ | threads
    )
    if done.returncode:
        raise RuntimeError(f"{optimizer}, seed {seed}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def compare(given: argparse.Namespace) -> int:
    print(f"{'seed':>4}  {'measured':>17}  {'ratio':>5}  {'true':>17}  {'ratio':>5}  {'s':>5}")
    print(f"{'':4}  {'botorch':>8} {'sobol':>8}  {'':5}  {'botorch':>8} {'sobol':>8}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in OPTIMIZERS}
    with ThreadPoolExecutor(given.jobs) as pool:
        running = [
            (seed, [pool.submit(in_a_process, name, seed, given) for name in OPTIMIZERS])
            for seed in given.seeds
        ]
        for seed, futures in running:
            model, baseline = (future.result() for future in futures)
            found["botorch"].append(model)
            found["sobol"].append(baseline)
            cells = [
                f"{model[kind]:8.0f} {baseline[kind]:8.0f}  {_ratio(model[kind], baseline[kind]):5}"
                for kind in ("measured", "true")
            ]
            seconds = model["seconds"] + baseline["seconds"]
            print(f"{seed:4}  {'  '.join(cells)}  {seconds:5.0f}", flush=True)
    won = [0, 0]
    for index, kind in enumerate(("measured", "true")):
        ours, theirs = ([row[kind] for row in found[name]] for name in OPTIMIZERS)
        won[index] = sum(a > b for a, b in zip(ours, theirs, strict=True))
        mean = _ratio(statistics.fmean(ours), statistics.fmean(theirs))
        print(f"{kind}: botorch wins {won[index]} of {len(ours)}; ratio of means {mean}")
    wanted = math.ceil(WANTED * len(given.seeds))
    met = won[0] >= wanted
    print(f"{'meets' if met else 'MISSES'} the bar: at least {wanted} of {len(given.seeds)} seeds")
    return 0 if met else 1


def _ratio(ours: float, baseline: float) -> str:
    return f"{ours / baseline:.2f}" if baseline else "inf"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=seeds, default=seeds("0-9"))
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--one", choices=OPTIMIZERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is None:
        return compare(given)
    print(json.dumps(one(given.one, given.seeds[0], given.trials, given.direct)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
