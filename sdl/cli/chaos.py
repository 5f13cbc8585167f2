"""`sdl chaos`: a campaign on its twin under random faults, and what the runtime did about each."""

import json
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl.errors import ConfigError

if TYPE_CHECKING:
    from sdl.campaign import Campaign
    from sdl.chaos import Outcome
    from sdl.lab import Lab
    from sdl.reactions import Reaction


def run(options: Namespace) -> int:
    from rich.console import Console

    from sdl import chaos
    from sdl.campaign import Budget
    from sdl.cli import checking, logs

    campaign, lab = checking.load(options.campaign, options.lab)
    if options.trials is not None:
        campaign = campaign.model_copy(update={"budget": Budget(trials=options.trials)})
    kinds = [kind.strip() for kind in (options.kinds or "").split(",") if kind.strip()]
    script = chaos.script_for(lab, seed=options.seed, rate=options.rate, kinds=kinds)
    console = Console(highlight=False, soft_wrap=True)
    console.print(_head(campaign, lab, options), style="bold")
    with _journal(options, lab) as journal, logs.nowhere(), console.status("running"):
        outcome = chaos.run(campaign, lab, script, journal)
    _show(outcome, console)
    if options.keep:
        print(f"\nThe journal is {journal}: `sdl status --journal {journal}`, `sdl history …`")
    if options.json is not None:
        _write(options.json, outcome)
    return 1 if outcome.broken else 0


def _head(campaign: "Campaign", lab: "Lab", options: Namespace) -> str:
    rate = f"a fault in one of {1 / options.rate:.0f} exchanges"
    return f"{campaign.campaign} on the twin of {lab.lab}: {rate}, seed {options.seed}"


@contextmanager
def _journal(options: Namespace, lab: "Lab") -> Iterator[str]:
    """A place for the journal: beside the twin's, or one that goes away."""
    from sdl.cli.run import put_aside

    if options.keep:
        file = (lab.folder or Path.cwd()) / f"chaos-{options.seed}.db"
        put_aside(file, lab.lab)
        yield str(file)
        return
    with tempfile.TemporaryDirectory(prefix="sdl-chaos-") as folder:
        yield str(Path(folder) / "chaos.db")


# -- for people -----------------------------------------------------------------------------------


def _show(outcome: "Outcome", console: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from sdl.cli import words
    from sdl.reactions import OUTCOMES

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("time", "fault", "step under way", "what became of it"):
        table.add_column(title, overflow="fold")
    for reaction in outcome.reactions:
        happening = reaction.seen.happening
        table.add_row(
            words.moment(happening.time, outcome.began),
            str(happening),
            _step(reaction),
            _end(reaction),
        )
    if outcome.reactions:
        wide = None if console.is_terminal else 200
        Console(highlight=False, width=wide).print(table)
    console.print()
    counted = Counter(reaction.outcome for reaction in outcome.reactions)
    told = [f"{counted[each]} {each}" for each in OUTCOMES if counted[each]]
    console.print(f"faults      {_sum(told, len(outcome.reactions))}", markup=False)
    for line in _summary(outcome):
        console.print(line, markup=False)
    for line in outcome.broken:
        console.print(f"  {line}", style="red", markup=False)
    kept = "All promises were kept." if not outcome.broken else "Promises were broken: see above."
    console.print(kept, style="green" if not outcome.broken else "red")


def _step(reaction: "Reaction") -> str:
    if reaction.step is None:
        return (
            reaction.what if reaction.trial is None else f"trial {reaction.trial}: {reaction.what}"
        )
    return f"trial {reaction.trial}, step {reaction.step}: {reaction.what}"


def _end(reaction: "Reaction") -> Any:
    from rich.text import Text

    styles = {"nobody noticed": "dim", "trial failed": "red", "in doubt": "yellow"}
    text = Text(reaction.outcome, style=styles.get(reaction.outcome, "bold"))
    return text.append(f": {'; '.join(reaction.said)}", style="default") if reaction.said else text


def _summary(outcome: "Outcome") -> Iterator[str]:
    from sdl.cli import words

    said = outcome.judgement
    states = [f"{count} {words.state(state)}" for state, count in outcome.trials.items()]
    yield f"trials      {_sum(states, outcome.trials.total())}"
    for number, cause in outcome.causes.items():
        yield f"  trial {number:<3} {' '.join(cause.split())}"
    judged = ", ".join(outcome.judged) or "no instrument whose doses the world knows"
    yield (
        f"doses       {said.doses} ({judged}): {said.repeated} repeated, {said.skipped} skipped, "
        f"{said.pieces} in pieces; the worst is off by {said.worst:.3g} mL"
    )
    yield (
        f"readings    {outcome.readings} whose truth the world knows: {len(outcome.wrong)} wrong, "
        f"{outcome.deceived} by a sensor's fault"
    )
    held = [f"{name} {times} times" for name, times in sorted(outcome.quarantined.items())]
    yield f"quarantine  {', '.join(held) or 'none'}"
    for settled in outcome.settled:
        at = words.moment(settled.time, outcome.began)
        yield f"settled     {at} {settled.what}: {settled.verdict}: {settled.why}"
    for number, ending in enumerate(outcome.endings, 1):
        yield f"session {number:<3} {' '.join(ending.split())}"
    yield f"audit       {'whole' if not said.breaks else f'broken in {said.breaks} places'}"


def _sum(parts: list[str], total: int) -> str:
    return f"{total}: {', '.join(parts)}" if parts else "0"


# -- as data --------------------------------------------------------------------------------------


def _write(file: Path, outcome: "Outcome") -> None:
    text = json.dumps(data(outcome), indent=2, allow_nan=False) + "\n"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {file}: cannot be written: {error.strerror}") from error


def data(outcome: "Outcome") -> dict[str, Any]:
    """The report as JSON; times are s since the campaign began."""
    said, began = outcome.judgement, outcome.began
    return {
        "campaign": outcome.campaign,
        "lab": outcome.lab,
        "script": outcome.script.model_dump(mode="json"),
        "faults": [_fault(reaction, began) for reaction in outcome.reactions],
        "trials": dict(outcome.trials),
        "causes": {str(number): cause for number, cause in outcome.causes.items()},
        "doses": {
            "judged": list(outcome.judged),
            "count": said.doses,
            "repeated": said.repeated,
            "skipped": said.skipped,
            "in_pieces": said.pieces,
            "worst_mL": None if said.worst != said.worst else said.worst,
        },
        "readings": {
            "known": outcome.readings,
            "wrong": list(outcome.wrong),
            "sensor_faults": outcome.deceived,
        },
        "quarantined": dict(outcome.quarantined),
        "settled": [
            {"time": s.time - began, "what": s.what, "verdict": s.verdict, "why": s.why}
            for s in outcome.settled
        ],
        "sessions": outcome.endings,
        "audit_breaks": said.breaks,
        "broken": outcome.broken,
    }


def _fault(reaction: "Reaction", began: float) -> dict[str, Any]:
    happening = reaction.seen.happening
    fault = happening.fault
    return {
        "time": happening.time - began,
        "instrument": happening.instrument,
        "kind": fault.kind,
        "exchange": fault.at,
        "seconds": fault.seconds if fault.lasts or fault.kind == "late reply" else None,
        "trial": reaction.trial,
        "step": reaction.step,
        "what": reaction.what,
        "failed_exchanges": reaction.seen.failed,
        "outcome": reaction.outcome,
        "said": list(reaction.said),
    }
