"""Problems: the published optima are there, tables are read as they are, starts are shared."""

import math
from pathlib import Path

import pytest

from sdl.errors import ConfigError
from sdl.leaderboard import functions as f
from sdl.leaderboard.analytic import NAMES, analytic
from sdl.leaderboard.baseline import Random
from sdl.leaderboard.tables import Columns, Table
from sdl.space import Continuous, Objective, Space
from sdl.task import OutcomeConstraint, Task

TABLE = """\
temp (C),solvent,flow,batch,yield
10,water,1,7,5
10,water,1,7,7
20,water,2,7,3
20,ethanol,2,7,
30,ethanol,2,7,9
"""


PLAIN = Columns()


def table(folder: Path, columns: Columns = PLAIN, text: str = TABLE, **more: object) -> Table:
    file = folder / "t.csv"
    file.write_text(text, encoding="utf-8")
    return Table(file, columns, folder, **more)  # pyright: ignore[reportArgumentType]


def test_the_optima_are_where_the_papers_say() -> None:
    assert f.branin(math.pi, 2.275) == pytest.approx(0.397887, abs=1e-6)
    best = [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]
    assert f.hartmann6(best) == pytest.approx(-3.32237, abs=1e-5)
    assert not f.hartmann6_fails(best)
    assert f.ackley([0.0] * 4) == pytest.approx(0.0, abs=1e-12)
    assert f.rosenbrock([1.0] * 5) == f.levy([1.0] * 5) - f.levy([1.0]) == pytest.approx(0.0)
    vessel = f.pressure_vessel(0.8125, 0.4375, 42.0984456, 176.6365958)
    assert vessel["cost"] == pytest.approx(6059.714, abs=1e-3)
    assert max(vessel[n] for n in ("shell_stress", "head_stress", "lacking_volume")) < 1e-6
    gramacy = f.gramacy(0.1947, 0.4051)
    assert gramacy["y"] == pytest.approx(0.5998, abs=1e-4)
    assert abs(gramacy["wave"]) < 1e-3


def test_fronts_have_the_hypervolume_that_is_said() -> None:
    front = [f.zdt(2, [k / 1000, 0.0, 0.0]) for k in range(1001)]
    area, reached = 0.0, 11.0
    for x, y in front:
        area, reached = area + max(reached - y, 0.0) * (11 - x), min(reached, y)
    assert area == pytest.approx(analytic("zdt2").known.optimum, rel=1e-3)
    assert sum(v * v for v in f.dtlz2([0.3, 0.8, 0.5, 0.5], 3)) == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_begins_with_points_of_its_space(name: str) -> None:
    problem = analytic(name)
    starts = problem.starts(3)
    assert len(starts) == problem.known.initial
    assert all(problem.known.task.space.check(point) == [] for point in starts)
    assert starts == analytic(name).starts(3) != analytic(name).starts(4)


def test_noise_is_the_same_for_all_strategies_and_truth_has_none() -> None:
    point = {f"x{k}": 0.5 for k in range(6)}
    one, two = (analytic("hartmann6_noisy").tried(point, 1, number) for number in (4, 5))
    assert one == analytic("hartmann6_noisy").tried(point, 1, 4)
    assert one.outcomes != two.outcomes
    assert one.truth == two.truth == {"y": f.hartmann6([0.5] * 6)}


def test_a_table_is_its_distinct_rows_with_the_mean_of_replicates(tmp_path: Path) -> None:
    problem = table(tmp_path)
    known = problem.known
    assert list(known.task.space.parameters) == ["temp_C", "solvent", "flow"]  # batch is constant
    assert (known.rows, known.budget, known.optimum, known.top) == (4, 4, 9.0, 1)
    point = {"temp_C": 10.0, "solvent": "water", "flow": 1.0}
    assert known.task.space.check(point) == []
    assert known.task.space.check({**point, "flow": 2.0}) == ["it is no row of " + _file(known)]
    tried = problem.tried(point, 0, 0)
    assert (tried.outcomes, tried.truth, tried.top) == ({"yield": 6.0}, {"yield": 6.0}, False)


def _file(known: object) -> str:
    return known.task.space.candidates.file  # pyright: ignore[reportAttributeAccessIssue]


def test_replicates_can_be_drawn_and_the_truth_stays_their_mean(tmp_path: Path) -> None:
    problem = table(tmp_path, replicates="draw")
    point = {"temp_C": 10.0, "solvent": "water", "flow": 1.0}
    drawn = [problem.tried(point, 0, number) for number in range(20)]
    assert {t.outcomes["yield"] for t in drawn if t.outcomes} == {5.0, 7.0}
    assert {t.truth["yield"] for t in drawn if t.truth} == {6.0}


def test_a_row_without_a_number_is_an_experiment_that_failed(tmp_path: Path) -> None:
    point = {"temp_C": 20.0, "solvent": "ethanol", "flow": 2.0}
    tried = table(tmp_path).tried(point, 0, 0)
    assert tried.outcomes is None
    assert tried.told(3) == {"_id": 3, **point, "_state": "failed", "_cause": "failed"}


def test_the_best_rows_of_a_table_keep_its_constraints(tmp_path: Path) -> None:
    wanted = {"yield": Objective(direction="maximize")}
    limits = {"flow": OutcomeConstraint(high=1.5)}
    problem = table(tmp_path, Columns(wanted, ["temp (C)", "solvent"], (), limits))
    assert problem.known.optimum == 6.0


@pytest.mark.parametrize(
    ("columns", "text", "said"),
    [
        (Columns({"purity": Objective(direction="maximize")}), TABLE, "no column 'purity'"),
        (Columns(), "a,b\n1,2\n1,3\n", "no parameter has more than one value"),
        (Columns(), "a,b\n1,2\n,3\n", "column 'a': a parameter is missing"),
        (Columns(), "a\n1\n", "two columns"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(
    columns: Columns, text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        table(tmp_path, columns, text)


def test_random_search_tries_each_row_once_and_constraints_hold(tmp_path: Path) -> None:
    task = table(tmp_path).known.task
    rows = Random(task, seed=1).suggest(4)
    assert len({tuple(row.values()) for row in rows}) == 4
    axes = {n: Continuous(low=0, high=1) for n in "ab"}
    space = Space.model_validate({"parameters": axes, "constraints": ["a + b <= 0.5"]})
    task = Task.of(space, {"y": Objective(direction="minimize")})
    points = Random(task, seed=1).suggest(50)
    assert all(point["a"] + point["b"] <= 0.5 for point in points)  # pyright: ignore
