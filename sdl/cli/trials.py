"""Which trial is meant by `7` or `snar-flow/7`."""

from collections.abc import Collection

from sdl.errors import ConfigError, JournalError
from sdl.journal import CampaignRecord, Journal, Trial, TrialState


def find(journal: Journal, record: CampaignRecord, given: str) -> Trial:
    """Return the trial.

    :param record: the campaign that a bare number belongs to.
    :raises ConfigError: there is no such trial; says which there are, and which are in doubt.
    """
    campaign, _, number = given.rpartition("/")
    campaign = campaign or record.name
    if not (number.isascii() and number.isdecimal()):
        problem = "should be a number, such as 7, or campaign/number, such as snar-flow/7"
    elif campaign not in {r.name for r in journal.campaigns()}:
        problem = f"there is no campaign {campaign!r} in {journal.place}"
    else:
        try:
            return journal.trial(campaign, int(number))
        except JournalError:
            count = len(journal.trials(campaign))
            there = f"it has trials 1 to {count}" if count else "it has no trials yet"
            problem = f"campaign {campaign} has no trial {number}; {there}"
    raise ConfigError(f"trial {given!r}: {problem}; {doubts(journal)}")


def in_states(journal: Journal, states: Collection[TrialState]) -> list[Trial]:
    """The trials of all campaigns that are in one of these states."""
    return [t for record in journal.campaigns() for t in journal.trials(record.name, states)]


def doubts(journal: Journal) -> str:
    """The trials in doubt, in words."""
    found = in_states(journal, {TrialState.IN_DOUBT})
    return f"in doubt: {', '.join(t.id for t in found)}" if found else "no trial is in doubt"
