"""The leaderboard as a page: what `board.assemble` returned in, one HTML file out."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sdl.leaderboard.statistics import FEW
from sdl.leaderboard.traces import COLOURS, charts
from sdl.report import words

Row = Mapping[str, Any]


def render(board: Mapping[str, Any]) -> str:
    """Return the whole page; it needs nothing else, and equal boards give equal pages."""
    environment = Environment(
        loader=PackageLoader("sdl.leaderboard", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _part("sdl.report", "sort.js")
    style = _part("sdl.report", "page.css") + _part("sdl.leaderboard", "page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    colours = {s["name"]: k % COLOURS for k, s in enumerate(board["strategies"])}
    return environment.get_template("page.html").render(
        board=board,
        script=Markup(script),
        style=Markup(style),
        script_digest=digest,
        tiles=_tiles(board),
        colours=colours,
        overall=[_overall(row) for row in board["overall"]],
        tasks=[(task, _facts(task), _tables(task)) for task in board["tasks"]],
        drawn={t["name"]: [c.svg() for c in charts(t, colours, k)] for k, t in _numbered(board)},
        failed=_failed(board),
        few=FEW,
        options=lambda given: json.dumps(given, sort_keys=True) if given else "",
        versions=lambda given: ", ".join(f"{k} {v}" for k, v in given.items()),
    )


def _part(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _numbered(board: Mapping[str, Any]) -> list[tuple[int, Row]]:
    return list(enumerate(board["tasks"]))


def _tiles(board: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    leader = board["overall"][0] if board["overall"] else None
    jobs = f"{board['jobs_done']} of {board['jobs_wanted']}"
    failed = f"{board['jobs_failed']} failed" if board["jobs_failed"] else "none failed"
    name, rank = "none yet", ""
    if leader and leader["rank"]:
        name, rank = leader["name"], f"mean rank {_number(leader['rank']['mean'], 3)}"
    return [
        ("best over all tasks", name, rank),
        ("tasks", str(len(board["tasks"])), ""),
        ("strategies", str(len(board["strategies"])), ""),
        ("seeds", str(len(board["seeds"])), f"{words.count(board['batch'], 'point')} at a time"),
        ("jobs done", jobs, failed),
    ]


def _overall(row: Row) -> Row:
    return {
        "name": row["name"],
        "rank": _number(row["rank"] and row["rank"]["mean"], 3),
        "share": _percent(row["share"] and row["share"]["mean"]),
        "better": row["better"],
        "worse": row["worse"],
        "failed": f"{row['failed']} of {row['done']}",
        "ask": _seconds(row["ask_cpu"]),
        "peak": _number(row["peak_mb"], 3),
    }


def _facts(task: Row) -> list[tuple[str, str]]:
    wanted = ", ".join(f"{direction} {name}" for name, direction in task["objectives"].items())
    found = [
        ("what", task["about"]),
        ("wanted", wanted),
        ("parameters", str(task["dimension"])),
        ("budget", f"{task['budget']} trials, the first {task['initial']} the same for all"),
    ]
    if task["outcome_constraints"]:
        found.append(("must hold", ", ".join(task["outcome_constraints"])))
    if task["reference"]:
        origin = ", ".join(f"{n} {words.number(v)}" for n, v in task["reference"].items())
        found.append(("hypervolume from", origin))
    known = "optimum" if task["optimum"] is not None else "best of any job"
    found.append((known, _number(task["best_known"], 6)))
    found.append(("target", _number(task["target"], 5)))
    return found


Cell = tuple[str, float | str | None]
"""What is shown, and what it is sorted by."""


def _tables(task: Row) -> list[tuple[Sequence[tuple[str, str]], list[list[Cell]]]]:
    """A task's tables: headings, and rows of cells. What was reached, and what it cost."""
    reached = [_row(task, s) for s in task["strategies"]]
    return [(_head(task), reached), (COSTS, [_costs(s) for s in task["strategies"]])]


def _is_table(task: Row) -> bool:
    return bool(task["rows"]) and len(task["objectives"]) == 1


def _head(task: Row) -> list[tuple[str, str]]:
    """Headings of what was reached: the label, and what stands below it."""
    return [
        ("strategy", ""),
        ("rank", "mean over seeds"),
        (task["measure"].replace("_", " "), f"{task['better']} is better"),
        ("against best other", "paired by seed, above 0 is better"),
        ("to target", "trials, median"),
        *([("top 5 %", "share found")] if _is_table(task) else []),
        ("acceleration", "times"),
        ("enhancement", "times"),
    ]


def _row(task: Row, s: Row) -> list[Cell]:
    against, without = s["against_best_other"], s["without_value"]
    reached = f"{_number(s['trials_to_target'], 3)} ({s['reached_target']} of {s['done']})"
    final = _interval(s["final"])
    return [
        (s["name"], s["name"]),
        (_interval(s["rank"], 3) if s["rank"]["n"] else "", s["rank"]["mean"]),
        (f"{final} ({without} without)" if without else final, _middle(s["final"])),
        (_against(against), against and against["difference"]["mean"]),
        (reached if s["reached_target"] else f"none of {s['done']}", s["trials_to_target"]),
        *([(_interval(s["top_share"], 3), _middle(s["top_share"]))] if _is_table(task) else []),
        (_interval(s["acceleration"], 3), _middle(s["acceleration"])),
        (_interval(s["enhancement"], 3), _middle(s["enhancement"])),
    ]


COSTS = (
    ("strategy", ""),
    ("failed", "trials"),
    ("violations", "trials"),
    ("duplicates", "trials"),
    ("ask", "CPU s, median"),
    ("ask", "CPU s, p95"),
    ("tell", "CPU ms, median"),
    ("imports", "CPU s, median"),
    ("memory", "MB, peak"),
    ("failed jobs", ""),
)


def _costs(s: Row) -> list[Cell]:
    ask, tell = s["ask_cpu"], s["tell_cpu"]
    return [
        (s["name"], s["name"]),
        *((_number(_middle(s[k]), 3), _middle(s[k])) for k in _COUNTED),
        (_seconds(ask["median"]), ask["median"]),
        (_seconds(ask["p95"]), ask["p95"]),
        (_number(tell["median"] and tell["median"] * 1000, 2), tell["median"]),
        (_seconds(s["warm_up_cpu"]), s["warm_up_cpu"]),
        (_number(s["peak_mb"], 3), s["peak_mb"]),
        (str(s["failed"]) if s["failed"] else "", s["failed"]),
    ]


_COUNTED = ("failures", "violations", "duplicates")


def _against(found: Row | None) -> str:
    if found is None:
        return ""
    return f"{found['other']}: {_interval(found['difference'], 3)} {found['verdict']}"


def _middle(found: Row | None) -> float | None:
    return None if found is None else found["mean"]


def _interval(found: Row | None, digits: int = 4) -> str:
    """`1.25 [1.10, 1.40]`."""
    if found is None:
        return ""
    if found["low"] is None:
        return _number(found["mean"], digits)
    ends = f"{_number(found['low'], digits)}, {_number(found['high'], digits)}"
    return f"{_number(found['mean'], digits)} [{ends}]"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else words.number(value, digits)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{words.number(100 * share, 3)} %"


def _seconds(value: float | None) -> str:
    return "" if value is None else words.number(value, 2)


def _failed(board: Mapping[str, Any]) -> Sequence[tuple[str, str, str, list[int]]]:
    """Task, strategy, message and seeds of jobs that failed."""
    return [
        (task["name"], s["name"], message, seeds)
        for task in board["tasks"]
        for s in task["strategies"]
        for message, seeds in s["errors"].items()
    ]
