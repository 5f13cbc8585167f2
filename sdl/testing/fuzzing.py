"""Fuzzing for any subject of the conformance kit: damaged replies to its driver, and requests that
make no sense to its simulator. On virtual time; seeded, so that a failure can be had again.

A reading must end in time, in a value or an `SdlError`; the value must be true, or be what the
damaged reply says in good form. That is judged by what the protocol can know:

- with a checksum, whatever is damaged: a value is not judged where the damaged reply has, by
  chance, a valid frame in it;
- without one, where one reply of a reading is damaged (a driver may ask twice): not judged is what
  begins like a reply that was given to that question, but for characters turned into others.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ophyd_async.core import NotConnectedError

from sdl.endpoints.line import Line, LineDevice
from sdl.errors import SdlError
from sdl.testing.conformance import _alike, _is_pushed, _on_a_line, _wire_to, child, on_virtual_time
from sdl.testing.mangling import Check, is_substitution, mangled
from sdl.testing.subject import Subject, Truth
from sdl.testing.transcripts import Transcript

STORMY = 10  # times a subject's patience, where reply after reply is damaged
SHARE = 0.5  # of the replies that are damaged where many are
LATEST = 4  # replies of a reading among which the one is that is damaged
CLEAN_EVERY = 50  # readings, then the line is in order for a while
ATTEMPTS, PAUSE = 6, 15.0  # to be well again, and s between them
REAL, FIXED = 0.2, 0.6  # of the requests: that are real; that get a right checksum
PAUSES = (0.0, 0.0, 0.001, 0.02, 0.5)  # s between requests
SETTLING = 600.0  # s after which a pestered simulator must have come to rest
TEXT = frozenset((*range(32, 127), *b"\x02\x03\x06\t\n\r\x15\x1b"))
RECENT = 40  # replies that are kept to be spliced in


@dataclass
class Tally:
    """What a batch of cases came to."""

    cases: int = 0
    errors: int = 0
    """Cases that ended in an `SdlError`, as they may."""
    estranged: int = 0
    """Simulators that were brought, by what they were told, to where the driver finds them not."""
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.cases += other.cases
        self.errors += other.errors
        self.estranged += other.estranged
        self.failures += other.failures


@dataclass(frozen=True)
class Damage:
    """What became of a reply."""

    asked: bytes
    before: bytes
    after: bytes


class Mangler:
    """A `LineDevice` that stands before another, and damages what it says."""

    def __init__(self, device: LineDevice, rng: random.Random) -> None:
        self._device, self._rng = device, rng
        self.greeting = getattr(device, "greeting", None) or (lambda: b"")
        self.share = 0.0
        """How probable damage is; ignored with `only`."""
        self.only: int | None = None
        """Which reply from now on is damaged, counted from 0, and no other."""
        self.damages: list[Damage] = []
        self.given: dict[bytes, set[bytes]] = {}
        """Undamaged replies, by request."""
        self._recent: deque[bytes] = deque(maxlen=RECENT)
        self._replies, self._asked = 0, b""

    def begin(self, share: float = 0.0, only: int | None = None) -> None:
        """Damage replies from now on; without arguments none."""
        self.share, self.only = share, only
        self.damages, self._replies = [], 0

    async def serve(self, line: Line) -> None:
        self._line = line
        await self._device.serve(self)

    def hang_up(self, seconds: float = 0.0) -> None:
        self._line.hang_up(seconds)

    async def read(self) -> bytes:
        self._asked = await self._line.read()
        return self._asked

    async def write(self, data: bytes) -> None:
        if self._is_due():
            after = mangled(data, self._rng, self._recent)
            if after != data:
                self.damages.append(Damage(self._asked, data, after))
        else:
            after = data
        self._replies += 1
        self._recent.append(data)
        self.given.setdefault(self._asked, set()).add(data)
        if after:
            await self._line.write(after)

    def _is_due(self) -> bool:
        if self.only is not None:
            return self._replies == self.only
        return self.share > 0 and self._rng.random() < self.share


def fuzz_replies(
    subject: Subject,
    seed: int,
    cases: int,
    check: Check | None = None,
    *,
    reserve: tuple[float, float] = (0.0, 0.0),
) -> Tally:
    """Damage about so many replies to the driver; return what came of it.

    :param check: the protocol's checksum, if it has one.
    :param reserve: share and units by which a driver that asks twice lets two readings differ.
    """
    return on_virtual_time(_Replies(subject, seed, check, reserve).run(cases))


class _Replies:
    def __init__(
        self, subject: Subject, seed: int, check: Check | None, reserve: tuple[float, float]
    ) -> None:
        self._subject, self._check, self._reserve = subject, check, reserve
        self._rng = random.Random(seed)
        self._tally = Tally()
        self._state = 0

    async def run(self, cases: int) -> Tally:
        subject = self._subject
        rig = subject.rig()
        self._part = rig.part
        self._mangler = Mangler(_on_a_line(rig.simulator, subject.url), self._rng)
        async with _wire_to(self._mangler, subject) as wire:
            self._wire = wire
            self._driver = subject.driver(wire)
            await self._driver.connect()
            if subject.prepare is not None:
                await subject.prepare(self._driver)
            readings = 0
            while self._tally.cases < cases and not self._tally.failures:
                readings += 1
                if readings % CLEAN_EVERY == 0:
                    await self._recover()
                await self._read_damaged()
        return self._tally

    def _change(self) -> None:
        if self._subject.change is not None:
            self._state = self._state % 20 + 1
            self._subject.change(self._part, self._state)

    async def _read_damaged(self) -> None:
        self._change()
        path = self._rng.choice(list(self._subject.truths))
        single = self._rng.random() < 0.5
        self._mangler.begin(SHARE, self._rng.randrange(LATEST) if single else None)
        value, before = await self._read(path)
        damages = self._mangler.damages
        self._mangler.begin()
        self._tally.cases += max(len(damages), 1)
        if isinstance(value, SdlError):
            self._tally.errors += 1
        elif (single or self._check) and not self._may_be(path, value, before, damages):
            right = self._subject.truths[path].of(self._part)
            self._fail(f"{path} was read as {value!r} where {right!r} is true", damages)

    def _may_be(self, path: str, value: Any, before: Any, damages: Sequence[Damage]) -> bool:
        return self._holds(path, value, before) or any(map(self._is_in_good_form, damages))

    async def _read(self, path: str) -> tuple[Any, Any]:
        """Return the value or the error, and what was true before."""
        before = self._subject.truths[path].of(self._part)
        try:
            async with asyncio.timeout(STORMY * self._subject.patience):
                return await child(self._driver, path).get_value(), before
        except SdlError as error:
            return error, before
        except TimeoutError:
            self._fail(f"reading {path} did not end", self._mangler.damages)
        except Exception as error:
            self._fail(f"reading {path} raised {error!r}", self._mangler.damages)
            if isinstance(error, RuntimeError):
                raise
        return SdlError("no value"), before

    def _holds(self, path: str, value: Any, before: Any) -> bool:
        truth = self._subject.truths[path]
        if truth.holds(value, self._part) or _alike(value, before, truth):
            return True
        if _is_pushed(child(self._driver, path)):
            return True  # of what comes unasked the last is good, until it is too old
        return self._agrees(value, before, truth)

    def _agrees(self, value: Any, before: Any, truth: Truth) -> bool:
        """Whether it was true meanwhile, or is near enough for a driver that asks twice."""
        right, (share, units) = truth.of(self._part), self._reserve
        if isinstance(value, bool | str) or isinstance(right, bool | str):
            return False
        low, high = sorted((before, right))
        slack = truth.within + units + share * max(abs(value), abs(right))
        return bool(low - slack <= value <= high + slack)

    def _is_in_good_form(self, damage: Damage) -> bool:
        """Whether an undamaged instrument could have said so."""
        if self._check is not None:
            return self._check.holds_within(damage.after)
        given = self._mangler.given[damage.asked]
        return any(_is_like(damage.after[: len(reply)], reply) for reply in given)

    async def _recover(self) -> None:
        """On a line in order all must be well again, after a while."""
        self._change()
        value: Any = None
        for attempt in range(ATTEMPTS):
            if attempt == ATTEMPTS // 2:
                with suppress(SdlError):
                    await self._driver.connect(force_reconnect=True)
            for path in self._subject.truths:
                value, before = await self._read(path)
                if isinstance(value, SdlError):
                    break
                if not self._holds(path, value, before):
                    self._fail(f"{path} is {value!r} with the line in order", [])
                    return
            else:
                return
            await asyncio.sleep(PAUSE)
        self._fail(f"it is not well again: {value!r}", [])

    def _fail(self, what: str, damages: Sequence[Damage]) -> None:
        how = "; ".join(f"{d.asked!r} -> {d.before!r} came as {d.after!r}" for d in damages)
        log = "; ".join(f"{entry.direction} {entry.data!r}" for entry in list(self._wire.log)[-8:])
        self._tally.failures.append(f"{what} [{how}] {{{log}}}")


def _is_like(begin: bytes, reply: bytes) -> bool:
    """Whether it can be what an instrument answers; binary replies without checksum show less."""
    binary = not TEXT.issuperset(reply)
    return len(begin) == len(reply) if binary else is_substitution(reply, begin)


class Pestered:
    """A `LineDevice` before another, to which anybody can talk, and whose answers can be hidden."""

    def __init__(self, device: LineDevice) -> None:
        self._device = device
        self.greeting = getattr(device, "greeting", None) or (lambda: b"")
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.hidden = False
        self.died: BaseException | None = None

    async def serve(self, line: Line) -> None:
        self._line = line
        passing = asyncio.create_task(self._pass_on())
        try:
            await self._device.serve(self)
        except Exception as error:
            self.died = error
            raise
        finally:
            passing.cancel()

    async def _pass_on(self) -> None:
        while True:
            self.heard.put_nowait(await self._line.read())

    def hang_up(self, seconds: float = 0.0) -> None:
        self._line.hang_up(seconds)

    async def read(self) -> bytes:
        return await self.heard.get()

    async def write(self, data: bytes) -> None:
        if not self.hidden:
            await self._line.write(data)


def fuzz_requests(
    subject: Subject,
    seed: int,
    cases: int,
    *,
    asked: Sequence[bytes],
    fix: Callable[[bytes], bytes] | None = None,
) -> Tally:
    """Send so many requests, real and damaged ones, to the simulator; return what came of it.

    :param asked: real requests.
    :param fix: gives a damaged one a right checksum; on TCP (Modbus), where nothing is lost, it
        is done to all.
    """
    return on_virtual_time(_pester(subject, seed, cases, asked, fix))


async def _pester(
    subject: Subject,
    seed: int,
    cases: int,
    asked: Sequence[bytes],
    fix: Callable[[bytes], bytes] | None,
) -> Tally:
    rng, rig, tally = random.Random(seed), subject.rig(), Tally()
    device = Pestered(_on_a_line(rig.simulator, subject.url))
    fixed = 1.0 if subject.url.startswith("modbus+tcp") else FIXED
    try:
        async with _wire_to(device, subject) as wire:
            driver = subject.driver(wire)
            await driver.connect()
            device.hidden = True
            for _ in range(cases):
                request = _request(rng, asked)
                if fix is not None and rng.random() < fixed:
                    request = fix(request)
                device.heard.put_nowait(request)
                await asyncio.sleep(rng.choice(PAUSES))
                tally.cases += 1
                if device.died is not None:
                    break
            await asyncio.sleep(SETTLING)
            device.hidden = False
            if device.died is None and not device.heard.empty():
                tally.failures.append("it listens no more")
            elif device.died is None and not await _is_found(driver, rig.simulator, subject):
                tally.estranged += 1
    except Exception as error:
        if device.died is None:
            raise
        tally.failures.append(f"it died: {error!r}")
    return tally


def _request(rng: random.Random, asked: Sequence[bytes]) -> bytes:
    request = rng.choice(asked)
    if rng.random() < REAL:
        return request
    for _ in range(rng.choice((1, 1, 2, 4))):
        request = mangled(request, rng, asked)
    return request


async def _is_found(driver: Any, simulator: Any, subject: Subject) -> bool:
    """Whether the driver finds its instrument, after a power cycle at the latest."""
    for attempt in range(3):
        if attempt and "power cycle" in getattr(simulator, "faults", ()):
            simulator.begin("power cycle")
            simulator.end("power cycle")
        if attempt:
            await asyncio.sleep(4 * PAUSE)
        try:
            async with asyncio.timeout(subject.patience):
                await driver.connect(force_reconnect=True)
                await driver.identify()
        except (SdlError, TimeoutError, NotConnectedError):
            continue
        return True
    return False


def requests_of(subject: Subject) -> list[bytes]:
    """What the driver asks, and what the transcript does."""
    asked = on_virtual_time(_recorded(subject))
    if subject.transcript is not None:
        read = Transcript.load(subject.transcript)
        asked += [e.ask for session in read.sessions for e in session.exchanges]
    return sorted({request for request in asked if request})


def replies_of(subject: Subject) -> list[bytes]:
    """What the transcript has as replies."""
    if subject.transcript is None:
        return []
    sessions = Transcript.load(subject.transcript).sessions
    return sorted({e.reply for session in sessions for e in session.exchanges if e.reply})


async def _recorded(subject: Subject) -> list[bytes]:
    rig = subject.rig()
    async with _wire_to(_on_a_line(rig.simulator, subject.url), subject) as wire:
        driver = subject.driver(wire)
        with suppress(SdlError, TimeoutError):
            async with asyncio.timeout(subject.patience):
                await driver.connect()
                if subject.prepare is not None:
                    await subject.prepare(driver)
                await driver.identify()
                await driver.read()
                for setting in subject.settings:
                    await child(driver, setting.signal).set(setting.value)
                await driver.make_safe()
        return [entry.data for entry in wire.log if entry.direction == "sent"]
