"""Which version may replace the promoted one."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sdl import modelversion
from sdl.errors import ConfigError
from sdl.evaluation import Evaluation, Score, gate, last_promoted, place_of, promote, record
from sdl.evaluation.bias import clusters_visited, discrepancy, visited
from sdl.evaluation.suite import Suite
from sdl.library import Library
from sdl.space import Space

KINDS = ("regret", "calibration", "safety")


def evaluation(*scores: Score | None, violations: Sequence[str] = (), suite: str = "s") -> Any:
    made = [score for score in scores if score is not None]
    return Evaluation("c", {"use": "mine"}, "f" * 64, suite, (0,), made, violations, (), KINDS)


def regret(*values: float, name: str = "branin: regret") -> Score | None:
    return Score.of(name, "regret", "lower", values)


GOOD, BAD = (0.1, 0.02, 0.4, 0.1), (1.0, 0.3, 3.0, 1.2)


def test_a_version_with_more_regret_from_the_same_starts_is_refused_and_told_why() -> None:
    (why,) = [
        line
        for line in gate(evaluation(regret(*BAD)), evaluation(regret(*GOOD)))
        if "branin" in line
    ]
    assert why.startswith("branin: regret: 1.375 instead of 0.155; from the same starts ")
    assert "times as much" in why


def test_a_better_or_equal_version_passes() -> None:
    assert gate(evaluation(regret(*GOOD)), evaluation(regret(*BAD))) == []
    assert gate(evaluation(regret(*GOOD)), evaluation(regret(*GOOD))) == []


def test_what_may_be_chance_on_each_task_is_seen_on_all_together() -> None:
    def made(*offsets: float) -> Evaluation:
        tasks = ["a", "b", "c", "d"]
        return evaluation(
            *(
                regret(1.0 + o, 1.2, name=f"{t}: regret")
                for t, o in zip(tasks, offsets, strict=True)
            )
        )

    found = gate(made(0.9, 1.1, 1.0, 1.2), made(0.0, 0.0, 0.0, 0.0))
    assert [line.partition(":")[0] for line in found] == ["regret of all tasks"]


def test_one_violation_is_enough() -> None:
    made = evaluation(regret(*GOOD), violations=["proposed x 9, beyond its limit"])
    assert gate(made, None) == ["violation: proposed x 9, beyond its limit"]


def test_a_score_without_seeds_is_compared_with_the_interval() -> None:
    def share(inside: int) -> Evaluation:
        return evaluation(Score.of_share("c: y: share", "calibration", "higher", inside, 40))

    assert gate(share(36), share(38)) == []
    assert "beyond 0.835 to 0.986" in gate(share(20), share(38))[0]


def test_a_score_that_is_not_there_any_more_is_no_progress() -> None:
    calibrated = Score.of("branin: miscalibration", "calibration", "lower", [0.1, 0.1])
    (why,) = gate(evaluation(regret(*GOOD)), evaluation(regret(*GOOD), calibrated))
    assert why == "branin: miscalibration: could not be measured; it was 0.1"


def test_kinds_that_do_not_gate_are_not_compared() -> None:
    slow, quick = (Score.of("t", "latency", "lower", [v, v]) for v in (9.0, 0.1))
    assert gate(evaluation(slow), evaluation(quick)) == []


def test_other_tasks_do_not_compare() -> None:
    (why,) = gate(evaluation(regret(*GOOD), suite="x"), evaluation(regret(*GOOD)))
    assert "other tasks or seeds" in why


# -- what is kept ---------------------------------------------------------------------------------


def test_the_promoted_evaluation_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    made = evaluation(regret(*GOOD))
    kept = record(made, place_of(file, "c"), time=5.0, who="me")
    assert last_promoted(file, "c") is None
    promote(made, kept, file, time=6.0, who="me", note="looked at it")
    assert last_promoted(file, "c") == dataclasses.replace(
        made,
        seeds=[0],
        violations=[],
        remarks=[],
        gate=list(KINDS),
        scores=[dataclasses.replace(s, values=list(s.values)) for s in made.scores],
    )
    known = modelversion.promoted(file, "c") or {}
    assert (known["who"], known["note"], known["digest"]) == ("me", "looked at it", "f" * 64)
    kept.unlink()
    with pytest.raises(ConfigError, match="bring it back"):
        last_promoted(file, "c")


def test_only_the_promoted_version_may_be_used(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"

    def why(**options: Any) -> str:
        return modelversion.refusal("sobol", options, None, file, "c")

    assert "no version was promoted yet" in why()
    present = modelversion.model_version("sobol", {}, None)
    made = dataclasses.replace(
        evaluation(regret(*GOOD)), digest=present.digest, version=present.as_json()
    )
    kept = record(made, place_of(file, "c"), time=5.0, who="me")
    promote(made, kept, file, time=6.0, who="me", note="")
    assert why() == ""
    assert "its options differ" in why(odd=1)
    words = json.loads(modelversion.promoted_file(file, "c").read_text())
    words |= {"digest": "0" * 64, "packages": {**words["packages"], "torch": "0.1"}}
    modelversion.promoted_file(file, "c").write_text(json.dumps(words))
    assert "instead of 0.1" in why()
    modelversion.promoted_file(file, "c").write_text("{half")
    assert "cannot be read" in why()


def test_a_docstring_does_not_make_another_version_but_a_number_does(tmp_path: Path) -> None:
    def digest(folder: str, body: str) -> str:
        (tmp_path / folder / "optimizers").mkdir(parents=True)
        (tmp_path / folder / "optimizers" / "mine.py").write_text(f"class mine:\n{body}\n")
        return modelversion.model_version("mine", {}, tmp_path / folder).digest

    plain = digest("a", "    step = 1")
    assert digest("b", '    """Says more."""\n    step = 1  # one') == plain
    assert digest("c", "    step = 2") != plain


# -- suite and bias -------------------------------------------------------------------------------


def test_a_suite_says_its_tasks_and_another_suite_has_another_digest() -> None:
    assert [t.title for t in Suite().tasks] == ["branin", "hartmann6", "pressure_vessel"]
    assert Suite().digest != Suite(seeds=3).digest
    assert Suite().digest == Suite(latency=2.0).digest  # what counts, not what is measured


def test_coverage_counts_levels_and_tenths() -> None:
    space = Space.model_validate(
        {"parameters": {"x": {"low": 0.0, "high": 1.0}, "s": {"choices": ["a", "b"]}}}
    )
    crowd = [{"x": 0.51, "s": "a"}, {"x": 0.52, "s": "a"}]
    assert visited(space, crowd) == pytest.approx((0.1 + 0.5) / 2)
    spread = [{"x": (k + 0.5) / 10, "s": "ab"[k % 2]} for k in range(10)]
    assert visited(space, spread) == 1.0
    close, even = discrepancy(space, crowd), discrepancy(space, spread)
    assert close is not None
    assert even is not None
    assert close > 10 * even


def test_clusters_of_molecules_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    alcohols = ["CCCCCO", "CCCCCCO", "CCCCCCCO", "CCCCCCCCO"]
    rings = ["c1ccccc1C", "c1ccccc1CC"]
    (tmp_path / "m.csv").write_text("smiles\n" + "\n".join(alcohols + rings) + "\n")
    library = Library.model_validate(
        {"library": "m.csv", "key": "smiles", "features": "fingerprint"}
    ).resolved(tmp_path)
    few = clusters_visited(library, alcohols)
    both = clusters_visited(library, ["CCCCCCO", "c1ccccc1C"])
    assert few is not None
    assert both is not None
    assert few[1] == both[1]
    assert few[0] < both[0] <= both[1] <= 4
