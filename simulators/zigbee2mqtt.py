"""Zigbee2MQTT with one device: a sensor for the air, or a plug with a meter.

Source: zigbee2mqtt.io, "MQTT topics and messages", "Exposes", "Device availability"; the order of
what it says at its start, the payloads and the errors that it logs as in its source (controller.ts,
mqtt.ts, extension/publish.ts, extension/availability.ts). Its devices report when something has
changed by the least reportable change, not before `MIN_INTERVAL`, and after `report_every` anyway.
The plug is as TuYa's TS011F_plug_1, the sensor as Aqara's WSDCGQ11LM. Several of these on one
broker are one bridge: each adds its device to `bridge/devices`.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from sdl import clock
from sdl.simulators.simulated import Simulated
from sdl.wires.mqtt_session import Session, Will

MIN_INTERVAL = 10.0  # s between reports
ACKNOWLEDGED = 0.05  # s until a device has acknowledged
VERSION = "2.6.0"
SETS = {"ON": True, "OFF": False}


@dataclass(frozen=True)
class Measured:
    """A property, as the device measures it."""

    of: str
    """attribute of the part"""
    scale: float
    """what makes the part's unit the device's"""
    unit: str
    decimals: int
    low: float
    high: float
    sigma: float
    """of its noise"""
    least: float
    """reportable change"""


SENSOR: Mapping[str, Measured] = {
    "temperature": Measured("temperature", 1.0, "°C", 2, -20.0, 60.0, 0.02, 0.1),
    "humidity": Measured("humidity", 1.0, "%", 2, 0.0, 100.0, 0.1, 1.0),
    "pressure": Measured("pressure", 1e3, "hPa", 1, 300.0, 1100.0, 0.1, 0.5),
}
METER: Mapping[str, Measured] = {
    "power": Measured("power", 1.0, "W", 1, 0.0, 3680.0, 0.1, 1.0),
    "voltage": Measured("voltage", 1.0, "V", 0, 0.0, 300.0, 0.2, 2.0),
    "current": Measured("current", 1.0, "A", 2, 0.0, 16.0, 0.003, 0.05),
    "energy": Measured("energy", 1.0, "kWh", 2, 0.0, 1e6, 0.0, 0.01),
}


@runtime_checkable
class Plugged(Protocol):
    """The part behind a plug; `power` (W), `voltage`, `current`, `energy` (kWh) if it is metered.

    Any other part is what a sensor hangs in: `temperature` (degC), `humidity` (%), `pressure`
    (bar), as far as it has them.
    """

    on: bool

    def switch(self, on: bool) -> None: ...


class SimulatedZigbee2Mqtt(Simulated):
    """A bridge and its device. What it remembers of the device survives a lost broker."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self,
        part: Any,
        *,
        rng: np.random.Generator,
        friendly_name: str,
        base: str = "zigbee2mqtt",
        report_every: float = 3600.0,
        availability: bool = True,
        last_seen: Literal["disable", "ISO_8601", "epoch"] = "disable",
        noise: bool = True,
        downtime: float = 2.0,
    ) -> None:
        """Describe a bridge with its device.

        :param friendly_name: of the device.
        :param report_every: s after which it reports also what has not changed.
        :param availability: whether the bridge watches it.
        :param last_seen: as in Zigbee2MQTT's configuration.
        :param noise: whether the device's measurements have any.
        :param downtime: s that a power cycle of the device takes.
        """
        super().__init__(rng=rng)
        self._part, self._name, self._base = part, friendly_name, base
        self._plug = isinstance(part, Plugged)
        exposes = METER if self._plug else SENSOR
        self._exposes = {name: each for name, each in exposes.items() if hasattr(part, each.of)}
        self._report_every, self._noise = report_every, float(noise)
        self._availability, self._last_seen = availability, last_seen
        self._state: dict[str, Any] = {}
        """What the bridge last heard of it."""
        self._seen = self._reported = -math.inf  # s of the clock
        self._downtime, self._down_until = downtime, -math.inf
        self._switched = asyncio.Event()
        self._ieee = f"0x{int.from_bytes(rng.bytes(7), 'big'):016x}"

    @property
    def will(self) -> Will:
        return Will(f"{self._base}/bridge/state", b'{"state":"offline"}', retain=True)

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._down_until = clock.monotonic() + self._downtime
            self._switched.set()

    def press(self) -> None:
        """Press the plug's button; it reports at once."""
        self._part.switch(not self._part.on)
        self._switched.set()

    async def serve(self, session: Session) -> None:
        self._session = session
        await self._say("bridge/state", {"state": "online"}, retain=True)
        await session.subscribe(f"{self._base}/#")
        await self._say("bridge/info", {"version": VERSION, "commit": "sim"}, retain=True)
        await self._say("bridge/devices", [COORDINATOR, self._device()], retain=True)
        await self._say_availability()
        if self._state:  # of before it was started: cache_state_send_on_startup
            await self._publish_state()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._report())
            both.create_task(self._obey())

    # The device

    @property
    def _is_up(self) -> bool:
        return clock.monotonic() >= self._down_until

    async def _report(self) -> None:
        """Let the device report, at its intervals or at once when it is switched."""
        while True:
            self._switched.clear()
            try:
                async with asyncio.timeout(MIN_INTERVAL):
                    await self._switched.wait()
            except TimeoutError:
                pass
            if not self._is_up:
                await self._be_down()
            measured = self._measure(self._exposes)
            late = clock.monotonic() - self._reported >= self._report_every
            if late or self._differs(measured):
                await self._hear(measured)

    async def _be_down(self) -> None:
        await self._say_availability()
        await asyncio.sleep(max(self._down_until - clock.monotonic(), 0.0))
        await self._say_availability()
        self._reported = -math.inf

    def _differs(self, measured: Mapping[str, Any]) -> bool:
        for name, value in measured.items():
            before = self._state.get(name)
            least = self._exposes[name].least if name in self._exposes else 0.0
            if before is None or isinstance(value, str):
                if value != before:
                    return True
            elif abs(value - before) >= least:
                return True
        return False

    def _measure(self, names: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"state": "ON" if self._part.on else "OFF"} if self._plug else {}
        for name in names:
            if (kind := self._exposes.get(name)) is not None:
                value = getattr(self._part, kind.of) * kind.scale
                value += self._noise * kind.sigma * float(self.rng.standard_normal())
                found[name] = round(
                    self.disturbed(value, low=kind.low, high=kind.high), kind.decimals
                )
        return found

    # The bridge

    async def _hear(self, reported: Mapping[str, Any]) -> None:
        self._seen = clock.now()
        self._reported = clock.monotonic()
        self._state |= reported
        await self._publish_state()

    async def _publish_state(self) -> None:
        more: dict[str, Any] = {"linkquality": 120}
        if self._last_seen == "epoch":
            more["last_seen"] = int(self._seen * 1e3)
        elif self._last_seen == "ISO_8601":
            more["last_seen"] = datetime.fromtimestamp(self._seen, UTC).isoformat()
        await self._say(self._name, {**self._state, **more})

    async def _say_availability(self) -> None:
        if self._availability:
            word = "online" if self._is_up else "offline"
            await self._say(f"{self._name}/availability", {"state": word}, retain=True)

    async def _obey(self) -> None:
        while True:
            message = await self._session.receive()
            topic = message.topic.removeprefix(f"{self._base}/")
            payload = message.payload.decode(errors="replace")
            if topic == "bridge/devices":
                await self._join(payload)
            elif topic.startswith("bridge/request/"):
                await self._answer(topic.removeprefix("bridge/request/"), payload)
            elif topic.startswith((f"{self._name}/set", f"{self._name}/get")):
                await self._do(topic.removeprefix(f"{self._name}/"), payload)

    async def _join(self, payload: str) -> None:
        """Add the device to what another of us says of the bridge."""
        devices = _json(payload)
        names = [each.get("ieee_address") for each in devices] if _are_devices(devices) else []
        if names and self._ieee not in names:
            await self._say("bridge/devices", [*devices, self._device()], retain=True)

    async def _answer(self, request: str, payload: str) -> None:
        asked = _json(payload)
        answer: dict[str, Any] = {"data": {}, "status": "ok"}
        if request == "health_check":
            answer["data"] = {"healthy": True}
        elif request not in ("restart", "permit_join"):
            answer |= {"status": "error", "error": f"No such request: {request}"}
        if isinstance(asked, dict) and "transaction" in asked:
            answer["transaction"] = asked["transaction"]
        await self._say(f"bridge/response/{request}", answer)

    async def _do(self, topic: str, payload: str) -> None:
        command, _, attribute = topic.partition("/")
        if command not in ("set", "get"):
            return
        message = _json(payload)
        if attribute:
            message = {attribute: payload if message is None else message}
        elif message is None and payload.upper() in (*SETS, "TOGGLE"):
            message = {"state": payload}
        if not isinstance(message, dict):
            await self._log(f"Invalid message '{payload}', skipping...")
            return
        heard: dict[str, Any] = {}
        for key, value in message.items():
            heard |= await self._convert(command, key, value)
        if heard:
            await self._hear(heard)

    async def _convert(self, command: str, key: str, value: Any) -> dict[str, Any]:
        """Have the device set or read one property; return what is known of it then."""
        gettable = self._plug and (key == "state" or key in self._exposes)
        if not gettable or (command == "set" and key != "state"):
            await self._log(f"No converter available for '{key}' ({json.dumps(value)})")
            return {}
        await asyncio.sleep(ACKNOWLEDGED)
        if "busy" in self.troubles or not self._is_up:
            failed = f"Publish '{command}' '{key}' to '{self._name}' failed"
            await self._log(f"{failed}: 'Error: no response in 10000ms'")
            return {}
        if command == "set":
            word = str(value).upper()
            if word not in (*SETS, "TOGGLE"):
                await self._log(f"Publish 'set' 'state' to '{self._name}' failed: '{word}'")
                return {}
            self._part.switch(SETS.get(word, not self._part.on))
            self._switched.set()  # what it takes is another now
        return self._measure([key])

    async def _log(self, message: str) -> None:
        await self._say("bridge/logging", {"level": "error", "message": f"z2m: {message}"})

    async def _say(self, topic: str, message: Any, *, retain: bool = False) -> None:
        payload = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
        qos = 1 if topic.endswith("/availability") else 0
        await self._session.publish(f"{self._base}/{topic}", payload, qos=qos, retain=retain)

    def _device(self) -> dict[str, Any]:
        access = 5 if self._plug else 1
        exposes: list[dict[str, Any]] = [
            _numeric(name, each.unit, access) for name, each in self._exposes.items()
        ]
        if self._plug:
            exposes.insert(0, {"type": "switch", "features": [STATE]})
        exposes.append(_numeric("linkquality", "lqi", 1))
        vendor, model = ("TuYa", "TS011F_plug_1") if self._plug else ("Aqara", "WSDCGQ11LM")
        return {
            "ieee_address": self._ieee,
            "type": "Router" if self._plug else "EndDevice",
            "friendly_name": self._name,
            "supported": True,
            "interview_completed": True,
            "power_source": "Mains (single phase)" if self._plug else "Battery",
            "definition": {"vendor": vendor, "model": model, "description": "", "exposes": exposes},
        }


STATE = {
    "type": "binary",
    "name": "state",
    "label": "State",
    "property": "state",
    "access": 7,
    "value_on": "ON",
    "value_off": "OFF",
    "value_toggle": "TOGGLE",
}
COORDINATOR = {
    "ieee_address": "0x00124b00120144ae",
    "type": "Coordinator",
    "friendly_name": "Coordinator",
    "supported": False,
    "definition": None,
}


def _numeric(name: str, unit: str, access: int) -> dict[str, Any]:
    return {"type": "numeric", "name": name, "property": name, "unit": unit, "access": access}


def _json(payload: str) -> Any:
    """Return what it is in JSON; None if it is none."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _are_devices(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, dict) for each in found)
