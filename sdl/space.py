"""What is varied and what is wanted: parameters, constraints, mixtures, objectives.

The same objects stand in campaign files and in Python. A point is a mapping of parameter names to
values. Optimizers work in unit coordinates (`Space.to_unit`): one column a parameter, 0 to 1 along
the scale of a continuous one, along the levels of an integer or ordinal one; a categorical one is
the index of its choice and is not scaled.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from sdl.candidates import Candidates
from sdl.library import Library
from sdl.linear import NONLINEAR, TOLERANCE, LinearConstraint
from sdl.mixture import Mixture
from sdl.nonlinear import NonlinearConstraint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value = float | int | str
Point = dict[str, Value]

_CALL = re.compile(r"[A-Za-z_]\w*\s*\(")  # a function, which no linear constraint has
DIGITS = 10  # decimal digits of a suggested number, of its range: no instrument resolves more


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number, not {value!r}")
    return value


_Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Numeric(_Model):
    """A parameter with an order: unit coordinate 0 is its lowest value, 1 its highest."""

    units: str = ""

    def check(self, value: object) -> str | None:
        """Say what is wrong with a value, or None."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return f"must be a number, not {value!r}"
        return self._check_number(value)

    def _check_number(self, value: float) -> str | None:
        raise NotImplementedError


class Continuous(_Numeric):
    """Any number from low to high; on a log scale equal ratios count as equal steps."""

    type: Literal["continuous"] = "continuous"
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not low {self.low:g} and high {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, not {self.low:g}")
        return self

    def _check_number(self, value: float) -> str | None:
        return _outside(value, self.low, self.high)

    def round(self, value: Any) -> float:
        if self.scale == "log":
            value = float(f"{value:.{DIGITS}g}")
        else:
            value = round(float(value), DIGITS - math.floor(math.log10(self.high - self.low)))
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Any) -> float:
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        unit = min(max(unit, 0.0), 1.0)
        if self.scale == "log":
            return self.round(self.low * math.exp(unit * math.log(self.high / self.low)))
        return self.round(self.low + unit * (self.high - self.low))


class Integer(_Numeric):
    """Every whole number from low to high, both included."""

    type: Literal["integer"] = "integer"
    low: int
    high: int

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not low {self.low} and high {self.high}")
        return self

    @property
    def levels(self) -> range:
        return range(self.low, self.high + 1)

    def _check_number(self, value: float) -> str | None:
        if value != int(value):
            return f"must be a whole number, not {value!r}"
        return _outside(value, self.low, self.high)

    def round(self, value: Any) -> int:
        return min(max(round(value), self.low), self.high)

    def to_unit(self, value: Any) -> float:
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> int:
        return self.round(self.low + unit * (self.high - self.low))


class Ordinal(_Numeric):
    """One of some numbers, in increasing order, such as the sizes of the loops at hand."""

    type: Literal["ordinal"] = "ordinal"
    values: Annotated[tuple[_Number, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if len(self.values) < 2:
            raise ValueError("values must be at least two; one value is no parameter")
        for before, after in zip(self.values, self.values[1:], strict=False):
            if not before < after:
                raise ValueError(f"values must increase, not {before:g} before {after:g}")
        return self

    @property
    def levels(self) -> tuple[int | float, ...]:
        return self.values

    def _check_number(self, value: float) -> str | None:
        if math.isclose(value, self.round(value), rel_tol=TOLERANCE):
            return None
        return f"must be one of {', '.join(map(str, self.values))}, not {value!r}"

    def round(self, value: Any) -> int | float:
        return min(self.values, key=lambda level: abs(level - value))

    def to_unit(self, value: Any) -> float:
        return self.values.index(self.round(value)) / (len(self.values) - 1)

    def from_unit(self, unit: float) -> int | float:
        last = len(self.values) - 1
        return self.values[min(max(round(unit * last), 0), last)]


class Categorical(_Model):
    """One of some names without an order, such as solvents."""

    type: Literal["categorical"] = "categorical"
    choices: Annotated[tuple[str, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(self.choices) < 2:
            raise ValueError("choices must be at least two; one choice is no parameter")
        twice = sorted({c for c in self.choices if self.choices.count(c) > 1})
        if twice:
            raise ValueError(f"choices must be distinct, not {', '.join(twice)} more than once")
        return self

    def check(self, value: object) -> str | None:
        """Say what is wrong with a value, or None."""
        if value in self.choices:
            return None
        return f"must be one of {', '.join(self.choices)}, not {value!r}"

    def round(self, value: Any) -> str:
        return value

    def to_unit(self, value: Any) -> float:
        return float(self.choices.index(value))

    def from_unit(self, unit: float) -> str:
        return self.choices[min(max(round(unit), 0), len(self.choices) - 1)]


def _outside(value: float, low: float, high: float) -> str | None:
    slack = TOLERANCE * max(abs(low), abs(high))
    if low - slack <= value <= high + slack:
        return None
    return f"must be from {low:g} to {high:g}, not {value:g}"


def _with_type(value: object) -> object:
    """Infer the type of a parameter of a file from the keys that it has."""
    if not isinstance(value, Mapping) or "type" in value:
        return value
    kinds = {"library": "library", "choices": "categorical", "values": "ordinal"}
    for key, kind in kinds.items():
        if key in value:
            return {**value, "type": kind}
    if "low" in value or "high" in value:
        return {**value, "type": "continuous"}
    raise ValueError(
        "must have low and high (continuous; with type: integer whole numbers only), "
        "values (ordinal), choices (categorical) or library (a file of candidates)"
    )


Parameter = Annotated[
    Annotated[Continuous | Integer | Ordinal | Categorical | Library, Field(discriminator="type")],
    BeforeValidator(_with_type),
]


def _constraint(value: object) -> LinearConstraint | NonlinearConstraint:
    if isinstance(value, LinearConstraint | NonlinearConstraint):
        return value
    if not isinstance(value, str):
        example = "'temperature + 2*residence_time <= 130'"
        raise ValueError(f"must be a text such as {example}, not {value!r}")
    try:
        return LinearConstraint.parse(value)
    except ValueError as linear:
        if NONLINEAR not in str(linear) and "**" not in value and not _CALL.search(value):
            raise
    return NonlinearConstraint.parse(value)


Constraint = Annotated[
    LinearConstraint | NonlinearConstraint,
    PlainValidator(_constraint),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["temperature + 2*residence_time <= 130"]}),
]
"""A relation between parameters, as text; linear ones are recognised and searched as such."""


class Desirability(_Model):
    """How good an outcome is, from 0 (at `worst`, or beyond) to 1 (at `best`, or beyond).

    Derringer and Suich, "Simultaneous optimization of several response variables" (1980).
    """

    worst: float
    best: float
    exponent: Annotated[float, Field(gt=0)] = 1.0
    """Above 1 only values near the best count, below 1 all that are not near the worst."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.worst == self.best:
            raise ValueError(f"worst and best must differ, not both be {self.best:g}")
        return self

    def of(self, outcome: Any) -> Any:
        """Return the desirability of a number, or of an array of them."""
        share = (outcome - self.worst) / (self.best - self.worst)
        if isinstance(share, int | float):
            return min(max(share, 0.0), 1.0) ** self.exponent
        return share.clip(0.0, 1.0) ** self.exponent


class Objective(_Model):
    """An outcome that is wanted high or low.

    The threshold is the worst value still of interest; with several objectives it is the reference
    point from which the hypervolume is measured. Where objectives have a weight or a desirability
    they are traded against each other as that says, and there is one best trial.
    """

    direction: Literal["maximize", "minimize"]
    units: str = ""
    threshold: float | None = None
    weight: Annotated[float, Field(gt=0)] | None = None
    desirability: Desirability | None = None
    noise: Annotated[float, Field(ge=0)] | None = None
    """Standard deviation of one measurement, where it is known; else it is estimated. What a plan
    returns as `<objective>_sd` counts for that trial before this."""

    @model_validator(mode="after")
    def _one_preference(self) -> Self:
        if self.desirability is not None:
            rises = self.desirability.best > self.desirability.worst
            if rises != (self.direction == "maximize"):
                raise ValueError(
                    f"desirability: best ({self.desirability.best:g}) lies on the wrong side of "
                    f"worst ({self.desirability.worst:g}) for an objective to {self.direction}"
                )
        return self

    @property
    def sign(self) -> float:
        """What to multiply the outcome by so that more is better."""
        return 1.0 if self.direction == "maximize" else -1.0


def _name(name: str) -> str:
    if not name.strip() or name.startswith("_") or not name.isprintable():
        raise ValueError(f"a parameter needs a name that does not begin with _, not {name!r}")
    return name


class Space(_Model):
    """What a campaign may try.

    :raises pydantic.ValidationError: no point keeps the constraints, or one of them is not about
        numeric parameters.
    """

    parameters: Annotated[
        dict[Annotated[str, AfterValidator(_name)], Parameter], Field(min_length=1)
    ]
    constraints: Annotated[tuple[Constraint, ...], Field(strict=False)] = ()
    mixtures: Annotated[tuple[Mixture, ...], Field(strict=False)] = ()
    candidates: Candidates | None = None
    """A table of points: only its rows may be tried."""

    @field_validator("constraints")
    @classmethod
    def _possible(
        cls, constraints: tuple[Constraint, ...], info: ValidationInfo
    ) -> tuple[Constraint, ...]:
        parameters: dict[str, Parameter] | None = info.data.get("parameters")
        if parameters is None or not constraints:
            return constraints  # what is wrong with the parameters is said already
        for constraint in constraints:
            for name in constraint.names:
                if name not in parameters:
                    known = ", ".join(parameters)
                    raise ValueError(f"{constraint.text!r} names {name!r}; parameters are: {known}")
                if not isinstance(parameters[name], Continuous | Integer | Ordinal):
                    raise ValueError(
                        f"{constraint.text!r}: {name!r} is categorical; a constraint "
                        "is about numbers"
                    )
        linear = [c for c in constraints if isinstance(c, LinearConstraint)]
        if linear and not _feasible(parameters, linear):
            texts = "; ".join(map(str, linear))
            raise ValueError(f"no point within the bounds keeps all constraints: {texts}")
        return constraints

    @field_validator("mixtures")
    @classmethod
    def _can_be_mixed(
        cls, mixtures: tuple[Mixture, ...], info: ValidationInfo
    ) -> tuple[Mixture, ...]:
        parameters: dict[str, Parameter] | None = info.data.get("parameters")
        if parameters is None:
            return mixtures
        seen: set[str] = set()
        for mixture in mixtures:
            if both := sorted(seen & set(mixture.of)):
                raise ValueError(f"{both[0]} is in two mixtures")
            seen |= set(mixture.of)
            _check_mixture(mixture, parameters)
        return mixtures

    @property
    def linear(self) -> tuple[LinearConstraint, ...]:
        return tuple(c for c in self.constraints if isinstance(c, LinearConstraint))

    @property
    def nonlinear(self) -> tuple[NonlinearConstraint, ...]:
        return tuple(c for c in self.constraints if isinstance(c, NonlinearConstraint))

    @property
    def boxed(self) -> bool:
        """Whether every combination of values within the bounds may be tried."""
        return not self.constraints and not self.mixtures and self.candidates is None

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.parameters)

    @property
    def dimension(self) -> int:
        return len(self.parameters)

    def check(self, point: Mapping[str, Any]) -> list[str]:
        """Say everything that is wrong with a point; an empty list means that it may be tried."""
        mistakes = [f"{name}: missing" for name in self.parameters if name not in point]
        mistakes += [
            f"{name}: unknown; parameters are: {', '.join(self.parameters)}"
            for name in point
            if name not in self.parameters
        ]
        for name, parameter in self.parameters.items():
            if name in point and (mistake := parameter.check(point[name])) is not None:
                mistakes.append(f"{name}: {mistake}")
        if not mistakes:
            mistakes += [f"{c}: does not hold" for c in self.constraints if not c.holds(point)]
            mistakes += [m for mixture in self.mixtures for m in mixture.mistakes(point)]
            if self.candidates is not None and not self.candidates.has(point):
                mistakes.append(f"it is no row of {self.candidates.file}")
        return mistakes

    def round(self, point: Mapping[str, Any]) -> Point:
        """Snap a point to what its parameters can be; numbers get `DIGITS` digits."""
        return {name: p.round(point[name]) for name, p in self.parameters.items()}

    def to_unit(self, points: Sequence[Mapping[str, Any]]) -> "NDArray[np.float64]":
        """Return the unit coordinates of points, one row each: (number of points, dimension)."""
        import numpy as np

        rows = [[p.to_unit(point[n]) for n, p in self.parameters.items()] for point in points]
        return np.array(rows, dtype=float).reshape(len(points), self.dimension)

    def from_unit(self, units: "NDArray[np.float64]") -> list[Point]:
        """Return the points nearest to unit coordinates, one a row; each is already rounded."""
        return [
            {n: p.from_unit(u) for (n, p), u in zip(self.parameters.items(), row, strict=True)}
            for row in units.tolist()
        ]


def _check_mixture(mixture: Mixture, parameters: Mapping[str, Parameter]) -> None:
    for name in mixture.of:
        parameter = parameters.get(name)
        if not isinstance(parameter, Continuous):
            what = "no parameter" if parameter is None else f"{parameter.type}, not continuous"
            raise ValueError(f"mixture: {name} is {what}")
        if parameter.scale == "log":
            raise ValueError(f"mixture: {name} has a log scale; the parts of a whole are linear")
        if parameter.low > 0 and mixture.at_most is not None:
            raise ValueError(
                f"mixture: {name} cannot be absent (low is {parameter.low:g}), so that at_most "
                "makes no sense; let its low be 0"
            )
    parts = [parameters[name] for name in mixture.of]
    low = math.fsum(p.low for p in parts if isinstance(p, Continuous))
    high = math.fsum(
        sorted((p.high for p in parts if isinstance(p, Continuous)), reverse=True)[: mixture.most]
    )
    if not low <= mixture.total <= high * (1 + TOLERANCE):
        raise ValueError(
            f"mixture of {', '.join(mixture.of)}: between {low:g} and {high:g} can be reached, "
            f"not the total {mixture.total:g}"
        )


def _feasible(parameters: Mapping[str, Parameter], constraints: Sequence[LinearConstraint]) -> bool:
    """Solve the mixed-integer program; an ordinal is a sum of its values, one of them chosen."""
    from scipy.optimize import milp

    names = sorted({name for c in constraints for name in c.terms})
    columns: list[tuple[str, float, float, float, int]] = []  # name, weight, low, high, integral
    for name in names:
        parameter = parameters[name]
        if isinstance(parameter, Ordinal):
            columns += [(name, value, 0, 1, 1) for value in parameter.values]
        elif isinstance(parameter, Continuous | Integer):
            whole = int(isinstance(parameter, Integer))
            columns.append((name, 1.0, parameter.low, parameter.high, whole))
    rows = [
        ([c.terms.get(name, 0.0) * weight for name, weight, *_ in columns], c.lower, c.upper)
        for c in constraints
    ] + [
        ([float(column[0] == name) for column in columns], 1.0, 1.0)
        for name in names
        if isinstance(parameters[name], Ordinal)
    ]
    return milp(
        [0.0] * len(columns),
        integrality=[column[4] for column in columns],
        bounds=([column[2] for column in columns], [column[3] for column in columns]),
        constraints=([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]),
    ).success
