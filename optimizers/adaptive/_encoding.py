"""Points as numbers: unit coordinates for searching, embedded coordinates for models.

Unit coordinates (n x c) have a column for each parameter and context: 0 to 1 along a number's
scale or levels, the index of a choice or of a library's row. Embedded coordinates (n x D) are such
that squared Euclidean distance is what a kernel wants: a number as it is, a choice as a corner of a
simplex (any two are 1 apart), a row of a library as its features, at a mean distance of 1. The
columns of one parameter form a group, which shares a length scale.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdl.errors import OptimizerError
from sdl.library import Library
from sdl.space import Categorical, Continuous, Integer, Ordinal, Parameter, Point
from sdl.task import Task

MOST_ROWS = 20_000  # of a library beside other parameters
LANDMARKS = 256  # rows from which the coordinates of fingerprints are made
COMPONENTS = 32
LISTED = 1000  # levels of an integer that are told apart

Numeric = Continuous | Integer | Ordinal


class Encoding:
    """Of one task, on one device.

    Columns come in the order of the parameters, then of the contexts.
    """

    def __init__(self, task: Task, device: torch.device | None = None) -> None:
        self.task = task
        self.device = device or torch.device("cpu")
        self.columns: dict[str, Parameter] = {**task.space.parameters, **task.contexts}
        self.names = tuple(self.columns)
        self.chosen = len(task.space.parameters)
        self._tables = {
            c: _embedding(p) for c, p in enumerate(self.columns.values()) if not _numeric(p)
        }
        groups: list[int] = []
        for column in range(len(self.names)):
            width = self._tables[column].shape[1] if column in self._tables else 1
            groups += [column] * width
        self.groups = torch.tensor(groups, device=self.device)
        self._embedded = {
            c: torch.tensor(t, dtype=torch.float64, device=self.device)
            for c, t in self._tables.items()
        }

    @property
    def dimension(self) -> int:
        """How many columns unit coordinates have, and length scales a kernel."""
        return len(self.names)

    @cached_property
    def free(self) -> list[int]:
        """Columns of chosen parameters along which an acquisition has a slope."""
        return [c for c in range(self.chosen) if _smooth(self._parameter(c))]

    @cached_property
    def levels(self) -> dict[int, NDArray[np.float64]]:
        """The unit coordinates of each chosen parameter that is not continuous."""
        found = {}
        for column in range(self.chosen):
            parameter = self._parameter(column)
            if _smooth(parameter):
                continue
            if column in self._tables:
                found[column] = np.arange(len(self._tables[column]), dtype=float)
            else:
                assert isinstance(parameter, Integer | Ordinal)
                found[column] = np.linspace(0.0, 1.0, len(parameter.levels))
        return found

    def is_choice(self, column: int) -> bool:
        """Whether the column counts choices, which have no order."""
        return column in self._tables

    def _parameter(self, column: int) -> Parameter:
        return self.columns[self.names[column]]

    def units(self, points: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return unit coordinates, n x c; NaN where a context is not known."""
        rows = np.empty((len(points), len(self.names)))
        for column, (name, parameter) in enumerate(self.columns.items()):
            rows[:, column] = to_unit(parameter, [point.get(name) for point in points])
        return rows

    def tensor(self, units: NDArray[np.float64]) -> Tensor:
        return torch.tensor(units, dtype=torch.float64, device=self.device)

    def points(self, units: NDArray[np.float64]) -> list[Point]:
        """Return the nearest points (parameters only) to unit coordinates."""
        return self.task.space.from_unit(units[:, : self.chosen])

    def embed(self, units: Tensor) -> Tensor:
        """Turn unit coordinates `... x c` into embedded ones `... x D`; keeps slopes."""
        if not self._embedded:
            return units
        parts: list[Tensor] = []
        for column in range(len(self.names)):
            z = units[..., column]
            if column in self._embedded:
                parts.append(self._embedded[column][z.detach().round().long()])
            else:
                parts.append(z.unsqueeze(-1))
        return torch.cat(parts, -1)


def _smooth(parameter: Parameter) -> bool:
    """Whether it is searched along its slope; an integer of many levels is rounded afterwards."""
    many = isinstance(parameter, Integer) and len(parameter.levels) > LISTED
    return many or isinstance(parameter, Continuous)


def _numeric(parameter: Parameter) -> bool:
    return isinstance(parameter, Numeric)


def to_unit(parameter: Any, values: Sequence[Any]) -> NDArray[np.float64]:
    """Return the unit coordinates of one parameter's values, all at once; NaN for none."""
    if isinstance(parameter, Categorical):
        index = {choice: float(i) for i, choice in enumerate(parameter.choices)}
        return np.array([index.get(value, math.nan) for value in values])
    if not isinstance(parameter, Numeric):
        return np.array([math.nan if v is None else parameter.to_unit(v) for v in values])
    numbers = np.array([math.nan if v is None else v for v in values], dtype=float)
    if isinstance(parameter, Ordinal):
        levels = np.array(parameter.values, dtype=float)
        nearest = np.abs(numbers[:, None] - levels).argmin(1) / (len(levels) - 1)
        return np.where(np.isnan(numbers), math.nan, nearest)
    if isinstance(parameter, Continuous) and parameter.scale == "log":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(numbers / parameter.low) / math.log(parameter.high / parameter.low)
    return (numbers - parameter.low) / (parameter.high - parameter.low)


def _embedding(parameter: Any) -> NDArray[np.float64]:
    """Return the embedded coordinates of each choice, one a row."""
    if isinstance(parameter, Categorical):
        return np.eye(len(parameter.choices)) / math.sqrt(2)
    return _library_embedding(parameter)


@lru_cache(maxsize=16)
def _library_embedding(library: Library) -> NDArray[np.float64]:
    """Return features of all rows such that the mean squared distance of two rows is 1.

    Fingerprints become the leading coordinates of their Tanimoto kernel (Nyström, from evenly
    spaced rows); of many columns the principal components are taken.

    :raises OptimizerError: there are too many rows to be one parameter among others.
    """
    count = len(library.index)
    if count > MOST_ROWS:
        raise OptimizerError(
            f"{library.library}: {count} rows are too many beside other parameters (at most "
            f"{MOST_ROWS}); make the library the only parameter, or shorten it"
        )
    features = library.features_of(np.arange(count))
    if library.fingerprint is not None:
        bits = np.unpackbits(features, axis=1).astype(np.float32)
        marks = bits[np.unique(np.linspace(0, count - 1, min(count, LANDMARKS)).astype(int))]
        values, vectors = np.linalg.eigh(_tanimoto(marks, marks).astype(float))
        kept = values > 1e-6 * values[-1]
        x = _tanimoto(bits, marks).astype(float) @ (vectors[:, kept] / np.sqrt(values[kept]))
    else:
        x = features.astype(float)
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    x = x - x.mean(0)
    if x.shape[1] > COMPONENTS:
        _, _, directions = np.linalg.svd(x, full_matrices=False)
        x = x @ directions[:COMPONENTS].T
    return x / math.sqrt(max(2.0 * float(x.var(0).sum()), 1e-12))


def _tanimoto(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return both / np.maximum(either, 1.0)
