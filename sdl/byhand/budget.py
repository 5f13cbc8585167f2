"""Whether a campaign by hand is over, as the closed loop would say it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sdl.campaign import Campaign
from sdl.journal import ENDED, Trial, TrialState

COUNTED = frozenset({TrialState.COMPLETED, TrialState.FAILED})
"""States that spend a trial of the budget; one that waits for its result is promised one."""


@dataclass(frozen=True)
class Budget:
    done: int
    """Trials that were made, failed ones included."""
    waiting: int
    """Trials whose results are awaited."""
    left: int | None
    """How many more may be suggested; None: nothing says."""
    over: str
    """Why nothing more is to be suggested; empty: something is."""

    def __str__(self) -> str:
        return f"{self.done} done, {self.waiting} waiting for their results"


def budget(campaign: Campaign, trials: Sequence[Trial], began: float | None) -> Budget:
    """Say what is left of a campaign's budget.

    :param began: when the campaign was begun, s since 1970; None: it was not.
    """
    counted = [trial for trial in trials if trial.state in COUNTED]
    waiting = sum(trial.state not in ENDED for trial in trials)
    wanted = campaign.budget.trials
    left = None if wanted is None else max(wanted - len(counted) - waiting, 0)
    return Budget(len(counted), waiting, left, _over(campaign, counted, left, began))


def _over(
    campaign: Campaign, counted: Sequence[Trial], left: int | None, began: float | None
) -> str:
    limits = campaign.budget
    if left == 0:
        promised = "" if len(counted) >= (limits.trials or 0) else ", with those that wait"
        return f"the budget of {limits.trials} trials is spent{promised}"
    hours = 0.0 if began is None else (time.time() - began) / 3600
    if limits.hours is not None and hours >= limits.hours:
        return f"the budget of {limits.hours:g} hours is spent"
    if limits.until and any(_reached(campaign, trial) for trial in counted):
        return "the target is reached"
    return ""


def _reached(campaign: Campaign, trial: Trial) -> bool:
    outcomes = trial.outcomes or {}
    return all(
        name in outcomes and campaign.objectives[name].sign * (outcomes[name] - wanted) >= 0
        for name, wanted in campaign.budget.until.items()
    )
