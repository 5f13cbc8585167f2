"""A lab that is open: its instruments, connected; how to ask them, and how to make them safe."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from sdl import clock
from sdl.errors import InstrumentError, NoReplyError, RefusedError, SdlError, explain
from sdl.instrument import Instrument
from sdl.wires import Wire

T = TypeVar("T")

CONNECT_TIMEOUT = 20.0  # s
SAFE_TIMEOUT = 10.0  # s for one instrument to confirm that it is safe


class Bench:
    """Instruments and wires by name, on the running loop."""

    def __init__(
        self,
        name: str,
        wires: Mapping[str, Wire],
        instruments: Mapping[str, Any],
        *,
        mocked: Collection[str] = (),
    ) -> None:
        """Describe a bench; nothing is connected yet.

        :param mocked: instruments that a twin connects to nothing (ophyd-async's mock mode).
        """
        self.name, self._mocked = name, frozenset(mocked)
        self.wires, self.instruments = dict(wires), dict(instruments)
        self._units: dict[str, dict[str, str]] = {}  # by instrument; they do not change

    def find(self, path: str) -> Any:
        """Return an instrument, or a signal of one (`pump.rate`).

        :raises KeyError: there is none.
        """
        name, *children = path.split(".")
        device = self.instruments[name]
        for child in children:
            device = getattr(device, child, None)
            if device is None:
                raise KeyError(path)
        return device

    async def connect(self) -> None:
        """Connect all instruments in parallel.

        :raises InstrumentError: which did not connect, and why.
        """
        answers = await self._each(self._connect, CONNECT_TIMEOUT)
        failed = {name: error for name, error in answers.items() if error is not None}
        if failed:
            lines = [told_of(name, error) for name, error in failed.items()]
            count = f"{len(failed)} of {len(answers)} instruments did not connect"
            raise InstrumentError("", "\n  ".join([f"{count}; nothing has moved", *lines]))

    async def _connect(self, device: Any) -> None:
        if inspect.iscoroutinefunction(getattr(device, "connect", None)):
            mock = {"mock": True} if device.name in self._mocked else {}
            await device.connect(timeout=CONNECT_TIMEOUT, **mock)
        elif hasattr(device, "wait_for_connection"):
            await clock.outside(lambda: device.wait_for_connection(timeout=CONNECT_TIMEOUT))

    async def ping(self, name: str) -> str:
        """Connect one instrument, whatever the others do, and ask who it is; nothing moves.

        :raises Exception: why it did not answer; `told_of` puts it into words.
        """

        async def meet(device: Any) -> str:
            await self._connect(device)
            return await _identify(device)

        return await _in_time(meet, self.instruments[name], CONNECT_TIMEOUT)

    async def make_safe(self, names: set[str] | None = None) -> dict[str, str]:
        """Put instruments into their safe state, in parallel; never raises.

        :param names: which; default all.
        :returns: what went wrong with those that did not confirm, by name.
        """
        answers = await self._each(_make_safe, SAFE_TIMEOUT, names)
        return {name: explain(error) for name, error in answers.items() if error is not None}

    async def read(self) -> dict[str, dict[str, Any] | BaseException]:
        """Read every instrument that can be read, in parallel."""
        readings: dict[str, Any] = {}

        async def ask(device: Any) -> None:
            if not hasattr(device, "read"):
                return
            found = await _maybe(device.read())
            if device.name not in self._units:
                described = await _maybe(device.describe())
                self._units[device.name] = {k: d.get("units", "") for k, d in described.items()}
            units = self._units[device.name]
            readings[device.name] = {
                key: (r["value"], units.get(key, ""), r["timestamp"]) for key, r in found.items()
            }

        answers = await self._each(ask, CONNECT_TIMEOUT)
        return {name: error or readings.get(name, {}) for name, error in answers.items()}

    async def close(self) -> None:
        """Close all wires."""
        await asyncio.gather(*(wire.close() for wire in self.wires.values()))

    async def _each(
        self, work: Any, timeout: float, names: set[str] | None = None
    ) -> dict[str, BaseException | None]:
        chosen = {n: d for n, d in self.instruments.items() if names is None or n in names}
        at_work = (_in_time(work, device, timeout) for device in chosen.values())
        results = await asyncio.gather(*at_work, return_exceptions=True)
        return dict(zip(chosen, results, strict=True))


async def _in_time(work: Callable[[Any], Awaitable[T]], device: Any, timeout: float) -> T:
    try:
        async with asyncio.timeout(timeout):
            return await work(device)
    except TimeoutError as error:
        raise NoReplyError(device.name, f"did not answer in {timeout:g} s") from error


async def _make_safe(device: Any) -> None:
    if isinstance(device, Instrument):
        await device.make_safe()
    elif hasattr(device, "stop"):  # not ours: the most it promises is to stop
        await _maybe(device.stop())


async def _identify(device: Any) -> str:
    if isinstance(device, Instrument):
        return await device.identify()
    if hasattr(device, "read"):
        await _maybe(device.read())
        return f"{type(device).__name__} answers"
    raise RefusedError(device.name, "cannot be asked: it is neither ours nor readable")


async def _maybe(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def told_of(name: str, error: BaseException) -> str:
    """Why an instrument did not connect, with its name in front, once."""
    said = explain_connection(error)
    return said if said.startswith(f"{name}: ") else f"{name}: {said}"


def explain_connection(error: BaseException) -> str:
    """The causes inside ophyd-async's NotConnectedError, one after the other."""
    inner = getattr(error, "_errors", None)
    if isinstance(inner, Mapping):
        return "; ".join(dict.fromkeys(explain_connection(e) for e in inner.values()))
    return str(error) if isinstance(error, SdlError) else explain(error)
