"""A backend of PyLabRobot 0.2, asked on our loop, one question at a time.

What is asked is the backend, not PyLabRobot's front end: the front end of 0.2.2 does not await what
its pumps' backends return (`Pump.run_revolutions`, `Pump.halt`), so a Masterflex would not be told.
"""

import asyncio
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from sdl import clock
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument.unwired import translated

EXTRA = "pip install 'sdl[pylabrobot]'"
ERRORS: Mapping[type[Exception], type[InstrumentError]] = {
    NotImplementedError: RefusedError,
    OSError: NoReplyError,  # with TimeoutError and ConnectionError
}


class PylabrobotBackend:
    """Any machine's backend: set up, asked, stopped."""

    def __init__(
        self,
        backend: Any,
        options: Mapping[str, Any],
        wanted: str,
        instrument: str,
        *,
        timeout: float,
        faults: tuple[type[Exception], ...] = (),
    ) -> None:
        """Make the backend; nothing is sent.

        :param backend: "pylabrobot.scales:MettlerToledoWXS205SDUBackend", or the object itself.
        :param options: of its constructor, if it is named.
        :param wanted: the class that it must be of, in the same words.
        :param timeout: s for an answer.
        :param faults: its own exceptions that say that the machine needs a person.
        :raises ConfigError: there is no such backend, or PyLabRobot is not installed.
        """
        kind = named(wanted)
        self.backend = _made(named(backend), options) if isinstance(backend, str) else backend
        if not isinstance(self.backend, kind):
            got = type(self.backend).__name__
            raise ConfigError(f"backend: {got} is not a {kind.__name__} of PyLabRobot")
        self._instrument, self._timeout = instrument, timeout
        self._errors = {**ERRORS, **dict.fromkeys(faults, FaultError)}
        self._turn = asyncio.Lock()
        self._ready = False

    async def open(self) -> None:
        async with self._turn:
            await self._set_up()

    async def close(self) -> None:
        if self._ready:
            self._ready = False
            # whatever it says, it is closed for us
            await asyncio.wait({asyncio.ensure_future(self._bye())}, timeout=self._timeout)

    async def _bye(self) -> None:
        try:
            await _awaited(self.backend.stop)
        except Exception:  # noqa: BLE001 (somebody else's code, and nobody needs it any more)
            return

    async def ask(self, what: str, *args: Any, timeout: float | None = None, **named: Any) -> Any:
        """Call a method of the backend when nobody else does; it is sent once.

        :raises NoReplyError: no answer came in time, or an error that says nothing; it is set up
            again before it is asked again.
        """
        async with self._turn:
            await self._set_up()
            return await self._asked(what, timeout or self._timeout, *args, **named)

    async def _set_up(self) -> None:
        if not self._ready:
            await self._asked("setup", self._timeout)
            self._ready = True

    async def _asked(self, what: str, limit: float, *args: Any, **named: Any) -> Any:
        answer = asyncio.ensure_future(_awaited(getattr(self.backend, what), *args, **named))
        done, _ = await asyncio.wait({answer}, timeout=limit)
        if not done:
            answer.cancel()
            await self.close()
            raise NoReplyError(self._instrument, f"{what}: no answer in {limit:g} s")
        error = answer.exception()
        if isinstance(error, Exception):
            ours = translated(error, self._errors, self._instrument, what)
            if isinstance(ours, NoReplyError):
                await self.close()
            raise ours from error
        return answer.result()


async def _awaited(method: Any, *args: Any, **named: Any) -> Any:
    """Call what may be a coroutine function, or may block."""
    if not inspect.iscoroutinefunction(method):
        result = await clock.outside(lambda: method(*args, **named))
        return await result if inspect.isawaitable(result) else result
    return await method(*args, **named)


def _made(kind: Any, options: Mapping[str, Any]) -> Any:
    try:
        return kind(**options)
    except Exception as error:
        raise ConfigError(f"{kind.__name__}: {error!r}") from error


def named(what: str) -> Any:
    """Find `pylabrobot.module:Name`.

    :raises ConfigError: it is not there, or not of PyLabRobot.
    """
    module, _, name = what.partition(":")
    if module.split(".")[0] != "pylabrobot" or not name:
        raise ConfigError(f"{what!r}: allowed is pylabrobot.MODULE:NAME")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise ConfigError(f"{what!r}: {error}") from error
    except ImportError as error:
        raise ConfigError(f"{what!r} does not import ({error}); {EXTRA}") from error
