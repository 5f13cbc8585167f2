"""How well the optimizer's model predicts what it has not seen, and what it has learned."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdl.errors import OptimizerError
from sdl.journal import Trial
from sdl.report.findings import Findings
from sdl.report.model import Learned, learned
from sdl.suggest.calibration import Calibration, Prediction
from sdl.suggest.process import OptimizerProcess

__all__ = ["Fit", "Judged", "Prediction", "judged"]

TIMEOUT = 60.0  # s for the predictions; hundreds of trials take a few
MOST = 200  # trials that are predicted: the time grows with the third power
FEWEST = 3  # predictions of which a fit can be spoken


@dataclass(frozen=True)
class Fit(Calibration):
    """The predictions of one outcome."""

    objective: str

    @property
    def r2(self) -> float | None:
        """1 - squared errors / squared deviations from the mean; None if outcomes are all equal."""
        mean = sum(p.observed for p in self.predictions) / len(self)
        spread = sum((p.observed - mean) ** 2 for p in self.predictions)
        return None if spread == 0 else 1 - self.rmse**2 * len(self) / spread

    @property
    def covered(self) -> int:
        """How many outcomes lie in their 95 % intervals."""
        return self.coverage[-1].inside


@dataclass(frozen=True)
class Judged:
    """What an optimizer says of its model."""

    fits: Sequence[Fit] = ()
    """One an outcome."""
    remark: str = ""
    """Why there is none; or what to know of them."""
    learned: Learned = field(default_factory=Learned)


def judged(findings: Findings, folder: Path | None) -> Judged:
    """Ask the campaign's optimizer."""
    if len(findings.measured) < FEWEST:
        return Judged(
            remark=f"there is no model to judge with fewer than {FEWEST} completed trials"
        )
    words = dict(findings.record.spec.get("optimizer") or {})
    name = str(words.pop("use", "botorch"))
    words.pop("promoted", None)
    try:
        # a thread, since a notebook's has a loop already
        with ThreadPoolExecutor(1, thread_name_prefix="model fit") as thread:
            asked = thread.submit(lambda: asyncio.run(_ask(findings, name, words, folder)))
            answer = asked.result()
        found = _parse(answer.get("predictions", []), findings.task.outcomes)
        known = learned(answer)
    except OptimizerError as error:
        return Judged(remark=f"the optimizer gave no predictions: {error}")
    except TimeoutError:
        return Judged(remark=f"the optimizer gave no predictions within {TIMEOUT:g} s")
    if not found:
        return Judged(remark=f"the optimizer {name} has no model that predicts outcomes")
    count = len(findings.measured)
    remark = f"Of {count} trials {MOST} were used, spread evenly" if count > MOST else ""
    return Judged(found, remark, known)


async def _ask(
    findings: Findings, name: str, options: Mapping[str, Any], folder: Path | None
) -> dict[str, Any]:
    process = OptimizerProcess(
        name,
        findings.task,
        options=options,
        seed=int(findings.record.spec.get("seed") or 0),
        folder=folder,
    )
    async with process, asyncio.timeout(TIMEOUT):
        return await process.judge(findings.told(_spread(findings.measured)))


def _spread(trials: Sequence[Trial]) -> list[Trial]:
    """At most `MOST` of the trials, evenly spread, the last one among them."""
    count = min(len(trials), MOST)
    return [trials[len(trials) * n // count - 1] for n in range(1, count + 1)]


def _parse(answer: Any, outcomes: Sequence[str]) -> list[Fit]:
    """:raises OptimizerError: the predictions are not what `sdl.suggest.Predicts` promises."""
    found: dict[str, list[Prediction]] = {name: [] for name in outcomes}
    try:
        for row in answer:
            found[row["objective"]].append(Prediction.of(row))
    except (KeyError, TypeError, ValueError) as error:
        raise OptimizerError(
            f"its predictions are not usable: {type(error).__name__}: {error}"
        ) from error
    return [Fit(rows, name) for name, rows in found.items() if rows]
