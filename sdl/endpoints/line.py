"""The instrument's side of a byte stream: what a simulator hears and says.

A simulator of a serial or TCP instrument is any object with `async def serve(line)`. It reads bytes
as they arrive, in pieces of any size, and writes when it likes, asked or not. Several simulators on
one `Cable` hear the same bytes, like instruments on one RS-485 bus.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

BITS_PER_BYTE = 10  # start, 8 data or 7 data and parity, stop
MOST_AT_ONCE = 256  # bytes of a long message that arrive together at the host


class Line(Protocol):
    """One simulator's end of the cable."""

    async def read(self) -> bytes:
        """Return the next bytes, at least one; a simulator may wait for them for ever."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the line's baud rate allows."""
        ...

    def hang_up(self, seconds: float = 0.0) -> None:
        """Close the connection of whoever is connected; let nobody connect for `seconds`.

        A serial line has no connections: nothing happens.
        """
        ...


class LineDevice(Protocol):
    """A simulated instrument on a byte stream.

    One that has a method `greeting() -> bytes` says that to each who connects over a network.
    """

    async def serve(self, line: Line) -> None:
        """Live on the line until cancelled. Power comes with the call."""
        ...


class Cable:
    """Carries bytes between one host and the simulators, at `baudrate` in both directions.

    The host's side is `to_host` (set by whoever connects; None: what is said is lost) and
    `from_host`.
    """

    def __init__(self, devices: Sequence[LineDevice], *, baudrate: float | None = None) -> None:
        """Describe a cable; `plug_in` powers the simulators.

        :param baudrate: bits per second; None: as fast as memory.
        """
        self._devices, self._baudrate = devices, baudrate
        self._queues: list[asyncio.Queue[bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._speaking = asyncio.Lock()
        self._heard_until = 0.0
        self.to_host: Callable[[bytes], None] | None = None
        self.on_hang_up: Callable[[], None] | None = None
        """closes the connection of whoever is connected, where there are connections"""
        self.taken_until = 0.0
        """until when, on the loop's clock, nobody can connect"""

    async def plug_in(self) -> None:
        """Power the simulators."""
        for device in self._devices:
            queue: asyncio.Queue[bytes] = asyncio.Queue()
            self._queues.append(queue)
            self._tasks.append(asyncio.create_task(device.serve(_End(self, queue))))

    async def pull_out(self) -> None:
        """Cut the power, and raise what went wrong in a simulator, if anything did."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._queues.clear()
        for result in results:
            if isinstance(result, Exception):
                raise result

    def from_host(self, data: bytes) -> None:
        """Take bytes from the host; the simulators hear each when its last bit has arrived."""
        loop = asyncio.get_running_loop()
        if self._baudrate is None:
            self._hear(data)
            return
        per_byte = BITS_PER_BYTE / self._baudrate
        self._heard_until = max(self._heard_until, loop.time()) + per_byte * len(data)
        loop.call_at(self._heard_until, self._hear, data)

    def _hear(self, data: bytes) -> None:
        for queue in self._queues:
            queue.put_nowait(data)

    async def say(self, data: bytes) -> None:
        """Bring bytes to the host, one speaker at a time, each piece when it is through."""
        async with self._speaking:
            if self._baudrate is None:
                self._tell(data)
                return
            for at in range(0, len(data), MOST_AT_ONCE):
                piece = data[at : at + MOST_AT_ONCE]
                await asyncio.sleep(BITS_PER_BYTE / self._baudrate * len(piece))
                self._tell(piece)

    @property
    def greeting(self) -> bytes:
        """What the instruments say to each who connects over a network."""
        said = [getattr(device, "greeting", None) for device in self._devices]
        return b"".join(greet() for greet in said if greet is not None)

    @property
    def is_taken(self) -> bool:
        """Whether somebody else holds the connection."""
        return asyncio.get_running_loop().time() < self.taken_until

    def hang_up(self, seconds: float) -> None:
        """Close the connection; let nobody connect for `seconds`."""
        self.taken_until = asyncio.get_running_loop().time() + seconds
        if self.on_hang_up is not None:
            self.on_hang_up()

    def _tell(self, data: bytes) -> None:
        if self.to_host is not None and data:
            self.to_host(data)


class _End:
    def __init__(self, cable: Cable, queue: "asyncio.Queue[bytes]") -> None:
        self._cable, self._queue = cable, queue

    async def read(self) -> bytes:
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        await self._cable.say(data)

    def hang_up(self, seconds: float = 0.0) -> None:
        self._cable.hang_up(seconds)
