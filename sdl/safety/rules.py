"""What a lab file may say about safety: limits, interlocks, inventory, watchdog.

The words only; whether they fit the lab's instruments is said by `sdl.safety.checking`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from sdl.files import Document, Key, Strict
from sdl.safety.expression import Rule
from sdl.safety.grammar import parse_rule

_NAME = r"[A-Za-z_]\w*"
Path = Annotated[str, Field(pattern=rf"^{_NAME}(\.{_NAME})*$", max_length=200)]
"""An instrument, or a signal of one: "heater", "substrate_pump.rate"."""

Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]


class Placed(Strict):
    """Something that a refusal names with the file and the line where it stands."""

    _place: str = PrivateAttr("<lab>")

    @property
    def place(self) -> str:
        """`lab.yaml:31`."""
        return self._place

    def stands(self, document: Document, key: Key) -> None:
        line = document.line(key)
        self._place = document.path.name if line is None else f"{document.path.name}:{line}"


class Limit(Placed):
    """What a settable may be set to, in its own units."""

    low: float | None = None
    """Lowest value that may be set."""

    high: float | None = None
    """Highest value that may be set."""

    max_step: Positive | None = None
    """Largest change from where it is now."""

    max_ramp: Positive | None = None
    """Largest change per minute since it was set last; the first setting has one minute."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) should not be above high ({self.high:g})")
        if all(v is None for v in (self.low, self.high, self.max_step, self.max_ramp)):
            raise ValueError("limits nothing; give low, high, max_step or max_ramp")
        return self


class Interlock(Placed):
    """What must be so before an instrument acts, and while it does."""

    rule: Annotated[str, Field(min_length=1)]
    """`TARGET needs EXPRESSION`, such as `heater needs bench_air.temperature < 45 degC`."""

    max_age: Annotated[float, Field(gt=0, le=86400)] = 5.0
    """s; a reading that is older does not count."""

    period: Annotated[float, Field(ge=0.05, le=3600)] = 1.0
    """s between two looks while the instrument acts."""

    @field_validator("rule")
    @classmethod
    def _parses(cls, text: str) -> str:
        parse_rule(text)
        return text

    @property
    def parsed(self) -> Rule:
        return parse_rule(self.rule)

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


class SafetyRules(Strict):
    """What the guard enforces; in the lab file, or in a file of its own."""

    limits: dict[Path, Limit] = {}
    """By instrument or signal (`pump.rate`): what it may be set to; see below."""

    interlocks: list[Interlock] = []
    """Rules as text, or mappings; see below."""

    stop_timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    """s for one instrument to confirm its safe state."""

    @field_validator("interlocks", mode="before")
    @classmethod
    def _plain_rules(cls, rules: object) -> object:
        if not isinstance(rules, list):
            return rules
        return [{"rule": r} if isinstance(r, str) else r for r in rules]

    def stand(self, document: Document, under: Key) -> None:
        """Remember where each rule stands, for what the guard says when it refuses."""
        for path, limit in self.limits.items():
            limit.stands(document, (*under, "limits", path))
        for index, interlock in enumerate(self.interlocks):
            interlock.stands(document, (*under, "interlocks", index))


Taking = Literal["positive", "negative", "each"]
"""What of a set counts: a positive argument, a negative one, or each action as one."""


class Item(Placed):
    """A reagent, a stock of vials, a waste container."""

    amount: Amount
    """How much there is at first; after that the journal counts."""

    units: Annotated[str, Field(max_length=32)] = ""
    """For people; it is that of what the instruments are set to."""

    capacity: Positive | None = None
    """The most that fits."""

    taken_by: dict[Path, Taking] = {}
    """What takes of it: by `positive` or `negative` settings, or one by `each` action."""

    filled_by: dict[Path, Taking] = {}
    """What fills it, likewise."""

    low: Amount | None = None
    """When a person should think of it."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        capacity = float("inf") if self.capacity is None else self.capacity
        for name, value in (("amount", self.amount), ("low", self.low)):
            if value is not None and value > capacity:
                raise ValueError(f"{name} ({value:g}) should not be above capacity ({capacity:g})")
        if not self.taken_by and not self.filled_by:
            raise ValueError("nothing takes or fills it; give taken_by or filled_by")
        return self


class Watchdog(Strict):
    """When a runtime that says nothing counts as dead."""

    timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    """s of silence after which the watchdog ends the runtime and makes the lab safe."""

    beat: Positive = 0.2
    """s between two signs of life; at most a third of `timeout`."""

    arm: Positive | None = None
    """s without a word from us after which instruments that have a watchdog of their own stop;
    default: what the options of each say."""

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        if 3 * self.beat > self.timeout * (1 + 1e-9):
            most = f"{self.timeout / 3:g}"
            raise ValueError(f"beat ({self.beat:g}) should be at most a third of timeout: {most}")
        return self
