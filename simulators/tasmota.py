"""A board with Tasmota firmware: an SHT3x on I2C and relays, over MQTT.

Source: Tasmota documentation, "MQTT", "Commands" (Control, Management, MQTT) and "JSON Status
Responses". As in its source: the first telemetry 5 s after the start, then each TelePeriod; `Status
0` answers in parts, `Status0` in one message; a telemetry follows the command TelePeriod. With one
relay it says POWER, with several POWER1, POWER2, … Noise: Sensirion SHT3x-DIS datasheet,
repeatability (3 sigma) at its high setting, and its range.
"""

import asyncio
import json
import math
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from sdl import clock
from sdl.simulators.simulated import Simulated
from sdl.wires.mqtt_session import Session, Will

SIGMA_T, SIGMA_H = 0.04 / 3, 0.08 / 3  # degC, % RH
COLDEST, HOTTEST = -40.0, 125.0  # degC
KEEP = 3  # PowerOnState: relays are again as they were
FIRST_TELEMETRY = 5.0  # s after the start
DEFAULT_TELE_PERIOD = 300  # s; what `TelePeriod 1` restores
POWER = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}


@runtime_checkable
class Air(Protocol):
    """The part of a world that the sensor hangs in; without one the board has no sensor."""

    @property
    def temperature(self) -> float:
        """In degC."""
        ...

    @property
    def humidity(self) -> float:
        """In % RH."""
        ...


@runtime_checkable
class Switched(Protocol):
    """The part of a world that the relay switches; a board may have one, too."""

    def switch(self, on: bool) -> None: ...


class SimulatedTasmota(Simulated):
    """One board. Its settings survive a lost broker; a new object is one fresh from the flasher."""

    faults: ClassVar[frozenset[str]] = frozenset({"drift", "noise", "saturation", "power cycle"})

    def __init__(
        self,
        part: Air | Switched,
        *,
        rng: np.random.Generator,
        topic: str,
        sensor: str = "SHT3X",
        relay: int = 1,
        tele_period: int = DEFAULT_TELE_PERIOD,
        temp_unit: str = "C",
        power_on_state: int = KEEP,
        noise: bool = True,
        version: str = "15.1.0(release-sensors)",
    ) -> None:
        """Describe a board.

        :param topic: its `Topic`.
        :param relay: which relay switches the part; it is the last of the board.
        :param tele_period: s between telemetry, 10 to 3600; 0 for none.
        :param temp_unit: C, or F as after `SetOption8 1`.
        :param power_on_state: of the relays when power comes: 0 off, 1 on, 3 as they were.
        :param noise: whether the sensor has any.
        """
        super().__init__(rng=rng)
        self._part, self._topic, self._sensor = part, topic, sensor
        self.tele_period, self._temp_unit, self._version = tele_period, temp_unit, version
        self._power_on_state, self._noise = power_on_state, float(noise)
        self.relays = [False] * relay
        """Whether each is on; the last switches the part."""
        self._cut = asyncio.Event()
        self.unplugged = False
        """A fault to inject: the sensor does not answer its board, which then reports null."""
        self._due = self._started = math.nan
        self._changed, self._pressed = asyncio.Event(), asyncio.Event()

    @property
    def power(self) -> bool:
        """Whether the relay that switches the part is on."""
        return self.relays[-1]

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            if self._power_on_state != KEEP:
                for number in range(len(self.relays)):
                    self._drive(number, bool(self._power_on_state))
            self._started = math.nan
            self._cut.set()

    def press(self) -> None:
        """Press the button: it toggles the relay, and the board says so when it next can."""
        self._drive(len(self.relays) - 1, not self.power)
        self._pressed.set()

    @property
    def will(self) -> Will:
        return Will(f"tele/{self._topic}/LWT", b"Offline", retain=True)

    async def serve(self, session: Session) -> None:
        if math.isnan(self._started):
            self._started = clock.monotonic()
            self._due = self._started + FIRST_TELEMETRY
        self._cut.clear()
        await session.publish(f"tele/{self._topic}/LWT", b"Online", retain=True)
        await session.subscribe(f"cmnd/{self._topic}/#")
        async with asyncio.TaskGroup() as all_of_it:
            all_of_it.create_task(self._telemeter(session))
            all_of_it.create_task(self._obey(session))
            all_of_it.create_task(self._feel(session))
            all_of_it.create_task(self._fail())

    async def _fail(self) -> None:
        await self._cut.wait()
        raise ConnectionResetError("the power failed")

    async def _feel(self, session: Session) -> None:
        while True:
            await self._pressed.wait()
            self._pressed.clear()
            await self._say_power(session, len(self.relays) - 1)

    async def _telemeter(self, session: Session) -> None:
        while True:
            self._changed.clear()
            wait = self._due - clock.monotonic() if self.tele_period else math.inf
            try:
                async with asyncio.timeout(None if math.isinf(wait) else max(wait, 0.0)):
                    await self._changed.wait()
            except TimeoutError:
                self._due = clock.monotonic() + self.tele_period
                await self._say(session, "tele", "STATE", self._state())
                await self._say(session, "tele", "SENSOR", self._sensors())

    async def _obey(self, session: Session) -> None:
        while True:
            message = await session.receive()
            command = message.topic.rpartition("/")[2].lower()
            argument = message.payload.decode(errors="replace").strip()
            await self._command(session, command, argument)

    async def _command(self, session: Session, command: str, argument: str) -> None:
        match command:
            case "status":
                await self._status(session, argument)
            case "status0":
                everything = {k: v for part in self._statuses().values() for k, v in part.items()}
                await self._say(session, "stat", "STATUS0", everything)
            case "teleperiod":
                self._set_tele_period(argument)
                await self._result(session, {"TelePeriod": self.tele_period})
            case _ if (relay := self._relay(command)) is not None:
                await self._switch(session, relay, argument.lower())
            case _:
                await self._result(session, {"Command": "Unknown"})

    async def _status(self, session: Session, argument: str) -> None:
        parts = self._statuses()
        wanted = ["", *parts] if argument == "0" else [argument]
        if argument == "8":  # kept from old firmware: the same as 10
            await self._say(session, "stat", "STATUS8", parts["10"])
            return
        for number in dict.fromkeys(n if n in parts else "" for n in wanted):
            await self._say(session, "stat", f"STATUS{number}", parts[number])

    def _statuses(self) -> dict[str, dict[str, Any]]:
        return {
            "": {"Status": {"Module": 0, "Topic": self._topic, "Power": str(int(self.power))}},
            "2": {"StatusFWR": {"Version": self._version, "Hardware": "ESP8266EX"}},
            "3": {"StatusLOG": {"TelePeriod": self.tele_period}},
            "10": {"StatusSNS": self._sensors()},
            "11": {"StatusSTS": self._state()},
        }

    def _set_tele_period(self, argument: str) -> None:
        """0 for none, 1 for the default, 10 to 3600 s; anything else leaves it and only asks."""
        if argument.isascii() and argument.isdigit() and int(argument[:5]) <= 3600:
            seconds = DEFAULT_TELE_PERIOD if argument == "1" else int(argument)
            self.tele_period = max(seconds, 10) if seconds else 0
        self._due = clock.monotonic() + 1.0  # the command shows the telemetry as well
        self._changed.set()

    def _relay(self, command: str) -> int | None:
        """Return the index of the relay that a command is about."""
        digits = command.removeprefix("power")
        if digits == command or (digits and not (digits.isascii() and digits.isdigit())):
            return None
        number = int(digits[:4] or "1")
        return number - 1 if 1 <= number <= len(self.relays) else None

    async def _switch(self, session: Session, relay: int, argument: str) -> None:
        if argument in ("toggle", "2"):
            self._drive(relay, not self.relays[relay])
        else:
            self._drive(relay, POWER.get(argument, self.relays[relay]))
        await self._say_power(session, relay)

    async def _say_power(self, session: Session, relay: int) -> None:
        key, state = self._key(relay), self._word(relay)
        await self._result(session, {key: state})
        await session.publish(f"stat/{self._topic}/{key}", state.encode())

    def _drive(self, relay: int, on: bool) -> None:
        self.relays[relay] = on
        if relay == len(self.relays) - 1 and isinstance(self._part, Switched):
            self._part.switch(on)

    def _key(self, relay: int) -> str:
        return "POWER" if len(self.relays) == 1 else f"POWER{relay + 1}"

    def _word(self, relay: int) -> str:
        return "ON" if self.relays[relay] else "OFF"

    def _sensors(self) -> dict[str, Any]:
        if not isinstance(self._part, Air):
            return {"Time": _stamp()}
        measured = self._measured(self._part)
        return {"Time": _stamp(), self._sensor: measured, "TempUnit": self._temp_unit}

    def _measured(self, air: Air) -> dict[str, float | None]:
        if self.unplugged:
            return {"Temperature": None, "Humidity": None, "DewPoint": None}
        celsius = air.temperature + self._noise * SIGMA_T * self.rng.standard_normal()
        celsius = self.disturbed(celsius, low=COLDEST, high=HOTTEST)
        humidity = air.humidity + self._noise * SIGMA_H * self.rng.standard_normal()
        humidity = max(self.disturbed(humidity, low=0.0, high=100.0), 0.1)
        degrees = (celsius, dew_point(celsius, humidity))
        if self._temp_unit == "F":
            degrees = (degrees[0] * 1.8 + 32, degrees[1] * 1.8 + 32)
        return {
            "Temperature": round(degrees[0], 1),  # TempRes 1 and HumRes 1, as delivered
            "Humidity": round(humidity, 1),
            "DewPoint": round(degrees[1], 1),
        }

    def _state(self) -> dict[str, Any]:
        up = int(clock.monotonic() - self._started)
        days, rest = divmod(up, 86400)
        uptime = f"{days}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        power = {self._key(relay): self._word(relay) for relay in range(len(self.relays))}
        return {"Time": _stamp(), "Uptime": uptime, "UptimeSec": up, **power}

    async def _result(self, session: Session, message: dict[str, Any]) -> None:
        await self._say(session, "stat", "RESULT", message)

    async def _say(self, session: Session, prefix: str, what: str, message: dict[str, Any]) -> None:
        payload = json.dumps(message, separators=(",", ":")).encode()
        await session.publish(f"{prefix}/{self._topic}/{what}", payload)


def dew_point(celsius: float, humidity: float) -> float:
    """Return degC at which air of `celsius` degC and `humidity` % RH is saturated.

    Magnus formula over water, b = 17.62, c = 243.12 degC: WMO-No. 8, annex 4.B.
    """
    gamma = math.log(humidity / 100.0) + 17.62 * celsius / (243.12 + celsius)
    return 243.12 * gamma / (17.62 - gamma)


def _stamp() -> str:
    """Local time without a zone, as the board has it; its clock is on UTC."""
    return datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S")
