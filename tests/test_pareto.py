"""Hypervolumes against values known from geometry, and against counting."""

import math
import random
from itertools import product

import pytest

from sdl.pareto import hypervolume, hypervolume_growth


def test_no_point_beyond_the_reference_is_no_volume() -> None:
    assert hypervolume([], [0.0, 0.0]) == 0.0
    assert hypervolume([[1.0, -1.0], [5.0, 0.0]], [0.0, 0.0]) == 0.0


def test_one_point_dominates_a_box_from_the_reference() -> None:
    assert hypervolume([[3.0, 5.0]], [1.0, 2.0]) == pytest.approx(6.0)
    assert hypervolume([[2.0, 3.0, 4.0, 5.0]], [0.0] * 4) == pytest.approx(120.0)


def test_two_dimensions_are_a_staircase() -> None:
    assert hypervolume([[1, 4], [2, 3], [4, 1]], [0, 0]) == pytest.approx(1 * 4 + 1 * 3 + 2 * 1)


def test_three_dimensions_by_inclusion_and_exclusion() -> None:
    points = [[3, 1, 2], [1, 3, 2], [2, 2, 3]]
    separate = 6 + 6 + 12
    pairs = 1 * 1 * 2 + 2 * 1 * 2 + 1 * 2 * 2
    assert hypervolume(points, [0, 0, 0]) == pytest.approx(separate - pairs + 1 * 1 * 2)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_corners_of_a_simplex_have_a_known_volume(count: int) -> None:
    # unit vectors stretched to (n, 1, …, 1) in turn: a cube of 1 and n arms of length n - 1
    points = [[count if i == j else 1 for j in range(count)] for i in range(count)]
    assert hypervolume(points, [0] * count) == pytest.approx(1 + count * (count - 1))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_random_fronts_agree_with_counting_cells(count: int) -> None:
    draw, size = random.Random(count), 8
    points = [[draw.randint(0, size) for _ in range(count)] for _ in range(15)]
    cells = product(range(size), repeat=count)
    covered = sum(
        any(all(cell < x for cell, x in zip(at, p, strict=True)) for p in points) for at in cells
    )
    assert hypervolume(points, [0] * count) == pytest.approx(covered)


def test_dominated_and_repeated_points_add_nothing() -> None:
    front = [[1, 4, 2], [4, 1, 2]]
    assert hypervolume([*front, [1, 1, 1], [4, 1, 2]], [0, 0, 0]) == hypervolume(front, [0, 0, 0])


def test_growth_ends_at_the_volume_of_all_and_never_shrinks() -> None:
    draw = random.Random(3)
    points = [[draw.random() for _ in range(3)] for _ in range(60)]
    grown = hypervolume_growth(points, [0.1, 0.2, 0.0])
    assert grown == sorted(grown)
    assert math.isclose(grown[-1], hypervolume(points, [0.1, 0.2, 0.0]))
    assert math.isclose(grown[9], hypervolume(points[:10], [0.1, 0.2, 0.0]))


def test_a_trial_without_outcomes_keeps_the_volume() -> None:
    assert hypervolume_growth([None, [2, 2], None, [3, 1]], [0, 0]) == [0, 4, 4, 5]
