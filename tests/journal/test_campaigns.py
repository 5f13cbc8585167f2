from collections.abc import Mapping
from typing import Any

import pytest

from sdl.errors import JournalError
from sdl.journal import CampaignRecord, Journal

SPEC = {"objectives": {"yield": "max"}, "budget": {"trials": 20}, "limit": float("nan")}


def add(journal: Journal, spec: Mapping[str, object] = SPEC, **changed: Any) -> CampaignRecord:
    options: dict[str, Any] = {
        "lab": "bench",
        "twin": False,
        "versions": {"sdl": "1"},
        "time": 1.0,
    } | changed
    return journal.add_campaign("tune", spec, **options)


def test_the_same_campaign_again_is_the_same_record(journal: Journal) -> None:
    first = add(journal)
    shuffled = dict(reversed(SPEC.items()))
    again = add(journal, shuffled, time=99.0)
    assert (again.id, again.revision, again.created_at) == (first.id, 1, 1.0)
    assert [c.name for c in journal.campaigns()] == ["screen", "tune"]


def test_another_spec_under_the_name_is_refused_and_says_what_differs(journal: Journal) -> None:
    add(journal)
    other = {**SPEC, "objectives": {"yield": "min"}, "seed": 3}
    with pytest.raises(JournalError, match=r"begun with another objectives, seed; to go on"):
        add(journal, other)
    assert journal.campaign("tune").spec["objectives"] == {"yield": "max"}


def test_one_and_one_point_nought_are_not_the_same_spec(journal: Journal) -> None:
    add(journal, {"step": 1})
    with pytest.raises(JournalError, match="another step"):
        add(journal, {"step": 1.0})


def test_a_budget_may_be_extended_and_both_are_recorded(journal: Journal) -> None:
    add(journal)
    longer = add(journal, {**SPEC, "budget": {"trials": 40}}, time=5.0)
    assert (longer.revision, longer.spec["budget"], longer.created_at) == (2, {"trials": 40}, 1.0)
    assert add(journal, {**SPEC, "budget": {"trials": 40}}).revision == 2


def test_other_versions_are_recorded(journal: Journal) -> None:
    add(journal)
    assert add(journal, versions={"sdl": "2"}).versions == {"sdl": "2"}
    assert journal.campaign("tune").revision == 2


@pytest.mark.parametrize("change", [{"twin": True}, {"lab": "bench-2"}])
def test_a_campaign_stays_on_its_lab_and_off_the_twin(
    journal: Journal, change: Mapping[str, Any]
) -> None:
    add(journal)
    with pytest.raises(JournalError, match="campaign tune belongs to lab bench, not to"):
        add(journal, **change)


def test_an_unknown_campaign_is_told_with_those_there_are(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no campaign 'tune'; it has screen"):
        journal.campaign("tune")
