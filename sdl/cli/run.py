"""`sdl run`: check, run, show; and leave the instruments safe whoever ends it."""

import queue
import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError, JournalError

if TYPE_CHECKING:
    from sdl.disturbing import Happening
    from sdl.lab import Lab
    from sdl.session import Session
    from sdl.stopping import Ending

    Faults = queue.SimpleQueue[Happening]

PERIOD = 0.25  # s between two looks at the journal


def run(options: Namespace) -> int:
    _refuse_what_means_nothing(options)
    from sdl.cli import checking, logs
    from sdl.session import Session

    campaign, lab = checking.load(options.campaign, options.lab)
    if options.twin:
        lab = _twin(lab, options.speed or "virtual")
    faults: Faults = queue.SimpleQueue()
    if options.faults is not None:
        lab = _with_faults(lab, options.faults, faults)
    if options.fresh:
        put_aside(Path(lab.journal_url), lab.lab)
    session = Session(campaign, lab, journal=options.journal)
    log = _log_file(session.journal_url, lab)
    with logs.to_file(log):
        ending = _watched(session, options, faults)
    _say_what_next(options, session.journal_url, log)
    if ending.gave_up:  # that is no success, whoever asks `$?`
        print(f"sdl: {ending}", file=sys.stderr)
        return 1
    return 0


def _refuse_what_means_nothing(options: Namespace) -> None:
    if options.speed is not None and not options.twin:
        raise ConfigError(
            "--speed: only simulated time can run faster: give --twin too, or leave --speed out"
        )
    if options.faults is not None and not options.twin:
        raise ConfigError(
            "--faults: faults happen to simulators only: give --twin too, or leave --faults out"
        )
    if options.fresh and not options.twin:
        raise ConfigError(
            "--fresh: only a twin can begin anew; what was done on real instruments is never put "
            "aside (to begin another campaign there, give it another name)"
        )
    if options.fresh and options.journal:
        raise ConfigError("--fresh: the journal of --journal stays where it is; name another")


def _twin(lab: "Lab", speed: Any) -> "Lab":
    if lab.wires and lab.world is None:
        message = "has no `world:`, so it has no twin; add e.g. `world: {use: snar_flow}`"
        raise ConfigError(lab.document.problem((), message))
    return lab.twin(speed)


def _with_faults(lab: "Lab", file: Path, faults: "Faults") -> "Lab":
    from sdl.disturbing import Disturbance, FaultScript

    return lab.with_faults(Disturbance(FaultScript.load(file), tell=faults.put))


def put_aside(file: Path, lab: str) -> None:
    """Rename a twin's journal, with its write-ahead log, to the first free `twin-N.db`."""
    from sdl.journal.ownership import FileLock

    if not file.exists():
        return
    lock = FileLock(file.resolve(), lab)
    if not lock.take():
        raise JournalError(f"{file}: another process runs this twin; stop it before --fresh")
    try:
        number = 1
        while (aside := file.with_name(f"{file.stem}-{number}{file.suffix}")).exists():
            number += 1
        for ending in ("", "-wal", "-shm"):
            part = file.with_name(file.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
    finally:
        lock.free()
    print(f"the old journal of the twin is now {aside}")


def _log_file(journal: str, lab: "Lab") -> Path:
    if "://" in journal and not journal.startswith("sqlite"):
        return (lab.folder or Path.cwd()) / "sdl.log"
    return Path(journal.removeprefix("sqlite:///")).expanduser().parent / "sdl.log"


def _watched(session: "Session", options: Namespace, faults: "Faults") -> "Ending":
    """Run to the end and return why it came."""
    from rich.console import Console

    from sdl.cli.live import LiveView
    from sdl.cli.operator import Operator
    from sdl.journal import Journal

    console = Console()
    plain = options.plain or not console.is_terminal
    with ExitStack() as stack:
        operator = stack.enter_context(Operator())
        stack.enter_context(session)
        journal = stack.enter_context(Journal.open(session.journal_url, readonly=True))
        name = session.campaign.campaign
        if plain:
            return _with_lines(session, operator, journal, name, faults)
        live = stack.enter_context(LiveView(journal, name, console))
        said = "failed"
        try:
            ending = _until_the_end(session, operator, live, faults)
            said = str(ending)
        finally:
            live.look(said)
        return ending


def _with_lines(
    session: "Session", operator: Any, journal: Any, name: str, faults: "Faults"
) -> "Ending":
    from sdl.cli.lines import Lines

    lines = Lines(journal, name, lambda text: print(text, flush=True))
    try:
        return _until_the_end(session, operator, lines, faults)
    finally:
        lines.look()
        _print_best(journal, name)


def _until_the_end(session: "Session", operator: Any, watcher: Any, faults: "Faults") -> "Ending":
    while session.running:
        message = operator.act(session)
        if message is not None:
            watcher.say(message)
        for line in session.latest_news():
            watcher.say(line)
        watcher.look()
        try:
            session.wait(PERIOD)
        except TimeoutError:
            continue
        finally:
            while not faults.empty():
                watcher.say(f"fault: {faults.get()}")
    return session.wait()


def _head(journal: str) -> str:
    from sdl.cli.verify import head_words
    from sdl.journal import Journal

    with Journal.open(journal, readonly=True) as record:
        return head_words(record.audit_head())


def _print_best(journal: Any, name: str) -> None:
    from rich.console import Console

    from sdl.cli import snapshot, view

    shot = snapshot.take(journal, name)
    if shot.best:
        console = Console(highlight=False, width=100)
        console.print(*view.best(shot, view.Room(100, None)), sep="\n")


def _say_what_next(options: Namespace, journal: str, log: Path) -> None:
    from sdl.wires.urls import without_password

    target = str(options.campaign) + (f" --lab {options.lab}" if options.lab else "")
    target += " --twin" if options.twin else ""
    target += f" --journal {without_password(options.journal)}" if options.journal else ""
    print(f"\nThe record is in {without_password(journal)}; what libraries logged, in {log}.")
    print(f"The audit's head is {_head(journal)}")
    print(f"  sdl report {target}   writes it as a page")
    print(f"  sdl run {target}   goes on where it ended (where the budget is spent: raise it)")
