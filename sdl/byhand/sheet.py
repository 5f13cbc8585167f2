"""The spreadsheet of trials that a person takes to the bench: one row each, results to fill in."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdl.campaign import Campaign
from sdl.journal import Trial
from sdl.spreadsheet import Cell
from sdl.telling import CONTEXT

TRIAL, STATE, NOTE = "trial", "state", "note"
SD, CENSORED = "_sd", "_censored"
STATES = ("completed", "failed", "abandoned", "rejected", "pending")
"""What may stand in the column `state`; left empty, a row with a result is completed."""


def columns(campaign: Campaign) -> list[str]:
    """Return the titles, with units in brackets."""
    contexts = {name: entry.parameter for name, entry in campaign.contexts.items()}
    fixed = [titled(n, units_of(p)) for n, p in {**campaign.parameters, **contexts}.items()]
    measured = [
        title
        for name in campaign.outcomes
        for title in (titled(name, outcome_units(campaign, name)), name + SD)
    ]
    return [TRIAL, *fixed, *measured, STATE, NOTE]


def rows(campaign: Campaign, trials: Sequence[Trial]) -> list[list[Cell]]:
    """Return a row for each trial, of as many cells as there are columns."""
    empty = [None] * (2 * len(campaign.outcomes) + 2)
    return [
        [
            trial.number,
            *(trial.parameters.get(name) for name in campaign.parameters),
            *(known_context(trial).get(name) for name in campaign.contexts),
            *empty,
        ]
        for trial in trials
    ]


def known_context(trial: Trial) -> Mapping[str, Any]:
    """The contexts for which a trial was suggested."""
    return trial.suggestion.get(CONTEXT) or {}


def titled(name: str, units: str) -> str:
    return f"{name} [{units}]" if units else name


def units_of(parameter: object) -> str:
    return getattr(parameter, "units", "")


def outcome_units(campaign: Campaign, name: str) -> str:
    """The units of an objective or of what is constrained."""
    described = campaign.objectives.get(name) or campaign.outcome_constraints.get(name)
    return units_of(described)
