"""A lab that is open: its instruments, connected; how to ask them, and how to make them safe."""

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from ophyd_async.core import NotConnectedError

from sdl import clock
from sdl.errors import (
    InstrumentError,
    NoReplyError,
    RefusedError,
    SdlError,
    StaleError,
    explain,
)
from sdl.instrument import Instrument
from sdl.instrument.unwired import Unwired
from sdl.wires import Wire

T = TypeVar("T")

CONNECT_TIMEOUT = 20.0  # s
CONNECT_TRIES = 2
CONNECT_PAUSE = 0.5  # s between them
SAFE_TIMEOUT = 5.0  # s for one instrument to confirm that it is safe

log = logging.getLogger(__name__)


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
        self._connected: set[str] = set()
        self._left: set[asyncio.Task[Any]] = set()  # whom nobody waits for any more

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
        """Connect all instruments in parallel; one that does not answer is tried once more.

        :raises InstrumentError: which did not connect, and why.
        """
        answers = await self._each(self._connect_patiently, CONNECT_TIMEOUT)
        failed = {name: error for name, error in answers.items() if error is not None}
        if failed:
            lines = [told_of(name, error) for name, error in failed.items()]
            count = f"{len(failed)} of {len(answers)} instruments did not connect"
            raise InstrumentError("", "\n  ".join([f"{count}; nothing has moved", *lines]))

    async def _connect_patiently(self, device: Any) -> None:
        """Connect; again, within the same time, if no more than an answer was missing."""
        for _ in range(CONNECT_TRIES - 1):
            try:
                return await self._connect(device)
            except (NoReplyError, StaleError, NotConnectedError) as error:
                if not _may_pass(error):
                    raise
                log.warning("%s; it is tried again", told_of(device.name, error))
            await asyncio.sleep(CONNECT_PAUSE)
        return await self._connect(device)

    async def _connect(self, device: Any) -> None:
        if inspect.iscoroutinefunction(getattr(device, "connect", None)):
            mock = {"mock": True} if device.name in self._mocked else {}
            await device.connect(timeout=CONNECT_TIMEOUT, **mock)
        elif hasattr(device, "wait_for_connection"):
            await _in_a_thread(lambda: device.wait_for_connection(timeout=CONNECT_TIMEOUT))
        self._connected.add(device.name)

    async def ping(self, name: str) -> str:
        """Connect one instrument, whatever the others do, and ask who it is; nothing moves.

        :raises Exception: why it did not answer; `told_of` puts it into words.
        """

        async def meet(device: Any) -> str:
            await self._connect_patiently(device)
            return await _identify(device)

        return await _in_time(meet, self.instruments[name], CONNECT_TIMEOUT)

    async def make_safe(
        self, names: Collection[str] | None = None, *, timeout: float = SAFE_TIMEOUT
    ) -> dict[str, str]:
        """Put instruments into their safe state; see `confirm`. Never raises.

        :returns: what went wrong with those that did not confirm, by name.
        """
        answers = await self.confirm(names, timeout=timeout)
        return {name: why for name, why in answers.items() if why is not None}

    async def confirm(
        self, names: Collection[str] | None = None, *, timeout: float = SAFE_TIMEOUT
    ) -> dict[str, str | None]:
        """Put instruments into their safe state, in parallel; never raises.

        One that is not connected is told all the same, then connected and told again if it has not
        confirmed. Nobody waits for another, nor for one that does not listen when it is cancelled.

        :param names: which; default all.
        :param timeout: s for each of them.
        :returns: for each of `names` None if it confirmed, else what went wrong.
        """
        unknown = [] if names is None else [n for n in names if n not in self.instruments]
        chosen = {n: d for n, d in self.instruments.items() if names is None or n in names}
        tasks = {n: asyncio.create_task(self._safely(d, timeout)) for n, d in chosen.items()}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=timeout)
        finally:
            for task in tasks.values():
                if not task.done():
                    self._leave(task)
        late = f"did not confirm its safe state in {timeout:g} s"
        told = {n: _outcome(task, f"{n}: {late}") for n, task in tasks.items()}
        return {**told, **dict.fromkeys(unknown, f"there is no such instrument in {self.name}")}

    async def _safely(self, device: Any, timeout: float) -> None:
        if device.name in self._connected:
            await _make_safe(device)
            return
        if device.name not in self._mocked:  # that would reach for what a twin has not
            try_at_once = _in_time(_make_safe, device, timeout / 2)
            (failed,) = await asyncio.gather(try_at_once, return_exceptions=True)
            if failed is None:
                return
        await self._connect(device)
        await _make_safe(device)

    def _leave(self, task: "asyncio.Task[None]") -> None:
        """Cancel a task without waiting for it: a driver may hear that late, or never."""
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.cancel()

    async def arm(self, seconds: float) -> dict[str, str]:
        """Have instruments with a watchdog of their own go safe `seconds` after our last word.

        :returns: what went wrong, by name; those without `arm_watchdog` are left out.
        """
        able = {n for n, d in self.instruments.items() if hasattr(d, "arm_watchdog")}
        answers = await self._each(lambda device: device.arm_watchdog(seconds), SAFE_TIMEOUT, able)
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

    async def readings_now(self) -> dict[str, tuple[Any, str, float]]:
        """The newest value, units and time of every scalar signal, or why there is none."""
        found: dict[str, tuple[Any, str, float]] = {}
        for name, readings in (await self.read()).items():
            if isinstance(readings, BaseException):
                stale = isinstance(readings, StaleError)  # nothing was measured lately: no fault
                said = "no fresh value" if stale else explain(readings)
                found[name] = (said, "", clock.now())
                continue
            for key, (value, units, at) in readings.items():
                if isinstance(value, bool | int | float | str):
                    found[key] = (
                        value,
                        units,
                        min(at, clock.now()),
                    )  # some bring a clock of their own
        return found

    async def values(self, paths: Mapping[str, str]) -> dict[str, Any]:
        """Read signals now, each under a name of its own.

        :param paths: name → signal, such as `bench_air.humidity`; nothing is read for none.
        :raises StaleError: one gives no value.
        """
        if not paths:
            return {}
        readings = await self.readings_now()
        found = {}
        for name, path in paths.items():
            value, units, _ = readings.get(path.replace(".", "-"), ("there is no such signal",) * 3)
            if isinstance(value, str) and not units:
                raise StaleError(path, f"read for the context {name}: {value}")
            found[name] = value
        return found

    async def close(self) -> None:
        """Close all wires, and the connections that instruments brought themselves."""
        unwired = [each for each in self.instruments.values() if isinstance(each, Unwired)]
        await asyncio.gather(*(each.close() for each in (*self.wires.values(), *unwired)))

    async def _each(
        self, work: Any, timeout: float, names: set[str] | None = None
    ) -> dict[str, BaseException | None]:
        chosen = {n: d for n, d in self.instruments.items() if names is None or n in names}
        at_work = (_in_time(work, device, timeout) for device in chosen.values())
        results = await asyncio.gather(*at_work, return_exceptions=True)
        return dict(zip(chosen, results, strict=True))


def _may_pass(error: BaseException) -> bool:
    """Whether nothing is known but that an answer was missing: of all signals that failed."""
    inner = getattr(error, "_errors", None)  # ophyd-async's NotConnectedError
    if isinstance(inner, Mapping):
        return all(_may_pass(each) for each in inner.values())
    return isinstance(error, NoReplyError | StaleError)


async def _in_time(work: Callable[[Any], Awaitable[T]], device: Any, timeout: float) -> T:
    try:
        async with asyncio.timeout(timeout):
            return await work(device)
    except TimeoutError as error:
        raise NoReplyError(device.name, f"did not answer in {timeout:g} s") from error


async def _make_safe(device: Any) -> None:
    if isinstance(device, Instrument):
        await device.make_safe()
    elif hasattr(device, "wait_for_connection") and hasattr(device, "stop"):  # classic: it blocks
        await _in_a_thread(device.stop)
    elif hasattr(device, "stop"):  # not ours: the most it promises is to stop
        await _maybe(device.stop())


def _outcome(task: "asyncio.Task[None]", late: str) -> str | None:
    if not task.done() or task.cancelled():
        return late
    error = task.exception()
    return None if error is None else explain(error)


async def _in_a_thread(work: Callable[[], object]) -> None:
    """Run blocking `work()` in a thread of its own: the hung may have taken all of a pool."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 (it is raised where it is waited for)
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            loop.call_soon_threadsafe(settle, error)

    with clock.held():
        threading.Thread(target=run, name="blocking instrument", daemon=True).start()
        await done


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
