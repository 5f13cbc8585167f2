"""What optimizers say of their models, asked in their own process."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdl.report import fit as fit_module
from sdl.report.findings import gather
from sdl.report.fit import Fit, Prediction, judged

LEAVE_ONE_OUT = """
        return [
            {"_id": p["_id"], "objective": "yield_", "observed": p["yield_"],
             "mean": p["yield_"] + 1.0, "sd": 2.0}
            for p in self.points if p["_state"] == "completed"
        ]
"""


@pytest.fixture
def lab_optimizer(tmp_path: Path) -> Callable[[str], Path]:
    """Write an optimizer of the lab's own; its body of leave_one_out is given."""

    def write(body: str) -> Path:
        (tmp_path / "optimizers").mkdir(exist_ok=True)
        (tmp_path / "optimizers" / "mine.py").write_text(
            "import time\n"
            "class mine:\n"
            "    def __init__(self, task, *, seed, **options):\n"
            "        self.points = []\n"
            "    def ingest(self, points):\n"
            "        self.points += points\n"
            "    def leave_one_out(self):\n"
            f"{body}"
        )
        return tmp_path

    return write


def asked(begin: Any, folder: Path | None, trials: int = 4, use: str = "mine") -> Any:
    campaign = begin(objectives=1, optimizer={"use": use})
    for _ in range(trials):
        campaign.trial()
    campaign.trial("failed", cause="no reply")
    found = judged(gather(campaign.journal, "screen"), folder)
    return list(found.fits), found.remark


def test_predictions_of_the_labs_own_optimizer_become_a_fit(
    begin: Any, lab_optimizer: Callable[[str], Path]
) -> None:
    (fit,), remark = asked(begin, lab_optimizer(LEAVE_ONE_OUT))
    assert remark == ""
    assert fit.objective == "yield_"
    assert [p.trial for p in fit.predictions] == [1, 2, 3, 4]
    assert fit.rmse == pytest.approx(1.0)
    assert fit.covered == 4


def test_it_works_where_a_loop_is_running_already(
    begin: Any, lab_optimizer: Callable[[str], Path]
) -> None:
    folder = lab_optimizer(LEAVE_ONE_OUT)

    async def notebook() -> Any:
        return asked(begin, folder)

    found, _ = asyncio.run(notebook())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("        raise RuntimeError('the kernel melted')\n", "the kernel melted"),
        ("        return [{'_id': 1}]\n", "not usable"),
        (
            "        return [{'_id': 1, 'objective': 'x', 'observed': 1, 'mean': 1, 'sd': 1}]\n",
            "'x'",
        ),
        ("        return 5\n", "not usable"),
        ("        return []\n", "has no model"),
    ],
)
def test_an_optimizer_that_cannot_say_is_a_remark_not_an_error(
    begin: Any, lab_optimizer: Callable[[str], Path], body: str, said: str
) -> None:
    found, remark = asked(begin, lab_optimizer(body))
    assert found == []
    assert said in remark


def test_an_optimizer_that_hangs_is_given_up(
    begin: Any, lab_optimizer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "TIMEOUT", 0.2)
    found, remark = asked(begin, lab_optimizer("        time.sleep(60)\n"))
    assert (found, remark) == ([], "the optimizer gave no predictions within 0.2 s")


def test_sobol_has_no_model_and_the_remark_says_so(begin: Any) -> None:
    assert asked(begin, None, use="sobol") == (
        [],
        "the optimizer sobol has no model that predicts outcomes",
    )


def test_an_optimizer_that_is_gone_is_a_remark(begin: Any) -> None:
    found, remark = asked(begin, None, use="vanished")
    assert found == []
    assert "vanished" in remark


def test_two_trials_are_too_few_and_nobody_is_asked(begin: Any) -> None:
    found, remark = asked(begin, None, trials=2, use="vanished")
    assert found == []
    assert "fewer than 3 completed trials" in remark


def test_of_many_trials_some_are_judged_and_the_remark_says_so(
    begin: Any, lab_optimizer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "MOST", 3)
    (fit,), remark = asked(begin, lab_optimizer(LEAVE_ONE_OUT), trials=11)
    assert [p.trial for p in fit.predictions] == [3, 7, 11]
    assert remark == "Of 11 trials 3 were used, spread evenly"


def test_r2_and_coverage_are_those_of_the_textbook() -> None:
    rows = [
        Prediction(1, 1.0, 1.5, 0.3),
        Prediction(2, 2.0, 2.0, 0.1),
        Prediction(3, 3.0, 2.0, 0.1),
    ]
    fit = Fit(rows, "y")
    assert fit.r2 == pytest.approx(1 - 1.25 / 2)
    assert fit.covered == 2
    assert Fit(rows[:1] * 3, "y").r2 is None
