"""What a lab file says about an instrument that another program serves (SiLA 2, OPC UA)."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdl.errors import GarbledError

Given = dict[str, bool | int | float | str]
Kind = Literal["number", "whole", "text", "truth"]
TYPES: dict[str, type] = {"number": float, "whole": int, "text": str, "truth": bool}


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Reading(_Words):
    """A signal: a value that is asked for, or one of what `measuring` answered last."""

    of: str = ""
    """What is read: a property, a node."""

    result: str = ""
    """Instead: the name of one of the answers of `measuring`."""

    kind: Kind = "number"
    units: str = ""
    precision: int | None = None
    factor: float = 1.0
    offset: float = 0.0
    """A number is shown as `served * factor + offset`, such as -273.15 for K to degC."""

    @model_validator(mode="after")
    def _one(self) -> "Reading":
        if bool(self.of) == bool(self.result):
            raise ValueError("a reading has one of `of` and `result`")
        return self


class Command(_Words):
    """What is called, and with what."""

    call: str
    given: Given = {}
    timeout: float = Field(default=600.0, gt=0)
    """s until it must have ended."""


class Setting(_Words):
    """What setting the instrument does: one command or one node takes the value."""

    call: str = ""
    parameter: str = ""
    """The command's parameter that takes the value."""

    given: Given = {}
    """Its other parameters."""

    write: str = ""
    """Instead of a command: the node that is written."""

    low: float = Field(default=-math.inf, allow_inf_nan=True)
    high: float = Field(default=math.inf, allow_inf_nan=True)
    units: str = ""
    reading: str = ""
    """The signal that must come within `tolerance` of the value; empty: the answer is enough."""

    tolerance: float = Field(default=0.5, gt=0)
    timeout: float = Field(default=600.0, gt=0)

    @model_validator(mode="after")
    def _one(self) -> "Setting":
        if bool(self.call) == bool(self.write):
            raise ValueError("a setting has one of `call` and `write`")
        return self


def parse_value(value: Any, reading: Reading, name: str) -> Any:
    """Return what was served as the lab wants it.

    :raises GarbledError: it is of another kind, or no finite number.
    """
    wanted = TYPES[reading.kind]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        got = f"{value!r} is a {type(value).__name__}"
        raise GarbledError(name, f"{reading.of or reading.result}: {got}, not a {reading.kind}")
    if wanted is not float:
        return value
    if not math.isfinite(value):
        raise GarbledError(name, f"{reading.of or reading.result}: {value} is not a number")
    return value * reading.factor + reading.offset
