"""Our strategies in other people's loops: gest-api, Xopt's and blop's."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sdl.errors import ConfigError, OptimizerError
from sdl.optimizers.as_blop import BlopOptimizer
from sdl.space import Objective, Space
from sdl.task import OutcomeConstraint

UNIT = {"low": 0.0, "high": 1.0}
PLANE = Space.model_validate({"parameters": {"x": UNIT, "y": UNIT}})
LOW = {"f": Objective(direction="minimize")}

needs_gest = pytest.mark.skipif(find_spec("gest_api") is None, reason="gest-api is not installed")
needs_blop = pytest.mark.skipif(find_spec("blop") is None, reason="blop is not installed")


def generator(vocs: dict[str, Any], **options: Any) -> Any:
    from gest_api.vocs import VOCS

    from sdl.optimizers.as_gest import StrategyGenerator

    return StrategyGenerator(VOCS(**vocs), **options)


BOWL: dict[str, Any] = {
    "variables": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
    "objectives": {"f": "MINIMIZE"},
}


def bowl(point: dict[str, Any]) -> float:
    return (point["x"] - 0.3) ** 2 + (point["y"] - 0.6) ** 2


# ---- gest-api


@needs_gest
def test_a_loop_of_the_gest_api_finds_the_bowl() -> None:
    made = generator(BOWL, use="botorch", initial=5)
    for _ in range(5):
        points = made.suggest(2)
        made.ingest([{**point, "f": bowl(point)} for point in points])
    assert made.provenance["generator"] == "botorch"
    assert made.get_best_points()[0]["f"] < 0.01


@needs_gest
def test_every_kind_of_variable_comes_back_with_constants_and_an_id() -> None:
    variables = {
        "QUAD:LTU1:680": [0.0, 2.0],
        "n": {1, 2, 5},
        "solvent": {"water", "dmf"},
        "only": {7},
    }
    made = generator(BOWL | {"variables": variables, "constants": {"alpha": 0.5}}, use="sobol")
    points = made.suggest(6)
    assert [point.pop("_id") for point in points] == [0, 1, 2, 3, 4, 5]
    assert {point["n"] for point in points} == {1, 2, 5}
    assert {point["solvent"] for point in points} == {"water", "dmf"}
    assert all(point["alpha"] == 0.5 and point["only"] == 7 for point in points)
    assert {name for point in points for name in point} == {*variables, "alpha"}


@needs_gest
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"objectives": {"f": "EXPLORE"}}, "EXPLORE"),
        ({"objectives": {}}, "needs an objective"),
        ({"variables": {"x": "CONTEXTUAL", "y": [0.0, 1.0]}}, "contextual"),
        ({"variables": {"x": {3}}}, "more than one value"),
        ({"variables": {"x": {3, "three"}}}, "all numbers or all texts"),
    ],
)
def test_a_vocs_that_no_campaign_can_say_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        generator(BOWL | change, use="sobol")


@needs_gest
def test_an_unknown_id_or_a_point_outside_changes_nothing() -> None:
    made = generator(BOWL, use="sobol")
    mine = made.suggest(1)[0]
    for wrong in ({"_id": 9, "f": 1.0}, {"x": 2.0, "y": 0.5, "f": 1.0}):
        with pytest.raises(ValueError, match=r"none that was suggested|outside the space"):
            made.ingest([{**mine, "f": 0.5}, wrong])
    assert made.get_best_points() == []


@needs_gest
def test_results_of_others_failures_and_constraints_are_heeded() -> None:
    made = generator(BOWL | {"constraints": {"c": ["LESS_THAN", 1.0]}}, use="sobol")
    made.ingest(
        [
            {"x": 0.1, "y": 0.1, "f": 5.0, "c": 0.5},
            {"x": 0.2, "y": 0.1, "f": 1.0, "c": 1.5},  # breaks the constraint
            {"x": 0.3, "y": 0.1, "f": math.nan, "c": math.nan},
            {"x": 0.4, "y": 0.1, "f": 0.0, "c": 0.0, "xopt_error": True},
        ]
    )
    assert [point["x"] for point in made.get_best_points()] == [0.1]
    made.suggest(1)
    assert made.provenance["history"] == {"completed": 2, "failed": 2, "pending": 0}


@needs_gest
@pytest.mark.slow
@pytest.mark.skipif(find_spec("xopt") is None, reason="xopt is not installed")
def test_it_takes_over_from_xopt() -> None:
    from gest_api.vocs import VOCS
    from xopt.vocs import random_inputs  # pyright: ignore[reportMissingImports]

    theirs = random_inputs(VOCS(**BOWL), n=6, seed=1)
    made = generator(BOWL, use="botorch", initial=4)
    made.ingest([{**point, "f": bowl(point)} for point in theirs])
    for _ in range(4):
        point = made.suggest(1)[0]
        made.ingest([{**point, "f": bowl(point)}])
    assert made.provenance["generator"] == "botorch"
    assert made.get_best_points()[0]["f"] < min(map(bowl, theirs)) / 4


# ---- blop


@needs_blop
def test_it_keeps_the_protocols_of_blop() -> None:
    from blop.protocols import CanRegisterSuggestions, Checkpointable, Optimizer, TrialFaultAware

    optimizer = BlopOptimizer(PLANE, LOW, use="sobol")
    for protocol in (Optimizer, CanRegisterSuggestions, Checkpointable, TrialFaultAware):
        assert isinstance(optimizer, protocol)


@needs_blop
def test_a_bluesky_plan_of_blop_finds_the_bowl() -> None:
    from blop.plans import optimize
    from blop.protocols import OptimizationProblem
    from bluesky.run_engine import RunEngine
    from ophyd.sim import SynAxis, SynSignal

    x, y = SynAxis(name="x"), SynAxis(name="y")
    f = SynSignal(func=lambda: bowl({"x": x.position, "y": y.position}), name="f")
    seen: dict[str, list[dict[str, Any]]] = {}  # events by run
    order: dict[str, list[int]] = {}
    streams: dict[str, str] = {}

    def collect(name: str, document: dict[str, Any]) -> None:
        if name == "start" and "blop_acquisition_order" in document:
            order[document["uid"]] = document["blop_acquisition_order"]
        elif name == "descriptor":
            streams[document["uid"]] = document["run_start"]
        elif name == "event":
            seen.setdefault(streams[document["descriptor"]], []).append(document["data"])

    def evaluate(uid: str, suggestions: Any) -> list[dict[str, Any]]:
        pairs = zip(order[uid], seen[uid], strict=True)
        return [{"_id": trial, "f": event["f"]} for trial, event in pairs]

    optimizer = BlopOptimizer(PLANE, LOW, use="botorch", options={"initial": 4})
    engine = RunEngine({}, call_returns_result=True)
    engine.subscribe(collect)
    axes: Any = [x, y]
    sensors: Any = [f]
    engine(optimize(OptimizationProblem(optimizer, axes, sensors, evaluate), 5, n_points=2))
    assert optimizer.provenance["generator"] == "botorch"
    assert optimizer.provenance["history"]["completed"] == 8
    assert optimizer.get_best_points()[0][2]["f"] < 0.02


@needs_blop
def test_a_plan_that_breaks_is_told_as_failed_trials() -> None:
    from blop.plans import optimize
    from blop.protocols import OptimizationProblem
    from bluesky.run_engine import RunEngine
    from ophyd.sim import SynAxis

    def evaluate(uid: str, suggestions: Any) -> list[dict[str, Any]]:
        raise LookupError("the detector saw nothing")

    optimizer = BlopOptimizer(PLANE, LOW, use="sobol")
    axes: Any = [SynAxis(name="x"), SynAxis(name="y")]
    with pytest.raises(LookupError):
        RunEngine({})(optimize(OptimizationProblem(optimizer, axes, [], evaluate), 1, n_points=2))
    optimizer.suggest()
    assert optimizer.provenance["history"] == {"completed": 0, "failed": 2, "pending": 0}


def test_registered_points_count_as_pending_and_the_front_is_returned() -> None:
    objectives = LOW | {"g": Objective(direction="maximize")}
    limit = {"c": OutcomeConstraint(high=1.0)}
    optimizer = BlopOptimizer(PLANE, objectives, use="sobol", outcome_constraints=limit)
    given = optimizer.register_suggestions(
        [{"x": k / 10, "y": 0.5, "_id": "old"} for k in range(5)]
    )
    assert [point["_id"] for point in given] == [0, 1, 2, 3, 4]
    results = [(1.0, 1.0, 0.0), (2.0, 2.0, 0.0), (3.0, 1.5, 0.0), (0.0, 9.0, 5.0)]
    optimizer.ingest([{"_id": k, "f": f, "g": g, "c": c} for k, (f, g, c) in enumerate(results)])
    assert [trial for trial, *_ in optimizer.get_best_points()] == [0, 1]
    optimizer.suggest()
    assert optimizer.provenance["history"] == {"completed": 4, "failed": 0, "pending": 1}


def test_what_is_of_no_suggestion_is_refused() -> None:
    optimizer = BlopOptimizer(PLANE, LOW, use="sobol")
    with pytest.raises(OptimizerError, match="parameters are missing: x, y"):
        optimizer.ingest([{"_id": 4, "f": 1.0}])
    with pytest.raises(OptimizerError, match="outside the space"):
        optimizer.register_suggestions([{"x": 3.0, "y": 0.5}])
    with pytest.raises(OptimizerError, match="of no suggestion"):
        optimizer.register_failures([{"_id": 4}])
    with pytest.raises(OptimizerError, match="checkpoint_path"):
        optimizer.checkpoint()


def test_a_checkpoint_goes_on_as_it_would_have_in_a_new_process(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    optimizer = BlopOptimizer(PLANE, LOW, use="sobol", seed=5, checkpoint_path=kept)
    points = optimizer.suggest(3)
    optimizer.ingest([{"_id": point["_id"], "f": 1.0} for point in points])
    optimizer.checkpoint()
    script = (
        "import json\nfrom sdl.optimizers.as_blop import BlopOptimizer\n"
        f"print(json.dumps(BlopOptimizer.from_checkpoint({str(kept)!r}).suggest(2)))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(there.stdout) == optimizer.suggest(2)


def test_a_checkpoint_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"use": "sobol", "task":')
    for name in ("half.json", "gone.json"):
        with pytest.raises(OptimizerError, match="is no checkpoint that can be read"):
            BlopOptimizer.from_checkpoint(tmp_path / name)


def test_a_wrong_option_of_the_strategy_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="unknown option scramble"):
        BlopOptimizer(PLANE, LOW, use="sobol", options={"scramble": False})
