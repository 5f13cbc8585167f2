"""A snapshot as a screen: pure layout, for the live view and for `sdl status`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Column, Table
from rich.text import Text

from sdl.cli import doubt, words
from sdl.cli.snapshot import Snapshot
from sdl.journal import Trial, TrialState

FRESH, STALE = 60.0, 600.0  # s of age at which a value is greyed, and reddened
FRESH_SIMULATED, STALE_SIMULATED = 1800.0, 7200.0  # a virtual day passes between two looks
ENOUGH_FOR_A_CAUSE = 15  # characters; else it stands in the notes
FIXED_WIDTH, NARROWEST = 18, 7  # characters: trial, state, what went wrong; a number
MOST_BEST = 6
ROOMY = 30  # lines; on a smaller screen what waits for a person goes before the best trials

STYLES: Mapping[TrialState, str] = {
    TrialState.COMPLETED: "green",
    TrialState.FAILED: "red",
    TrialState.RUNNING: "cyan",
    TrialState.ABANDONED: "yellow",
    TrialState.IN_DOUBT: "bold red",
}
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(e-?\d+)?")
LEVELS = {"warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Room:
    """How large the screen is."""

    width: int
    height: int | None
    """Lines; None: as many as it takes."""


def screen(shot: Snapshot, room: Room, *, ended: str | None = None, here: str = "") -> Group:
    """Everything about one campaign.

    :param ended: why it is over, if it is.
    :param here: what the header says beside the lab's own time, e.g. the time left in this room.
    """
    waiting = _fitting(list(_waiting(shot)), room)
    notes = shot.notes[-(1 if waiting else 3) :] if room.height else shot.notes[-10:]
    instruments = list(_instruments(shot))
    most = 1 if waiting and room.height and room.height < ROOMY else MOST_BEST
    front = shot.best[:most]
    flights = list(_flights(shot)) if ended is None else []
    parts: list[RenderableType] = [*_header(shot, room, ended, here)]
    below = [*_section("now", flights), *_section("waits for a person", waiting)]
    below += _section("instruments", instruments)
    below += _section("notes", [_note(shot, note) for note in notes])
    used = 4 + _lines(below) + _heading_lines(shot, room) + (1 + len(front) if front else 0)
    shown = None if room.height is None else max(room.height - used, 3)
    parts += _trials("trials", shot.trials if shown is None else shot.trials[-shown:], shot, room)
    return Group(*parts, *best(shot, room, most, headed=False), *below)


def best(
    shot: Snapshot, room: Room, most: int | None = None, *, headed: bool = True
) -> list[RenderableType]:
    """The best trial, or the Pareto front; nothing while there is none."""
    front = shot.best
    if not front:
        return []
    title = "Pareto front" if len(shot.objectives) > 1 else "best so far"
    if most is not None and len(front) > most:
        title += f" ({most} of {len(front)})"
    return list(_trials(title, front[:most], shot, room, headed=headed))


def _header(shot: Snapshot, room: Room, ended: str | None, here: str) -> Iterator[RenderableType]:
    bench = f"the twin of {shot.campaign.lab}" if shot.simulated else shot.campaign.lab
    title = Text.assemble((shot.campaign.name, "bold"), " on ", bench)
    state = ended or shot.doing or (f"running, {shot.running}" if shot.running else "not running")
    paused = state.startswith("paused")
    right = Text(state, style="bold green" if ended else "bold yellow" if paused else "cyan")
    line = Table.grid(Column(ratio=1, no_wrap=True), Column(justify="right"), expand=True)
    line.add_row(title, right)
    yield line
    budget = shot.campaign.spec["budget"].get("trials")
    of = f" of {budget}" if budget else ""
    clock = " on its clock" if shot.simulated else ""
    said = [f"{shot.counted}{of} trials", f"{words.duration(shot.elapsed)}{clock}"]
    left = shot.seconds_left()
    if ended is None and (here or left is not None):
        said.append(here or f"about {words.duration(left or 0.0)} left")
    text = Text("  ·  ".join(said), no_wrap=True, overflow="ellipsis")
    if not budget:
        yield text
        return
    bar = Table.grid(Column(width=max(room.width // 4, 10)), Column(), padding=(0, 1))
    bar.add_row(ProgressBar(total=budget, completed=min(shot.counted, budget)), text)
    yield bar


# -- trials -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Number:
    """A column of numbers."""

    name: str
    heading: Sequence[str]
    width: int
    outcome: bool


def _columns(shot: Snapshot, room: Room) -> tuple[list[_Number], bool]:
    """Which numbers find room, outcomes before parameters; and whether some did not."""
    spec = shot.campaign.spec
    space = room.width - FIXED_WIDTH
    fit = max(space // (NARROWEST + 1), 1)
    outcomes = list(spec["objectives"].items())[:fit]
    parameters = list(spec["parameters"].items())[: fit - len(outcomes)]
    headings = {
        n: [*n.split("_"), *filter(None, [d.get("units")])] for n, d in parameters + outcomes
    }
    widths = {n: max(NARROWEST, *map(len, words)) for n, words in headings.items()}
    while sum(widths.values()) + len(widths) > space and max(widths.values()) > NARROWEST:
        widths[max(widths, key=lambda n: widths[n])] -= 1
    found = [_Number(n, headings[n], w, n in shot.objectives) for n, w in widths.items()]
    return found, len(found) < len(spec["parameters"]) + len(spec["objectives"])


def _heading_lines(shot: Snapshot, room: Room) -> int:
    columns, _ = _columns(shot, room)
    return max(len(column.heading) for column in columns)


def _trials(
    title: str, trials: Sequence[Trial], shot: Snapshot, room: Room, *, headed: bool = True
) -> Iterator[RenderableType]:
    columns, more = _columns(shot, room)
    look: dict[str, Any] = {"box": None, "padding": (0, 1, 0, 0), "pad_edge": False}
    table = Table(**look, show_header=headed, header_style="dim")
    table.add_column("trial", justify="right", width=5, vertical="bottom")
    table.add_column("state", width=9)
    for column in columns:
        style = "bold" if column.outcome else ""
        heading = "\n".join(column.heading)
        table.add_column(
            heading, justify="right", style=style, width=column.width, overflow="ellipsis"
        )
    rest = room.width - FIXED_WIDTH - sum(column.width + 1 for column in columns)
    table.add_column("…" if more else "", no_wrap=True, overflow="ellipsis", width=max(rest, 1))
    for trial in trials:
        numbers = {**trial.parameters, **(trial.outcomes or {})}
        cells = [Text(words.value(numbers.get(c.name)), no_wrap=True) for c in columns]
        state = Text(words.state(trial.state), style=STYLES.get(trial.state, "dim"))
        said = _first_line(trial.cause) if rest > ENOUGH_FOR_A_CAUSE else ""
        why = Text(said, style="red", no_wrap=True, overflow="ellipsis")
        table.add_row(str(trial.number), state, *cells, why)
    yield _rule(title)
    yield table if trials else Text("none yet", style="dim")


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


# -- now ----------------------------------------------------------------------------------------


def _flights(shot: Snapshot) -> Iterator[RenderableType]:
    for trial, doing in shot.in_flight:
        text = f"trial {trial.number}"
        if not shot.running:
            yield _line(f"{text} was interrupted; it waits for `sdl run` to go on with it")
            continue
        if "step" in doing:
            what = LONG_NUMBER.sub(lambda n: f"{float(n[0]):.4g}", str(doing.get("doing", "")))
            text += f"  step {doing['step']}: {what}  {_so_far(doing, shot.now)}"
        part = fraction(doing, shot.now)
        grid = Table.grid(_cropped(), Column(width=20), Column(width=5), expand=True)
        bar = "" if part is None else ProgressBar(total=1.0, completed=part, width=20)
        grid.add_row(Text(text), bar, "" if part is None else f"{part:5.0%}")
        yield grid


def _waiting(shot: Snapshot) -> Iterator[RenderableType]:
    """What goes on only when somebody types something."""
    for trial in (t for t in shot.trials if t.number in shot.doubts):
        held = [name for name, claim in shot.claims.items() if claim.trial == trial.id]
        holds = f"; it holds {', '.join(held)}" if held else ""
        yield _line(f"trial {trial.number} is in doubt{holds}", "bold red")
        for step in shot.doubts[trial.number]:
            yield _line(f"  {doubt.named(step)}: {doubt.evidence(step) or 'nobody heard its end'}")
        if not shot.doubts[trial.number] and trial.cause:
            yield _line(f"  {_first_line(trial.cause)}")
        yield _line(
            f"  sdl resolve {trial.number} --done|--not-done|--retry|--abandon --note …", "yellow"
        )
    for name, claim in shot.claims.items():
        if claim.quarantined is not None:
            yield _line(f"{name} is in quarantine: {_first_line(claim.quarantined)}", "bold red")
            yield _line(f"  sdl release {name} --note …", "yellow")


def _fitting(lines: list[RenderableType], room: Room) -> list[RenderableType]:
    """No more than a fifth of the screen or so: what runs must stay in sight too."""
    most = len(lines) if room.height is None else max(room.height // 4 - 1, 2)
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], _line("… `sdl status` shows all of it", "dim")]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _so_far(doing: Mapping[str, Any], now: float) -> str:
    if doing.get("now"):
        return str(doing["now"])
    if not isinstance(doing.get("duration"), int | float):
        return ""
    return f"{words.duration(doing['since'] + doing['duration'] - now)} left"


def _cropped() -> Column:
    return Column(ratio=1, no_wrap=True, overflow="ellipsis")


def fraction(doing: Mapping[str, Any], now: float) -> float | None:
    """How much of a step is done, 0..1, if that can be told."""
    if doing.get("fraction") is not None:
        return float(doing["fraction"])
    length = doing.get("duration")
    if not isinstance(length, int | float) or not length:
        return None
    return min(max((now - float(doing["since"])) / length, 0.0), 1.0)


# -- instruments and notes ----------------------------------------------------------------------


def _instruments(shot: Snapshot) -> Iterator[RenderableType]:
    groups: dict[str, list[tuple[str, Any]]] = {}
    for key, reading in shot.readings.items():
        name, _, signal = key.partition("-")
        groups.setdefault(name, []).append((signal, reading))
    if not groups:
        return
    right = Column(justify="right", no_wrap=True)
    table = Table.grid(Column(no_wrap=True), _cropped(), right, expand=True, padding=(0, 1, 0, 0))
    for name, signals in groups.items():
        age = max(shot.now - max(r.time for _, r in signals), 0.0)
        text = "  ".join(f"{s} {words.quantity(r.value, r.units)}".strip() for s, r in signals)
        style = _ageing(age, shot.simulated)
        error = any(not s and isinstance(r.value, str) for s, r in signals)
        body = Text(_first_line(text), style="red" if error else style)
        table.add_row(Text(name, style="bold"), body, Text(words.duration(age), style=style))
    yield table


def _ageing(age: float, simulated: bool) -> str:
    fresh, stale = (FRESH_SIMULATED, STALE_SIMULATED) if simulated else (FRESH, STALE)
    return "red" if age > stale else "dim" if age > fresh else ""


def _note(shot: Snapshot, note: Any) -> Text:
    since = shot.campaign.created_at if shot.simulated else None
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{words.moment(note.time, since)}  ", style="dim")
    return text.append(_first_line(note.text), style=LEVELS.get(note.level, ""))


def _section(title: str, parts: Sequence[RenderableType]) -> list[RenderableType]:
    return [_rule(title), *parts] if parts else []


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="dim"), align="left", style="dim")


def _lines(parts: Sequence[RenderableType]) -> int:
    return sum(part.row_count if isinstance(part, Table) else 1 for part in parts)
