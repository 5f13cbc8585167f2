"""What a campaign has found so far, as a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdl.journal import Trial, TrialState
from sdl.pareto import pareto_front
from sdl.space import Objective

if TYPE_CHECKING:
    import pandas


class Results:
    """The trials of one campaign: a sequence of rows, printable, and a data frame on request."""

    def __init__(
        self, campaign: str, objectives: Mapping[str, Objective], trials: Sequence[Trial]
    ) -> None:
        self.campaign, self.objectives, self.trials = campaign, dict(objectives), list(trials)

    def __len__(self) -> int:
        return len(self.trials)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One mapping a trial: number, state, parameters, outcomes, cause."""
        return [
            {
                "trial": t.number,
                "state": str(t.state),
                **t.parameters,
                **(t.outcomes or {}),
                "cause": t.cause,
            }
            for t in self.trials
        ]

    @property
    def completed(self) -> list[Trial]:
        return [t for t in self.trials if t.state is TrialState.COMPLETED]

    @property
    def best(self) -> list[Trial]:
        """The best trial, or with several objectives the Pareto front, as measured."""
        return pareto_front(self.completed, self.objectives)

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a data frame, by trial number (needs the extra `pandas`)."""
        import pandas

        return pandas.DataFrame(self.rows).set_index("trial")

    def __str__(self) -> str:
        rows = self.rows
        if not rows:
            return f"{self.campaign}: no trials yet"
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [columns] + [[_cell(row.get(c)) for c in columns] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
        return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
