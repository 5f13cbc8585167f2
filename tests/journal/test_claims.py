from concurrent.futures import ThreadPoolExecutor

import pytest

from sdl.errors import ConflictError
from sdl.journal import Journal, Trial, TrialState


@pytest.fixture
def second(journal: Journal, running: Trial) -> Trial:
    return journal.suggest("screen", [({"temperature": 70.0}, {})], time=1.0)[0]


def test_all_instruments_are_claimed_or_none(
    journal: Journal, running: Trial, second: Trial
) -> None:
    journal.claim("bench", ["pump", "heater"], running, time=4.0)
    with pytest.raises(ConflictError, match=r"trial screen/2: .*pump is held by trial screen/1"):
        journal.claim("bench", ["valve", "pump"], second, time=5.0)
    assert sorted(journal.claims("bench")) == ["heater", "pump"]
    journal.claim("bench", ["pump", "valve"], running, time=6.0)  # its own are no conflict
    assert [c.since for c in journal.claims("bench").values()] == [4.0, 4.0, 6.0]
    journal.claim("other bench", ["pump"], second, time=6.0)


def test_a_release_frees_what_the_trial_holds(
    journal: Journal, running: Trial, second: Trial
) -> None:
    journal.claim("bench", ["pump"], running, time=4.0)
    journal.claim("bench", ["valve"], second, time=4.0)
    journal.release("bench", running, time=5.0)
    assert {k: c.trial for k, c in journal.claims("bench").items()} == {"valve": "screen/2"}


def test_a_quarantine_outlives_the_release_and_lets_nobody_in(
    journal: Journal, running: Trial, second: Trial
) -> None:
    journal.claim("bench", ["pump", "heater"], running, time=4.0)
    journal.quarantine("bench", "pump", "it leaks", time=5.0, who="guard")
    journal.release("bench", running, time=6.0)
    (claim,) = journal.claims("bench").values()
    assert (claim.trial, claim.quarantined) == ("screen/1", "it leaks")
    for trial in (running, second):
        with pytest.raises(ConflictError, match=r"pump is in quarantine \(it leaks\)"):
            journal.claim("bench", ["pump"], trial, time=7.0)


def test_after_a_quarantine_a_trial_that_lives_holds_its_instrument_again(
    journal: Journal, running: Trial
) -> None:
    journal.claim("bench", ["pump"], running, time=4.0)
    for name in ("pump", "valve"):
        journal.quarantine("bench", name, "it leaks", time=5.0, who="guard")
        journal.unquarantine("bench", name, time=6.0, who="ada", note="new seal")
    assert {k: c.quarantined for k, c in journal.claims("bench").items()} == {"pump": None}
    journal.quarantine("bench", "pump", "again", time=7.0, who="guard")
    journal.move(running, TrialState.FAILED, time=8.0, who="runtime")
    journal.unquarantine("bench", "pump", time=9.0, who="ada", note="")
    assert journal.claims("bench") == {}
    with pytest.raises(ConflictError, match="is not in quarantine"):
        journal.unquarantine("bench", "pump", time=9.0, who="ada", note="")


def test_of_many_that_claim_at_once_one_has_it(journal: Journal, other: Journal) -> None:
    trials = journal.suggest("screen", [({"x": float(n)}, {}) for n in range(8)], time=1.0)

    def claim(trial: Trial) -> bool:
        try:
            (journal, other)[trial.number % 2].claim("bench", ["a", "b"], trial, time=2.0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, trials)) == 1
