"""How well the optimizer's model predicts what it has not seen: leave-one-out predictions."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl.errors import OptimizerError
from sdl.journal import Trial
from sdl.report.findings import Findings
from sdl.suggest.process import OptimizerProcess

TIMEOUT = 60.0  # s for the predictions; hundreds of trials take a few
MOST = 200  # trials that are predicted: the time grows with the third power
FEWEST = 3  # predictions of which a fit can be spoken
WIDE = 1.96  # standard deviations on each side that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Prediction:
    """What a model that did not see a trial says of its outcome, in the outcome's units."""

    trial: int
    observed: float
    mean: float
    sd: float

    @property
    def covered(self) -> bool:
        return abs(self.observed - self.mean) <= WIDE * self.sd


@dataclass(frozen=True)
class Fit:
    """The predictions of one objective."""

    objective: str
    predictions: Sequence[Prediction]

    @property
    def r2(self) -> float | None:
        """1 - squared errors / squared deviations from the mean; None if outcomes are all equal."""
        mean = sum(p.observed for p in self.predictions) / len(self.predictions)
        spread = sum((p.observed - mean) ** 2 for p in self.predictions)
        return None if spread == 0 else 1 - self._squares / spread

    @property
    def rmse(self) -> float:
        return math.sqrt(self._squares / len(self.predictions))

    @property
    def covered(self) -> int:
        """How many outcomes lie in their 95 % intervals."""
        return sum(p.covered for p in self.predictions)

    @property
    def _squares(self) -> float:
        return sum((p.observed - p.mean) ** 2 for p in self.predictions)


def fits(findings: Findings, folder: Path | None) -> tuple[list[Fit], str]:
    """Ask the campaign's optimizer.

    :return: a fit per objective, and what to know of them; or none, and why there is none.
    """
    if len(findings.measured) < FEWEST:
        return [], f"there is no model to judge with fewer than {FEWEST} completed trials"
    words = dict(findings.record.spec.get("optimizer") or {})
    name = str(words.pop("use", "botorch"))
    try:
        # a thread, since a notebook's has a loop already
        with ThreadPoolExecutor(1, thread_name_prefix="model fit") as thread:
            asked = thread.submit(lambda: asyncio.run(_ask(findings, name, words, folder)))
            answer = asked.result()
        found = _parse(answer, findings.objectives)
    except OptimizerError as error:
        return [], f"the optimizer gave no predictions: {error}"
    except TimeoutError:
        return [], f"the optimizer gave no predictions within {TIMEOUT:g} s"
    if not found:
        return [], f"the optimizer {name} has no model that predicts outcomes"
    known = len(findings.measured)
    return found, f"Of {known} trials {MOST} were used, spread evenly" if known > MOST else ""


async def _ask(
    findings: Findings, name: str, options: Mapping[str, Any], folder: Path | None
) -> list[dict[str, Any]]:
    process = OptimizerProcess(
        name,
        findings.task,
        options=options,
        seed=int(findings.record.spec.get("seed") or 0),
        folder=folder,
    )
    async with process, asyncio.timeout(TIMEOUT):
        return await process.leave_one_out(findings.told(_spread(findings.measured)))


def _spread(trials: Sequence[Trial]) -> list[Trial]:
    """At most `MOST` of the trials, evenly spread, the last one among them."""
    count = min(len(trials), MOST)
    return [trials[len(trials) * n // count - 1] for n in range(1, count + 1)]


def _parse(answer: Any, objectives: Mapping[str, Any]) -> list[Fit]:
    """:raises OptimizerError: the predictions are not what `sdl.suggest.Predicts` promises."""
    found: dict[str, list[Prediction]] = {name: [] for name in objectives}
    try:
        for row in answer:
            numbers = [float(row[key]) for key in ("observed", "mean", "sd")]
            if not all(map(math.isfinite, numbers)):
                raise ValueError("a number is not finite")
            found[row["objective"]].append(Prediction(int(row["_id"]), *numbers))
    except (KeyError, TypeError, ValueError) as error:
        raise OptimizerError(
            f"its predictions are not usable: {type(error).__name__}: {error}"
        ) from error
    return [Fit(name, rows) for name, rows in found.items() if rows]
