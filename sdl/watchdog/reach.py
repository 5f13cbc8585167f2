"""Reach a lab's instruments without its runtime, and make them safe.

Each instrument is built, connected and told by itself, beside all others: whatever is wrong with
one (its driver, its wire, its silence) is its own affair.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from sdl import assembly, clock
from sdl.bench import Bench
from sdl.errors import SdlError, explain
from sdl.lab import Lab
from sdl.wires import Wire
from sdl.wires.urls import open_wire

AGAIN = 2  # more rounds for those that did not confirm: a wire may still be another's
PAUSE = 1.0  # s between two rounds
CLOSING = 1.0  # s for all wires to close
THREADS = 64  # for what blocks while a wire opens (names, ports): none waits for another

Told = Callable[[dict[str, str | None]], object]


def prepare(lab: Lab) -> dict[str, str]:
    """Import all that making the lab safe takes; touch nothing.

    :returns: what cannot be reached, and why, by instrument.
    """
    failed: dict[str, str] = {}
    wires, unusable = _wires(lab)
    for name, entry in lab.instruments.items():
        if entry.wire is not None and entry.wire in unusable:
            failed[name] = unusable[entry.wire]
            continue
        try:
            assembly.build(lab, name, entry, wires.get(entry.wire or ""))
        except Exception as error:  # noqa: BLE001 (a driver may raise anything; others go on)
            failed[name] = explain(error)
    return failed


async def make_safe(
    lab: Lab, *, timeout: float, names: Collection[str] | None = None
) -> dict[str, str | None]:
    """Open the wires and put instruments into their safe state, all at once; never raises.

    :param timeout: s for each instrument.
    :param names: which; default all.
    :returns: for each None if it confirmed, else what went wrong.
    """
    chosen = [n for n in lab.instruments if names is None or n in names]
    wires, unusable = _wires(lab)
    answers = await asyncio.gather(
        *(_one(lab, name, wires, unusable, timeout) for name in chosen), return_exceptions=True
    )
    closing = [asyncio.create_task(wire.close()) for wire in wires.values()]
    if closing:
        await asyncio.wait(closing, timeout=CLOSING)
    return {n: _said(answer) for n, answer in zip(chosen, answers, strict=True)}


async def make_safe_patiently(lab: Lab, *, timeout: float, told: Told) -> dict[str, str | None]:
    """As `make_safe`, and again for those that did not confirm.

    :param told: hears the answers of each round: the first comes within `timeout`.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    answers = await make_safe(lab, timeout=timeout)
    told(answers)
    for _ in range(AGAIN):
        open_still = {name for name, why in answers.items() if why is not None}
        if not open_still:
            break
        await asyncio.sleep(PAUSE)
        answers |= await make_safe(lab, timeout=timeout, names=open_still)
        told(answers)
    return answers


async def _one(
    lab: Lab, name: str, wires: Mapping[str, Wire], unusable: Mapping[str, str], timeout: float
) -> str | None:
    entry = lab.instruments[name]
    if entry.wire is not None and entry.wire in unusable:
        return unusable[entry.wire]
    alone = lab.model_copy(update={"instruments": {name: entry}})
    if assembly.is_classic(assembly.load_driver(lab, entry)):  # being made may already block
        async with asyncio.timeout(timeout):
            devices = await clock.outside(assembly.instruments, alone, wires)
    else:
        devices = assembly.instruments(alone, wires)
    bench = Bench(lab.lab, {}, devices)  # the wires are everybody's: who made them closes them
    return (await bench.confirm(timeout=timeout))[name]


def _wires(lab: Lab) -> tuple[dict[str, Wire], dict[str, str]]:
    made: dict[str, Wire] = {}
    unusable: dict[str, str] = {}
    for name, entry in lab.wires.items():
        try:
            made[name] = open_wire(entry.url, timeout=entry.timeout)
        except SdlError as error:
            unusable[name] = explain(error)
    return made, unusable


def _said(answer: str | BaseException | None) -> str | None:
    return explain(answer) if isinstance(answer, BaseException) else answer
