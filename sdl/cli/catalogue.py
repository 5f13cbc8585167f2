"""`sdl instruments --catalogue`: the shelf: which instruments there are drivers for."""

import inspect
import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Shelved:
    """A driver, as its class shows it."""

    name: str
    title: str
    wire: str
    """The kind of wire, and its settings as the instrument is delivered."""
    does: list[str]
    faults: list[str]
    """Those of the catalogue that its simulator can have inside; those of its line all can."""
    unverified: list[str]
    package: str
    problem: str = ""
    """Why it cannot be used here, if it cannot: what to install."""


def run(options: Namespace) -> int:
    shelf = sorted(_shelf(), key=lambda each: each.name)
    if options.json:
        print(json.dumps([asdict(each) for each in shelf], indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 1, 0), pad_edge=False, header_style="dim")
    for title in ("driver", "instrument", "wire", "does", "unverified"):
        table.add_column(title, overflow="fold")
    for each in shelf:
        unverified = "; ".join(each.unverified) or "-"
        row = [each.title or each.package, each.wire, ", ".join(each.does), unverified]
        table.add_row(f"[bold]{each.name}[/]", *([each.problem] if each.problem else row))
    wide = None if console.is_terminal else 200  # a program that reads it wants whole lines
    Console(highlight=False, width=wide).print(table)
    print("What a simulator can suffer: --json, and `sdl faults`. None was tried on real hardware.")
    return 0


def _shelf() -> Iterator[Shelved]:
    from importlib.metadata import entry_points

    from sdl import plugins

    for entry in entry_points(group="sdl.drivers"):
        package = entry.dist.name if entry.dist is not None else "?"
        try:
            driver = plugins.load("drivers", entry.name)
        except plugins.PluginError as error:
            yield Shelved(entry.name, "", "", [], [], [], package, str(error))
            continue
        yield Shelved(
            entry.name,
            getattr(driver, "title", ""),
            _wire(driver),
            list(_does(driver)),
            sorted(_faults(entry.name)),
            list(getattr(driver, "unverified", ())),
            package,
        )


def _wire(driver: Any) -> str:
    from sdl import signature

    delivered = getattr(driver, "delivered", "")
    if delivered:
        scheme, _, rest = delivered.partition("://")
        settings = rest.partition("?")[2].replace("&", " ")
        port = rest.rpartition(":")[2] if scheme not in ("serial", "modbus+rtu") else ""
        return f"{scheme} {settings or port}".strip()
    argument = (signature.arguments(driver) or {}).get("wire")
    return getattr(argument.annotation, "__name__", "?") if argument else "none of ours"


def _does(driver: Any) -> Iterator[str]:
    """What the class can do, in the words of a plan's author."""
    effect = getattr(driver, "effect", None)
    if hasattr(driver, "set"):
        yield f"set ({effect})" if effect else "set"
    yield from (word for word in ("trigger", "kickoff") if hasattr(driver, word))
    yield f"stop policy {driver.stop_policy}" if hasattr(driver, "stop_policy") else "read"
    if hasattr(driver, "reconcile"):
        yield "reconcile"
    if hasattr(driver, "arm_watchdog"):
        yield "watchdog"


def _faults(name: str) -> frozenset[str]:
    from sdl import plugins

    try:
        simulator = plugins.load("simulators", name)
    except plugins.PluginError:
        return frozenset()
    return getattr(simulator, "faults", frozenset()) if inspect.isclass(simulator) else frozenset()
