"""`sdl resolve`: a person decides about a trial in doubt, from any terminal, whoever runs or not.

What is decided is written to the journal: a runtime that lives sees it there within a second, else
the next `sdl run` does.
"""

import uuid
from argparse import Namespace
from collections.abc import Iterator

from sdl.cli import doubt, words
from sdl.cli.desk import Desk
from sdl.errors import ConfigError, JournalError
from sdl.journal import Journal, Step, Trial, TrialState

ABANDONED = (
    "The trial is abandoned: nothing more happens to its sample, its instruments are free.\n"
    "The optimizer is told nothing of it, ever; the same point may be suggested again."
)
UNTOLD = "The optimizer is told nothing of it until the trial ends."


def run(options: Namespace) -> int:
    from sdl.cli import desk, trials

    if not options.note.strip():
        raise ConfigError("--note: say how you know; the record keeps it for whoever asks later")
    with desk.at(options) as here:
        trial = trials.find(here.journal, here.record, options.trial)
        steps = here.journal.steps(trial)
        for line in _before(trial, steps):
            print(line)
        if trial.state is TrialState.IN_DOUBT:
            said = _settle(here, trial, steps, options)
        elif trial.state is TrialState.RUNNING and options.verdict == "abandon":
            said = _give_up_interrupted(here, trial, options.note)
        else:
            raise ConfigError(_nothing_to_settle(here, trial))
    print(said)
    return 0


def _before(trial: Trial, steps: list[Step]) -> Iterator[str]:
    yield f"trial {trial.id} is {words.state(trial.state)}" + (
        f": {trial.cause}" if trial.cause else ""
    )
    for step in doubt.in_question(steps):
        yield f"  {doubt.named(step)} began; nobody heard its end"
        yield f"    {doubt.evidence(step) or 'its instrument was not asked, or cannot tell'}"


def _settle(here: Desk, trial: Trial, steps: list[Step], options: Namespace) -> str:
    if options.verdict == "abandon":
        return _abandon(here.journal, here.lab, trial, here, options.note)
    if options.verdict == "retry":
        _go_on(here, trial, f"asked again: {options.note}")
        return f"Its instruments are asked again. {_what_next(here)}\n{UNTOLD}"
    step = _the_step(trial, steps, options.step)
    verdict = "done" if options.verdict == "done" else "not done"
    left = [s for s in doubt.in_question(steps) if s.n != step.n]
    with here.journal.batch():
        here.journal.settle_step(
            trial, step.n, verdict, time=here.now, who=here.who, note=options.note
        )
        if not left:
            _go_on(here, trial, f"{doubt.named(step)} was {verdict}: {options.note}")
    if verdict == "done":
        said = f"{doubt.named(step)} counts as done and is not repeated."
    else:
        said = f"{doubt.named(step)} counts as not done: all of it is done again."
    if left:
        more = ", ".join(doubt.named(s) for s in left)
        return f"{said}\nThe trial stays in doubt until this is settled too: {more}"
    return f"{said} {_what_next(here)}\n{UNTOLD}"


def _the_step(trial: Trial, steps: list[Step], wanted: int | None) -> Step:
    """The step that is settled. :raises ConfigError: there is none, or it is not clear which."""
    asked = doubt.in_question(steps)
    listed = ", ".join(doubt.named(step) for step in asked)
    if not asked:
        raise ConfigError(
            f"trial {trial.id}: no step of it is in question; --retry lets it go on, --abandon "
            "gives it up"
        )
    chosen = asked if wanted is None else [step for step in asked if step.n == wanted]
    if not chosen:
        raise ConfigError(f"--step {wanted}: is not in question; in question: {listed}")
    if len(chosen) > 1:
        raise ConfigError(
            f"trial {trial.id}: several steps are in question: {listed}; say which with --step N"
        )
    return chosen[0]


def _go_on(here: Desk, trial: Trial, note: str) -> None:
    here.journal.move(trial, TrialState.RUNNING, time=here.now, who=here.who, note=note)


def _what_next(here: Desk) -> str:
    if here.runtime:
        return f"The runtime ({here.runtime}) goes on with the trial now."
    return "The next `sdl run` goes on with the trial."


def _give_up_interrupted(here: Desk, trial: Trial, note: str) -> str:
    """Abandon a trial that waits for a runtime; holding the lab, so that none takes it up."""
    campaign = here.journal.campaign(trial.campaign)
    with Journal.open(here.place.url) as journal:
        try:
            owned = journal.own(campaign.lab, time=here.now)
        except JournalError as error:
            raise JournalError(
                f"trial {trial.id} runs now: to end it, `sdl abort {trial.id}` ({error})"
            ) from error
        with owned:
            now = journal.trial(trial.campaign, trial.number)
            return _abandon(journal, campaign.lab, now, here, note)


def _abandon(journal: Journal, lab: str, trial: Trial, here: Desk, note: str) -> str:
    cause = f"given up by {here.who}: {note}"
    with journal.batch():
        journal.move(
            trial, TrialState.ABANDONED, time=here.now, who=here.who, note=note, cause=cause
        )
        journal.release(lab, trial, time=here.now)
        _close_runs(journal, trial, cause, here.now)
    return ABANDONED


def _close_runs(journal: Journal, trial: Trial, reason: str, at: float) -> None:
    """Give every run of the trial that a runtime left open its stop document."""
    for run in journal.runs(trial):
        if run.stop is not None:
            continue
        stop = {
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, run.uid)),  # the same, whoever closes it
            "run_start": run.uid,
            "time": at,
            "exit_status": "abort",
            "reason": reason,
            "num_events": {},
        }
        journal.add_document(trial, run.uid, "stop", stop, time=at)


def _nothing_to_settle(here: Desk, trial: Trial) -> str:
    from sdl.cli import trials

    if trial.state is TrialState.RUNNING:
        if here.runtime:
            way = f"`sdl abort {trial.id}` ends it"
        else:
            way = "`sdl run` goes on with it, `sdl resolve … --abandon` gives it up"
        return f"trial {trial.id}: is not in doubt, it is running: {way}"
    state = words.state(trial.state)
    return f"trial {trial.id}: is {state}: nothing is to be settled; {trials.doubts(here.journal)}"
