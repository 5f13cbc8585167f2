"""What Zigbee2MQTT says, as values in our units: definitions of devices, states, availability.

Source: zigbee2mqtt.io, "MQTT topics and messages" and "Exposes"; zigbee2mqtt 1.x and 2.x source,
lib/extension/availability.ts and publish.ts (payloads of availability, what a failed set logs).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sdl.errors import GarbledError

MOST = 1e9
SETTABLE, GETTABLE = 2, 4  # bits of `access`
WORDS = {"online": True, "offline": False}


@dataclass(frozen=True)
class Quantity:
    """Something that a device may expose."""

    units: str
    precision: int
    factors: Mapping[str, float]
    """By the unit that a device may have it in, what makes it ours."""
    low: float = -math.inf
    high: float = math.inf


_CELSIUS = Quantity("degC", 2, {"°C": 1.0}, -273.15, 1000.0)
_PERCENT = Quantity("%", 2, {"%": 1.0}, 0.0, 100.0)
QUANTITIES: Mapping[str, Quantity] = {
    "temperature": _CELSIUS,
    "device_temperature": _CELSIUS,
    "humidity": _PERCENT,
    "battery": _PERCENT,
    "soil_moisture": _PERCENT,
    "pressure": Quantity("bar", 5, {"hPa": 1e-3, "kPa": 1e-2}, 0.0, 2.0),
    "illuminance": Quantity("lx", 0, {"lx": 1.0}, 0.0, 1e6),
    "co2": Quantity("ppm", 0, {"ppm": 1.0}, 0.0, 1e6),
    "voltage": Quantity("V", 3, {"V": 1.0, "mV": 1e-3}, 0.0, 1e4),
    "current": Quantity("A", 3, {"A": 1.0, "mA": 1e-3}, -1e4, 1e4),
    "power": Quantity("W", 1, {"W": 1.0, "kW": 1e3}, -1e6, 1e6),
    "energy": Quantity("kWh", 3, {"kWh": 1.0, "Wh": 1e-3}, -1e6, 1e9),
    "linkquality": Quantity("", 0, {"lqi": 1.0}, 0.0, 255.0),
}
CONTACTS = ("contact", "occupancy", "water_leak", "smoke", "gas", "tamper", "vibration")
"""What is true or false."""


@dataclass(frozen=True)
class Expose:
    """One property of a device."""

    access: int
    unit: str = ""
    on: object = True
    off: object = False

    @property
    def can_be_set(self) -> bool:
        return bool(self.access & SETTABLE)

    @property
    def can_be_read(self) -> bool:
        return bool(self.access & GETTABLE)


@dataclass(frozen=True)
class Definition:
    """What Zigbee2MQTT knows of a device."""

    text: str
    exposes: Mapping[str, Expose]


def parse_json(topic: str, payload: bytes) -> Any:
    """:raises GarbledError: it is no JSON."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise GarbledError(topic, f"no JSON: {payload[:200]!r}") from error


def parse_state(topic: str, payload: bytes) -> Mapping[str, Any]:
    """Return a device's properties as they are said.

    :raises GarbledError: it is no JSON object.
    """
    found = parse_json(topic, payload)
    if not isinstance(found, dict):
        raise GarbledError(topic, f"no JSON object: {payload[:200]!r}")
    return found


def parse_online(topic: str, payload: bytes) -> bool:
    """Return what is said of the bridge or of a device: JSON, or the bare word of old versions.

    :raises GarbledError: it is neither online nor offline.
    """
    said: Any = payload.decode(errors="replace")
    if said not in WORDS:
        said = parse_state(topic, payload).get("state")
    if not isinstance(said, str) or said not in WORDS:
        raise GarbledError(topic, f"neither online nor offline: {payload[:200]!r}")
    return WORDS[said]


def parse_devices(topic: str, payload: bytes, friendly_name: str) -> Definition | None:
    """Return what `bridge/devices` says of a device; None if it is not there.

    :raises GarbledError: it is no such list, or the device's entry is not as it should be.
    """
    found = parse_json(topic, payload)
    if not isinstance(found, list):
        raise GarbledError(topic, f"no list of devices: {payload[:200]!r}")
    for device in found:
        if isinstance(device, dict) and device.get("friendly_name") == friendly_name:
            return _definition(topic, device)
    return None


def _definition(topic: str, device: Mapping[str, Any]) -> Definition:
    definition = device.get("definition")
    if not isinstance(definition, dict) or not isinstance(definition.get("exposes"), list):
        reason = "has no definition: it is not supported, or still being interviewed"
        raise GarbledError(topic, f"{device.get('friendly_name')} {reason}")
    vendor, model = definition.get("vendor"), definition.get("model")
    exposes: dict[str, Expose] = {}
    for expose in definition["exposes"]:
        _collect(expose, exposes)
    return Definition(f"{vendor} {model}, {device.get('ieee_address')}", exposes)


def _collect(expose: Any, found: dict[str, Expose]) -> None:
    if not isinstance(expose, dict):
        return
    features = expose.get("features")
    for feature in features if isinstance(features, list) else ():
        _collect(feature, found)
    name, access = expose.get("property"), expose.get("access")
    if isinstance(name, str) and type(access) is int:
        unit = expose.get("unit")
        on, off = expose.get("value_on", True), expose.get("value_off", False)
        found[name] = Expose(access, unit if isinstance(unit, str) else "", on, off)


def parse_number(value: object, name: str, expose: Expose) -> float | None:
    """Return a property in our unit; None if it has no value, or none that can be."""
    quantity = QUANTITIES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        return None
    ours = value * quantity.factors[expose.unit]
    return ours if quantity.low <= ours <= quantity.high else None


def parse_truth(value: object, expose: Expose) -> bool | None:
    """Return whether a property is at what its definition calls on; None if it is neither."""
    for said, truth in ((expose.on, True), (expose.off, False)):
        if type(said) is type(value) and said == value:
            return truth
    return None


def parse_seen(value: object) -> float | None:
    """Return `last_seen` in s since 1970: ms, or ISO 8601; None if it is not said."""
    try:
        if isinstance(value, str):
            stamp = datetime.fromisoformat(value)
            return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / 1e3 if abs(value) < 1e15 else None


def parse_failure(topic: str, payload: bytes, friendly_name: str) -> str | None:
    """Return what `bridge/logging` says went wrong with this device; None if nothing did."""
    found = parse_state(topic, payload)
    said = found.get("message")
    if found.get("level") != "error" or not isinstance(said, str):
        return None
    return said if f"'{friendly_name}'" in said else None
