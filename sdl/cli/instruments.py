"""`sdl instruments`: what a lab has, and who of it answers."""

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdl.bench import Bench
    from sdl.lab import Lab

Answer = tuple[str | BaseException, float]  # who it is, or why it did not say; s it took


def run(options: Namespace) -> int:
    if options.catalogue:
        from sdl.cli import catalogue

        return catalogue.run(options)
    from rich.console import Console

    from sdl.cli import logs
    from sdl.clock import new_loop
    from sdl.lab import Lab

    lab = Lab.load(options.lab)
    answers: Mapping[str, Answer] = {}
    if options.ping:
        asked = lab.twin(1.0) if options.twin else lab
        with logs.nowhere(), asyncio.Runner(loop_factory=new_loop) as runner:
            answers = runner.run(_ping(asked))
    console = Console(highlight=False)
    wide = None if console.is_terminal else 200  # a program that reads it wants whole lines
    Console(highlight=False, width=wide).print(_table(lab, answers))
    silent = {n: a for n, (a, _) in answers.items() if isinstance(a, BaseException)}
    from sdl.bench import told_of

    for name, error in silent.items():
        console.print(told_of(name, error), style="red", soft_wrap=True)
    return 1 if silent else 0


async def _ping(lab: "Lab") -> dict[str, Answer]:
    async with lab.open(connect=False) as bench:
        found = await asyncio.gather(*(_ask(bench, name) for name in bench.instruments))
    return dict(zip(bench.instruments, found, strict=True))


async def _ask(bench: "Bench", name: str) -> Answer:
    """Connect one and ask it; what is wrong with it hides no other."""
    from sdl import clock

    began = clock.monotonic()
    (answer,) = await asyncio.gather(bench.ping(name), return_exceptions=True)
    return answer, clock.monotonic() - began


def _table(lab: "Lab", answers: Mapping[str, Answer]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from sdl.wires.urls import without_password

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("instrument", "driver", "wire", "answers" if answers else "twin"):
        table.add_column(title, overflow="fold")
    for name, entry in lab.instruments.items():
        driver = entry.driver if isinstance(entry.driver, str) else entry.driver.__name__
        wire = without_password(lab.wires[entry.wire].url) if entry.wire else "-"
        part = (entry.twin.part or name) if entry.wire else entry.twin.device
        row = [Text(name, style="bold"), driver, wire]
        if answers:
            answer, took = answers[name]
            wrong = isinstance(answer, BaseException)
            said = f"no: {type(answer).__name__}" if wrong else f"{answer} ({took:.2g} s)"
            table.add_row(*row, Text(said, style="red" if wrong else "green"))
        else:
            table.add_row(*row, part)
    return table
