from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdl.errors import ConflictError, JournalError
from sdl.journal import ALLOWED, ENDED, Journal, Trial, TrialState
from sdl.journal.states import check_transition

S = TrialState
WAYS = {
    ("suggested", "approved"),
    ("suggested", "rejected"),
    ("suggested", "abandoned"),
    ("approved", "running"),
    ("approved", "abandoned"),
    ("approved", "rejected"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "abandoned"),
    ("running", "in_doubt"),
    ("in_doubt", "completed"),
    ("in_doubt", "failed"),
    ("in_doubt", "abandoned"),
    ("in_doubt", "running"),
}
_numbers = count(1)


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_the_state_machine_has_these_ways_and_no_other(before: S, after: S) -> None:
    if (before.value, after.value) in WAYS:
        check_transition("screen/1", before, after)
    else:
        with pytest.raises(JournalError, match=f"screen/1: {before} cannot become {after}"):
            check_transition("screen/1", before, after)


def test_every_state_is_in_the_table_and_four_of_them_end_a_trial() -> None:
    assert set(ALLOWED) == set(S)
    assert {S.COMPLETED, S.FAILED, S.REJECTED, S.ABANDONED} == ENDED


@pytest.fixture(scope="module")
def one_journal(tmp_path_factory: pytest.TempPathFactory) -> object:
    path: Path = tmp_path_factory.mktemp("states") / "journal.db"
    with Journal.open(path) as journal:
        yield journal


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(S), st.booleans()), max_size=14))
def test_trials_move_as_the_model_says(
    one_journal: Journal, moves: list[tuple[int, S, bool]]
) -> None:
    """Two trials, any moves, some with a record that was read before the last move."""
    name = f"campaign-{next(_numbers)}"
    one_journal.add_campaign(name, {}, lab="bench", twin=True, versions={}, time=0)
    fresh = one_journal.suggest(name, [({"x": 1.0}, {}), ({"x": 2.0}, {})], time=0)
    old = list(fresh)
    model = [[S.SUGGESTED], [S.SUGGESTED]]
    for time, (which, to, from_old) in enumerate(moves, 1):
        record = old[which] if from_old else fresh[which]
        moved = _try(one_journal, record, to, time)
        if to not in ALLOWED[record.state]:
            assert moved is JournalError
        elif record.state is not model[which][-1]:
            assert moved is ConflictError
        else:
            assert isinstance(moved, Trial)
            old[which], fresh[which] = fresh[which], moved
            model[which].append(to)
    assert one_journal.trials(name) == fresh
    histories = [[line.to_state for line in one_journal.history(t)] for t in fresh]
    assert histories == model


def _try(journal: Journal, trial: Trial, to: S, time: float) -> Trial | type[JournalError]:
    outcomes = {"yield": time} if to is S.COMPLETED else None
    try:
        return journal.move(trial, to, time=time, who="test", outcomes=outcomes)
    except JournalError as error:
        return type(error)
