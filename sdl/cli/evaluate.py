"""`sdl evaluate`: measure an optimizer for a campaign, and let a person promote it."""

import os
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from sdl.campaign import Campaign
    from sdl.evaluation import Evaluation
    from sdl.journal import Trial
    from sdl.lab import Lab


def run(options: Namespace) -> int:
    from sdl.campaign import Campaign
    from sdl.evaluation import Case, Suite, evaluate, place_of, record
    from sdl.who import operator

    if options.note is not None and not options.promote:
        raise ConfigError("--note: says why a version is promoted: give --promote too")
    if options.promote and not options.note:
        raise ConfigError("--promote: say with --note why this version may be used")
    campaign = Campaign.load(options.campaign)
    lab = _lab(options, campaign)
    suite = Suite() if options.suite is None else Suite.load(options.suite)
    folder = lab.folder if lab is not None else options.campaign.resolve().parent
    url = _journal(options, campaign, lab)
    case = Case.of(campaign, folder, _trials(url, campaign.campaign))
    print(f"{campaign.campaign}: {case.version.name}, {len(case.trials)} trials in the journal")
    place = place_of(options.campaign, campaign.campaign)
    made = evaluate(case, suite, place, workers=options.workers or os.cpu_count() or 1, tell=_tell)
    now, who = time.time(), operator()
    file = record(made, place, time=now, who=who)
    _show(made)
    print(f"The evaluation is {file}")
    said: dict[str, Any] = {"version": made.digest, "suite": made.suite, "file": file.name}
    faults = _decide(options, made, file, said, now, who) if options.promote else []
    _audit(url, campaign.campaign, said, now, who)
    return 1 if faults else 0


def _decide(
    options: Namespace,
    made: "Evaluation",
    file: "Path",
    said: dict[str, Any],
    now: float,
    who: str,
) -> list[str]:
    """Promote a version, or say what speaks against it."""
    from sdl.evaluation import gate, last_promoted, promote

    faults = gate(made, last_promoted(options.campaign, made.campaign))
    said |= {"note": options.note, "promoted": not faults, "against": faults}
    if faults:
        print("It is not promoted:", file=sys.stderr)
        for fault in faults:
            print(f"  {fault}", file=sys.stderr)
        return faults
    promote(made, file, options.campaign, time=now, who=who, note=options.note)
    print(f"It is promoted by {who}: {options.note}")
    return []


def _lab(options: Namespace, campaign: "Campaign") -> "Lab | None":
    from sdl.lab import Lab

    beside = options.campaign.parent / campaign.lab
    place = options.lab or (beside if beside.is_file() else None)
    return None if place is None else Lab.read(place)


def _journal(options: Namespace, campaign: "Campaign", lab: "Lab | None") -> str:
    if options.journal is not None:
        return options.journal
    if lab is not None:
        return lab.journal_url
    return str(options.campaign.parent / f"{campaign.campaign}.db")


def _trials(url: str, campaign: str) -> "list[Trial]":
    """The campaign's trials; none where it was not begun. Makes no journal."""
    from sdl.journal import Journal

    if not _there(url):
        return []
    with Journal.open(url, readonly=True) as journal:
        known = any(record.name == campaign for record in journal.campaigns())
        return journal.trials(campaign) if known else []


def _audit(url: str, campaign: str, said: dict[str, Any], now: float, who: str) -> None:
    """Write into the journal, if there is one, what was evaluated and decided."""
    from sdl.journal import Journal

    if not _there(url):
        return
    with Journal.open(url) as journal:
        journal.audit("operator", f"optimizer of campaign {campaign}", said, time=now, who=who)


def _there(url: str) -> bool:
    from sdl.journal.address import parse_address

    file = parse_address(url).file
    return file is None or file.exists()


def _tell(what: str) -> None:
    print(f"  {what}", flush=True)


def _show(made: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("score", "mean", "95 % interval", "better", "gates"):
        table.add_column(heading, overflow="fold")
    for score in made.scores:
        gates = "yes" if score.kind in made.gate else ""
        cells = (score.name, f"{score.mean:.4g}", score.interval, score.better, gates)
        table.add_row(*map(Text, cells))
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 160).print(table)
    for remark in made.remarks:
        print(f"note: {remark}")
    for violation in made.violations:
        print(f"violation: {violation}")
    if not made.violations:
        print("no violations")
