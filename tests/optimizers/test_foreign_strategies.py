"""Other people's optimizers as strategies; those that are not installed are skipped."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.foreign._settle import settle
from sdl.optimizers.foreign._translate import Foreign, Told
from sdl.optimizers.sobol import Sobol
from sdl.space import Objective, Point, Space
from sdl.task import OutcomeConstraint, Task

UNIT = {"low": 0.0, "high": 1.0}
LOW = {"f": Objective(direction="minimize")}
TWO = {
    "f": Objective(direction="minimize", threshold=9.0),
    "g": Objective(direction="maximize", threshold=0.0),
}
MIXED: dict[str, Any] = {
    "x": UNIT,
    "S": {"low": 1e-4, "high": 10.0, "scale": "log"},
    "k": {"type": "integer", "low": 1, "high": 3},
    "loop": {"values": [0.5, 1, 5]},
}
SOLVENT = {"solvent": {"choices": ["water", "dmf"]}}
XOPT = "xopt.generators.bayesian.expected_improvement:ExpectedImprovementGenerator"


def case(name: str, package: str, slow: bool = False, **options: Any) -> Any:
    marks = [pytest.mark.slow] if slow else []
    title = f"{name} {options['sampler']}" if "sampler" in options else name
    return pytest.param(name, package, options, marks=marks, id=title)


GP = case("optuna", "optuna")
TPE = case("optuna", "optuna", sampler="tpe")
NSGAII = case("optuna", "optuna", sampler="nsgaii", population_size=4)
CMAES = case("optuna", "optuna", sampler="cmaes")
AX = case("ax", "ax-platform", slow=True)
BAYBE = case("baybe", "baybe", slow=True)
GEST = case("gest", "xopt", slow=True, generator=XOPT)


def made(name: str, package: str, task: Task, seed: int = 3, **options: Any) -> Any:
    for needed in (package, *(["cmaes"] if options.get("sampler") == "cmaes" else [])):
        try:
            version(needed)
        except PackageNotFoundError:
            pytest.skip(f"{needed} is not installed")
    if name == "gest":
        module, _, attribute = options["generator"].partition(":")
        options["generator"] = getattr(importlib.import_module(module), attribute)
    module = importlib.import_module(f"sdl.optimizers.foreign.{name}")
    names = {"ax": "Ax", "baybe": "BayBE", "optuna": "Optuna", "gest": "Gest"}
    return getattr(module, names[name])(task, seed=seed, **options)


def space(parameters: Mapping[str, Any], *constraints: str) -> Space:
    return Space.model_validate({"parameters": parameters, "constraints": constraints})


def history(task: Task, n: int) -> list[dict[str, Any]]:
    """Trials of which the last but one failed and the last is pending."""
    points: list[dict[str, Any]] = []
    for index, point in enumerate(Sobol(task, seed=7).suggest(n)):
        x = float(point["x"])
        outcomes = {"f": (x - 0.3) ** 2 + index / 10, "g": 1 - x, "c": 2 * x}
        state = {n - 2: "failed", n - 1: "pending"}.get(index, "completed")
        found = {name: outcomes[name] for name in task.outcomes} if state == "completed" else {}
        points.append({"_id": index, "_state": state, **point, **found})
    return points


# ---- what holds for each peer


def bowl(point: Point) -> float | None:
    """A minimum beside a region where trials fail."""
    x, y = float(point["x"]), float(point["y"])
    return None if x > 0.6 and y > 0.55 else (x - 0.55) ** 2 + (y - 0.5) ** 2


def best(optimizer_of: Any, trials: int = 12) -> float:
    told: list[dict[str, Any]] = []
    for index in range(trials):
        optimizer = optimizer_of()
        optimizer.ingest(told)
        point = optimizer.suggest(1)[0]
        value = bowl(point)
        news = {"_state": "failed"} if value is None else {"_state": "completed", "f": value}
        told.append({"_id": index, **point, **news})
    return min(point.get("f", 9.0) for point in told)


@pytest.mark.parametrize(("name", "package", "options"), [GP, TPE, AX, BAYBE, GEST])
def test_it_reaches_the_bowl_beside_failures_sooner_than_sobol(
    name: str, package: str, options: dict[str, Any]
) -> None:
    task = Task.of(space({"x": UNIT, "y": UNIT}), LOW)
    ours = [best(lambda s=s: Sobol(task, seed=s)) for s in (1, 2)]
    theirs = [best(lambda s=s: made(name, package, task, s, initial=5, **options)) for s in (1, 2)]
    assert sum(theirs) < sum(ours) / 2


@pytest.mark.parametrize(("name", "package", "options"), [GP, TPE, NSGAII, AX, BAYBE, GEST])
def test_every_kind_of_parameter_comes_back_as_it_is(
    name: str, package: str, options: dict[str, Any]
) -> None:
    kinds = MIXED if name == "gest" else MIXED | SOLVENT  # Xopt's know no categories
    task = Task.of(space(kinds), LOW)
    optimizer = made(name, package, task, initial=2, **options)
    told = history(task, 8)
    optimizer.ingest(told)
    points = optimizer.suggest(2)
    assert optimizer.provenance["generator"] == name
    assert [task.space.check(point) for point in points] == [[], []]
    assert points == [task.space.round(point) for point in points]
    tried = [{n: trial[n] for n in task.space.names} for trial in told]
    assert points[0] != points[1]
    assert not [point for point in points if point in tried]


@pytest.mark.parametrize(("name", "package", "options"), [GP, TPE, NSGAII, CMAES, AX, BAYBE, GEST])
def test_a_new_process_goes_on_as_the_old_one_would_have(
    name: str, package: str, options: dict[str, Any], tmp_path: Path
) -> None:
    task = Task.of(space({"x": UNIT, "y": UNIT}), LOW)
    told = history(task, 8)
    optimizer = made(name, package, task, initial=2, **options)
    optimizer.ingest(told[:3])
    optimizer.suggest(1)  # what it was asked before must not matter
    optimizer.ingest(told[3:])
    here = optimizer.suggest(2)
    call = [name, package, task.model_dump(mode="json"), options, told]
    (tmp_path / "call.json").write_text(json.dumps(call))
    script = (
        f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_foreign_strategies import Task, made\n"
        f"name, package, task, options, told = json.load(open({str(tmp_path / 'call.json')!r}))\n"
        "optimizer = made(name, package, Task.model_validate(task), initial=2, **options)\n"
        "optimizer.ingest(told[::-1])\n"
        "print(json.dumps(optimizer.suggest(2)))\n"
    )
    told_elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=500,  # of somebody else's imports on a busy machine
        env=os.environ | {"PYTHONHASHSEED": "5"},
    )
    assert told_elsewhere.returncode == 0, told_elsewhere.stderr
    there = json.loads(told_elsewhere.stdout.splitlines()[-1])
    # sums are rounded as many threads share them, and their line searches stop a little elsewhere
    assert there == [pytest.approx(point, abs=1e-4) for point in here]


@pytest.mark.parametrize(("name", "package", "options"), [GP, NSGAII, AX, BAYBE])
def test_several_objectives_with_thresholds_are_told(
    name: str, package: str, options: dict[str, Any]
) -> None:
    task = Task.of(space({"x": UNIT, "y": UNIT}), TWO)
    optimizer = made(name, package, task, initial=2, **options)
    optimizer.ingest(history(task, 8))
    assert task.space.check(optimizer.suggest(1)[0]) == []
    assert optimizer.provenance["generator"] == name


@pytest.mark.parametrize(("name", "package", "options"), [GP, AX, GEST])
def test_what_breaks_an_outcome_constraint_is_kept_away_from(
    name: str, package: str, options: dict[str, Any]
) -> None:
    limit = {"c": OutcomeConstraint(high=0.6)}  # c is 2 x
    objectives = {"g": Objective(direction="minimize")}  # 1 - x: wants a large x
    task = Task.of(space({"x": UNIT, "y": UNIT}), objectives, outcome_constraints=limit)
    optimizer = made(name, package, task, initial=2, **options)
    optimizer.ingest(history(task, 10))
    assert float(optimizer.suggest(1)[0]["x"]) < 0.4


@pytest.mark.parametrize(("name", "package", "options"), [AX, BAYBE])
def test_linear_constraints_are_kept(name: str, package: str, options: dict[str, Any]) -> None:
    task = Task.of(space({"x": UNIT, "y": UNIT}, "x + y <= 0.8", "x - y >= -0.2"), LOW)
    optimizer = made(name, package, task, initial=2, **options)
    optimizer.ingest(history(task, 8))
    points = optimizer.suggest(2)
    assert optimizer.provenance["generator"] == name
    assert [task.space.check(point) for point in points] == [[], []]


@pytest.mark.slow
def test_baybe_keeps_to_the_rows_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,s\n" + "".join(f"{k / 9},{'uv'[k % 2]}\n" for k in range(9)))
    table = {"candidates": {"file": str(tmp_path / "t.csv")}}
    parameters = {"x": UNIT, "s": {"choices": ["u", "v"]}}
    task = Task.of(Space.model_validate({"parameters": parameters, **table}), LOW)
    optimizer = made("baybe", "baybe", task, initial=2)
    rows = [{"x": k / 9, "s": "uv"[k % 2]} for k in range(9)]
    told = [
        {"_id": k, "_state": "completed", "f": (row["x"] - 0.9) ** 2, **row}
        for k, row in enumerate(rows[:7])
    ]
    optimizer.ingest(told)
    assert {round(point["x"] * 9) for point in optimizer.suggest(2)} == {7, 8}


@pytest.mark.parametrize(
    ("name", "package", "options", "says"),
    [
        ("optuna", "optuna", {"sampler": "best"}, "sampler must be one of gp, tpe, nsgaii, cmaes"),
        ("optuna", "optuna", {"popsize": 4}, "unknown option popsize; options are: sampler"),
        ("optuna", "optuna", {"initial": 1}, "initial must be a whole number from 2"),
        ("optuna", "optuna", {"failures": "drop"}, "failures must be worst or ignore"),
        ("ax", "ax-platform", {"method": "slow"}, "method must be fast or quality"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    name: str, package: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        made(name, package, Task.of(space({"x": UNIT}), LOW), **options)


@pytest.mark.parametrize(
    ("name", "package", "task", "says"),
    [
        ("optuna", "optuna", Task.of(space({"x": UNIT, "y": UNIT}, "x + y <= 1"), LOW), "use adap"),
        (
            "ax",
            "ax-platform",
            Task.of(space({"x": UNIT, "y": UNIT}, "x + y == 1"), LOW),
            "constraints: .* equality",
        ),
        (
            "baybe",
            "baybe",
            Task.of(space({"x": UNIT}), LOW, outcome_constraints={"c": OutcomeConstraint(low=1)}),
            "outcome_constraints: it does not know that; use adaptive",
        ),
        (
            "optuna",
            "optuna",
            Task.model_validate(
                {"space": {"parameters": {"x": UNIT}}, "objectives": LOW, "contexts": {"h": UNIT}}
            ),
            "contexts: it does not know that",
        ),
    ],
)
def test_what_a_peer_cannot_express_is_said_when_the_campaign_is_checked(
    name: str, package: str, task: Task, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        made(name, package, task)


@pytest.mark.parametrize("generator", ["", "os:system", "no_such.package:Thing"])
def test_a_generator_is_a_class_of_an_allowed_package(generator: str) -> None:
    from sdl.optimizers.foreign.gest import Gest

    with pytest.raises(ConfigError, match=r"must name a class|in no allowed package"):
        Gest(Task.of(space({"x": UNIT}), LOW), seed=0, generator=generator)


def test_checking_a_campaign_imports_no_peer() -> None:
    script = (
        "import sys\n"
        "from sdl.space import *\nfrom sdl.task import Task\nfrom sdl.errors import ConfigError\n"
        "from sdl.optimizers.foreign.ax import Ax\nfrom sdl.optimizers.foreign.baybe import BayBE\n"
        "from sdl.optimizers.foreign.optuna import Optuna\n"
        "from sdl.optimizers.foreign.gest import Gest\n"
        "space = Space.model_validate({'parameters': {'x': {'low': 0.0, 'high': 1.0}}})\n"
        "task = Task.of(space, {'f': Objective(direction='minimize')})\n"
        "for strategy in (Ax, BayBE, Optuna):\n"
        "    try: strategy(task, seed=0)\n"
        "    except ConfigError as error: assert 'is not installed' in str(error), error\n"
        "heavy = {'torch', 'ax', 'baybe', 'optuna', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


# ---- what all of them share, shown with a peer made up here


class Theirs(Foreign):
    """A peer that answers what a test wants, and notes what it was told."""

    NAME, PACKAGE = "theirs", "pytest"
    HEEDS = frozenset({"outcome_constraints"})
    answers: list[list[dict[str, Any]]] = []
    told: list[Told]

    @property
    def _torch(self) -> bool:
        return False

    def warm_up(self) -> None: ...

    def _ask(self, told: Told, n: int, seed: int, notes: list[str]) -> list[dict[str, Any]]:
        self.told = [*getattr(self, "told", []), told]
        answers = type(self).answers
        return answers[min(len(self.told), len(answers)) - 1]


def asked(answers: list[list[dict[str, Any]]], s: Space, n: int = 1) -> tuple[Any, list[Point]]:
    peer = type("Answering", (Theirs,), {"answers": answers})
    optimizer = peer(Task.of(s, LOW), seed=0, initial=2)
    optimizer.ingest(
        [{"_id": k, "_state": "completed", "x": 0.1 + k / 10, "f": k / 2} for k in range(3)]
        + [{"_id": 3, "_state": "failed", "x": 0.9}, {"_id": 4, "_state": "pending", "x": 0.5}]
    )
    return optimizer, optimizer.suggest(n)


def test_a_failed_trial_is_told_as_the_worst_measured() -> None:
    optimizer, _ = asked([[{"x": 0.7}]], space({"x": UNIT}))
    told = optimizer.told[0]
    assert [(t.point["x"], t.outcomes["f"]) for t in told.measured][-1] == (0.9, 1.0)
    assert told.pending == [{"x": 0.5}]
    assert told.lost == []


def test_what_was_tried_is_asked_for_again_and_what_was_chosen_is_told_as_pending() -> None:
    answers = [[{"x": 0.5}], [{"x": 0.7}], [{"x": 0.7}], [{"x": 0.8}]]
    optimizer, points = asked(answers, space({"x": UNIT}), 2)
    assert points == [{"x": 0.7}, {"x": 0.8}]
    assert optimizer.told[-1].pending == [{"x": 0.5}, {"x": 0.7}]


def test_one_that_repeats_itself_is_helped_out_by_the_sequence() -> None:
    optimizer, points = asked([[{"x": 0.5}]], space({"x": UNIT}))
    assert points[0]["x"] not in (0.1, 0.2, 0.3, 0.5, 0.9)
    assert optimizer.provenance["generator"] == "sobol"
    assert "nothing new was proposed" in optimizer.provenance["notes"][-1]


@pytest.mark.parametrize("wrong", [{"x": float("nan")}, {}, {"x": "much"}])
def test_one_that_proposes_nonsense_is_one_clear_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptimizerError, match="theirs: proposed nothing that the space allows, 4 t"):
        asked([[wrong]], space({"x": UNIT}))


def test_a_missing_package_names_the_extra() -> None:
    class Absent(Theirs):
        NAME, PACKAGE = "absent", "no-such-package-of-anybody"

    with pytest.raises(ConfigError, match=r'pip install "sdl\[absent\]"'):
        Absent(Task.of(space({"x": UNIT}), LOW), seed=0)


@pytest.mark.parametrize(
    ("constraints", "answer"),
    [
        (["a + b <= 1"], {"a": 0.6, "b": 0.4 + 1e-7}),
        (["a + b + c == 1"], {"a": 0.2, "b": 0.3, "c": 0.5 + 1e-6}),
        (["a + b == 1", "a + c >= 1.5"], {"a": 0.5, "b": 0.6, "c": 0.6}),
        (["a + 10*k <= 12"], {"a": 2.2, "k": 1}),
    ],
)
def test_what_a_solver_leaves_broken_is_moved_onto_the_constraints(
    constraints: list[str], answer: dict[str, Any]
) -> None:
    kinds = {"a": {"low": 0.0, "high": 3.0}, "b": UNIT, "c": UNIT} | {"k": MIXED["k"]}
    s = space(kinds, *constraints)
    point, mistakes = settle(s, {"b": 0.5, "c": 0.5, "k": 1} | answer)
    assert (point is not None, mistakes) == (True, [])
    assert s.check(point or {}) == []


def test_what_no_move_can_mend_is_no_point() -> None:
    s = space({"k": MIXED["k"], "m": MIXED["k"]}, "k + m <= 3")
    point, mistakes = settle(s, {"k": 3, "m": 3})
    assert point is None
    assert "does not hold" in mistakes[0]
