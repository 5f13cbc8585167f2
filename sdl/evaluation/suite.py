"""What a suite file may say: on what an optimizer is evaluated.

tasks: [branin, {analytic: hartmann6, budget: 30}, {table: barrel.csv, budget: 60}]
seeds: 10
proposals: 16
limits: {temperature: {high: 110}}
latency: 2.0
gate: [regret, calibration, safety]
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sdl import files
from sdl.files import Strict
from sdl.leaderboard.asked import Bench, StrategyEntry, TaskEntry

Count = Annotated[int, Field(gt=0, le=1000, strict=True)]
Kind = Literal["regret", "calibration", "safety", "bias", "latency"]

DEFAULT_TASKS = (
    {"analytic": "branin", "budget": 20},
    {"analytic": "hartmann6", "budget": 30},
    {"analytic": "pressure_vessel", "budget": 25},
)


class Limit(Strict):
    """Bounds that no proposal of this parameter may pass, such as those of the lab."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("limits nothing; give low or high")
        return self

    def holds(self, value: Any) -> bool:
        low = self.low is None or value >= self.low
        return low and (self.high is None or value <= self.high)


class Suite(Strict):
    """Tasks, seeds, and what counts."""

    tasks: Annotated[tuple[TaskEntry, ...], Field(min_length=1, validate_default=True)] = (
        DEFAULT_TASKS  # pyright: ignore[reportAssignmentType]
    )
    """As in a bench file (see `sdl bench`); tables and twins relative to this file."""

    seeds: Annotated[int, Field(ge=2, le=1000, strict=True)] = 8
    """From how many starts each task is solved; the same for every version."""

    batch: Count = 1
    proposals: Count = 16
    """How many points are asked for on the campaign's own space, with its own history."""

    limits: dict[str, Limit] = {}
    """Of the campaign's parameters."""

    latency: Annotated[float, Field(gt=0)] | None = None
    """CPU seconds that one answer may take on average; more is a violation."""

    gate: tuple[Kind, ...] = ("regret", "calibration", "safety")
    """Kinds of scores that must not get worse; others are told only."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _named_tasks(cls, tasks: Any) -> Any:
        many = isinstance(tasks, list | tuple)
        return [{"analytic": t} if isinstance(t, str) else t for t in tasks] if many else tasks

    @field_validator("gate", mode="before")
    @classmethod
    def _listed(cls, gate: Any) -> Any:
        return tuple(gate) if isinstance(gate, list) else gate

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a suite file.

        :raises ConfigError: all that is wrong with it.
        """
        found = files.parse(files.read(file), cls)
        bench = found.bench("sobol", {}).beside(file.parent)
        return found.model_copy(update={"tasks": bench.tasks})

    def bench(self, use: str, options: dict[str, Any]) -> Bench:
        """The jobs of one strategy."""
        strategy = StrategyEntry.model_validate({**options, "use": use, "name": "evaluated"})
        return Bench.model_construct(
            tasks=self.tasks,
            strategies=(strategy,),
            seeds=tuple(range(self.seeds)),
            batch=self.batch,
            baseline=False,
            ask_timeout=600.0,
        )

    @property
    def digest(self) -> str:
        """What makes scores comparable: tasks, seeds and batch."""
        words = self.model_dump_json(include={"tasks", "seeds", "batch"}, exclude_none=True)
        return hashlib.sha256(words.encode()).hexdigest()[:12]
