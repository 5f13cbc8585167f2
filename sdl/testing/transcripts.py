r"""Golden exchanges as data, played to a driver and to a simulator, which must both know them.

    instrument: VICI universal actuator (EUT)
    source: EUT manual, pp. 14-16
    connect:                                # what the driver exchanges when it connects; optional
      - {ask: "CP\r", reply: "CP01\r"}
    sessions:
      - name: where it stands
        from: manual p. 15
        state: {port: 4}                    # attributes of the part before; optional
        do: {read: port, is: 4}             # or {set: rate, to: 1.5}, {call: identify, is: "…"}
        exchanges:
          - {ask: "CP\r", reply: "CP04\r"}  # or {hex: "CC 00 3E"}; an empty reply is silence
          - {after: 0.5, ask: "CP\r", reply: "CP04\r"}  # half a second later

`do` may be a list of these: each is done in its turn. A session without `do` is played to the
simulator only: our driver does not send that.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sdl import errors
from sdl.endpoints.line import Cable, Line

SILENCE = 2.0  # s without a byte that are taken for no reply
LONGEST = 60.0  # s for one reply


@dataclass(frozen=True)
class Exchange:
    """What is sent, and what comes back."""

    ask: bytes
    reply: bytes
    after: float = 0.0
    """s to wait before it is asked, while the instrument is at work."""


@dataclass(frozen=True)
class TranscriptSession:
    """Exchanges in their order, from a known state."""

    name: str
    source: str
    state: Mapping[str, Any]
    do: Sequence[Mapping[str, Any]] | None
    exchanges: Sequence[Exchange]

    async def check_simulator(self, device: Any, part: Any) -> None:
        """Ask a fresh simulator; every reply must be the golden one, and no more.

        :raises AssertionError: another reply came, or none.
        """
        for name, value in self.state.items():
            setattr(part, name, value)
        heard = bytearray()
        news = asyncio.Event()

        def hear(data: bytes) -> None:
            heard.extend(data)
            news.set()

        cable = Cable([device])
        cable.to_host = hear
        await cable.plug_in()
        try:
            await asyncio.sleep(SILENCE)  # a banner
            for number, exchange in enumerate(self.exchanges, 1):
                await asyncio.sleep(exchange.after)
                heard.clear()
                cable.from_host(exchange.ask)
                await _quiet(heard, news, len(exchange.reply))
                where = f"{self.name}, exchange {number}, {exchange.ask!r}"
                assert bytes(heard) == exchange.reply, (
                    f"{where}: {bytes(heard)!r}, not {exchange.reply!r}"
                )
        finally:
            await cable.pull_out()

    async def check_driver(self, driver: Any) -> None:
        """Have the driver do what the session says; what it reads or raises must be right.

        :raises AssertionError: it read something else, or did not raise what it should.
        """
        assert self.do is not None
        for deed in self.do:
            await self._check(deed, driver)

    async def _check(self, deed: Mapping[str, Any], driver: Any) -> None:
        raises = deed.get("raises")
        try:
            got = await _done(deed, driver)
        except errors.SdlError as error:
            if raises != type(error).__name__:
                raise
            return
        assert raises is None, f"{self.name}: it should have raised {raises}"
        if "is" in deed:
            right = deed["is"]
            close = isinstance(right, float) and abs(got - right) <= 1e-9 * max(1, abs(right))
            assert close or got == right, f"{self.name}: {got!r}, not {right!r}"


@dataclass(frozen=True)
class Transcript:
    """A file of golden exchanges."""

    instrument: str
    source: str
    connect: Sequence[Exchange]
    sessions: Sequence[TranscriptSession]

    @classmethod
    def load(cls, file: Path) -> "Transcript":
        """Read a file.

        :raises ConfigError: it is not one.
        """
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
            return cls(
                data["instrument"],
                data["source"],
                [_exchange(each) for each in data.get("connect", ())],
                [_session(each) for each in data["sessions"]],
            )
        except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise errors.ConfigError(f"{file.name}: no transcript: {error!r}") from error

    def player(self, session: TranscriptSession) -> "Player":
        """Return what speaks the instrument's part in a session, connecting first."""
        return Player([*self.connect, *session.exchanges])


class Player:
    """A `LineDevice` that hears what the transcript says, in its order, and answers so."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self.played = 0
        """how many exchanges were had"""
        self.strange: str | None = None
        """what was asked that is not in the transcript"""

    async def serve(self, line: Line) -> None:
        heard = b""
        while True:
            heard += await line.read()
            while heard and self.strange is None:
                wanted = self._wanted()
                if wanted is None or not wanted.ask.startswith(heard[: len(wanted.ask)]):
                    expected = "nothing more" if wanted is None else repr(wanted.ask)
                    self.strange = f"{heard!r} was asked, and not {expected}"
                    return
                if len(heard) < len(wanted.ask):
                    break
                heard = heard[len(wanted.ask) :]
                self.played += 1
                if wanted.reply:
                    await line.write(wanted.reply)

    @property
    def is_through(self) -> bool:
        return self.played == len(self._exchanges)

    def _wanted(self) -> Exchange | None:
        return None if self.is_through else self._exchanges[self.played]


def child(driver: Any, path: str) -> Any:
    """Return the driver's child of that name; itself for an empty one."""
    for name in path.split(".") if path else ():
        driver = getattr(driver, name)
    return driver


async def _done(deed: Mapping[str, Any], driver: Any) -> Any:
    if "read" in deed:
        return await child(driver, deed["read"]).get_value()
    if "set" in deed:
        return await child(driver, deed["set"]).set(_plain(deed["to"]))
    result = getattr(driver, deed["call"])(*deed.get("with", ()))
    return await result if hasattr(result, "__await__") else result


async def _quiet(heard: bytearray, news: asyncio.Event, wanted: int) -> None:
    """Wait until so many bytes are here, and no more come."""
    deadline = asyncio.get_running_loop().time() + LONGEST
    while asyncio.get_running_loop().time() < deadline:
        news.clear()
        try:
            async with asyncio.timeout(SILENCE):
                await news.wait()
        except TimeoutError:
            if len(heard) >= wanted:
                return
            if wanted == 0:
                return


def _session(data: Mapping[str, Any]) -> TranscriptSession:
    exchanges = [_exchange(each) for each in data["exchanges"]]
    source = str(data.get("from", ""))
    do = data.get("do")
    deeds = [do] if isinstance(do, Mapping) else do
    return TranscriptSession(data["name"], source, data.get("state") or {}, deeds, exchanges)


def _exchange(data: Mapping[str, Any]) -> Exchange:
    return Exchange(_bytes(data["ask"]), _bytes(data["reply"]), float(data.get("after", 0)))


def _bytes(given: Any) -> bytes:
    if isinstance(given, Mapping):
        return bytes.fromhex(re.sub(r"\s", "", given["hex"]))
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is neither a text nor {{hex: …}}")
    return given.encode("latin-1")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
