"""What a report says, for campaigns of all kinds."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from sdl.errors import ConfigError, JournalError
from sdl.journal import Journal
from sdl.report import page, write

EVIL = "<script>alert('x')</script> & \"co\" {{ 7 * 7 }}"


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def dots(page: str, chart: str) -> list[ElementTree.Element]:
    svg = re.search(rf'<svg[^>]*aria-labelledby="{chart}-t.*?</svg>', page, re.DOTALL)
    assert svg is not None, f"there is no chart {chart}"
    return list(ElementTree.fromstring(svg[0]).iter())


def of_class(elements: list[ElementTree.Element], kind: str) -> list[ElementTree.Element]:
    return [e for e in elements if kind in (e.get("class") or "").split()]


def test_the_report_is_one_file_that_asks_for_nothing(begin: Any) -> None:
    campaign = begin()
    for _ in range(5):
        campaign.trial()
    page = campaign.page()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)|url\(|@import|https?://", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_what_was_read_is_escaped_wherever_it_stands(begin: Any) -> None:
    campaign = begin(
        EVIL,
        plan=EVIL,
        instruments={EVIL: EVIL},
        fixed={EVIL: EVIL},
        optimizer={"use": EVIL},
        budget={"trials": 3, "until": {EVIL: 2.0}},
    )
    for state in ("completed", "failed", "in_doubt"):
        suggestion = {"generator": EVIL, "model": EVIL, "acquisition": EVIL, "notes": [EVIL]}
        campaign.trial(state, cause=EVIL, suggestion=suggestion | {"versions": {EVIL: EVIL}})
    campaign.note("error", EVIL, source=EVIL)
    page = campaign.page(no_fit=EVIL)
    assert page.count("<script") == 1  # ours
    assert "alert(&#39;x&#39;)" in page
    assert ">49<" not in page


def test_the_header_says_what_where_and_that_time_is_simulated(begin: Any) -> None:
    campaign = begin()
    campaign.note("info", "started")
    campaign.trial()
    campaign.note("info", "ended: the budget of 1 trials is spent")
    page = campaign.page()
    assert "the twin of bench" in page
    assert "on a simulated clock" in page
    assert "2000-01-01" not in page
    assert "the budget of 1 trials is spent" in section(page, "summary")
    assert "seed 7" in section(page, "summary")


def test_real_instruments_have_real_dates(begin: Any) -> None:
    campaign = begin(twin=False, time=1_740_000_000.0)
    campaign.trial()
    page = campaign.page()
    assert "2025-02-19 21:20 to 21:26 UTC" in page
    assert "real instruments" in page
    assert "simulated" not in page


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ([("info", "started")], "it runs now, or its runtime was killed"),
        ([("info", "started"), ("info", "ended: stopped by Ctrl-C")], "stopped by Ctrl-C"),
        ([("info", "ended: x"), ("info", "started")], "it runs now, or its runtime was killed"),
        ([("info", "started"), ("error", "heater: no reply")], "broke off: heater: no reply"),
    ],
)
def test_how_it_ended_is_read_from_the_notes(
    begin: Any, notes: list[tuple[str, str]], said: str
) -> None:
    campaign = begin()
    campaign.trial()
    for level, text in notes:
        campaign.note(level, text)
    assert said in section(campaign.page(), "summary")


def test_a_single_objective_has_a_best_trial_and_no_front(begin: Any) -> None:
    campaign = begin(objectives=1)
    for value in (10.0, 55.5, 30.0):
        campaign.trial(outcomes={"yield_": value, "purity": 99.0})
    page = campaign.page()
    assert "55.5 %" in section(page, "summary")
    assert 'href="#trial-2"' in section(page, "summary")
    assert 'id="front"' not in page
    assert "hypervolume" not in page
    assert "purity" in section(page, "trials")
    assert "1 of 3 completed trials reached the threshold" in page


def test_the_best_so_far_never_gets_worse(begin: Any) -> None:
    campaign = begin(objectives=1)
    for value in (10.0, 50.0, 30.0):
        campaign.trial(outcomes={"yield_": value})
    (line,) = of_class(dots(campaign.page(), "best-yield_"), "line")
    heights = [float(v) for v in re.findall(r"[V ]([\d.]+)", line.get("d", ""))]
    assert len(heights) == 2  # it starts, it rises once
    assert heights[1] < heights[0]


def test_two_objectives_have_front_and_hypervolume_from_the_thresholds(begin: Any) -> None:
    campaign = begin(objectives=2)
    for outcomes in ((50.0, 300.0), (60.0, 500.0), (45.0, 600.0)):
        campaign.trial(outcomes=dict(zip(("yield_", "waste"), outcomes, strict=True)))
    page = campaign.page()
    # from 40 % (threshold) and 600 kg/m3 (worst measured): 10 x 300 + 10 x 100
    assert re.search(r'hypervolume</dt><dd class="value">4000<', page)
    assert "600 kg/m³ (worst measured)" in page
    assert len(of_class(dots(page, "front-yield_-waste"), "best")) == 2
    assert len(of_class(dots(page, "front-yield_-waste"), "rule")) == 1


def test_three_objectives_are_shown_in_pairs(begin: Any) -> None:
    campaign = begin(objectives=3)
    for _ in range(8):
        campaign.trial()
    page = campaign.page()
    for pair in ("yield_-waste", "yield_-cost", "waste-cost"):
        assert len(of_class(dots(page, f"front-{pair}"), "dot")) == 8
    assert 'id="hypervolume-t"' in page


def test_every_parameter_is_shown_against_every_objective_with_its_failures(begin: Any) -> None:
    campaign = begin(objectives=2)
    for _ in range(4):
        campaign.trial()
    campaign.trial("failed", cause="heater: no reply within 1 s")
    page = campaign.page()
    for objective in ("yield_", "waste"):
        for parameter in ("temperature", "catalyst", "solvent", "cycles", "loop"):
            elements = dots(page, f"of-{objective}-{parameter}")
            assert len(of_class(elements, "dot")) == 4
            (cross,) = of_class(elements, "cross")
            assert "heater: no reply within 1 s" in (cross.findtext("title") or "")


def test_the_sobol_phase_is_shaded_and_models_trials_look_different(
    begin: Any, by_model: dict[str, Any]
) -> None:
    campaign = begin(objectives=1)
    for value in (1.0, 2.0, 9.0):
        campaign.trial(outcomes={"yield_": value})
    campaign.trial(outcomes={"yield_": 3.0}, suggestion=by_model)
    page = campaign.page()
    elements = dots(page, "best-yield_")
    assert len(of_class(elements, "band")) == 1
    assert len(of_class(elements, "start")) == 3
    assert len(of_class(elements, "model")) == 1
    assert "qLogNoisyExpectedHypervolumeImprovement" in section(page, "trials")
    assert "SingleTaskGP (yield)" in section(page, "trials")


def test_failures_are_told_with_their_causes_and_notes_with_their_level(begin: Any) -> None:
    campaign = begin()
    campaign.trial("failed", cause="pump: dose 2 mL: stalled")
    campaign.trial("in_doubt", cause="the dose may have been given")
    campaign.trial("rejected", cause="outside the limits")
    campaign.note("warning", "the optimizer was restarted: killed")
    said = section(campaign.page(), "failures")
    for text in ("pump: dose 2 mL: stalled", "may have been given", "outside the limits"):
        assert text in said
    assert "the optimizer was restarted: killed" in said
    assert 'class="level warning"' in said


def test_provenance_has_versions_plan_seed_journal_and_runs(
    begin: Any, by_model: dict[str, Any]
) -> None:
    campaign = begin()
    campaign.trial(suggestion=by_model)
    said = section(campaign.page(), "provenance")
    for text in ("react sha256:0123456789abcdef", "journal.db", "run-of-1", "botorch 0.18.1"):
        assert text in said


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize(
    "states", [[], ["suggested"], ["running"], ["completed"], ["failed"] * 3, ["abandoned"]]
)
def test_campaigns_with_little_to_say_have_a_report(
    begin: Any, objectives: int, states: list[str]
) -> None:
    campaign = begin(objectives=objectives)
    for state in states:
        campaign.trial(state, cause="why" if state == "failed" else None)
    page = campaign.page()
    assert page.rstrip().endswith("</html>")
    if "completed" not in states:
        assert '<svg class="chart"' not in page
        assert "Nothing was tried yet" in page or "No trial has been completed" in page


def test_outcomes_that_are_all_equal_have_a_report(begin: Any) -> None:
    campaign = begin(objectives=2)
    for _ in range(3):
        campaign.trial(outcomes={"yield_": 0.0, "waste": 0.0})
    assert len(of_class(dots(campaign.page(), "front-yield_-waste"), "dot")) == 3


def test_the_same_journal_gives_the_same_file(begin: Any, tmp_path: Path) -> None:
    campaign = begin()
    for _ in range(3):
        campaign.trial()
    first, second = (write(campaign.journal, "screen", tmp_path / n) for n in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()
    assert "the optimizer sobol has no model" in first.read_text()


def test_a_hundred_trials_all_stand_in_the_report(begin: Any, by_model: dict[str, Any]) -> None:
    campaign = begin(objectives=3)
    for number in range(100):
        state = "failed" if number % 10 == 3 else "completed"
        campaign.trial(state, suggestion=by_model, cause="why" if state == "failed" else None)
    page = campaign.page()
    assert len(re.findall(r'<tr id="trial-\d+"', page)) == 100
    assert len(page) < 600_000


def test_a_readonly_journal_is_enough(begin: Any, tmp_path: Path) -> None:
    campaign = begin(objectives=1)
    campaign.trial()
    with Journal.open(tmp_path / "journal.db", readonly=True) as journal:
        assert write(journal, "screen", tmp_path / "r.html") == tmp_path / "r.html"


def test_an_unknown_campaign_and_an_unwritable_place_are_said_plainly(
    begin: Any, tmp_path: Path
) -> None:
    journal = begin().journal
    with pytest.raises(JournalError, match="there is no campaign 'other'; it has screen"):
        write(journal, "other", tmp_path / "r.html")
    with pytest.raises(ConfigError, match=r"r\.html: cannot be written"):
        write(journal, "screen", tmp_path / "missing" / "r.html")


def test_a_specification_of_another_kind_is_said_plainly(begin: Any, tmp_path: Path) -> None:
    journal = begin().journal
    journal.add_campaign("odd", {"objectives": {}}, lab="b", twin=True, versions={}, time=0.0)
    with pytest.raises(JournalError, match="cannot be read by this version"):
        write(journal, "odd", tmp_path / "r.html")


def test_what_the_optimizer_chose_is_told_as_it_said_last() -> None:
    said = [{}, {"choice": ["one objective"]}, {"choice": ["two objectives", "<b>"]}, {"choice": 3}]
    trials: Any = [SimpleNamespace(number=n, suggestion=s) for n, s in enumerate(said, 1)]
    assert page.choices(trials) == (3, ["two objectives", "<b>"])
    assert page.choices(trials[:1]) is None
