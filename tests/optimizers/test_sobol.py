from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.sobol import Sobol
from sdl.space import Objective, Point, Space
from sdl.task import Task

WANTED = {"y": Objective(direction="maximize")}
UNIT = {"low": 0.0, "high": 1.0}


def space(parameters: dict[str, Any], *constraints: str) -> Space:
    return Space.model_validate({"parameters": parameters, "constraints": list(constraints)})


def suggested(s: Space, history: list[dict[str, Any]], n: int, seed: int = 3) -> list[Point]:
    optimizer = Sobol(Task.of(s, WANTED), seed=seed)
    optimizer.ingest(history)
    return optimizer.suggest(n)


def pending(points: list[Point]) -> list[dict[str, Any]]:
    return [{"_id": i, "_state": "pending", **p} for i, p in enumerate(points)]


@pytest.mark.parametrize(
    "constraints", [[], ["a + b <= 1"], ["a + b + c == 1"]], ids=["free", "rejected", "filled"]
)
def test_the_sequence_goes_on_where_the_history_ends(constraints: list[str]) -> None:
    s = space({"a": UNIT, "b": UNIT, "c": UNIT}, *constraints)
    all_at_once = suggested(s, [], 9)
    one_by_one: list[Point] = []
    for _ in range(9):
        one_by_one += suggested(s, pending(one_by_one), 1)
    assert one_by_one == all_at_once
    assert suggested(s, [], 9, seed=4) != all_at_once


def test_it_fills_the_space_more_evenly_than_chance() -> None:
    s = space({"a": UNIT, "b": {"low": 1e-3, "high": 1e3, "scale": "log"}})
    units = s.to_unit(suggested(s, [], 64))
    assert qmc.discrepancy(units.clip(0, 1)) < 0.002  # at random: 0.01


@pytest.mark.parametrize(
    ("parameters", "constraints"),
    [
        ({"a": UNIT, "b": UNIT, "n": {"type": "integer", "low": 0, "high": 10**6}}, ["a+b+n==7.5"]),
        ({"a": UNIT, "b": UNIT}, ["a + b <= 0.001"]),
        ({"a": UNIT, "o": {"values": [1, 2, 8]}, "c": {"choices": ["x", "y"]}}, ["a+o>=2.5"]),
        ({"a": {"low": 1e-4, "high": 1.0, "scale": "log"}, "b": UNIT}, ["a == 2*b"]),
    ],
)
def test_constraints_are_kept_however_thin_what_they_leave(
    parameters: dict[str, Any], constraints: list[str]
) -> None:
    s = space(parameters, *constraints)
    points = suggested(s, [], 10)
    assert [s.check(p) for p in points] == [[]] * 10
    assert len({tuple(p.values()) for p in points}) == 10


def test_nothing_is_repeated_until_all_was_tried() -> None:
    s = space({"o": {"values": [1, 2, 8]}, "c": {"choices": ["x", "y"]}}, "o <= 4")
    points = suggested(s, [], 4)
    assert len({tuple(p.values()) for p in points}) == 4
    optimizer = Sobol(Task.of(s, WANTED), seed=3)
    optimizer.ingest(pending(points))
    assert s.check(optimizer.suggest(1)[0]) == []
    assert "repeated" in optimizer.provenance["notes"][0]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_point_of_any_space_is_allowed(data: st.DataObject) -> None:
    kinds = [
        UNIT,
        {"low": 0.01, "high": 10.0, "scale": "log"},
        {"type": "integer", "low": -3, "high": 3},
        {"values": [0.5, 1, 4]},
        {"choices": ["x", "y", "z"]},
    ]
    chosen = data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    numeric = [f"p{i}" for i, kind in enumerate(chosen) if "choices" not in kind]
    constraints = []
    if numeric:
        weights = data.draw(st.lists(st.integers(1, 3), min_size=5, max_size=5))
        total = " + ".join(f"{w}*{n}" for w, n in zip(weights, numeric, strict=False))
        constraints = [f"{total} <= {data.draw(st.floats(8, 30)):.3f}"]
    s = space({f"p{i}": kind for i, kind in enumerate(chosen)}, *constraints)
    for point in suggested(s, [], 5):
        assert s.check(point) == []


def test_it_has_no_options() -> None:
    with pytest.raises(ConfigError, match="unknown option scramble"):
        Sobol(Task.of(space({"a": UNIT}), WANTED), seed=0, scramble=False)


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ({"_state": "pending", "a": 0.5}, "_id"),
        ({"_id": 1, "_state": "done", "a": 0.5}, "allowed are completed, failed, pending"),
    ],
)
def test_a_point_that_breaks_the_contract_is_refused(point: dict[str, Any], says: str) -> None:
    with pytest.raises(OptimizerError, match=says):
        Sobol(Task.of(space({"a": UNIT}), WANTED), seed=0).ingest([point])
