"""A number that an optimizer is judged by, with its interval; and all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from sdl.leaderboard.statistics import mean

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Score:
    """`values`: one a seed, None where there is none; the mean and its 95 % interval."""

    name: str
    kind: str
    better: Better
    mean: float
    low: float | None
    high: float | None
    values: Sequence[float | None] = ()

    @classmethod
    def of(
        cls, name: str, kind: str, better: Better, values: Sequence[float | None]
    ) -> "Score | None":
        """Summarise values; None where none is a number."""
        found = mean(values)
        if found is None:
            return None
        return cls(name, kind, better, found.mean, found.low, found.high, tuple(values))

    @classmethod
    def of_share(cls, name: str, kind: str, better: Better, count: int, n: int) -> "Score":
        """A share of `n` and its Wilson interval."""
        from sdl.suggest.calibration import Coverage

        share = Coverage(0.5, count, n)  # the level is not used for its interval
        return cls(name, kind, better, share.share, *share.interval)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of one version."""

    campaign: str
    version: Mapping[str, Any]
    digest: str
    suite: str
    """Digest of tasks and seeds: scores of equal suites compare."""
    seeds: Sequence[int]
    scores: Sequence[Score]
    violations: Sequence[str]
    """Each thing that must never happen, and did."""
    remarks: Sequence[str] = ()
    """What could not be measured, and why."""
    gate: Sequence[str] = field(default_factory=tuple)
    """Kinds of scores that must not get worse."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, words: Mapping[str, Any]) -> Self:
        """:raises KeyError, TypeError: they are no evaluation."""
        known = {name: words[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "scores": [Score(**score) for score in words["scores"]]})

    def score(self, name: str) -> Score | None:
        return next((score for score in self.scores if score.name == name), None)
