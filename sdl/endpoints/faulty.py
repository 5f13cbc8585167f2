"""A simulator to which faults happen, at chosen exchanges.

    pump = Faulty(simulator, Fault("lost reply", at=7))
    memory_wire(url, [pump])        # or serve(url, [pump]): any kind of wire

An exchange is what the instrument hears at once, and all that it says until it hears more; of one
that speaks unasked each message is one. What can happen to messages that are no bytes on a line
(MQTT, 0MQ, HTTP) the endpoint's page says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdl.endpoints.faults import LINE, Fault
from sdl.endpoints.line import BITS_PER_BYTE, Line


@dataclass(frozen=True)
class Chance:
    """Faults that come by chance."""

    rate: float
    """How probable one is in each exchange."""

    kinds: Sequence[str]
    """Which may come, all as likely."""

    longest: float = 30.0
    """s that one lasts at most."""

    def draw(self, at: int, rng: np.random.Generator) -> Fault | None:
        """Return the fault that comes in exchange `at`, if one does."""
        if not self.kinds or rng.random() >= self.rate:
            return None
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        return Fault(kind, at, self.longest * float(rng.random()), where=float(rng.random()))


class Faulty:
    """Stands in a simulator's place, and has its faults; more may be planned at any time."""

    exchanges: int
    """How many the instrument has had since the newest plan."""

    def __init__(
        self,
        device: Any,
        *faults: Fault,
        event: Callable[[], object] | None = None,
        before_request: bool = False,
        rng: np.random.Generator | None = None,
        chance: Chance | None = None,
        tell: Callable[[Fault], None] | None = None,
    ) -> None:
        """Describe what will happen to `device`.

        :param event: what else happens when a fault does, such as `pump.power_cycle`.
        :param before_request: `event` comes before the request is heard, not before the reply is.
        :param rng: for what happens by chance.
        :param chance: what else may happen at any exchange.
        :param tell: called with each fault as it happens or begins, its exchange in `at`.
        """
        self.device, self._chance, self._tell = device, chance, tell
        self.rng = np.random.default_rng(0) if rng is None else rng
        self._lasting: dict[str, tuple[Fault, float]] = {}  # until when, on the loop's clock
        self.plan(*faults, event=event, before_request=before_request)

    def plan(
        self,
        *faults: Fault,
        event: Callable[[], object] | None = None,
        before_request: bool = False,
    ) -> None:
        """Have that happen; exchanges are counted anew. The arguments are the constructor's."""
        self.planned, self.exchanges = faults, 0
        self.event, self.before_request = event, before_request
        self._over: set[int] = set()  # indices in `planned`

    def clear(self) -> None:
        """Let all be well from now on."""
        self.plan()
        for kind in tuple(self._lasting):
            self._let_end(kind)

    @property
    def happened(self) -> bool:
        """Whether all that was planned has happened, or begun."""
        return bool(self.planned) and len(self._over) == len(self.planned)

    # For endpoints

    def begin_exchange(self) -> None:
        """Count an exchange that begins now; what lasts begins with it, and ends in its time."""
        self.exchanges += 1
        if self._chance is not None and (fault := self._chance.draw(self.exchanges, self.rng)):
            self.planned = (*(f for f in self.planned if f.at >= self.exchanges), fault)
            self._over.clear()
        for index, fault in enumerate(self.planned):
            if fault.at != self.exchanges or index in self._over:
                continue
            if fault.lasts or (fault.kind not in LINE and fault.kind != "event"):
                self._let_happen(index)
                self._let_begin(fault)

    def take(self, kind: str) -> Fault | None:
        """Return the fault of that kind that is due in this exchange; it has happened now."""
        for index, fault in enumerate(self.planned):
            if fault.kind == kind and fault.at == self.exchanges and index not in self._over:
                self._let_happen(index)
                return fault
        return None

    def is_due(self, *kinds: str) -> bool:
        """Whether one of these is due in this exchange and has not happened yet."""
        due = (f.kind for i, f in enumerate(self.planned) if i not in self._over and self._now(f))
        return any(kind in kinds for kind in due)

    def lasting(self, kind: str) -> Fault | None:
        """Return the fault of that kind that lasts now."""
        fault, until = self._lasting.get(kind, (None, 0.0))
        return fault if asyncio.get_running_loop().time() < until else None

    def _now(self, fault: Fault) -> bool:
        return fault.at == self.exchanges

    def _let_happen(self, index: int) -> None:
        self._over.add(index)
        if self._tell is not None:
            self._tell(self.planned[index])

    def _let_begin(self, fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        if fault.kind not in LINE:
            self.device.begin(fault.kind, fault.amount)
        if fault.lasts:
            self._lasting[fault.kind] = fault, loop.time() + fault.seconds
            loop.call_later(fault.seconds, self._let_end_of, fault)

    def _let_end_of(self, fault: Fault) -> None:
        if self._lasting.get(fault.kind, (None,))[0] is fault:
            self._let_end(fault.kind)

    def _let_end(self, kind: str) -> None:
        del self._lasting[kind]
        if kind not in LINE:
            self.device.end(kind)

    # As a simulator on a line of bytes

    @property
    def greeting(self) -> Callable[[], bytes] | None:
        """What the instrument says to each who connects, if it does."""
        return getattr(self.device, "greeting", None)

    async def serve(self, line: Line) -> None:
        """Live on the line with all its faults."""
        await self.serve_for(self.device, line)

    async def serve_for(self, device: Any, line: Line) -> None:
        """Let `device`, which speaks for ours (a Modbus station), live on the line."""
        faulty = FaultyLine(self, line)
        try:
            await device.serve(faulty)
        finally:
            faulty.close()


class FaultyLine:
    """A `Line` with the faults that are planned for the instrument on it."""

    def __init__(self, faulty: Faulty, line: Line) -> None:
        self._faulty, self._line = faulty, line
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[bytes] = []  # replies that wait for the next request
        self._heard = b""  # what began the exchange, until it is echoed
        self._answered = False  # whether this exchange's reply has begun
        self._deaf_until = 0.0

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def hang_up(self, seconds: float = 0.0) -> None:
        self._line.hang_up(seconds)

    async def read(self) -> bytes:
        faulty = self._faulty
        while True:
            data = await self._line.read()
            now = asyncio.get_running_loop().time()
            faulty.begin_exchange()
            self._heard, self._answered = data, False
            if faulty.before_request and self._due_event():
                self._happen()
            if faulty.take("connection reset"):
                self._line.hang_up()
                continue
            if taken := faulty.lasting("second client"):
                self._line.hang_up(taken.seconds)
                continue
            for late in self._held:
                await self._line.write(late)
            self._held.clear()
            cut = faulty.lasting("cut")
            if cut is not None and cut.at != faulty.exchanges:  # the first request still came
                continue
            if faulty.take("lost request") or now < self._deaf_until:
                continue
            return data

    async def write(self, data: bytes) -> None:
        faulty = self._faulty
        first, self._answered = not self._answered, True
        if first and not faulty.before_request and self._due_event():
            self._happen()
        faulty.take("event")
        if faulty.lasting("cut") or faulty.lasting("silence") or faulty.take("lost reply"):
            return
        if first and (thinking := faulty.lasting("think time")):
            await asyncio.sleep(thinking.amount * float(faulty.rng.random()))
        if first and faulty.lasting("echo") and self._heard:
            await self._line.write(self._heard)
        if late := faulty.take("late reply"):
            self._later(data, late.seconds)
        elif faulty.take("stale reply"):
            self._held.append(data)
        elif faulty.take("double reply"):
            await self._say(data + data)
        else:
            await self._say(self._damaged(data))
        if early := faulty.lasting("early command"):
            self._deaf_until = asyncio.get_running_loop().time() + early.amount

    def _damaged(self, data: bytes) -> bytes:
        if fault := self._faulty.take("garbled reply"):
            data = garbled(data, fault.where)
        if data and (fault := self._faulty.take("dropped byte")):
            at = round(fault.where * (len(data) - 1))
            data = data[:at] + data[at + 1 :]
        return data

    async def _say(self, data: bytes) -> None:
        if split := self._faulty.take("split reply"):
            at = max(1, round(split.where * (len(data) - 1)))
            await self._line.write(data[:at])
            await asyncio.sleep(split.amount)
            data = data[at:]
        pacing = self._faulty.lasting("pacing")
        if pacing is None:
            await self._line.write(data)
            return
        for byte in data:
            await asyncio.sleep(BITS_PER_BYTE / pacing.amount)
            await self._line.write(bytes([byte]))

    def _due_event(self) -> bool:
        kinds = {fault.kind for fault in self._faulty.planned}
        return self._faulty.event is not None and self._faulty.is_due(*kinds)

    def _happen(self) -> None:
        assert self._faulty.event is not None
        self._faulty.event()

    def _later(self, data: bytes, seconds: float) -> None:
        task = asyncio.create_task(_later(lambda: self._line.write(data), seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class FaultyTalk:
    """What becomes of whole messages (MQTT, 0MQ) of an instrument with planned faults.

    Messages are not garbled: their transport has checksums. A connection that is reset loses what
    was heard with it.
    """

    def __init__(self, faulty: Faulty) -> None:
        self._faulty = faulty
        self._answered = True  # so that what is said unasked is an exchange of its own
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def is_heard(self) -> bool:
        """Whether a message that comes now is heard by the instrument."""
        faulty = self._faulty
        faulty.begin_exchange()
        self._answered = False
        if faulty.before_request and faulty.event is not None and faulty.take("event"):
            faulty.event()
        cut = faulty.lasting("cut")
        if cut is not None and cut.at != faulty.exchanges:
            return False
        return not faulty.take("lost request")

    def is_reset(self) -> bool:
        """Whether the connection breaks in this exchange."""
        return self._faulty.take("connection reset") is not None

    async def say(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send a message, once, twice, later or not at all."""
        faulty = self._faulty
        if self._answered:
            faulty.begin_exchange()
        self._answered = True
        if faulty.event is not None and faulty.take("event"):
            faulty.event()
        if faulty.lasting("cut") or faulty.lasting("silence") or faulty.take("lost reply"):
            return
        if thinking := faulty.lasting("think time"):
            await asyncio.sleep(thinking.amount * float(faulty.rng.random()))
        if late := faulty.take("late reply"):
            task = asyncio.create_task(_later(send, late.seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if faulty.take("double reply"):
            await send()
        await send()


async def _later(send: Callable[[], Awaitable[None]], seconds: float) -> None:
    await asyncio.sleep(seconds)
    await send()


def garbled(data: bytes, where: float = 0.5) -> bytes:
    """Turn the highest bit of the byte there, as a line of 7 bits and parity may find."""
    if not data:
        return data
    at = min(int(where * len(data)), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :]
