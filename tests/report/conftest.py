"""Journals of made-up campaigns: quick to write, and like those that the runtime writes."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sdl.clock import SIMULATED_EPOCH
from sdl.journal import Journal, TrialState
from sdl.report.findings import gather
from sdl.report.fit import Judged
from sdl.report.page import render

PARAMETERS: dict[str, Any] = {
    "temperature": {"type": "continuous", "low": 30.0, "high": 120.0, "units": "degC"},
    "catalyst": {"type": "continuous", "low": 0.001, "high": 10.0, "scale": "log"},
    "solvent": {"type": "categorical", "choices": ["ethanol", "water", "toluene"]},
    "cycles": {"type": "integer", "low": 1, "high": 8, "units": ""},
    "loop": {"type": "ordinal", "values": [0.5, 1, 2, 5], "units": "mL"},
}
OBJECTIVES: dict[str, Any] = {
    "yield_": {"direction": "maximize", "units": "%", "threshold": 40.0},
    "waste": {"direction": "minimize", "units": "kg/m3", "threshold": None},
    "cost": {"direction": "minimize", "units": "", "threshold": None},
}
MODEL = {"yield_": {"class": "SingleTaskGP", "hyperparameters": {"noise": 0.01}}}

Begin = Callable[..., "Campaign"]


class Campaign:
    """A campaign in a journal of its own, whose trials a test makes."""

    def __init__(self, journal: Journal, name: str, objectives: int, time: float) -> None:
        self.journal, self.name, self._time = journal, name, time
        self._wanted = list(OBJECTIVES)[:objectives]
        self._random = random.Random(1)

    def trial(
        self,
        state: str = "completed",
        *,
        parameters: Mapping[str, Any] | None = None,
        outcomes: Mapping[str, float] | None = None,
        cause: str | None = None,
        suggestion: Mapping[str, Any] | None = None,
    ) -> None:
        point = dict(parameters) if parameters is not None else self._point()
        how = suggestion or {"generator": "sobol", "seed": 1}
        (trial,) = self.journal.suggest(self.name, [(point, how)], time=self._tick())
        begun = {"suggested": [], "rejected": [], "approved": [], "running": ["approved"]}
        path = [*begun.get(state, ["approved", "running"]), state][state == "suggested" :]
        for step in path:
            found = None
            if step == "completed":
                found = outcomes if outcomes is not None else self._outcomes(point)
            trial = self.journal.move(
                trial,
                TrialState(step),
                time=self._tick(),
                who="test",
                outcomes=found,
                cause=cause if step == state else None,
            )
            if step == "running":
                self._documents(trial)

    def note(self, level: Any, text: str, source: str = "runtime") -> None:
        self.journal.note(level, source, text, time=self._tick(), campaign=self.name)

    def page(self, no_fit: str = "not asked in this test") -> str:
        """The report without the model fit, which needs a process."""
        return render(gather(self.journal, self.name), Judged(remark=no_fit))

    def _tick(self) -> float:
        self._time += 100.0
        return self._time

    def _documents(self, trial: Any) -> None:
        uid = f"run-of-{trial.number}"
        start = {"uid": uid, "time": self._time}
        self.journal.add_document(trial, uid, "start", start, time=self._time)
        stop = {"uid": "s", "run_start": uid, "exit_status": "success"}
        self.journal.add_document(trial, uid, "stop", stop, time=self._time)

    def _point(self) -> dict[str, Any]:
        draw = self._random
        return {
            "temperature": round(draw.uniform(30, 120), 6),
            "catalyst": round(10 ** draw.uniform(-3, 1), 8),
            "solvent": draw.choice(["ethanol", "water", "toluene"]),
            "cycles": draw.randint(1, 8),
            "loop": draw.choice([0.5, 1, 2, 5]),
        }

    def _outcomes(self, point: Mapping[str, Any]) -> dict[str, float]:
        heat, draw = (point["temperature"] - 30) / 90, self._random.random()
        found = {
            "yield_": 80 * heat * (1 - 0.3 * heat) + 5 * draw,
            "waste": 1200 * (0.2 + heat) - 40 * math.log(point["catalyst"]),
            "cost": point["cycles"] * (1 + draw),
        }
        return {name: found[name] for name in self._wanted}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begin a campaign: `begin("screen", objectives=2, optimizer="sobol")`."""
    with Journal.open(tmp_path / "journal.db") as journal:

        def begin(
            name: str = "screen",
            *,
            objectives: int = 2,
            optimizer: Mapping[str, Any] | None = None,
            twin: bool = True,
            time: float = SIMULATED_EPOCH,
            **more: Any,
        ) -> Campaign:
            spec = {
                "campaign": name,
                "plan": "react",
                "instruments": {"reactor": "heater"},
                "fixed": {"volume": 3.0},
                "parameters": PARAMETERS,
                "constraints": ["temperature + 2*cycles <= 140"],
                "objectives": {n: OBJECTIVES[n] for n in list(OBJECTIVES)[:objectives]},
                "optimizer": dict(optimizer or {"use": "sobol"}),
                "budget": {"trials": 25, "hours": None, "until": {}},
                "seed": 7,
                **more,
            }
            versions = {"sdl": "0.1.0", "plan": "react sha256:0123456789abcdef"}
            journal.add_campaign(name, spec, lab="bench", twin=twin, versions=versions, time=time)
            return Campaign(journal, name, objectives, time)

        yield begin


def proposed(notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """What an optimizer with a model says of a suggestion."""
    return {
        "generator": "botorch",
        "model": MODEL,
        "acquisition": {"name": "qLogNoisyExpectedHypervolumeImprovement", "samples": 64},
        "seed": 7,
        "notes": list(notes),
        "versions": {"botorch": "0.18.1"},
    }


@pytest.fixture
def by_model() -> dict[str, Any]:
    return proposed()
