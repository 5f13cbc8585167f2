"""Trials of the journal as optimizers are told of them (see `sdl.suggest`)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdl.candidates import Candidates
from sdl.journal import Trial, TrialState
from sdl.library import Library
from sdl.task import Task

_STATES = {
    TrialState.COMPLETED: "completed",
    TrialState.FAILED: "failed",
    TrialState.REJECTED: "failed",
    TrialState.ABANDONED: "failed",
}
CONTEXT = "context"
"""Key of a suggestion's provenance under which the contexts stand that it was made for."""


def told(trial: Trial, task: Task) -> dict[str, Any]:
    """Return a point: parameters, contexts and, once completed, all that was measured."""
    state = _STATES.get(trial.state, "pending")
    outcomes = trial.outcomes or {}
    known = trial.suggestion.get(CONTEXT) or {}
    point = {"_id": trial.number, "_state": state, **trial.parameters}
    for name in task.contexts:
        if (value := outcomes.get(name, known.get(name))) is not None:
            point[name] = value
    if state == "failed":
        return point | {"_cause": cause(trial)}
    return point | dict(outcomes) if state == "completed" else point


def history(trials: Iterable[Trial], task: Task) -> list[dict[str, Any]]:
    """Return all trials as points."""
    return [told(trial, task) for trial in trials]


def cause(trial: Trial) -> str:
    """The kind of a failure, of which each is learned by itself.

    `rejected` (by a person or the twin), `abandoned` (by a person, while it ran), `guard` (a rule
    of the lab refused it), `failed` (the plan or an instrument).
    """
    if trial.state is not TrialState.FAILED:
        return trial.state.value
    return "guard" if "; refused: " in (trial.cause or "") else "failed"


def task_of(spec: Mapping[str, Any], folder: Path | None = None) -> Task:
    """Return the task of a campaign as its specification in the journal says it.

    :param folder: where the campaign's file lies, to find the table of candidates; without one, or
        where it is gone, any point within bounds and constraints counts as allowed.
    :raises pydantic.ValidationError: the specification is none.
    :raises KeyError: it is not whole.
    """
    candidates = None
    if (table := spec.get("candidates")) and folder is not None:
        try:
            candidates = Candidates.model_validate(table).resolved(folder)
        except ValueError:
            candidates = None
    parameters = dict(spec["parameters"])
    for name, words in parameters.items():
        if folder is not None and isinstance(words, Mapping) and "library" in words:
            parameters[name] = Library.model_validate({**words}).resolved(folder)
    words: dict[str, Any] = {
        "space": {
            "parameters": parameters,
            "constraints": spec.get("constraints") or (),
            "mixtures": spec.get("mixtures") or (),
            "candidates": candidates,
        },
        "objectives": spec["objectives"],
        "outcome_constraints": spec.get("outcome_constraints") or {},
        "contexts": {n: c["parameter"] for n, c in (spec.get("contexts") or {}).items()},
        "fidelity": spec.get("fidelity"),
        "costs": spec.get("costs") or {},
        "trials": (spec.get("budget") or {}).get("trials"),
    }
    return Task.model_validate(words)
