import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sdl import candidates
from sdl.candidates import Candidates
from sdl.space import (
    Categorical,
    Continuous,
    Integer,
    LinearConstraint,
    Objective,
    Ordinal,
    Space,
)

T = {"low": 20.0, "high": 120.0}


def space(parameters: dict[str, Any], *constraints: str) -> Space:
    return Space.model_validate({"parameters": parameters, "constraints": list(constraints)})


def mistake(parameters: Any, *constraints: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Space.model_validate({"parameters": parameters, "constraints": list(constraints)})
    error = caught.value.errors()[0]
    return ".".join(map(str, error["loc"])), error["msg"]


def test_a_mapping_without_type_is_what_its_keys_say() -> None:
    kinds = space(
        {
            "t": T,
            "n": {"type": "integer", "low": 1, "high": 3},
            "loop": {"values": [1, 2.5]},
            "solvent": {"choices": ["water", "DMSO"]},
        }
    ).parameters
    assert [type(p) for p in kinds.values()] == [Continuous, Integer, Ordinal, Categorical]


@pytest.mark.parametrize(
    ("parameter", "key", "says"),
    [
        ({"low": 5, "high": 5}, "t", "low must be below high"),
        ({"low": True, "high": 5}, "low", "number"),
        ({"low": "1", "high": 5}, "low", "number"),
        ({"low": 1, "high": float("nan")}, "high", "finite"),
        ({"low": 0, "high": 5, "scale": "log"}, "t", "low above 0"),
        ({"low": 1, "high": 5, "scale": "cubic"}, "scale", "'linear' or 'log'"),
        ({"low": 1, "high": 5, "step": 1}, "step", "not permitted"),
        ({"type": "integer", "low": 1.5, "high": 5}, "low", "integer"),
        ({"type": "integer", "low": 5, "high": 4}, "t", "low must be below high"),
        ({"type": "discrete", "low": 1, "high": 5}, "t", "'continuous', 'integer'"),
        ({"values": [1]}, "t", "at least two"),
        ({"values": [2, 1]}, "t", "must increase"),
        ({"values": [1, 1]}, "t", "must increase"),
        ({"values": [1, True]}, "1", "must be a number"),
        ({"choices": ["a"]}, "t", "at least two"),
        ({"choices": ["a", "b", "a"]}, "t", "distinct"),
        ({"choices": ["a", 3]}, "1", "string"),
        ({}, "t", "low and high"),
        (7, "t", "dictionary"),
    ],
)
def test_a_mistake_in_a_parameter_names_the_key_and_what_is_allowed(
    parameter: Any, key: str, says: str
) -> None:
    place, message = mistake({"t": parameter})
    assert place.startswith("parameters.t")
    assert place.endswith(key) or key == "t"
    assert says in message


@pytest.mark.parametrize("name", ["_id", "", " ", "a\nb"])
def test_a_parameter_has_a_name_that_no_other_key_of_a_point_has(name: str) -> None:
    assert "needs a name" in mistake({name: T})[1]


@pytest.mark.parametrize(
    ("text", "terms", "lower", "upper"),
    [
        ("t + 2*u <= 130", {"t": 1, "u": 2}, -math.inf, 130),
        ("t >= u", {"t": 1, "u": -1}, 0, math.inf),
        ("-2*(t - .5e0*u)/4 + 1 >= u - 3", {"t": -0.5, "u": -0.75}, -4, math.inf),
        ("3 == t + u*1E-1", {"t": -1, "u": -0.1}, -3, -3),
        ("t + t - -u <= 2 * 3", {"t": 2, "u": 1}, -math.inf, 6),
    ],
)
def test_a_constraint_is_read_as_written(
    text: str, terms: dict[str, float], lower: float, upper: float
) -> None:
    constraint = LinearConstraint.parse(text)
    assert constraint.terms == pytest.approx(terms)
    assert (constraint.lower, constraint.upper) == (lower, upper)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t + u", "expected <=, >= or =="),
        ("t < 3", "allowed are"),
        ("1 <= t <= 3", "two constraints"),
        ("t * u == 3", "an equation leaves nothing"),
        ("t / 0 <= 3", "division by 0"),
        ("t ** 2 / 0 <= 3", "division by 0"),
        ("t ** 2 <= 1e999", "too large"),
        ("t ** x <= 3", "parameters are: t, u, c"),
        ("t * c <= 3", "categorical"),
        ("t * u <= 3 <= 4", "one comparison"),
        ("t.real * t <= 3", "allowed are"),
        ("t ** (u if t else 3) <= 3", "not understood"),
        ("(t <= 3", "expected )"),
        ("2t <= 3", "allowed are"),
        ("t <= 1e999", "too large"),
        ("t - t <= 3", "no parameter"),
        ("__import__('os') <= 3", "not understood"),
        ("(" * 400 + "t" + ")" * 400 + " <= 3", "in one another"),
        ("x <= 3", "parameters are: t, u, c"),
        ("c <= 3", "categorical"),
        ("t + u >= 10000", "no point within the bounds"),
        (3, "must be a text"),
    ],
)
def test_a_constraint_that_is_none_says_why(text: Any, says: str) -> None:
    place, message = mistake({"t": T, "u": T, "c": {"choices": ["a", "b"]}}, text)
    assert place.startswith("constraints")
    assert says in message


def test_whether_integers_and_ordinals_can_keep_a_constraint_is_known() -> None:
    parameters = {"n": {"type": "integer", "low": 0, "high": 9}, "o": {"values": [1, 2.5, 10]}}
    assert space(parameters, "n + o == 4.5")
    assert "no point" in mistake(parameters, "n + o == 4.25")[1]


def test_all_mistakes_of_a_point_are_told_at_once() -> None:
    s = space({"t": T, "n": {"type": "integer", "low": 1, "high": 3}, "c": {"choices": ["a", "b"]}})
    told = s.check({"t": 130.0, "n": 1.5, "x": 1})
    assert [line.split(":")[0] for line in told] == ["c", "x", "t", "n"]
    assert s.check({"t": True, "n": 1, "c": "a"})
    assert s.check({"t": math.nan, "n": 1, "c": "a"})
    assert s.check({"t": 120.0 * (1 + 1e-12), "n": 1, "c": "a"}) == []


def test_a_constraint_holds_up_to_rounding_and_no_further() -> None:
    s = space({"t": T, "u": T}, "t + u <= 130")
    assert s.check({"t": 65.0, "u": 65.00000001}) == []
    assert s.check({"t": 65.0, "u": 65.000001}) == ["t + u <= 130: does not hold"]


def test_rounding_snaps_to_what_a_parameter_can_be() -> None:
    s = space({"t": T, "n": {"type": "integer", "low": 1, "high": 3}, "o": {"values": [1, 4]}})
    assert s.round({"t": 19.0, "n": 2.6, "o": 2.6}) == {"t": 20.0, "n": 3, "o": 4}
    assert isinstance(s.round({"t": 19.0, "n": 2.6, "o": 2.6})["n"], int)


def test_a_narrow_range_far_from_zero_keeps_its_digits() -> None:
    s = space({"t": {"low": 1e6, "high": 1e6 + 1e-3}})
    assert s.round({"t": 1e6 + 4.567e-4})["t"] == pytest.approx(1e6 + 4.567e-4, abs=1e-9)


def test_a_space_of_a_file_and_of_python_are_the_same() -> None:
    written = space({"t": {**T, "scale": "log"}, "c": {"choices": ["a", "b"]}}, "t <= 100")
    made = Space(
        parameters={
            "t": Continuous(low=20.0, high=120.0, scale="log"),
            "c": Categorical(choices=("a", "b")),
        },
        constraints=(LinearConstraint.parse("t <= 100"),),
    )
    assert written == made == Space.model_validate(made.model_dump(mode="json"))


def test_an_objective_knows_what_better_means() -> None:
    assert Objective(direction="minimize", threshold=3).sign == -1
    with pytest.raises(ValidationError, match="'maximize' or 'minimize'"):
        Objective.model_validate({"direction": "up"})


numbers = st.floats(-1e6, 1e6).map(lambda v: round(v, 3))


@st.composite
def parameters(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["continuous", "log", "integer", "ordinal", "categorical"]))
    low = draw(numbers)
    if kind == "continuous":
        return Continuous(low=low, high=low + draw(st.floats(1e-2, 1e6)))
    if kind == "log":
        low = draw(st.floats(1e-6, 1e3))
        return Continuous(low=low, high=low * draw(st.floats(1.1, 1e6)), scale="log")
    if kind == "integer":
        return Integer(low=int(low), high=int(low) + draw(st.integers(1, 10**6)))
    if kind == "ordinal":
        return Ordinal(values=tuple(sorted(draw(st.sets(numbers, min_size=2, max_size=6)))))
    return Categorical(choices=tuple("abcdef"[: draw(st.integers(2, 6))]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(parameters(), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_unit_coordinates_lead_to_allowed_points_and_back(kinds: Any, fractions: Any) -> None:
    s = Space(parameters={f"p{i}": kind for i, kind in enumerate(kinds)})
    units = [
        f * (len(p.choices) - 1) if isinstance(p, Categorical) else f
        for f, p in zip(fractions, kinds, strict=False)
    ]
    point = s.from_unit(np.array([units]))[0]
    assert s.check(point) == []
    assert s.round(point) == point
    there = s.to_unit([point])
    assert there.shape == (1, s.dimension)
    again = s.from_unit(there)[0]
    for name, value in point.items():
        assert again[name] == (
            value if isinstance(value, str) else pytest.approx(value, rel=1e-6, abs=1e-6)
        )
    for p, unit, back in zip(kinds, units, there[0], strict=True):
        if isinstance(p, Continuous):
            assert back == pytest.approx(unit, abs=1e-8)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, sdl.space, sdl.suggest, sdl.suggest.process\n"
        "from sdl.optimizers.botorch import BoTorch\n"
        "s = sdl.space.Space.model_validate({'parameters': {'t': {'low': 0, 'high': 1}}})\n"
        "BoTorch(sdl.task.Task.of(s, {'y': sdl.space.Objective(direction='maximize')}), seed=0)\n"
        "print([m for m in ('torch', 'scipy', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("t * u <= 3000", {"t": 50.0, "u": 50.0}, {"t": 100.0, "u": 50.0}),
        ("sqrt(t) + u**2 >= 500", {"t": 100.0, "u": 25.0}, {"t": 20.0, "u": 20.0}),
        ("3 / (t - 50) <= 1", {"t": 60.0, "u": 20.0}, {"t": 50.0, "u": 20.0}),
        ("log(t - 60) <= 4", {"t": 61.0, "u": 20.0}, {"t": 60.0, "u": 20.0}),
    ],
    ids=["product", "root", "division by 0 breaks it", "no value breaks it"],
)
def test_a_nonlinear_constraint_holds_where_it_says(text: str, inside: Any, outside: Any) -> None:
    s = space({"t": T, "u": T}, text)
    assert s.check(inside) == []
    assert s.check(outside) == [f"{text}: does not hold"]
    assert Space.model_validate(s.model_dump(mode="json")) == s


MIXED = {"of": ["a", "b", "c"], "total": 100.0, "at_most": 2, "minimum": 5.0}


@pytest.mark.parametrize(
    ("amounts", "says"),
    [
        ((40.0, 60.0, 0.0), None),
        ((40.0, 50.0, 0.0), "adds up to 90"),
        ((40.0, 50.0, 10.0), "3 are present, at most 2"),
        ((98.0, 2.0, 0.0), "b is 2; it must be 0 or at least 5"),
    ],
)
def test_a_mixture_says_how_a_point_breaks_it(amounts: Any, says: str | None) -> None:
    words = {name: {"low": 0.0, "high": 100.0} for name in "abc"}
    s = Space.model_validate({"parameters": words, "mixtures": [MIXED]})
    mistakes = s.check(dict(zip("abc", amounts, strict=True)))
    assert mistakes == [] if says is None else says in mistakes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"of": ["a", "z"]}, "z is no parameter"),
        ({"of": ["a", "a"]}, "distinct"),
        ({"total": 400.0}, "between 0 and 200 can be reached"),
        ({"minimum": 200.0}, "minimum 200 should not be above the total"),
    ],
)
def test_a_mixture_that_cannot_be_says_why(change: dict[str, Any], says: str) -> None:
    words = {name: {"low": 0.0, "high": 100.0} for name in "abc"}
    with pytest.raises(ValidationError, match=says):
        Space.model_validate({"parameters": words, "mixtures": [{**MIXED, **change}]})


def test_only_rows_of_a_table_may_be_tried(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("t,c,yield\n20,a,1\n30.5,b,2\n20,a,3\n")
    words = {"t": T, "c": {"choices": ["a", "b"]}}
    table = Candidates(file="rows.csv").resolved(tmp_path)
    s = Space.model_validate({"parameters": words, "candidates": table})
    assert s.check({"t": 20.0, "c": "a"}) == []
    assert s.check({"t": 20.0, "c": "b"}) == [f"it is no row of {file}"]
    assert table.points(s.parameters) == [{"t": 20.0, "c": "a"}, {"t": 30.5, "c": "b"}]
    file.write_text("t,c\n20,a\n500,b\n")
    candidates._rows.cache_clear()  # as in the next process
    with pytest.raises(ValueError, match="not the file that the campaign began with"):
        s.candidates.points(s.parameters)  # pyright: ignore[reportOptionalMemberAccess]
    fresh = Candidates(file="rows.csv").resolved(tmp_path)
    with pytest.raises(ValueError, match=r"rows.csv, line 3: t must be from 20 to 120"):
        fresh.points(s.parameters)
