"""What the command line accepts. Commands are imported when they run: `sdl --help` is quick."""

import argparse
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdl import __version__

Parser = argparse.ArgumentParser

WIRES = ("serial", "tcp", "modbus+tcp", "modbus+rtu", "mqtt", "zmq+tcp", "http")  # of `sdl new`


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; `options.run(options)` runs the command.

    :raises SystemExit: help was asked for (0), or the arguments are wrong (2); it has been said.
    """
    parser = Parser(
        prog="sdl",
        description="Run self-driving laboratories: plans on instruments, real or simulated, in a "
        "closed loop with an optimizer.",
        epilog="Start with `sdl init mylab`. Exit codes: 0 done, 1 failed, 2 something is wrong "
        "with a file or an argument and nothing has moved.",
    )
    parser.add_argument("--version", action="version", version=f"sdl {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        *(_init, _new, _check, _run, _status, _stop, _pause, _resume, _abort, _resolve, _release),
        *(
            _history,
            _verify,
            _inventory,
            _report,
            _instruments,
            _simulate,
            _faults,
            _chaos,
            _follow,
            _suggest,
            _ingest,
            _bench,
            _evaluate,
        ),
    ):
        add(commands)
    return parser.parse_args(arguments)


def _command(
    commands: Any, name: str, text: str, more: str = "", *, module: str | None = None
) -> Parser:
    parser: Parser = commands.add_parser(name, help=text, description=f"{text}. {more}".strip())
    parser.set_defaults(run=lambda options: _module(module or name).run(options))
    return parser


def _module(name: str) -> Any:
    return importlib.import_module(f"sdl.cli.{name}")


def _init(commands: Any) -> None:
    more = "It has one pump, one driver of its own, their simulators, a plan, a campaign and tests."
    parser = _command(commands, "init", "make a lab folder that runs at once, on its twin", more)
    parser.add_argument("folder", type=Path, help="is made; nothing in it is ever overwritten")


def _new(commands: Any) -> None:
    text = "write an instrument of your own: driver, simulator, transcript, world and tests"
    more = "They pass, for an invented instrument, and say what has to be filled in."
    parser = _command(commands, "new", text, more)
    parser.add_argument("what", choices=["driver"], metavar="driver", help="what is written")
    parser.add_argument("name", metavar="NAME", help="what lab files will call it, as my_bath")
    parser.add_argument(
        "--wire", required=True, choices=WIRES, metavar="KIND", help=f"one of {', '.join(WIRES)}"
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the lab's folder; default: this one; nothing in it is ever overwritten",
    )


def _check(commands: Any) -> None:
    text = "say every mistake in campaign, lab and plan signature; touch nothing"
    parser = _command(commands, "check", text)
    _campaign(parser)


def _run(commands: Any) -> None:
    text = "run a campaign, or go on with it"
    more = "Ctrl-C once stops after the current step; the same command goes on."
    parser = _command(commands, "run", text, more)
    _campaign(parser)
    parser.add_argument("--twin", action="store_true", help="run on simulators, not on instruments")
    parser.add_argument(
        "--speed",
        type=_speed,
        metavar="virtual|N",
        help="how fast a twin's time runs: `virtual` (default) jumps over all waiting",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="begin a twin anew; its old journal is put aside"
    )
    _journal(parser)
    _faults_file(parser, "with --twin: ")
    parser.add_argument("--plain", action="store_true", help="lines, not a live view")


def _status(commands: Any) -> None:
    more = "Everything is read from the journal: also while it runs, also after a crash."
    parser = _command(commands, "status", "show campaigns, trials, instruments and notes", more)
    _place(parser)
    parser.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")


def _stop(commands: Any) -> None:
    text = "STOP: put all instruments of a lab into their safe state, now"
    more = "It works while plans, the journal's disk or the runtime hang."
    parser = _command(commands, "stop", text, more)
    parser.set_defaults(run=lambda o: _module("wishes" if o.after_step else "stop").run(o))
    parser.set_defaults(wish="stop")
    _place(parser)
    _why(parser)
    parser.add_argument(
        "--after-step",
        action="store_true",
        help="an orderly end instead: after the current steps, as Ctrl-C once",
    )


def _pause(commands: Any) -> None:
    text = "begin no further step until `sdl resume`"
    more = "What is under way goes on; a sample that may not wait that long fails."
    _wish(commands, "pause", text, more)


def _resume(commands: Any) -> None:
    _wish(commands, "resume", "go on after `sdl pause`")


def _abort(commands: Any) -> None:
    text = "end one trial; its clean-up and recovery run, the campaign goes on"
    _wish(commands, "abort", text, trial=True)


def _wish(commands: Any, name: str, text: str, more: str = "", *, trial: bool = False) -> None:
    parser = _command(commands, name, text, more, module="wishes")
    parser.set_defaults(wish=name)
    if trial:
        _trial(parser)
    _place(parser)
    _why(parser)


def _resolve(commands: Any) -> None:
    text = "settle a trial in doubt, or give up an interrupted one"
    more = "From any terminal, whether a runtime is at work or not."
    parser = _command(commands, "resolve", text, more)
    _trial(parser)
    _place(parser)
    verdict = parser.add_mutually_exclusive_group(required=True)
    for word, said in (
        ("done", "the step in question happened, all of it: it is not repeated"),
        ("not-done", "nothing of it happened: it is done again, all of it"),
        ("retry", "ask the instrument again, or enter the plan again: what was wrong is put right"),
        ("abandon", "give the trial up; its instruments are free"),
    ):
        verdict.add_argument(
            f"--{word}", dest="verdict", action="store_const", const=word, help=said
        )
    parser.add_argument(
        "--step", type=_seed, metavar="N", help="which step, where several are in question"
    )
    _note(parser, "how you know")


def _release(commands: Any) -> None:
    text = "let an instrument in quarantine be used again"
    parser = _command(commands, "release", text)
    parser.add_argument("instrument", metavar="INSTRUMENT", help="as the lab file names it")
    _place(parser)
    _note(parser, "what was done about it")


def _history(commands: Any) -> None:
    text = "tell what happened to the sample of a trial, line by line"
    more = "Times are those of the lab."
    parser = _command(commands, "history", text, more)
    _trial(parser)
    _place(parser)
    parser.add_argument(
        "--steps", action="store_true", help="each step, also those that only look or wait"
    )


def _verify(commands: Any) -> None:
    text = "recompute the audit's chain of hashes and say where it breaks"
    parser = _command(commands, "verify", text, "Exit code 1 where it does.")
    _place(parser)
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="write the head as an anchor, to keep elsewhere"
    )
    parser.add_argument(
        "--anchor", type=Path, metavar="FILE", help="an exported head that the record must contain"
    )


def _inventory(commands: Any) -> None:
    text = "show what is left of reagents, vials and waste"
    parser = _command(commands, "inventory", text)
    _place(parser)
    parser.add_argument(
        "--book",
        nargs=2,
        metavar=("ITEM", "CHANGE"),
        help="book a CHANGE of an ITEM: a refill (+100) or an emptying (-2000), in its units",
    )
    parser.add_argument("--note", metavar="TEXT", help="with --book: what was filled or emptied")


def _report(commands: Any) -> None:
    text = "write what a campaign has found as one HTML file"
    parser = _command(commands, "report", text)
    _place(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: report.html beside the journal"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def _instruments(commands: Any) -> None:
    parser = _command(commands, "instruments", "list the instruments of a lab, or the shelf")
    _lab(parser)
    parser.add_argument(
        "--catalogue", action="store_true", help="list all drivers there are, of no lab"
    )
    parser.add_argument("--json", action="store_true", help="with --catalogue: as data")
    parser.add_argument("--ping", action="store_true", help="ask each who it is; nothing moves")
    parser.add_argument("--twin", action="store_true", help="ask the simulators, not instruments")


def _simulate(commands: Any) -> None:
    text = "serve a lab's simulators on real serial ports, sockets and a broker"
    parser = _command(commands, "simulate", text, "It runs until Ctrl-C.")
    parser.add_argument("lab", type=Path, metavar="LAB", help="the lab file")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write a lab file that leads to the simulators, for `sdl run … --lab FILE`",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="of the world; default: the lab's")
    parser.add_argument(
        "--actions",
        type=Path,
        metavar="FILE",
        help="append a line of JSON for everything that physically happens",
    )
    parser.add_argument(
        "--speed",
        type=_factor,
        default=1.0,
        metavar="N",
        help="time runs N times as fast for the simulated instruments (their watchdogs too), not "
        "for who talks to them; default 1",
    )
    _faults_file(parser)


def _faults(commands: Any) -> None:
    text = "list the faults that simulated instruments can have"
    parser = _command(commands, "faults", text)
    parser.add_argument(
        "--lab", type=Path, metavar="LAB", help="say which can happen to each instrument of a lab"
    )
    parser.add_argument("--json", action="store_true", help="as data")


def _chaos(commands: Any) -> None:
    text = "run a campaign on its twin under random faults; say what the runtime did about each"
    more = "In virtual time, with a journal of its own. Exit code 1 where a promise was broken."
    parser = _command(commands, "chaos", text, more)
    _campaign(parser)
    parser.add_argument(
        "--seed", type=_seed, default=1, metavar="N", help="the same seed, the same faults"
    )
    parser.add_argument("--trials", type=_count, metavar="N", help="default: the campaign's budget")
    parser.add_argument(
        "--rate",
        type=_probability,
        default=0.001,
        metavar="R",
        help="how probable a fault is in each exchange of each instrument; default 0.001",
    )
    parser.add_argument(
        "--kinds", metavar="A,B", help="which faults may come; default: all that can happen"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the journal, as chaos-N.db beside the twin's"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as data too")


def _follow(commands: Any) -> None:
    text = "carry finished runs from a journal to a data service"
    more = "The service may be down; what it missed arrives when it is back. Its key is taken from "
    parser = _command(commands, "follow", text, more + "the environment (TILED_API_KEY).")
    parser.add_argument("service", choices=["tiled"], help="what kind of service it is")
    parser.add_argument("--to", required=True, metavar="URL", help="where it answers")
    _place(parser)
    parser.add_argument("--once", action="store_true", help="send what is finished, then end")
    parser.add_argument(
        "--again", action="store_true", help="look at all runs again, for a service that lost some"
    )


def _bench(commands: Any) -> None:
    text = "compare optimizers: tasks x strategies x seeds, as a leaderboard (HTML and JSON)"
    more = "Ctrl-C keeps what is done; the same command goes on."
    parser = _command(commands, "bench", text, more)
    parser.add_argument("file", type=Path, nargs="?", metavar="BENCH", help="the bench file")
    parser.add_argument(
        "--task",
        action="append",
        metavar="TASK",
        help="without a file, repeatable: a name, table:FILE[:COLUMN:minimize] or twin:FILE",
    )
    parser.add_argument(
        "--strategy",
        action="append",
        metavar="NAME",
        help="without a file, repeatable: an optimizer's name; default: sobol and botorch",
    )
    parser.add_argument(
        "--seeds", type=_seeds, metavar="0-9", help="also 1,3,5; default: the file's, or 0-9"
    )
    parser.add_argument("--batch", type=_count, metavar="N", help="points asked for at once")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: leaderboard, beside the file"
    )
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="processes side by side; default: all cores"
    )
    parser.add_argument("--retry", action="store_true", help="do failed jobs again")
    parser.add_argument(
        "--ray", action="store_true", help="on a Ray cluster whose nodes share the disk of FOLDER"
    )


def _evaluate(commands: Any) -> None:
    text = "measure the campaign's optimizer: regret, calibration, safety, bias, latency"
    more = "Every evaluation is kept in evaluations/, beside the campaign. With --promote the "
    more += "version may be used from now on, unless a score got worse: then the exit code is 1."
    parser = _command(commands, "evaluate", text, more)
    _campaign(parser)
    parser.add_argument("--suite", type=Path, metavar="FILE", help="tasks, seeds, limits, gate")
    parser.add_argument("--promote", action="store_true", help="let this version be used")
    parser.add_argument("--note", metavar="TEXT", help="with --promote: why")
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="processes side by side; default: all cores"
    )
    _journal_by_hand(parser)


def _suggest(commands: Any) -> None:
    text = "propose the next trials of a campaign, to be made by hand"
    more = "They wait in the journal for `sdl ingest`. A campaign by hand needs no plan and no lab."
    parser = _command(commands, "suggest", text, more)
    _campaign(parser)
    parser.add_argument(
        "--n", type=_seed, metavar="N", help="how many; default 1; 0 shows those that wait"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write them as a table to fill in: .csv or .xlsx"
    )
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how a context of the campaign is now; once for each",
    )
    parser.add_argument(
        "--beyond-budget", action="store_true", help="with --n: also where the budget is spent"
    )
    _journal_by_hand(parser)


def _ingest(commands: Any) -> None:
    text = "take the results of trials that were made by hand into the journal"
    more = "By the number of the trial; a row without one is a new trial. A table with "
    more += "a mistake in it changes nothing."
    parser = _command(commands, "ingest", text, more)
    _campaign(parser)
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="the table: .csv or .xlsx (its first sheet)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check it and say what would be written"
    )
    _journal_by_hand(parser)


def _journal_by_hand(parser: Parser) -> None:
    parser.add_argument(
        "--journal",
        metavar="URL",
        help="a file or postgresql:// URL; default: what the lab says, or CAMPAIGN.db without one",
    )


def _campaign(parser: Parser) -> None:
    parser.add_argument("campaign", type=Path, metavar="CAMPAIGN", help="the campaign file")
    parser.add_argument(
        "--lab", type=Path, metavar="LAB", help="the lab file; default: what the campaign says"
    )


def _lab(parser: Parser) -> None:
    parser.add_argument(
        "--lab", type=Path, default=Path("lab.yaml"), metavar="LAB", help="default: lab.yaml"
    )


def _journal(parser: Parser) -> None:
    parser.add_argument(
        "--journal", metavar="URL", help="a file or postgresql:// URL; default: what the lab says"
    )


def _faults_file(parser: Parser, when: str = "") -> None:
    parser.add_argument(
        "--faults",
        type=Path,
        metavar="FILE",
        help=f"{when}what goes wrong with the simulated instruments, and when",
    )


def _trial(parser: Parser) -> None:
    parser.add_argument(
        "trial", metavar="TRIAL", help="its number (7), or campaign/number (snar-flow/7)"
    )


def _why(parser: Parser) -> None:
    parser.add_argument("--why", metavar="TEXT", default="", help="the reason, for the record")


def _note(parser: Parser, what: str) -> None:
    parser.add_argument("--note", required=True, metavar="TEXT", help=f"{what}, for the record")


def _place(parser: Parser) -> None:
    parser.add_argument(
        "place",
        type=Path,
        nargs="?",
        default=Path(),
        metavar="CAMPAIGN|FOLDER",
        help="a campaign file, or a lab's folder; default: this folder",
    )
    parser.add_argument("--lab", type=Path, metavar="LAB", help="whose journal; default: lab.yaml")
    parser.add_argument("--twin", action="store_true", help="the twin's journal")
    _journal(parser)


def _speed(text: str) -> float | str:
    if text == "virtual":
        return text
    try:
        return _factor(text)
    except argparse.ArgumentTypeError:
        message = f"should be `virtual` or a positive number, not {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _factor(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"should be a positive number, not {text!r}")
    return number


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"should be a whole number from 0, not {text!r}")
    return int(text)


def _seeds(text: str) -> list[int]:
    from sdl.leaderboard.asked import seeds_of

    try:
        return seeds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"should be a whole number from 1, not {text!r}")
    return int(text)


def _probability(text: str) -> float:
    number = _factor(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"should be a number above 0, at most 1, not {text!r}")
    return number
