"""`sdl faults`: what can go wrong with simulated instruments, and with those of a lab."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def run(options: Namespace) -> int:
    can = None if options.lab is None else _of_lab(options)
    if options.json:
        print(json.dumps(_data(can), indent=2))
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    wide = None if console.is_terminal else 200  # a program that reads it wants whole lines
    table = _catalogue() if can is None else _instruments(can)
    Console(highlight=False, width=wide).print(table)
    return 0


def _of_lab(options: Namespace) -> Mapping[str, Sequence[str]]:
    from sdl.disturbing import possible
    from sdl.lab import Lab

    return possible(Lab.load(options.lab))


def _data(can: Mapping[str, Sequence[str]] | None) -> Any:
    from sdl.endpoints.faults import CATALOGUE

    if can is not None:
        return {name: list(kinds) for name, kinds in can.items()}
    return {
        name: {
            "layer": kind.layer,
            "what": kind.what,
            "size": None if kind.size is None else kind.size[0],
            "units": None if kind.size is None else kind.size[1],
            "lasts": kind.lasts,
        }
        for name, kind in CATALOGUE.items()
    }


def _catalogue() -> "Table":
    from sdl.endpoints.faults import CATALOGUE

    table = _table("fault", "of the", "what happens", "usual size", "lasts")
    for name, kind in CATALOGUE.items():
        size = "" if kind.size is None else f"{kind.size[0]:g} {kind.size[1]}"
        table.add_row(name, kind.layer, kind.what, size, "some time" if kind.lasts else "")
    return table


def _instruments(can: Mapping[str, Sequence[str]]) -> "Table":
    from sdl.endpoints.faults import CATALOGUE

    table = _table("instrument", "on its line", "inside")
    for name, kinds in can.items():
        of = {layer: [k for k in kinds if CATALOGUE[k].layer == layer] for layer in _LAYERS}
        table.add_row(name, *(", ".join(of[layer]) or "-" for layer in _LAYERS))
    return table


_LAYERS = ("line", "instrument")


def _table(*titles: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for n, title in enumerate(titles):
        table.add_column(title, overflow="fold", style="bold" if n == 0 else "", no_wrap=n == 0)
    return table
