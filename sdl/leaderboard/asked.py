"""What a bench file may say: tasks, strategies, seeds.

tasks: [hartmann6, {analytic: ackley, dimension: 10}, {table: barrel.csv, budget: 60},
        {twin: ../flow_chemistry/campaign.yaml, budget: 20}]
strategies: [sobol, {use: botorch, restarts: 4, name: botorch-4}]
seeds: 20
batch: 1
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from sdl import files
from sdl.errors import ConfigError
from sdl.files import Strict
from sdl.leaderboard.analytic import NAMES, analytic
from sdl.leaderboard.baseline import NAME as BASELINE
from sdl.leaderboard.problems import Problem
from sdl.leaderboard.tables import Columns, Replicates, Table
from sdl.space import Objective
from sdl.task import OutcomeConstraint

Count = Annotated[int, Field(gt=0, strict=True)]
Title = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Direction = Literal["maximize", "minimize"]
MOST_SEEDS = 10_000
KINDS = ("analytic", "table", "twin")


class _Task(Strict):
    name: Title | None = None
    """Under which it stands on the page."""

    budget: Count | None = None
    """Trials, the first ones included."""

    initial: Count | None = None
    """How many of them are the same for all strategies."""

    target: float | None = None
    """Value whose first reaching is counted; default: 95 % of the way to the best known."""


class AnalyticTask(_Task):
    """A formula, by name."""

    analytic: str
    dimension: Count | None = None
    noise: Annotated[float, Field(ge=0)] | None = None

    @field_validator("analytic")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in NAMES:
            raise ValueError(f"there is no problem {name!r}; known are: {', '.join(NAMES)}")
        return name

    @property
    def title(self) -> str:
        return self.name or self.analytic + (f"-{self.dimension}" if self.dimension else "")

    def problem(self, folder: Path) -> Problem:
        return analytic(
            self.analytic,
            dimension=self.dimension,
            noise=self.noise,
            budget=self.budget,
            initial=self.initial,
        )


class TableTask(_Task):
    """A table of real experiments."""

    table: str
    objective: dict[str, Direction | Objective] | None = None
    """Columns that are wanted high or low; default: the last one, high."""

    parameters: tuple[str, ...] | None = None
    categorical: tuple[str, ...] = ()
    outcome_constraints: dict[str, OutcomeConstraint] = {}
    replicates: Replicates = "mean"

    @property
    def title(self) -> str:
        return self.name or Path(self.table).stem

    def problem(self, folder: Path) -> Problem:
        objectives = {
            name: o if isinstance(o, Objective) else Objective(direction=o)
            for name, o in (self.objective or {}).items()
        }
        columns = Columns(
            objectives or None, self.parameters, self.categorical, self.outcome_constraints
        )
        return Table(
            Path(self.table),
            columns,
            folder,
            replicates=self.replicates,
            budget=self.budget or 50,
            initial=self.initial or 5,
        )


class TwinTask(_Task):
    """A campaign file, run on its twin."""

    twin: str

    @property
    def title(self) -> str:
        return self.name or Path(self.twin).resolve().parent.name

    def problem(self, folder: Path) -> Problem:
        from sdl.leaderboard.twins import Twin  # it opens labs: nobody else pays for that

        return Twin(Path(self.twin), budget=self.budget, initial=self.initial or 5)


def _kind(given: Any) -> str | None:
    keys = given if isinstance(given, Mapping) else vars(given)
    return next((kind for kind in KINDS if kind in keys), None)


TaskEntry = Annotated[
    Annotated[AnalyticTask, Tag("analytic")]
    | Annotated[TableTask, Tag("table")]
    | Annotated[TwinTask, Tag("twin")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="needs one of `analytic`, `table` and `twin`",
    ),
]


class StrategyEntry(files.Strict):
    """An optimizer by name; other keys are its options."""

    model_config = {**Strict.model_config, "extra": "allow"}

    use: str
    name: Title | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def title(self) -> str:
        return self.name or self.use.rpartition(":")[2]


class Bench(Strict):
    """All that is compared."""

    tasks: Annotated[tuple[TaskEntry, ...], Field(min_length=1)]
    strategies: Annotated[tuple[StrategyEntry, ...], Field(min_length=1)]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = tuple(range(10))
    batch: Annotated[int, Field(gt=0, le=1000, strict=True)] = 1
    """How many points are asked for at once."""

    baseline: bool = True
    """Whether random search is among the strategies: acceleration is measured against it."""

    ask_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Real seconds that one answer of a strategy may take."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _named_tasks(cls, tasks: Any) -> Any:
        many = isinstance(tasks, list | tuple)
        return [{"analytic": t} if isinstance(t, str) else t for t in tasks] if many else tasks

    @field_validator("strategies", mode="before")
    @classmethod
    def _named_strategies(cls, strategies: Any) -> Any:
        many = isinstance(strategies, list | tuple)
        return [{"use": s} if isinstance(s, str) else s for s in strategies] if many else strategies

    @field_validator("seeds", mode="before")
    @classmethod
    def _listed_seeds(cls, seeds: Any) -> Any:
        if isinstance(seeds, int) and not isinstance(seeds, bool) and 0 < seeds <= MOST_SEEDS:
            return tuple(range(seeds))
        found = seeds_of(seeds) if isinstance(seeds, str) else seeds
        if not isinstance(found, list | tuple) or not found:
            raise ValueError(f"should be a number of seeds, `0-9` or a list, not {seeds!r}")
        return tuple(dict.fromkeys(found))

    @model_validator(mode="after")
    def _distinct(self) -> "Bench":
        for kind, titles in {
            "tasks": [t.title for t in self.tasks],
            "strategies": [s.title for s in self.strategies],
        }.items():
            if twice := sorted({t for t in titles if titles.count(t) > 1}):
                raise ValueError(f"{kind}: {twice[0]} is there twice; give one of them a `name`")
        return self

    @property
    def compared(self) -> tuple[StrategyEntry, ...]:
        """The strategies, random search included."""
        if not self.baseline or any(s.title == BASELINE for s in self.strategies):
            return self.strategies
        return (*self.strategies, StrategyEntry(use=BASELINE))

    def beside(self, folder: Path) -> "Bench":
        """Return the same with absolute paths of what lies beside the file."""
        tasks = [
            t.model_copy(update={kind: str((folder / getattr(t, kind)).resolve())})
            if (kind := str(_kind(t))) != "analytic"
            else t
            for t in self.tasks
        ]
        return self.model_copy(update={"tasks": tuple(tasks)})


def seeds_of(text: str) -> list[int]:
    """Read `0-9` or `1,3,5`.

    :raises ValueError: it is neither.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"seeds should be as 0-9 or 1,3,5, not {text!r}")
        span = range(int(first), int(last if dash else first) + 1)
        if len(span) > MOST_SEEDS:
            raise ValueError(f"seeds: at most {MOST_SEEDS}, not {len(span)}")
        found += span
    if not found:
        raise ValueError(f"seeds: {text!r} has none")
    return found


def load(file: Path) -> Bench:
    """Read a bench file; paths in it are relative to it.

    :raises ConfigError: all that is wrong with it.
    """
    return files.parse(files.read(file), Bench).beside(file.parent)


def named(tasks: Sequence[str], strategies: Sequence[str]) -> Bench:
    """Return what a command line names.

    A task is a problem's name, `table:FILE`, `table:FILE:COLUMN:minimize` or `twin:FILE`.

    :raises ConfigError: one of them is none.
    """
    try:
        found = Bench.model_validate(
            {"tasks": [_task(text) for text in tasks], "strategies": list(strategies)}
        )
    except ValidationError as error:
        said = [str(e["msg"]).removeprefix("Value error, ") for e in error.errors()]
        raise ConfigError(*said) from error
    return found.beside(Path())


def _task(text: str) -> dict[str, Any]:
    kind, colon, rest = text.partition(":")
    if not colon:
        return {"analytic": text}
    if kind == "twin":
        return {"twin": rest}
    if kind != "table":
        raise ConfigError(f"--task {text}: should be a name, table:FILE or twin:FILE")
    file, *wanted = rest.rsplit(":", 2)
    if len(wanted) == 2 and wanted[1] in ("maximize", "minimize"):
        return {"table": file, "objective": {wanted[0]: wanted[1]}}
    return {"table": rest}
