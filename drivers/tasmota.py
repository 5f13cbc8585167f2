"""Temperature and humidity sensor with Tasmota firmware, over MQTT.

Source: Tasmota documentation, "MQTT" (topics cmnd/, stat/, tele/; LWT) and "Commands" (Status 2 and
10, TelePeriod). Values come each TelePeriod (300 s) on `tele/<topic>/SENSOR`, or when asked for, by
`Status 10`, on `stat/<topic>/STATUS10`. The time stamps in them are local time without a zone: the
time of arrival counts. What a broker has retained is of unknown age and counts for nothing.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from bluesky.protocols import Reading
from ophyd_async.core import SignalR
from ophyd_async.core import StandardReadableFormat as Format

from sdl.errors import GarbledError, NoReplyError, StaleError
from sdl.instrument import Instrument, PushBackend, push_r
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

MAX_AGE = 650.0  # s: two TelePeriods and some
NEVER_OLD = math.inf  # s: `online` does not age, since the broker tells when the sensor goes
MOST = 1e4  # no sensor measures more


class TasmotaSensor(Instrument):
    """Reads the air. Nothing can be set; there is nothing to stop or to make safe.

    `temperature` (degC) and `humidity` (%) raise StaleError as soon as the sensor is offline or the
    connection to the broker is lost, and when the sensor says that it has no value. If the newest
    value is only too old, the sensor is asked for another and given the wire's time-out.
    """

    def __init__(
        self,
        wire: MqttWire,
        *,
        topic: str,
        sensor: str = "SHT3X",
        max_age: float = MAX_AGE,
        name: str = "",
    ) -> None:
        """Describe a sensor.

        :param topic: the `Topic` set on the device.
        :param sensor: its name in the messages; it must measure temperature and humidity.
        :param max_age: s after which the newest value is stale.
        """
        self._mqtt, self._topic, self._sensor = wire, topic, sensor
        self._turn, self._listening = asyncio.Lock(), False
        self._answered, self._identified = asyncio.Event(), asyncio.Event()
        self._offline, self._missed, self._problem, self._version = False, False, "", ""

        def pushed(quantity: str, units: str) -> "_AskedFor":
            source = f"{wire.url}/tele/{topic}/SENSOR#{sensor}.{quantity}"
            return _AskedFor(source, units, max_age, self._listen, self._ask, self._turn)

        self._temperature, self._humidity = pushed("Temperature", "degC"), pushed("Humidity", "%")
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = SignalR(self._temperature, timeout=TIMEOUT)
            self.humidity = SignalR(self._humidity, timeout=TIMEOUT)
        self.online, self._online = push_r(
            bool,
            source=f"{wire.url}/tele/{topic}/LWT",
            max_age=NEVER_OLD,
            subscribe=self._listen,
        )
        wire.on_lost(self._lost)
        super().__init__(wire, name)

    async def identify(self) -> str:
        """Ask for the firmware's version."""
        await self._listen()
        self._identified.clear()
        await self._mqtt.publish(f"cmnd/{self._topic}/Status", "2")
        try:
            async with asyncio.timeout(self._mqtt.timeout):
                await self._identified.wait()
        except TimeoutError as error:
            raise NoReplyError(self.name or self._topic, self._no_answer(2)) from error
        return f"Tasmota {self._version}"

    async def make_safe(self) -> None:
        """Do nothing: a sensor is always safe."""

    async def _listen(self) -> None:
        async with self._turn:
            if self._listening:
                return
            await self._mqtt.subscribe(f"tele/{self._topic}/LWT", self._hear_will)
            await self._mqtt.subscribe(f"tele/{self._topic}/SENSOR", self._hear_values)
            await self._mqtt.subscribe(f"stat/{self._topic}/STATUS10", self._hear_values)
            await self._mqtt.subscribe(f"stat/{self._topic}/STATUS2", self._hear_version)
            self._listening = True

    async def _ask(self) -> str:
        """Ask for values and wait for the answer; return why there is none, or no good one."""
        if self._offline:
            return "the sensor is offline (LWT)"
        self._answered.clear()
        try:
            await self._mqtt.publish(f"cmnd/{self._topic}/Status", "10")
            async with asyncio.timeout(self._mqtt.timeout):
                await self._answered.wait()
        except NoReplyError as error:
            return str(error)
        except TimeoutError:
            return self._no_answer(10)
        return "the sensor is offline (LWT)" if self._offline else self._problem

    def _no_answer(self, status: int) -> str:
        return f"{self._topic} did not answer Status {status} in {self._mqtt.timeout:g} s"

    def _lost(self) -> None:
        self._offline, self._missed = False, True
        for signal in (self._temperature, self._humidity, self._online):
            signal.invalidate()

    def _hear_will(self, topic: str, payload: bytes, retained: bool) -> None:
        if payload not in (b"Online", b"Offline"):
            raise GarbledError(topic, f"neither Online nor Offline: {payload[:200]!r}")
        self._offline = payload == b"Offline"
        self._online.publish(not self._offline)
        if self._offline:
            self._missed = True
            self._temperature.invalidate()
            self._humidity.invalidate()
            self._answered.set()
        elif self._missed:  # it may be a whole TelePeriod until it speaks of its own
            self._missed = False
            self._mqtt.post(f"cmnd/{self._topic}/Status", "10")

    def _hear_values(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained:
            return
        self._problem = ""
        try:
            self._take(topic, payload)
        except GarbledError as error:
            self._problem = str(error)
            raise  # so that the wire's health tells of it
        finally:
            self._answered.set()

    def _take(self, topic: str, payload: bytes) -> None:
        message = _json_object(topic, payload)
        message = message.get("StatusSNS", message) if topic.endswith("/STATUS10") else message
        values = message.get(self._sensor) if isinstance(message, dict) else None
        if not isinstance(values, dict):
            raise GarbledError(topic, f"no {self._sensor} in {payload[:200]!r}")
        self._offline = self._missed = False
        self._online.publish(True)
        wrong = self._publish(self._temperature, _celsius(values, message.get("TempUnit", "C")))
        wrong += self._publish(self._humidity, _number(values.get("Humidity")))
        if wrong:
            raise GarbledError(topic, f"{wrong} value(s) missing or no number: {payload[:200]!r}")

    def _publish(self, signal: "_AskedFor", value: float | None) -> int:
        """Give a signal its value, or take the old one away: the sensor itself has none now."""
        if value is None:
            signal.invalidate()
            return 1
        signal.publish(value)
        return 0

    def _hear_version(self, topic: str, payload: bytes, retained: bool) -> None:
        firmware = _json_object(topic, payload).get("StatusFWR")
        version = firmware.get("Version") if isinstance(firmware, dict) else None
        if not isinstance(version, str):
            raise GarbledError(topic, f"no StatusFWR.Version in {payload[:200]!r}")
        if not retained:
            self._version = version
            self._identified.set()


class _AskedFor(PushBackend[float]):
    """A pushed value that is asked for when there is none that is new enough."""

    def __init__(
        self,
        source: str,
        units: str,
        max_age: float,
        subscribe: Callable[[], Awaitable[None]],
        ask: Callable[[], Awaitable[str]],
        turn: asyncio.Lock,
    ) -> None:
        super().__init__(
            float, source=source, max_age=max_age, subscribe=subscribe, units=units, precision=1
        )
        self._ask, self._turn = ask, turn

    async def connect(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await self._subscribe()
            await self.get_reading()

    async def get_reading(self) -> Reading[float]:
        with contextlib.suppress(StaleError):
            return await super().get_reading()
        async with self._turn:
            with contextlib.suppress(StaleError):  # the other signal's question has brought it
                return await super().get_reading()
            why = await self._ask()
        try:
            return await super().get_reading()
        except StaleError as error:
            reason = str(error).removeprefix(f"{self._source}: ")
            raise StaleError(self._source, f"{reason}; {why}" if why else reason) from error


def _json_object(topic: str, payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise GarbledError(topic, f"no JSON: {payload[:200]!r}") from error
    if not isinstance(found, dict):
        raise GarbledError(topic, f"no JSON object: {payload[:200]!r}")
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        return None
    return float(value)


def _celsius(values: dict[str, Any], unit: object) -> float | None:
    value = _number(values.get("Temperature"))
    if value is None or unit not in ("C", "F"):
        return None
    return value if unit == "C" else (value - 32) / 1.8
