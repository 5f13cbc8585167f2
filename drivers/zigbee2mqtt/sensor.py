"""Zigbee sensors and plugs behind Zigbee2MQTT.

Source: zigbee2mqtt.io, "MQTT topics and messages", "Exposes", "Device availability"; checked
against the source of zigbee2mqtt 1.x and 2.x. `<base>/<friendly name>` carries a device's state as
JSON, `/set` sets, `/get` has it read (only what the definition in `bridge/devices` says can be),
`/availability` and `bridge/state` say whether it is there.

Units are those of the definition, converted to ours. Retained states are of unknown age and count
for nothing. A state carries what Zigbee2MQTT last heard of *all* properties, so a value may be
older than its message; where `last_seen` is switched on in Zigbee2MQTT, a state of a device that
was not heard for `max_age` is not taken. Sleeping sensors cannot be asked: until they report of
their own, there is no value. Availability is only known where Zigbee2MQTT is told to watch it.

Not used: groups, lights, covers, thermostats, scenes, bindings, firmware updates.
"""

import asyncio
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    SignalDatatypeT,
    SignalR,
    StandardReadableFormat,
)

from sdl import clock
from sdl.drivers.zigbee2mqtt import messages
from sdl.drivers.zigbee2mqtt.messages import CONTACTS, QUANTITIES, Definition
from sdl.errors import ConfigError, GarbledError, NoReplyError, StaleError
from sdl.instrument import Instrument, PushBackend, push_r
from sdl.instrument.asked_for import AskedFor
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

MAX_AGE = 3900.0  # s: an hour, after which most sensors report even if nothing changed, and some
ASLEEP = "cannot be asked: it reports when it likes"


class ZigbeeSensor(Instrument):
    """What a device exposes, each property a signal of its name.

    They raise StaleError as soon as the device, the bridge or the broker is gone.
    """

    title: ClassVar[str] = "Zigbee2MQTT device, sensor"
    delivered: ClassVar[str] = "mqtt://broker:1883"
    unverified: ClassVar[tuple[str, ...]] = ("real devices; read in documentation and source only",)

    temperature: SignalR[float]
    humidity: SignalR[float]
    pressure: SignalR[float]
    power: SignalR[float]

    def __init__(
        self,
        wire: MqttWire,
        *,
        friendly_name: str,
        exposes: Sequence[str] = ("temperature", "humidity"),
        base: str = "zigbee2mqtt",
        max_age: float = MAX_AGE,
        name: str = "",
    ) -> None:
        """Describe a device.

        :param friendly_name: as set in Zigbee2MQTT.
        :param exposes: which of its properties are read: temperature, humidity, pressure, …
        :param base: Zigbee2MQTT's `base_topic`.
        :param max_age: s after which the newest values are stale.
        """
        known = (*QUANTITIES, *CONTACTS)
        strange = [each for each in exposes if each not in known]
        if strange or not friendly_name or any(c in friendly_name + base for c in "+#"):
            problem = f"exposes={strange}; known are {', '.join(known)}"
            raise ConfigError(f"{name}: friendly_name={friendly_name!r}, base={base!r}, {problem}")
        self._mqtt, self._device, self._base, self._max_age = wire, friendly_name, base, max_age
        self._listening, self._subscribing, self._turn = False, asyncio.Lock(), asyncio.Lock()
        self._known, self._heard, self._healthy = (asyncio.Event() for _ in range(3))
        self._definition: Definition | None = None
        self._undefined = ""  # what is wrong with it
        self._bridge, self._available, self._missed, self._problem = True, True, True, ""
        self._transaction = ""
        self._values = {each: self._pushed(each) for each in exposes}
        self._add_signals()
        self.online, self._online = push_r(
            bool,
            source=f"{wire.url}/{base}/{friendly_name}/availability",
            max_age=math.inf,
            subscribe=self._listen,
        )
        wire.on_lost(self._lost)
        super().__init__(wire, name)

    def _add_signals(self) -> None:
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            for each, backend in self._values.items():
                setattr(self, each, SignalR(backend, timeout=TIMEOUT))

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        if not mock:
            await self._defined()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Say what the device is; Zigbee2MQTT is asked whether it lives.

        :raises NoReplyError: it does not answer.
        """
        definition = await self._defined()
        self._healthy.clear()
        self._transaction = secrets.token_hex(4)
        question = json.dumps({"transaction": self._transaction})
        await self._mqtt.publish(f"{self._base}/bridge/request/health_check", question)
        await self._wait(self._healthy, "no answer to health_check")
        return definition.text

    async def make_safe(self) -> None:
        """Do nothing: a sensor is always safe."""

    # What is known of it

    async def _defined(self) -> Definition:
        await self._listen()
        if self._definition is None:
            await self._wait(self._known, f"{self._base}/bridge/devices does not know it")
        if self._definition is None:
            raise ConfigError(f"{self.name}: {self._undefined}")
        return self._definition

    async def _wait(self, event: asyncio.Event, otherwise: str) -> None:
        try:
            async with asyncio.timeout(self._mqtt.timeout):
                await event.wait()
        except TimeoutError as error:
            reason = f"{self._device}: {otherwise} in {self._mqtt.timeout:g} s"
            raise NoReplyError(self.name, reason) from error

    async def _listen(self) -> None:
        async with self._subscribing:
            if self._listening:
                return
            subscribe, base = self._mqtt.subscribe, self._base
            await subscribe(f"{base}/bridge/devices", self._hear_devices)
            await subscribe(f"{base}/bridge/response/health_check", self._hear_health)
            await subscribe(f"{base}/bridge/logging", self._hear_log)
            await subscribe(f"{base}/{self._device}", self._hear_state)
            await subscribe(f"{base}/{self._device}/availability", self._hear_availability)
            await subscribe(f"{base}/bridge/state", self._hear_bridge)
            self._listening = True

    def _hear_devices(self, topic: str, payload: bytes, retained: bool) -> None:
        definition = messages.parse_devices(topic, payload, self._device)
        if definition is None:
            return
        self._undefined = self._wrong_with(definition)
        self._definition = None if self._undefined else definition
        self._known.set()

    def _wrong_with(self, definition: Definition) -> str:
        """Return why this is not what we were told that it is."""
        for each in self._asked():
            exposed, quantity = definition.exposes.get(each), QUANTITIES.get(each)
            if exposed is None:
                offered = ", ".join(definition.exposes) or "nothing"
                return f"{self._device} exposes {offered}, and no {each}"
            if quantity is not None and exposed.unit not in quantity.factors:
                known = ", ".join(quantity.factors)
                return f"{self._device} has its {each} in {exposed.unit!r}; known are {known}"
        return ""

    def _hear_health(self, topic: str, payload: bytes, retained: bool) -> None:
        answer = messages.parse_state(topic, payload)
        if answer.get("transaction") == self._transaction and answer.get("status") == "ok":
            self._healthy.set()

    def _hear_log(self, topic: str, payload: bytes, retained: bool) -> None:
        failure = messages.parse_failure(topic, payload, self._device)
        if failure is not None and not retained:
            self._problem = failure
            self._heard.set()

    # Whether it is there

    def _hear_availability(self, topic: str, payload: bytes, retained: bool) -> None:
        self._available = messages.parse_online(topic, payload)
        self._say_online()

    def _hear_bridge(self, topic: str, payload: bytes, retained: bool) -> None:
        self._bridge = messages.parse_online(topic, payload)
        self._say_online()

    def _say_online(self) -> None:
        online = self._bridge and self._available
        self._online.publish(online)
        if not online:
            self._invalidate()
        elif self._missed and (question := self._question()):
            self._missed = False
            self._mqtt.post(f"{self._base}/{self._device}/get", question)

    def _lost(self) -> None:
        self._bridge = self._available = True  # what the broker has retained comes again
        self._online.invalidate()
        self._invalidate()

    def _invalidate(self) -> None:
        self._missed = True
        for signal in self._signals():
            signal.invalidate()

    def _signals(self) -> Sequence[PushBackend[Any]]:
        return [*self._values.values()]

    # What it says

    def _hear_state(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained or not payload:
            return
        state = messages.parse_state(topic, payload)
        if self._definition is None or not (self._bridge and self._available):
            return  # units are not known; or it is what a bridge that goes last sends
        seen = messages.parse_seen(state.get("last_seen"))
        if seen is not None and clock.now() - seen > self._max_age:
            return
        wrong = self._take(state, self._definition)
        self._heard.set()
        if wrong:
            raise GarbledError(topic, f"no value of {', '.join(wrong)}: {payload[:300]!r}")

    def _take(self, state: Mapping[str, Any], definition: Definition) -> list[str]:
        """Take what is said; return what has no value."""
        wrong = []
        for each, signal in self._values.items():
            if each not in state:
                continue
            exposed = definition.exposes[each]
            if each in QUANTITIES:
                value: Any = messages.parse_number(state[each], each, exposed)
            else:
                value = messages.parse_truth(state[each], exposed)
            if value is None:
                signal.invalidate()
                wrong.append(each)
            else:
                signal.publish(value)
        return wrong

    def _pushed(self, each: str) -> "Reported[Any]":
        quantity = QUANTITIES.get(each)
        return Reported(
            float if quantity else bool,
            source=f"{self._mqtt.url}/{self._base}/{self._device}#{each}",
            max_age=self._max_age,
            subscribe=self._listen,
            ask=self._ask,
            turn=self._turn,
            units=quantity.units or None if quantity else None,
            precision=quantity.precision if quantity else None,
        )

    def _question(self) -> str:
        """Return what has it read all that can be read; empty if nothing can."""
        exposes = self._definition.exposes if self._definition else {}
        asked = [each for each in self._asked() if each in exposes and exposes[each].can_be_read]
        return json.dumps(dict.fromkeys(asked, "")) if asked else ""

    def _asked(self) -> Sequence[str]:
        return [*self._values]

    async def _ask(self) -> str:
        """Have it read; return why there is no value."""
        await self._defined()
        question = self._question()
        if not question:
            await self._mqtt.connect()  # or it reports to nobody
            return f"{self._device} {ASLEEP}"
        if not (self._bridge and self._available):
            return f"{self._device} or its bridge is offline"
        self._heard.clear()
        self._problem = ""
        await self._mqtt.publish(f"{self._base}/{self._device}/get", question)
        await self._wait(self._heard, "nothing was heard of it")
        return self._problem


class Reported(AskedFor[SignalDatatypeT]):
    """A value of a device that may be asleep: it counts as connected without one."""

    async def connect(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await self._subscribe()
            try:
                await self.get_reading()
            except StaleError as error:
                if ASLEEP not in str(error):
                    raise
