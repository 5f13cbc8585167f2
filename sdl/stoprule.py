"""When a campaign is done because hardly anything is left to be gained, as the optimizer sees it.

    stop: {expected_gain: 0.05}          # the best next trial promises less, in the outcome's units
    stop: {probability: 0.05, of: 0.1}   # improving by more than 0.1 is less likely than 5 %
    stop: {gain_per_cost: 0.01}          # the gain that the best next trial promises for its cost

What is compared is an optimizer's forecast (see `sdl.suggest.Forecasts`). A rule must hold at two
suggestions, one after the other, with a result between them: one lucky fit ends nothing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from sdl.files import Strict

Positive = Annotated[float, Field(gt=0)]
IN_A_ROW = 2
LEAST = 10  # completed trials, where the campaign does not say


class StopRule(Strict):
    """Ends a campaign at the first of these; never sooner than `after`."""

    expected_gain: Positive | None = None
    """What the best next trial must promise, in the outcome's units (several objectives: of the
    hypervolume, in the product of their units)."""

    probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    """How likely an improvement by more than `of` must be left; of one objective only."""

    of: Annotated[float, Field(ge=0)] = 0.0
    """An improvement that matters, in the outcome's units."""

    gain_per_cost: Positive | None = None
    """What the best next trial must promise for each unit of its cost (see `costs`)."""

    after: Annotated[int, Field(ge=3, strict=True)] | None = None
    """Completed trials before which nothing ends; default: 10, or twice the number of parameters
    and 2 if that is more."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.expected_gain is None and self.probability is None and self.gain_per_cost is None:
            raise ValueError("needs one of expected_gain, probability and gain_per_cost")
        if self.probability is None and "of" in self.model_fields_set:
            raise ValueError("of: says of what improvement `probability` is, which is missing")
        return self

    def wanted(self) -> dict[str, Any]:
        """What the optimizer is asked for."""
        gain = {} if self.expected_gain is None else {"expected_gain": self.expected_gain}
        return {"of": self.of, **gain}

    def least(self, parameters: int) -> int:
        """How many trials must have completed."""
        return self.after if self.after is not None else max(LEAST, 2 * parameters + 2)

    def holds(self, forecast: Mapping[str, Any], parameters: int) -> str:
        """Say why the campaign is done, by one forecast; empty: it is not.

        A forecast that cannot be made, or of a model that is in doubt, ends nothing.
        """
        completed = _number(forecast.get("completed"))
        if completed is None or completed < self.least(parameters):
            return ""
        if forecast.get("doubt") or forecast.get("cannot_say"):
            return ""
        return next(self._reasons(forecast), "")

    def done(self, forecasts: Sequence[Mapping[str, Any]], parameters: int) -> str:
        """Say why the campaign is done; empty: it is not.

        :param forecasts: in the order in which they were made, the newest last.
        """
        by_result: dict[Any, Mapping[str, Any]] = {}
        for forecast in forecasts:
            by_result[forecast.get("completed")] = forecast  # the newest of as many results
        newest = list(by_result.values())[-IN_A_ROW:]
        reasons = [self.holds(forecast, parameters) for forecast in newest]
        return reasons[-1] if len(reasons) == IN_A_ROW and all(reasons) else ""

    def _reasons(self, forecast: Mapping[str, Any]) -> Iterator[str]:
        of, units = str(forecast.get("of", "")), str(forecast.get("units", ""))
        gain = _number(forecast.get("expected_gain"))
        if self.expected_gain is not None and gain is not None and gain < self.expected_gain:
            yield (
                f"the best next trial promises {_quantity(gain, units)} more of {of}, less than "
                f"{_quantity(self.expected_gain, units)}"
            )
        chance = _number(forecast.get("probability"))
        if self.probability is not None and chance is not None and chance < self.probability:
            yield (
                f"{of} is improved by more than {_quantity(self.of, units)} with probability "
                f"{chance:.2g}, less than {self.probability:g}"
            )
        worth = _number(forecast.get("gain_per_cost"))
        if self.gain_per_cost is not None and worth is not None and worth < self.gain_per_cost:
            yield (
                f"the best next trial promises {_quantity(worth, units)} more of {of} for a unit "
                f"of cost, less than {_quantity(self.gain_per_cost, units)}"
            )


def in_words(forecast: Mapping[str, Any]) -> str:
    """Say what a forecast says, for people; empty where there is none."""
    if why := forecast.get("cannot_say"):
        return f"no forecast: {why}"
    return "; ".join(_said(forecast))


def _said(forecast: Mapping[str, Any]) -> Iterator[str]:
    of, units = str(forecast.get("of", "")), str(forecast.get("units", ""))
    if (gain := _number(forecast.get("expected_gain"))) is not None:
        yield f"the best next trial is expected to gain {_quantity(gain, units)} of {of}"
    if (bound := _number(forecast.get("regret_bound"))) is not None:
        yield f"at most about {_quantity(bound, units)} is left"
    for key, goal in (("trials_to_target", "target"), ("trials_to_gain", "expected_gain")):
        ahead = forecast.get(key)
        if isinstance(ahead, Mapping) and "cannot_say" not in ahead:
            what = f"until {of} reaches" if goal == "target" else "until less is promised than"
            yield f"{_trials(ahead)} {what} {_quantity(ahead.get(goal), units)}"
        elif isinstance(ahead, Mapping):
            yield f"how many trials are left cannot be said: {ahead['cannot_say']}"
            return
    if doubt := forecast.get("doubt"):
        yield f"but {doubt}"


def _trials(ahead: Mapping[str, Any]) -> str:
    within = ahead.get("within")
    if ahead.get("median") is None:
        return f"more than {within} trials"
    low = ahead.get("low")
    high = ahead.get("high")
    end = f"more than {within}" if high is None else str(high)
    noun = "trial" if ahead["median"] == 1 else "trials"
    return f"about {ahead['median']} {noun} (80 % interval {low} to {end})"


def _quantity(value: Any, units: str) -> str:
    return f"{value:.3g} {units}".rstrip() if isinstance(value, int | float) else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
