"""A board with Tasmota firmware on a broker: whether it is there, what it is, what it says.

Source: Tasmota documentation, "MQTT" (topics cmnd/, stat/, tele/; LWT) and "Commands" (Status,
TelePeriod). The time stamps in its messages are local time without a zone: the time of arrival
counts. What a broker has retained is of unknown age and counts for nothing.
"""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from sdl.errors import GarbledError, NoReplyError
from sdl.instrument import PushBackend, push_r
from sdl.wires.mqtt import MqttWire

MAX_AGE = 650.0  # s: two TelePeriods and some
NEVER_OLD = math.inf  # s: `online` does not age, since the broker tells when the board goes
OFFLINE = "the board is offline (LWT)"


class Board:
    """What all instruments on such boards share. Values come on `topics`, or when asked for."""

    def __init__(
        self,
        wire: MqttWire,
        topic: str,
        *,
        status: int,
        topics: Sequence[str],
        take: Callable[[str, bytes], bool],
    ) -> None:
        """Describe a board.

        :param status: the number of the `Status` that brings the values.
        :param topics: where else they come, such as `tele/<topic>/SENSOR`.
        :param take: takes a message; returns whether it was about our values, and raises
            GarbledError if it should have been.
        """
        self.topic, self.turn = topic, asyncio.Lock()
        self.values: list[PushBackend[Any]] = []
        """What is known no more when the board is gone."""
        self._mqtt, self._status, self._take = wire, status, take
        self._topics = (*topics, f"stat/{topic}/STATUS{status}")
        self._subscribing, self._listening = asyncio.Lock(), False
        self._answered, self._identified = asyncio.Event(), asyncio.Event()
        self.offline, self._missed, self._problem, self._version = False, False, "", ""
        self.online, self._online = push_r(
            bool,
            source=f"{wire.url}/tele/{topic}/LWT",
            max_age=NEVER_OLD,
            subscribe=self.listen,
        )
        wire.on_lost(self._lost)

    async def listen(self) -> None:
        """Subscribe to all that it says.

        :raises NoReplyError: the broker did not confirm.
        """
        async with self._subscribing:
            if self._listening:
                return
            await self._mqtt.subscribe(f"tele/{self.topic}/LWT", self._hear_will)
            for topic in self._topics:
                await self._mqtt.subscribe(topic, self._hear_values)
            await self._mqtt.subscribe(f"stat/{self.topic}/STATUS2", self._hear_version)
            self._listening = True

    async def ask(self) -> str:
        """Ask for values and wait for the answer; return why there is none, or no good one."""
        if self.offline:
            return OFFLINE
        self._answered.clear()
        try:
            await self._mqtt.publish(f"cmnd/{self.topic}/Status", str(self._status))
            async with asyncio.timeout(self._mqtt.timeout):
                await self._answered.wait()
        except NoReplyError as error:
            return str(error)
        except TimeoutError:
            return self._no_answer(self._status)
        return OFFLINE if self.offline else self._problem

    async def identify(self, instrument: str) -> str:
        """Ask for the firmware's version.

        :raises NoReplyError: nobody answered.
        """
        await self.listen()
        self._identified.clear()
        await self._mqtt.publish(f"cmnd/{self.topic}/Status", "2")
        try:
            async with asyncio.timeout(self._mqtt.timeout):
                await self._identified.wait()
        except TimeoutError as error:
            raise NoReplyError(instrument or self.topic, self._no_answer(2)) from error
        return f"Tasmota {self._version}"

    async def command(self, command: str, argument: str) -> None:
        """Tell it something; it may answer on `stat/<topic>/RESULT`."""
        await self._mqtt.publish(f"cmnd/{self.topic}/{command}", argument)

    @property
    def timeout(self) -> float:
        return self._mqtt.timeout

    def is_there(self) -> None:
        """Take note that it has said something good."""
        self.offline = self._missed = False
        self._online.publish(True)

    def _no_answer(self, status: int) -> str:
        return f"{self.topic} did not answer Status {status} in {self._mqtt.timeout:g} s"

    def _lost(self) -> None:
        self.offline, self._missed = False, True
        for signal in (*self.values, self._online):
            signal.invalidate()

    def _hear_will(self, topic: str, payload: bytes, retained: bool) -> None:
        if payload not in (b"Online", b"Offline"):
            raise GarbledError(topic, f"neither Online nor Offline: {payload[:200]!r}")
        self.offline = payload == b"Offline"
        self._online.publish(not self.offline)
        if self.offline:
            self._missed = True
            for signal in self.values:
                signal.invalidate()
            self._answered.set()
        elif self._missed:  # it may be a whole TelePeriod until it speaks of its own
            self._missed = False
            self._mqtt.post(f"cmnd/{self.topic}/Status", str(self._status))

    def _hear_values(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained:
            return
        answered, self._problem = True, ""
        try:
            answered = self._take(topic, payload)
        except GarbledError as error:
            self._problem = str(error)
            raise  # so that the wire's health tells of it
        finally:
            if answered:
                self._answered.set()

    def _hear_version(self, topic: str, payload: bytes, retained: bool) -> None:
        version = parse_version(topic, payload)
        if not retained:
            self._version = version
            self._identified.set()


def parse_object(topic: str, payload: bytes) -> dict[str, Any]:
    """:raises GarbledError: it is no JSON object."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise GarbledError(topic, f"no JSON: {payload[:200]!r}") from error
    if not isinstance(found, dict):
        raise GarbledError(topic, f"no JSON object: {payload[:200]!r}")
    return found


def parse_version(topic: str, payload: bytes) -> str:
    """:raises GarbledError: there is no version in it."""
    firmware = parse_object(topic, payload).get("StatusFWR")
    version = firmware.get("Version") if isinstance(firmware, dict) else None
    if not isinstance(version, str):
        raise GarbledError(topic, f"no StatusFWR.Version in {payload[:200]!r}")
    return version
