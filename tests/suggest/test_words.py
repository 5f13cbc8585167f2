"""Why a point was suggested, in words."""

from sdl.space import Objective, Space
from sdl.suggest.words import in_words
from sdl.task import OutcomeConstraint, Task

SPACE = Space.model_validate(
    {"parameters": {n: {"low": 0.0, "high": 1.0} for n in ("a", "b", "c", "d")}}
)
TASK = Task.of(SPACE, {"yield": Objective(direction="maximize", units="%")})


def test_all_numbers_of_a_reason_stand_in_its_words() -> None:
    why = {
        "expected": {"yield": {"mean": 81.234, "sd": 2.5}},
        "p_feasible": 0.83,
        "distance_to_nearest": 0.9,
        "log_acquisition": -1.25,
    }
    assert in_words(why, TASK) == (
        "expects yield 81.23 ± 2.5 %; succeeds with probability 83 %; explores: the nearest trial "
        "is 0.9 away (of 2); log acquisition -1.25"
    )


def test_near_points_refine_and_equal_ones_repeat() -> None:
    assert "refines what is known" in in_words({"distance_to_nearest": 0.05}, TASK)
    assert "repeats a trial" in in_words({"distance_to_nearest": 0.0}, TASK)


def test_constraints_are_named_and_certainty_is_not_rounded_to_a_hundred() -> None:
    bound = {"impurity": OutcomeConstraint(high=1.0)}
    task = Task.of(SPACE, {"yield": Objective(direction="maximize")}, outcome_constraints=bound)
    said = in_words({"p_feasible": 0.9991}, task)
    assert said == "keeps its limits with probability over 99 %"


def test_what_is_missing_or_no_number_is_left_out() -> None:
    odd = {"expected": {"yield": {"mean": None}, "x": 3}, "p_feasible": float("nan")}
    assert in_words(odd, TASK) == ""
    assert in_words({}, TASK) == ""
