"""Fuzzing of the whole shelf: what no instrument says to each driver, and nobody asks a simulator.

    python benchmarks/fuzz.py                         # a million cases each; hours
    python benchmarks/fuzz.py --cases 2000 --jobs 2
    python benchmarks/fuzz.py --only TestVici --part replies --seed 17 --cases 400   # a batch again

For each subject of the conformance tests: damaged replies to its driver (`replies`), real and
damaged requests to its simulator (`requests`); for each module of drivers its functions `parse...`
(`parsers`). What must hold is said in `sdl.testing.fuzzing`; a parser returns a value or raises an
`SdlError` or a `ValueError`. Everything is on virtual time; a batch that takes a minute of
real time hangs.
"""

import argparse
import binascii
import importlib
import importlib.util
import inspect
import logging
import pkgutil
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, reduce
from operator import xor
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml
from pymodbus.framer import FramerRTU

import sdl.drivers
from sdl.errors import SdlError
from sdl.testing import Conformance, Subject
from sdl.testing.fuzzing import Tally, fuzz_replies, fuzz_requests, requests_of
from sdl.testing.mangling import Check, mangled

TESTS = Path(__file__).parents[1] / "tests"
PARTS = ("replies", "requests", "parsers")
BATCH = {"replies": 400, "requests": 400, "parsers": 20_000}
LONGEST = 60  # s of real time for a batch
SHOWN = 3  # failures of each
STREAMS = ("serial:", "tcp:", "modbus+")
AGREED = (0.4, 24.0)  # `drivers.agreeing` lets two readings of what is fast differ by so much


def _modbus(frame: bytes) -> bytes:
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def _enveloped(frame: bytes) -> bytes:
    """A Modbus request on TCP: transaction, protocol 0, length."""
    body = frame[6:] + bytes(max(0, 8 - len(frame)))
    return frame[:2].ljust(2, b"\0") + b"\0\0" + len(body).to_bytes(2, "big") + body


def _framed(data: bytes) -> bytes:
    """A packet of an NE-1000's safe mode."""
    return bytes([2, (len(data) + 4) & 0xFF, *data]) + binascii.crc_hqx(data, 0).to_bytes(2, "big")


def _summed(data: bytes) -> bytes:
    """A packet of Runze's."""
    return data + (sum(data) & 0xFFFF).to_bytes(2, "little")


def _lined(line: bytes) -> bytes:
    """A line of Zaber's, with its LRC."""
    return line + b":%02X" % (-sum(line[1:]) & 0xFF)


def _lrc(frame: bytes) -> bool:
    line, _, end = frame.rpartition(b":")
    return bool(line) and _lined(line) == line + b":" + end.rstrip(b"\r\n")


MODBUS = Check(
    lambda f: len(f) > 3 and _modbus(f[:-2]) == f[-2:], lambda f: f[:-2] + _modbus(f[:-2])
)
CHECKS: Mapping[str, Check] = {
    "TestNE1000InSafeMode": Check(
        lambda f: len(f) > 4 and f == _framed(f[2:-3]) + b"\x03",
        lambda f: _framed(f[2:-3]) + b"\x03",
    ),
    "TestOem": Check(
        lambda f: len(f) > 3 and f[0] == 2 and f[-2] == 3 and reduce(xor, f) == 0,
        lambda f: f[:-1] + bytes([reduce(xor, f[:-1], 0)]),
    ),
    "TestRunzeValve": Check(lambda f: f == _summed(f[:-2]), lambda f: _summed(f[:-2])),
    "TestRunzePump": Check(lambda f: f == _summed(f[:-2]), lambda f: _summed(f[:-2])),
    "TestZaber": Check(_lrc, lambda f: _lined(f.rstrip(b"\r\n").rpartition(b":")[0]) + b"\r\n"),
}
NAMED: Mapping[str, Sequence[object]] = {"measures": ("pH", "EC", "DO", "RTD")}
"""What arguments of parsers can be that no annotation tells."""
AGREEING = ("TestIka", "TestJulabo", "TestKeithley2400", "TestKeithley2450", "TestKnauer")


class HangError(Exception):
    """A batch does not end."""


class Task(NamedTuple):
    """A batch of cases."""

    part: str
    name: str
    seed: int
    cases: int

    @property
    def line(self) -> str:
        """The command that runs it again."""
        where = f"--only {self.name} --part {self.part}"
        return f"python benchmarks/fuzz.py {where} --seed {self.seed} --cases {self.cases}"


@cache
def subjects() -> dict[str, Subject]:
    """Return the subjects of all conformance tests, by the names of their classes."""
    found = {}
    for file in sorted((TESTS / "conformance").glob("test_*.py")):
        module = _loaded(file)
        for name, each in vars(module).items():
            ours = inspect.isclass(each) and each.__module__ == module.__name__
            if ours and issubclass(each, Conformance):
                found[name] = each.subject
    return found


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzzed_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def check_of(name: str) -> Check | None:
    rtu = subjects()[name].url.startswith("modbus+rtu")
    return MODBUS if rtu else CHECKS.get(name)


@cache
def asked_of(name: str) -> Sequence[bytes]:
    return requests_of(subjects()[name])


# Parsers


class Parser(NamedTuple):
    """A function of a driver's module that makes something of bytes."""

    call: Callable[..., object]
    text: bool
    others: Sequence[Callable[[random.Random], object]]
    """Draw its further arguments."""


@cache
def parsers() -> dict[str, Sequence[Parser]]:
    """Return the parsers, by the names of their modules."""
    found: dict[str, list[Parser]] = {}
    for info in pkgutil.iter_modules(sdl.drivers.__path__):
        module = importlib.import_module(f"sdl.drivers.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            ours = name.startswith("parse") and function.__module__ == module.__name__
            if ours and (parser := _parser(function)) is not None:
                found.setdefault(info.name, []).append(parser)
    return dict(found)


def _parser(function: Callable[..., object]) -> Parser | None:
    """Return it with what draws its arguments; None if that is not known."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    draws, text, at = [], False, None
    for index, parameter in enumerate(p for p in parameters if p.default is p.empty):
        wanted = parameter.annotation
        if parameter.name in NAMED:
            draws.append(_among(NAMED[parameter.name]))
            continue
        if at is None and wanted in (bytes, str) and parameter.name not in ("name", "protocol"):
            at, text = index, wanted is str
        elif (draw := _draw(wanted)) is not None:
            draws.append(draw)
        else:
            return None
    if at is None:
        return None
    return Parser(_at(function, at), text, draws)


def _at(function: Callable[..., object], at: int) -> Callable[..., object]:
    def call(first: object, *others: object) -> object:
        return function(*others[:at], first, *others[at:])

    return call


def _among(choices: Sequence[object]) -> Callable[[random.Random], object]:
    return lambda rng: rng.choice(choices)


def _draw(wanted: Any) -> Callable[[random.Random], object] | None:
    if get_origin(wanted) is Literal:
        return lambda rng: rng.choice(get_args(wanted))
    simple: Mapping[Any, Callable[[random.Random], object]] = {
        str: lambda rng: rng.choice(("A", "x", "PRESSURE", "pH", "CP", "STATUS")),
        int: lambda rng: rng.choice((0, 1, 2, 4, 8)),
        bool: lambda rng: rng.random() < 0.5,
    }
    return simple.get(wanted)


@cache
def seeds_of(module: str) -> Sequence[bytes]:
    """Return replies that mean something to the module's parsers: those of the transcripts."""
    stem = module.partition("_")[0]
    files = sorted((TESTS / "transcripts").glob(f"{stem}*.yaml"))
    found = {b"", b"0.00\r\n"}
    for file in files:
        found |= set(_replies(yaml.safe_load(file.read_text(encoding="utf-8"))))
    return sorted(found)


def _replies(data: Any) -> Iterator[bytes]:
    if isinstance(data, list):
        for each in data:
            yield from _replies(each)
    elif isinstance(data, dict):
        for key, each in data.items():
            if key == "reply" and isinstance(each, str):
                yield from (each.encode("latin-1"), each.strip().encode("latin-1"))
            elif key == "reply" and isinstance(each, dict) and "hex" in each:
                yield bytes.fromhex(re.sub(r"\s", "", each["hex"]))
            else:
                yield from _replies(each)


def fuzz_parsers(module: str, seed: int, cases: int) -> Tally:
    rng, tally, seeds = random.Random(seed), Tally(), seeds_of(module)
    for _ in range(cases):
        parser = rng.choice(parsers()[module])
        data = mangled(rng.choice(seeds), rng, seeds)
        others = [draw(rng) for draw in parser.others]
        tally.cases += 1
        try:
            parser.call(data.decode("latin-1") if parser.text else data, *others)
        except (SdlError, ValueError):
            tally.errors += 1
        except HangError:
            raise
        except Exception as error:  # noqa: BLE001 (it is what is looked for)
            tally.failures.append(f"{data!r} {others}: {error!r}")
    return tally


# Batches


def run(task: Task) -> tuple[Task, Tally, float]:
    """Run a batch; return what came of it, and the seconds that it took."""
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    with_alarm = hasattr(signal, "SIGALRM")
    if with_alarm:
        signal.signal(signal.SIGALRM, _ring)
        signal.alarm(LONGEST)
    try:
        tally = _run(task)
    except HangError as error:
        tally = Tally(1, failures=[f"it hangs: {error}"])
    except Exception as error:  # noqa: BLE001 (it is what is looked for)
        tally = Tally(1, failures=[f"it died: {error!r}"])
    finally:
        if with_alarm:
            signal.alarm(0)
    return task, tally, time.perf_counter() - began


def _ring(number: int, frame: FrameType | None) -> None:
    where = frame.f_code.co_qualname if frame is not None else "nowhere"
    raise HangError(f"{LONGEST} s have passed; it was in {where}")


def _run(task: Task) -> Tally:
    if task.part == "parsers":
        return fuzz_parsers(task.name, task.seed, task.cases)
    subject, check = subjects()[task.name], check_of(task.name)
    if task.part == "replies":
        reserve = AGREED if task.name in AGREEING else (0.0, 0.0)
        return fuzz_replies(subject, task.seed, task.cases, check, reserve=reserve)
    fix = check.fix if check is not None else _enveloped if "+tcp" in subject.url else None
    return fuzz_requests(subject, task.seed, task.cases, asked=asked_of(task.name), fix=fix)


def tasks(part: str, only: str | None, cases: int, seed: int) -> list[Task]:
    names: Sequence[str] = list(parsers()) if part == "parsers" else on_streams()
    batches = []
    for name in names:
        if only is None or name == only:
            left, number = cases, seed
            while left > 0:
                batches.append(Task(part, name, number, min(left, BATCH[part])))
                left, number = left - BATCH[part], number + 1
    return batches


def on_streams() -> list[str]:
    return [name for name, each in subjects().items() if each.url.startswith(STREAMS)]


def report(part: str, done: Sequence[tuple[Task, Tally, float]]) -> int:
    """Print a table; return how many batches failed."""
    failed = 0
    print(f"{part:34}{'cases':>9}{'CPU s':>8}{'/s':>9}{'errors':>9}{'estranged':>10}{'failed':>7}")
    for name in dict.fromkeys(task.name for task, _, _ in done):
        mine = [each for each in done if each[0].name == name]
        total, seconds, bad = Tally(), 0.0, 0
        for _, tally, took in mine:
            total.add(tally)
            seconds += took
            bad += bool(tally.failures)
        rate = total.cases / seconds if seconds else 0.0
        counts = f"{total.cases:>9}{seconds:>8.1f}{rate:>9.0f}{total.errors:>9}"
        print(f"  {name:32}{counts}{total.estranged:>10}{bad:>7}")
        failed += bad
        for task, tally, _ in [each for each in mine if each[1].failures][:SHOWN]:
            print(f"    {task.line}\n      {tally.failures[0][:1500]}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000, help="of each")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--only", metavar="NAME", help="a conformance test's class, or a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    failed = 0
    for part in given.part or PARTS:
        batches = tasks(part, given.only, given.cases, given.seed)
        with ProcessPoolExecutor(given.jobs) as pool:
            done = list(pool.map(run, batches, chunksize=1)) if batches else []
        failed += report(part, done)
    print(f"{failed} batches failed; the bar is none")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
