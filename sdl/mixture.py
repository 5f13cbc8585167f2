"""Mixtures: parameters that are the parts of a whole."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdl.linear import TOLERANCE


class Mixture(BaseModel):
    """Components whose amounts add up to a total: `{of: [water, acid, base], total: 100}`.

    Cornell, "Experiments with Mixtures" (2002).
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    of: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    """Continuous parameters, with the same units."""

    total: Annotated[float, Field(gt=0)] = 1.0
    at_most: Annotated[int, Field(ge=1)] | None = None
    """How many components may be present at once."""

    minimum: Annotated[float, Field(ge=0)] = 0.0
    """The least amount of a component that is present: what can still be weighed or pipetted."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        twice = sorted({name for name in self.of if self.of.count(name) > 1})
        if twice:
            raise ValueError(f"of must be distinct parameters, not {', '.join(twice)} twice")
        if self.minimum > self.total:
            raise ValueError(
                f"minimum {self.minimum:g} should not be above the total {self.total:g}"
            )
        return self

    @property
    def most(self) -> int:
        """The largest number of components that can be present."""
        most = len(self.of) if self.at_most is None else min(self.at_most, len(self.of))
        if self.minimum > 0:
            most = min(most, math.floor(self.total / self.minimum * (1 + TOLERANCE)))
        return most

    def mistakes(self, point: Mapping[str, Any]) -> list[str]:
        """Say how a point breaks it; an empty list means that it does not."""
        amounts = {name: float(point[name]) for name in self.of}
        told = f"mixture of {', '.join(self.of)}"
        found = []
        slack = TOLERANCE * max(self.total, *map(abs, amounts.values())) * len(amounts)
        if abs(math.fsum(amounts.values()) - self.total) > slack:
            total = math.fsum(amounts.values())
            found.append(f"{told}: adds up to {total:.10g}, not to {self.total:g}")
        present = [name for name, amount in amounts.items() if abs(amount) > slack]
        if self.at_most is not None and len(present) > self.at_most:
            found.append(f"{told}: {len(present)} are present, at most {self.at_most} may be")
        found += [
            f"{told}: {name} is {amounts[name]:g}; it must be 0 or at least {self.minimum:g}"
            for name in present
            if amounts[name] < self.minimum - slack
        ]
        return found

    def __str__(self) -> str:
        text = f"{' + '.join(self.of)} == {self.total:g}"
        if self.at_most is not None:
            text += f", at most {self.at_most} present"
        return text + (f", each 0 or at least {self.minimum:g}" if self.minimum else "")
