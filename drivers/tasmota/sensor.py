"""Temperature and humidity sensor with Tasmota firmware, over MQTT.

Source: Tasmota documentation, "MQTT" (topics cmnd/, stat/, tele/; LWT) and "Commands" (Status 2 and
10, TelePeriod). Values come each TelePeriod (300 s) on `tele/<topic>/SENSOR`, or when asked for, by
`Status 10`, on `stat/<topic>/STATUS10`. The switch on such a board is `tasmota_switch`.

Not used: commands that change the board's settings; sensors of anything else.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from ophyd_async.core import SignalR
from ophyd_async.core import StandardReadableFormat as Format

from sdl.drivers.tasmota.board import MAX_AGE, Board, parse_object
from sdl.errors import GarbledError
from sdl.instrument import Instrument
from sdl.instrument.asked_for import AskedFor
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

MOST = 1e4  # no sensor measures more


class TasmotaSensor(Instrument):
    """Reads the air. Nothing can be set; there is nothing to stop or to make safe.

    `temperature` (degC) and `humidity` (%) raise StaleError as soon as the sensor is offline or the
    connection to the broker is lost, and when the sensor says that it has no value. If the newest
    value is only too old, the sensor is asked for another and given the wire's time-out.
    """

    title: ClassVar[str] = "Tasmota board with SHT3x, temperature and humidity sensor"
    delivered: ClassVar[str] = "mqtt://broker:1883"
    unverified: ClassVar[tuple[str, ...]] = ("sensors other than SHT3x", "TempUnit F")

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
        self._sensor = sensor
        board = Board(wire, topic, status=10, topics=[f"tele/{topic}/SENSOR"], take=self._take)
        self._board, self._listen = board, board.listen

        def pushed(quantity: str, units: str) -> AskedFor[float]:
            return AskedFor(
                float,
                source=f"{wire.url}/tele/{topic}/SENSOR#{sensor}.{quantity}",
                max_age=max_age,
                subscribe=board.listen,
                ask=board.ask,
                turn=board.turn,
                units=units,
                precision=1,
            )

        self._temperature, self._humidity = pushed("Temperature", "degC"), pushed("Humidity", "%")
        board.values += [self._temperature, self._humidity]
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.temperature = SignalR(self._temperature, timeout=TIMEOUT)
            self.humidity = SignalR(self._humidity, timeout=TIMEOUT)
        self.online = board.online
        super().__init__(wire, name)

    async def identify(self) -> str:
        """Ask for the firmware's version."""
        return await self._board.identify(self.name)

    async def make_safe(self) -> None:
        """Do nothing: a sensor is always safe."""

    def _take(self, topic: str, payload: bytes) -> bool:
        air = parse_air(topic, payload, self._sensor)
        self._board.is_there()
        wrong = self._publish(self._temperature, air.temperature)
        wrong += self._publish(self._humidity, air.humidity)
        if wrong:
            raise GarbledError(topic, f"{wrong} value(s) missing or no number: {payload[:200]!r}")
        return True

    def _publish(self, signal: AskedFor[float], value: float | None) -> int:
        """Give a signal its value, or take the old one away: the sensor itself has none now."""
        if value is None:
            signal.invalidate()
            return 1
        signal.publish(value)
        return 0


@dataclass(frozen=True)
class Air:
    """What a sensor says of the air; None where it has no value."""

    temperature: float | None
    """degC"""
    humidity: float | None
    """%"""


def parse_air(topic: str, payload: bytes, sensor: str) -> Air:
    """Return what `sensor` says in a message of telemetry or an answer.

    :raises GarbledError: it says nothing there.
    """
    message: Any = parse_object(topic, payload)
    message = message.get("StatusSNS", message) if topic.endswith("/STATUS10") else message
    values = message.get(sensor) if isinstance(message, dict) else None
    if not isinstance(values, dict):
        raise GarbledError(topic, f"no {sensor} in {payload[:200]!r}")
    temperature = _celsius(values, message.get("TempUnit", "C"))
    return Air(temperature, _number(values.get("Humidity")))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        return None
    return float(value)


def _celsius(values: dict[str, Any], unit: object) -> float | None:
    value = _number(values.get("Temperature"))
    if value is None or unit not in ("C", "F"):
        return None
    return value if unit == "C" else (value - 32) / 1.8
