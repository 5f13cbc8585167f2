"""What a detector service replies. Source: docs/reference/detector-protocol.md, protocol 1."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict


class Reply(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)
    session: str
    t: float


ReplyT = TypeVar("ReplyT", bound=Reply)


class Hello(Reply):
    model: str
    serial: str
    firmware: str


class Quantity(BaseModel):
    name: str
    units: str
    shape: list[int] = []


class Setting(BaseModel):
    units: str
    minimum: float
    maximum: float


class Description(Reply):
    data: Quantity
    settings: dict[str, Setting]
    axis: Quantity | None = None
    dtype: str | None = None
    full_scale: float | None = None


class Configured(Reply):
    configuration: dict[str, int | float]


class Triggered(Reply):
    acquisition: int
    remaining: float


class Acquired(Reply):
    acquired: float
    saturated: int
    dtype: str
    shape: list[int]
