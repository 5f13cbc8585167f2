"""Tables of real experiments as problems: only what was once measured may be tried.

A CSV file with a column for each parameter and outcome, one experiment a row. Rows with equal
parameters are replicates. A row without a number for an outcome is an experiment that failed.
"""

import csv
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdl.candidates import Candidates
from sdl.errors import ConfigError
from sdl.leaderboard.baseline import draws
from sdl.leaderboard.problems import Ask, Known, Tried, in_turn
from sdl.leaderboard.storing import replace
from sdl.space import Categorical, Continuous, Objective, Parameter, Point, Space, Value
from sdl.task import OutcomeConstraint, Task

TOP = 0.05  # of the rows, as in Liang et al., npj Comput. Mater. 7, 188 (2021)
DIGITS = 10
Replicates = Literal["mean", "draw"]
Measured = dict[str, float]
Key = tuple[Value, ...]


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are; None: all others are parameters, the last the objective."""

    objectives: Mapping[str, Objective] | None = None
    parameters: Sequence[str] | None = None
    categorical: Sequence[str] = ()
    """Parameters that are categories although they look like numbers."""

    outcome_constraints: Mapping[str, OutcomeConstraint] | None = None


class Table:
    """The distinct rows of a table as a problem.

    :param replicates: what measuring a row gives: the mean of its replicates, or one of them drawn
        by seed and number of the trial. The truth is the mean.
    :param folder: where the table of points that the task names is kept; it exists.
    :raises ConfigError: the file cannot be read, or a column is missing or no number.
    """

    def __init__(
        self,
        file: Path,
        columns: Columns,
        folder: Path,
        *,
        replicates: Replicates = "mean",
        budget: int = 50,
        initial: int = 5,
    ) -> None:
        self._file, self._replicates = file, replicates
        head, rows = _read(file)
        objectives = columns.objectives or {head[-1]: Objective(direction="maximize")}
        constraints = columns.outcome_constraints or {}
        outcomes = list(dict.fromkeys([*objectives, *constraints]))
        wanted = columns.parameters or [name for name in head if name not in outcomes]
        for name in (*outcomes, *wanted, *columns.categorical):
            if name not in head:
                raise ConfigError.at(
                    file, "", f"has no column {name!r}; its columns are: {', '.join(head)}"
                )
        parameters = self._parameters(rows, wanted, columns.categorical)
        self._names = dict(zip(parameters, _identifiers(list(parameters), outcomes), strict=True))
        self._rows = self._grouped(rows, parameters, outcomes)
        named = {self._names[column]: p for column, p in parameters.items()}
        space = Space(parameters=named, candidates=self._candidates(folder))
        budget = min(budget, len(self._rows))
        task = Task(
            space=space,
            objectives={_identifier(n): o for n, o in objectives.items()},
            outcome_constraints={_identifier(n): c for n, c in constraints.items()},
            trials=budget,
        )
        self._truth = {k: _mean(found) for k, found in self._rows.items()}
        self._top = self._best(task)
        self._known = Known(
            task,
            budget,
            min(initial, budget),
            about=f"{len(self._rows)} rows of {file.name}"
            + (f", {len(rows)} with replicates" if len(rows) > len(self._rows) else ""),
            optimum=self._optimum(task),
            rows=len(self._rows),
            top=len(self._top) if len(task.objectives) == 1 else None,
        )

    @property
    def known(self) -> Known:
        return self._known

    def starts(self, seed: int) -> list[Point]:
        """Return rows drawn at random."""
        rows = draws(self.known.task.space, seed)
        return [next(rows) for _ in range(self.known.initial)]

    def run(self, ask: Ask, *, seed: int, batch: int, record: Any) -> None:
        def evaluate(point: Point, number: int) -> Tried:
            return self.tried(point, seed, number)

        in_turn(evaluate, ask, budget=self.known.budget, batch=batch, record=record)

    def tried(self, point: Mapping[str, Any], seed: int, number: int) -> Tried:
        key = _key(point.values())
        top = key in self._top if self.known.top is not None else None
        truth, measured = self._truth[key], self._rows[key]
        if truth is None:
            return Tried(dict(point), None, None, cause="failed", top=top)
        if self._replicates == "mean" or len(measured) == 1:
            return Tried(dict(point), truth, truth, top=top)
        import numpy as np

        drawn = [m for m in measured if m is not None]
        which = int(np.random.default_rng([seed, number]).integers(len(drawn)))
        return Tried(dict(point), drawn[which], truth, top=top)

    def _parameters(
        self, rows: Sequence[Mapping[str, str]], wanted: Sequence[str], categorical: Sequence[str]
    ) -> dict[str, Parameter]:
        """One for each column that has more than one value."""
        found: dict[str, Parameter] = {}
        for name in wanted:
            texts = {row[name].strip() for row in rows}
            if "" in texts:
                raise ConfigError.at(self._file, "", f"column {name!r}: a parameter is missing")
            numbers = {_number(text) for text in texts}
            if name in categorical or any(math.isnan(v) for v in numbers):
                if len(texts) > 1:
                    found[name] = Categorical(choices=tuple(sorted(texts)))
            elif len(numbers) > 1:
                found[name] = Continuous(low=min(numbers), high=max(numbers))
        if not found:
            raise ConfigError.at(self._file, "", "no parameter has more than one value")
        return found

    def _grouped(
        self,
        rows: Sequence[Mapping[str, str]],
        parameters: Mapping[str, Parameter],
        outcomes: Sequence[str],
    ) -> dict[Key, list[Measured | None]]:
        found: dict[Key, list[Measured | None]] = {}
        self._points: dict[Key, list[str]] = {}
        for row in rows:
            texts = [row[column].strip() for column in parameters]
            values = [
                text if isinstance(p, Categorical) else p.round(_number(text))
                for p, text in zip(parameters.values(), texts, strict=True)
            ]
            measured = {_identifier(name): _number(row[name]) for name in outcomes}
            failed = not all(map(math.isfinite, measured.values()))
            found.setdefault(_key(values), []).append(None if failed else measured)
            self._points.setdefault(_key(values), [str(v) for v in values])
        return found

    def _candidates(self, folder: Path) -> Candidates:
        """Write the distinct points where the task can name them."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._names.values())
        writer.writerows(self._points.values())
        content = text.getvalue().encode()
        digest = hashlib.sha256(content).hexdigest()
        file = folder / f"{self._file.stem}-{digest[:12]}.csv"
        if not file.exists():
            replace(file, content)
        return Candidates(file=str(file.resolve()), sha256=digest)

    def _best(self, task: Task) -> frozenset[Key]:
        """The best rows that keep the constraints."""
        if len(task.objectives) > 1:
            return frozenset()
        ((name, objective),) = task.objectives.items()
        good = [k for k, truth in self._truth.items() if truth and task.feasible(truth)]
        good.sort(key=lambda k: -objective.sign * (self._truth[k] or {})[name])
        return frozenset(good[: math.ceil(TOP * len(self._truth))])

    def _optimum(self, task: Task) -> float | None:
        from sdl.pareto import hypervolume

        good = [truth for truth in self._truth.values() if truth and task.feasible(truth)]
        if len(task.objectives) == 1:
            ((name, objective),) = task.objectives.items()
            return max((t[name] for t in good), key=lambda v: objective.sign * v, default=None)
        if any(o.threshold is None for o in task.objectives.values()) or len(task.objectives) > 3:
            return None
        signs = {n: o.sign for n, o in task.objectives.items()}
        origin = [o.sign * (o.threshold or 0.0) for o in task.objectives.values()]
        return hypervolume([[s * t[n] for n, s in signs.items()] for t in good], origin)


def _read(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
            head = list(reader.fieldnames or ())
    except OSError as error:
        raise ConfigError.at(file, "", f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError.at(file, "", f"is no CSV table in UTF-8: {error}") from error
    if len(head) < 2 or not rows:
        raise ConfigError.at(file, "", "needs two columns and a row at least")
    return head, rows


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _key(values: Any) -> Key:
    return tuple(float(f"{v:.{DIGITS}g}") if isinstance(v, int | float) else v for v in values)


def _mean(found: Sequence[Measured | None]) -> Measured | None:
    measured = [m for m in found if m is not None]
    if not measured:
        return None
    return {n: math.fsum(m[n] for m in measured) / len(measured) for n in measured[0]}


def _identifier(column: str) -> str:
    """`QAgNO3(%)` as a name."""
    name = re.sub(r"\W+", "_", column.strip(), flags=re.ASCII).strip("_") or "column"
    return f"p_{name}" if name[0].isdigit() else name


def _identifiers(columns: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Distinct names, in order."""
    found: list[str] = []
    used = {_identifier(name) for name in taken}
    for column in columns:
        name, count = _identifier(column), 2
        while name in used:
            name, count = f"{_identifier(column)}_{count}", count + 1
        used.add(name)
        found.append(name)
    return found
