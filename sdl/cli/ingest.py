"""`sdl ingest`: results of trials that were done by hand, from a spreadsheet into the journal."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from sdl.byhand import Change, Comparison, Notebook
    from sdl.journal import Trial

INTERRUPTED = 130
MANY = 5


def run(options: Namespace) -> int:
    from sdl import byhand, spreadsheet
    from sdl.cli.suggest import notebook_of

    notebook = notebook_of(options)
    filled = byhand.read(spreadsheet.read(options.results), notebook.campaign)
    trials = notebook.trials(readonly=options.dry_run)
    found = byhand.compare(filled, notebook.campaign, trials)
    if found.problems:
        raise ConfigError(*found.problems)
    for remark in found.remarks:
        print(f"note: {remark}")
    if options.dry_run:
        for change in found.changes:
            print(_told(notebook, change, change.trial))
        print(f"{_counted(found.changes)} would be written; nothing was (--dry-run)")
    elif not _written(options, notebook, found):
        return INTERRUPTED
    _say_the_rest(found)
    if found.changes and not options.dry_run:
        _say_what_next(options, notebook)
    return 0


def _written(options: Namespace, notebook: "Notebook", found: "Comparison") -> bool:
    """Write what is new, trial by trial; whether all of it was written."""
    from sdl import byhand

    if not found.changes:
        return True
    done = 0
    try:
        with notebook.open() as journal:
            entering = byhand.enter(notebook, journal, found.changes, options.results.name)
            for change, trial in zip(found.changes, entering, strict=True):
                done += 1
                print(_told(notebook, change, trial))
    except KeyboardInterrupt:
        print(f"interrupted: {done} of {len(found.changes)} were written; the same again goes on")
        return False
    print(f"{_counted(found.changes)} written")
    return True


def _counted(changes: "Sequence[Change]") -> str:
    return f"{len(changes)} trial" + ("" if len(changes) == 1 else "s")


def _told(notebook: "Notebook", change: "Change", trial: "Trial | None") -> str:
    """`trial 3: completed: yield 71.2 %`."""
    new = f" (new, {change.result.where})" if change.trial is None else ""
    name = "a trial" if trial is None else f"trial {trial.number}"
    what = change.cause if change.outcomes is None else _outcomes(notebook, change.outcomes)
    return f"{name}{new}: {change.state.value}: {what}"


def _outcomes(notebook: "Notebook", outcomes: Mapping[str, Any]) -> str:
    from sdl.byhand import sheet
    from sdl.cli import words

    names = [name for name in outcomes if not _of_another(name, outcomes)]
    return ", ".join(
        f"{name} {_limit(name, outcomes)}"
        f"{words.quantity(outcomes[name], sheet.outcome_units(notebook.campaign, name))}"
        f"{_spread(name, outcomes)}"
        for name in names
    )


def _of_another(name: str, outcomes: Mapping[str, Any]) -> bool:
    """Whether it says more of an outcome, and is none itself."""
    from sdl.byhand import sheet

    return any(
        name.endswith(end) and name.removesuffix(end) in outcomes
        for end in (sheet.SD, sheet.CENSORED)
    )


def _limit(name: str, outcomes: Mapping[str, Any]) -> str:
    from sdl.byhand import sheet

    side = outcomes.get(name + sheet.CENSORED, 0)
    return "<" if side < 0 else ">" if side > 0 else ""


def _spread(name: str, outcomes: Mapping[str, Any]) -> str:
    from sdl.byhand import sheet
    from sdl.cli import words

    sd = outcomes.get(name + sheet.SD)
    return "" if sd is None else f" (sd {words.value(sd)})"


def _say_the_rest(found: "Comparison") -> None:
    if found.known:
        listed = ", ".join(_runs(sorted(found.known)))
        print(f"already in the journal: trial{_s(found.known)} {listed}")
    if found.waiting:
        print(f"no result yet: {', '.join(found.waiting)}")


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    """The numbers one by one, but many that follow each other as `3 to 90`."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        if len(found) > MANY:
            yield f"{found[0]} to {found[-1]}"
        else:
            yield from map(str, found)


def _s(listed: Sequence[object]) -> str:
    return "" if len(listed) == 1 else "s"


def _say_what_next(options: Namespace, notebook: "Notebook") -> None:
    for line in _next(options, notebook):
        print(line)


def _next(options: Namespace, notebook: "Notebook") -> Iterator[str]:
    from sdl.byhand import budget
    from sdl.cli.verify import head_words
    from sdl.journal import Journal
    from sdl.wires.urls import without_password

    with Journal.open(notebook.url, readonly=True) as journal:
        began = journal.campaign(notebook.name).created_at
        left = budget(notebook.campaign, journal.trials(notebook.name), began)
        yield f"\nThe record is in {without_password(notebook.url)}."
        yield f"The audit's head is {head_words(journal.audit_head())}"
    more = f" --lab {options.lab}" if options.lab else ""
    more += f" --journal {without_password(options.journal)}" if options.journal else ""
    yield f"{notebook.name}: {left}" + (f"; {left.over}" if left.over else "")
    if not left.over:
        yield f"  sdl suggest {options.campaign}{more}   says what to try next"
