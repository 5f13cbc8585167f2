"""`sdl suggest`: what to try next, for people who do their trials by hand."""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError, ConflictError

if TYPE_CHECKING:
    from sdl.byhand import Budget, Notebook
    from sdl.journal import Journal, Trial
    from sdl.task import Task


def run(options: Namespace) -> int:
    from sdl import byhand

    notebook = notebook_of(options)
    _check(options)
    context = {} if options.n == 0 else _context(notebook, options)
    with notebook.open() as journal:
        _refuse_while_it_runs(notebook, journal)
        record, trials = journal.campaign(notebook.name), journal.trials(notebook.name)
        budget = byhand.budget(notebook.campaign, trials, record.created_at)
        if options.n == 0:
            return _those_that_wait(options, notebook, trials, budget)
        n = _how_many(options, budget)
        if n == 0:
            return 0
        keep = _Keep(options.out, notebook)
        with keep:
            proposal = byhand.propose(notebook, journal, n, context, keep=keep)
        budget = byhand.budget(notebook.campaign, journal.trials(notebook.name), record.created_at)
    for reason in proposal.restarts:
        print(f"note: the optimizer was started again: {reason}")
    _show(notebook, proposal.trials, budget)
    for note in proposal.notes:
        print(f"the optimizer says: {note}")
    _say_what_next(options, notebook)
    return 0


def notebook_of(options: Namespace) -> "Notebook":
    """The campaign that is meant and its journal; touches nothing.

    :raises ConfigError: all that is wrong with the campaign file, and with the lab's.
    """
    from sdl import files
    from sdl.byhand import Notebook
    from sdl.cli import checking
    from sdl.lab import Lab

    words = files.read(options.campaign).data
    if words.get("plan") is not None:
        campaign, lab = checking.load(options.campaign, options.lab)
        return Notebook.of(campaign, lab, journal=options.journal)
    named = words.get("lab")
    beside = options.campaign.parent / (named if isinstance(named, str) and named else "lab.yaml")
    place = options.lab or (beside if beside.is_file() or named is not None else None)
    lab = None if place is None else Lab.read(place)
    return Notebook.load(options.campaign, lab, journal=options.journal)


def _check(options: Namespace) -> None:
    from sdl import spreadsheet

    if options.beyond_budget and not options.n:
        raise ConfigError("--beyond-budget: say how many with --n")
    out: Path | None = options.out
    if out is None:
        return
    spreadsheet.check_ending(out)
    if out.exists():
        message = "is there already, perhaps with results in it: name another file, or remove it"
        raise ConfigError.at(out, "", message)
    if not out.absolute().parent.is_dir():
        raise ConfigError.at(out, "", "its folder is not there")
    if out.suffix.lower() == ".xlsx":
        spreadsheet.check_workbooks(out)


def _context(notebook: "Notebook", options: Namespace) -> dict[str, Any]:
    from sdl import byhand

    context, remarks = byhand.read_context(notebook, options.context)
    for remark in remarks:
        print(f"note: {remark}")
    return context


def _refuse_while_it_runs(notebook: "Notebook", journal: "Journal") -> None:
    """A loop at work would take up what is suggested here."""
    from sdl.cli import snapshot

    if notebook.campaign.plan is None:
        return
    record = journal.campaign(notebook.name)
    runtime = snapshot.running(journal, record, journal.activities())
    if runtime:
        raise ConflictError(
            f"lab {record.lab} is at work ({runtime}), and would make what is suggested here: "
            "stop it first (Ctrl-C there, or `sdl stop --after-step`)"
        )


def _how_many(options: Namespace, budget: "Budget") -> int:
    """How many points to ask for; says why fewer than were wanted."""
    wanted = 1 if options.n is None else options.n
    if options.beyond_budget:
        return wanted
    if budget.over:
        print(f"nothing is suggested: {budget.over} ({budget})")
        print("  raise it in the campaign file, or say --beyond-budget with --n")
        return 0
    if budget.left is not None and budget.left < wanted:
        print(f"{budget.left} instead of {wanted}: no more are left of the budget ({budget})")
        return budget.left
    return wanted


def _those_that_wait(
    options: Namespace, notebook: "Notebook", trials: "Sequence[Trial]", budget: "Budget"
) -> int:
    from sdl.journal import ENDED

    waiting = [trial for trial in trials if trial.state not in ENDED]
    if not waiting:
        print(f"{notebook.name}: no trial waits for its result")
        return 0
    with (keep := _Keep(options.out, notebook)):
        keep(waiting)
    _show(notebook, waiting, budget)
    _say_what_next(options, notebook)
    return 0


class _Keep:
    """Writes the sheet beside its place, and puts it there once its trials are in the journal."""

    def __init__(self, out: Path | None, notebook: "Notebook") -> None:
        self._out, self._notebook = out, notebook
        self._part = None if out is None else out.with_name(f".{out.name}.part")

    def __call__(self, trials: "Sequence[Trial]") -> None:
        from sdl import byhand, spreadsheet

        if self._part is None or self._out is None:
            return
        campaign = self._notebook.campaign
        spreadsheet.write(
            self._part,
            byhand.columns(campaign),
            byhand.rows(campaign, trials),
            ending=self._out.suffix.lower(),
            choices=(byhand.STATE, byhand.STATES),
        )

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._part is None or self._out is None or not self._part.exists():
            return
        if kind is None:
            os.replace(self._part, self._out)
        else:
            self._part.unlink()


# -- for people -----------------------------------------------------------------------------------


def _show(notebook: "Notebook", trials: "Sequence[Trial]", budget: "Budget") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sdl.cli import check, words

    campaign, console = notebook.campaign, Console(highlight=False)
    task = campaign.task
    print(
        f"{campaign.campaign}: {budget}; budget {check.budget_words(campaign.budget)}; "
        f"{campaign.optimizer.use}, seed {campaign.seed}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("\ntrial", justify="right")
    for name, parameter in campaign.parameters.items():
        units = getattr(parameter, "units", "")
        table.add_column(f"{name}\n{units}".rstrip(), justify="right")
    table.add_column("\nwhy", overflow="fold")
    for trial in trials:
        cells = [words.value(trial.parameters.get(name)) for name in campaign.parameters]
        table.add_row(*map(Text, (str(trial.number), *cells, why(trial.suggestion, task))))
    wide = None if console.is_terminal else 200  # a program that reads it wants whole lines
    Console(highlight=False, width=wide).print(table)


def why(provenance: Mapping[str, Any], task: "Task") -> str:
    """In a few words why a point was suggested: the optimizer's reasons, or how it was made."""
    from sdl.suggest.words import in_words

    said = provenance.get("why")
    reasons = in_words(said, task) if isinstance(said, Mapping) else ""
    return reasons or ": ".join(_how(provenance)) or "somebody's own"


def _how(provenance: Mapping[str, Any]) -> Iterator[str]:
    for key in ("generator", "acquisition"):
        value = provenance.get(key)
        value = value.get("name") if isinstance(value, Mapping) else value
        if isinstance(value, str) and value:
            yield value


def _say_what_next(options: Namespace, notebook: "Notebook") -> None:
    from sdl.wires.urls import without_password

    place = without_password(notebook.url)
    print(f"\nThe record is in {place}; these trials wait there for their results.")
    file = options.out or "results.csv"
    where = f" --lab {options.lab}" if options.lab else ""
    where += f" --journal {without_password(options.journal)}" if options.journal else ""
    filled = f"Fill in {file}" if options.out else "Write the results into a table"
    print(f"{filled}, then: sdl ingest {options.campaign} {file}{where}")
    if notebook.campaign.plan is not None:
        print("`sdl run` would make them too: enter their results before it is started.")
