"""What a filled-in sheet says, and how it is compared with the journal."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
import pytest

from sdl import byhand, spreadsheet
from sdl.byhand import Comparison, Filled
from sdl.campaign import Campaign
from sdl.errors import ConfigError
from sdl.journal import Trial, TrialState

EXAMPLE = Path(__file__).parents[1] / "examples" / "by_hand" / "campaign.yaml"
HEADER = ["trial", "temperature [degC]", "solvent", "yield [%]", "impurity", "state", "note"]
POINT = {"temperature": 20.739303911, "antisolvent": 0.1889350371, "stirring": 200}
Fill = Callable[..., Filled]


@pytest.fixture
def campaign() -> Campaign:
    return Campaign.load(EXAMPLE)


@pytest.fixture
def fill(tmp_path: Path, campaign: Campaign) -> Fill:
    """Read a workbook of these rows."""

    def of(*rows: Sequence[object], header: Sequence[str] = HEADER) -> Filled:
        return byhand.read(spreadsheet.read(workbook(tmp_path, [header, *rows])), campaign)

    return of


def workbook(folder: Path, rows: Sequence[Sequence[object]]) -> Path:
    book = openpyxl.Workbook()
    for cells in rows:
        book.worksheets[0].append(list(cells))
    book.save(folder / "filled.xlsx")
    return folder / "filled.xlsx"


def trial(number: int = 1, state: str = "approved", **more: object) -> Trial:
    words = {"outcomes": None, "cause": None, "suggestion": {"context": {"humidity": 41.0}}} | more
    point = {**POINT, "solvent": "water"}
    times = {"suggested_at": 0.0, "started_at": None, "ended_at": None, "epoch": 0}
    return Trial("crystals", number, TrialState(state), point, **words, **times)  # type: ignore[arg-type]


def compared(campaign: Campaign, filled: Filled, *trials: Trial) -> Comparison:
    return byhand.compare(filled, campaign, trials)


# -- what spreadsheet programs write --------------------------------------------------------------

POINTS = (
    "trial,temperature [degC],solvent,yield [%],impurity,state,note\n1,20.74,water,71.5,<0.1,,µ\n"
)
COMMAS = POINTS.replace(",", ";").replace(".", ",").replace("\n", "\r\n")


@pytest.mark.parametrize(
    "content",
    [
        POINTS.encode(),
        COMMAS.encode("utf-8-sig"),
        COMMAS.encode("cp1252"),
        b"sep=;\r\n" + COMMAS.encode("cp1252"),
        COMMAS.replace(";", "\t").encode("utf-16"),
        POINTS.replace("water", " Water ").replace("trial", '"Trial"').encode(),
    ],
    ids=["points", "mark", "windows", "sep", "unicode-text", "capitals"],
)
def test_a_table_says_the_same_however_it_was_saved(
    content: bytes, tmp_path: Path, campaign: Campaign
) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    filled = byhand.read(spreadsheet.read(tmp_path / "r.csv"), campaign)
    assert filled.problems == []
    (result,) = filled.results
    assert (result.trial, result.state, result.note) == (1, TrialState.COMPLETED, "µ")
    assert result.parameters == {"temperature": 20.74, "solvent": "water"}
    assert result.outcomes == {"yield": 71.5, "impurity": 0.1, "impurity_censored": -1}
    assert result.lines == (3 if content.startswith(b"sep") else 2,)


@pytest.mark.parametrize(
    ("separator", "cells", "said"),
    [
        (";", "1,5;1.500", "1.500 can be read in two ways: write 1.5 or 1500"),
        (",", '2,"1,5"', "has a comma in a file with decimal points"),
    ],
)
def test_a_number_that_could_mean_two_things_is_not_guessed(
    separator: str, cells: str, said: str, tmp_path: Path, campaign: Campaign
) -> None:
    (tmp_path / "r.csv").write_text(f"trial;yield;impurity\n1;{cells}\n".replace(";", separator))
    filled = byhand.read(spreadsheet.read(tmp_path / "r.csv"), campaign)
    assert [(p.line, p.key) for p in filled.problems] == [(2, "impurity")]
    assert said in filled.problems[0].message


def test_what_is_written_is_read_back(tmp_path: Path, campaign: Campaign) -> None:
    """Text that begins with = too: it is no formula."""
    rows = [[7, 20.739303911, 1e-12, 200, "=1+1", None, None, None, None, None, "failed", "a\nb"]]
    for ending in spreadsheet.ENDINGS:
        file = tmp_path / f"sheet{ending}"
        spreadsheet.write(file, byhand.columns(campaign), rows, ending=ending)
        table = spreadsheet.read(file)
        assert list(table.header) == byhand.columns(campaign)
        (row,) = table.rows
        assert [table.number(row.cells[k]) for k in range(4)] == rows[0][:4]
        assert list(row.cells[4:]) == rows[0][4:]


def test_a_formula_that_was_never_computed_is_refused(fill: Fill) -> None:
    with pytest.raises(ConfigError, match=r"filled.xlsx:2: D: is a formula without a value"):
        fill([1, None, None, "=6*7"])


def test_a_damaged_workbook_is_refused(tmp_path: Path) -> None:
    file = workbook(tmp_path, [HEADER, [1]])
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="is no workbook that can be read"):
        spreadsheet.read(file)


# -- what the rows say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        (["x", None, None, 1], "trial", "should be a number, not 'x'"),
        ([1.5, None, None, 1], "trial", "should be the number of a trial"),
        (["salts/1", None, None, 1], "trial", "salts is another campaign"),
        ([1, None, "watre", 1], "solvent", "should be one of water, ethanol, acetone"),
        ([1, None, None, "n.d."], "yield [%]", "should be a number, not 'n.d.'"),
        ([1, None, None, "#DIV/0!"], "yield [%]", "should be a number"),
        ([1, None, None, True], "yield [%]", "should be a number, not TRUE"),
        ([1, None, None, datetime.date(2026, 2, 1)], "yield [%]", "a date"),
        ([1, None, None, "1e999"], "yield [%]", "should be a finite number"),
        ([1, None, None, None, None, "broken"], "state", "should be one of completed, failed"),
        ([1, None, None, 3, None, "failed"], "state", "yet there is a result (yield)"),
        ([1, None, None, None, None, "completed"], "state", "without any result"),
    ],
)
def test_what_cannot_stand_in_a_cell_is_told_with_row_and_column(
    row: Sequence[object], column: str, said: str, fill: Fill
) -> None:
    problems = fill([2, None, None, 70.0], row).problems
    assert [(p.line, p.key) for p in problems] == [(3, column)]
    assert said in problems[0].message


def test_other_units_than_the_campaign_s_are_refused(fill: Fill) -> None:
    (problem,) = fill([1, 293.15, 3], header=["trial", "temperature [K]", "yield"]).problems
    assert (problem.line, problem.key) == (None, "temperature [K]")
    assert "the campaign has it in degC" in problem.message


def test_replicates_count_as_their_mean_with_its_standard_error(fill: Fill) -> None:
    header = ["trial", "yield", "yield_sd", "impurity"]
    (result,) = fill([1, 71.0, None, 0.2], [1, 73.0, None, 0.2], header=header).results
    # the sample's standard deviation is sqrt(2); rows that agree say nothing of the noise
    assert result.outcomes == {"yield": 72.0, "yield_sd": pytest.approx(1.0), "impurity": 0.2}
    assert result.lines == (2, 3)
    (result,) = fill([1, 71.0, 3.0], [1, 73.0, 4.0], header=header).results
    assert result.outcomes["yield_sd"] == pytest.approx(2.5)  # sqrt(3**2 + 4**2) / 2
    (problem,) = fill([1, ">99"], [1, 98.0], header=["trial", "yield"]).problems
    assert "have no mean" in problem.message


def test_columns_nobody_asked_for_are_kept_where_they_are_numbers(fill: Fill) -> None:
    header = ["trial", "yield", "pH", "who", "_id"]
    filled = fill([1, 71.0, 6.5, "Ann", 4], [2, 72.0, 6.6, "Bob", 5], header=header)
    assert [r.outcomes for r in filled.results] == [
        {"yield": 71.0, "pH": 6.5},
        {"yield": 72.0, "pH": 6.6},
    ]
    assert [remark.split(" is")[0] for remark in filled.remarks] == [
        "the column who",
        "the column _id",
    ]


# -- against the journal --------------------------------------------------------------------------


def test_a_row_that_was_not_made_as_suggested_is_refused_a_rounded_one_is_not(
    fill: Fill, campaign: Campaign
) -> None:
    assert compared(campaign, fill([1, 20.74, "water", 70]), trial()).problems == []
    (problem,) = compared(campaign, fill([1, 22, "water", 70]), trial()).problems
    assert "was suggested with 20.739303911, not 22" in problem.message
    (problem,) = compared(campaign, fill([1, 20.74, "acetone", 70]), trial()).problems
    assert "was suggested with water, not acetone" in problem.message


def test_a_row_without_a_result_waits_and_so_does_one_that_is_called_pending(
    fill: Fill, campaign: Campaign
) -> None:
    filled = fill([1, 20.74], [2, None, None, 70, None, "pending"])
    found = compared(campaign, filled, trial(1), trial(2))
    assert (found.changes, found.waiting) == ([], ["trial 1", "trial 2"])


def test_what_has_ended_is_not_changed_and_both_values_are_named(
    fill: Fill, campaign: Campaign
) -> None:
    ended = trial(state="completed", outcomes={"yield": 70.0})
    assert compared(campaign, fill([1, None, None, 70.0]), ended).known == [1]
    (problem,) = compared(campaign, fill([1, None, None, 71.5]), ended).problems
    assert "is 70 in the journal, 71.5 here" in problem.message
    (problem,) = compared(campaign, fill([1, None, None, None, None, "failed"]), ended).problems
    assert "is completed in the journal, failed here" in problem.message


def test_a_context_that_was_other_than_thought_goes_with_the_outcomes(
    fill: Fill, campaign: Campaign
) -> None:
    header = ["trial", "yield", "humidity"]
    found = compared(campaign, fill([1, 70, 44.0], [2, 70, 41.0], header=header), trial(), trial(2))
    assert [change.outcomes for change in found.changes] == [
        {"yield": 70.0, "humidity": 44.0},
        {"yield": 70.0},
    ]


@pytest.mark.parametrize(
    ("point", "taken", "said"),
    [
        ([65.0, 1.0, 100], True, "must be from 5 to 60, not 65; it is taken in"),
        ([20.0, 0.0, 100], False, "is not taken in: antisolvent is 0.0, which has no place"),
        ([20.0, 1.0, 150], False, "is not taken in: stirring is 150, none of 0, 100"),
        ([20.739, 0.18894, 200], True, "has the parameters of trial 1, which still waits"),
    ],
)
def test_a_trial_of_somebody_s_own_is_taken_in_where_an_optimizer_can_use_it(
    point: Sequence[float], taken: bool, said: str, fill: Fill, campaign: Campaign
) -> None:
    header = ["temperature", "antisolvent", "stirring", "solvent", "humidity", "yield"]
    found = compared(campaign, fill([*point, "water", 40, 70], header=header), trial())
    assert (found.problems, len(found.changes)) == ([], int(taken))
    assert said in found.remarks[0]


def test_a_trial_of_somebody_s_own_needs_all_parameters(fill: Fill, campaign: Campaign) -> None:
    found = compared(campaign, fill([None, 20, "water", 70]))
    assert [(p.line, p.key) for p in found.problems] == [(2, "antisolvent"), (2, "stirring")]
