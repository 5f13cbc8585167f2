"""A Zaber X-series linear stage with one axis that speaks the ASCII protocol (firmware 7).

Written from Zaber's ASCII protocol manual as others quote it (flags and their order, reasons of a
rejection, fields of a reply) and from what zaber-motion 10.2.0 and zaber.serial 0.9.1 send and
understand. Guesses: `move abs` without a reference is rejected with BADDATA; after power-up the
position counts from where it stands; no acceleration; settings of a motor are only remembered.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import LineSimulator

# flags, the worst first
ORDER = ("FF", "FO", "FD", "FQ", "FS", "FB", "FP", "FE", "WL", "WV", "WT", "WM", "WR", "NC", "NI")
LATCHED = ("FS", "FE", "FB", "FP", "FQ", "WL", "NI")  # until they are cleared
SPEED_UNIT = 1.6384  # of `maxspeed`, in each microstep/s
MOST_SPEED = 2**31 - 1


class Rail(Protocol):
    """The part of a world that is moved; mm and mm/s."""

    travel_mm: float

    @property
    def position(self) -> float: ...

    @property
    def moving(self) -> bool: ...

    @property
    def time_left(self) -> float:
        """Seconds until it is where it goes."""
        ...

    def move(self, to: float, speed: float) -> bool:
        """Begin to move; False if something blocks it."""
        ...

    def stop(self) -> None: ...


class Rejected(Exception):  # noqa: N818 (it is the stage's answer, not an error of ours)
    """Carries the reason."""


class SimulatedZaber(LineSimulator):
    """Serve it on a line of its own or behind others: it hears its address, and 0."""

    faults: ClassVar[frozenset[str]] = frozenset({"stuck", "power cycle"})

    def __init__(
        self,
        part: Rail,
        *,
        rng: np.random.Generator,
        microstep: float = 0.000047625,
        device: int = 1,
        homed: bool = False,
        checksum: bool = False,
        serial: int = 46657,
        firmware: str = "7.38",
        device_id: int = 50081,
    ) -> None:
        """Power it up.

        :param microstep: mm.
        :param homed: whether it was parked, so that it knows its position.
        :param checksum: whether it was left with `comm.checksum 1`.
        """
        super().__init__(rng=rng)
        self._part, self._microstep, self._address = part, microstep, device
        self._referenced, self._zero = homed, 0.0 if homed else part.position
        self._raised: set[str] = set()
        self._parked, self._enabled, self._homing, self._went = False, True, False, False
        most = round(part.travel_mm / microstep)
        self._settings: dict[str, str] = {
            "accel": "205",
            "comm.address": str(device),
            "comm.alert": "0",
            "comm.checksum": str(int(checksum)),
            "comm.protocol": "2",
            "knob.enable": "1",
            "limit.approach.maxspeed": "76800",
            "limit.max": str(most),
            "limit.min": "0",
            "maxspeed": "153600",
            "resolution": "64",
            "system.led.enable": "1",
        }
        self._facts: dict[str, Callable[[], str]] = {
            "comm.packet.size.max": lambda: "80",
            "device.hw.modified": lambda: "0",
            "device.id": lambda: str(device_id),
            "deviceid": lambda: str(device_id),  # the older name, which zaber-motion asks for
            "driver.enabled": lambda: str(int(self._enabled)),
            "driver.temperature": lambda: "34.5",
            "motion.busy": lambda: str(int(part.moving)),
            "pos": lambda: str(self._steps()),
            "system.access": lambda: "1",
            "system.axiscount": lambda: "1",
            "system.serial": lambda: str(serial),
            "system.temperature": lambda: "31.2",
            "system.voltage": lambda: "24.0",
            "version": lambda: firmware,
            "version.build": lambda: "15403",
        }
        self._kept = self._settings | {"comm.checksum": "0"}  # what `system restore` brings back
        self._alerts: set[asyncio.Task[None]] = set()
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "driver": self._driver,
            "estop": self._stop,
            "get": self._get,
            "home": self._home,
            "move": self._move,
            "renumber": self._renumber,
            "set": self._set,
            "stop": self._stop,
            "system": self._system,
            "tools": self._tools,
            "warnings": self._warnings,
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._reset()

    def whole(self, heard: bytes) -> int | None:
        match = re.search(rb"[\r\n]", heard)
        return None if match is None else match.end()

    async def respond(self, request: bytes) -> None:
        text = self._checked(request.decode("latin-1").strip("\r\n"))
        if text is None:
            return
        device, axis, number, words = _fields(text)
        if device not in (0, self._address):
            return
        await asyncio.sleep(self.rng.uniform(0.0005, 0.002))
        try:
            flag, data = "OK", self._execute(axis, number, words)
        except Rejected as reason:
            flag, data = "RJ", str(reason)
        shown = f" {number}" if re.fullmatch(r"\d\d?", number) else ""
        shown = f" {int(number):02d}" if shown else ""
        status = "BUSY" if self._part.moving else "IDLE"
        await self._tell(
            f"@{self._address:02d} {axis}{shown} {flag} {status} {self._worst()} {data}"
        )

    def _checked(self, text: str) -> str | None:
        """Return a command without header and checksum; None if it is none, or damaged."""
        at = text.find("/")
        if at < 0:
            return None
        body, colon, sent = text[at + 1 :].partition(":")
        if colon and (re.fullmatch(r"[0-9A-Fa-f]{2}", sent) is None or int(sent, 16) != _lrc(body)):
            return None
        return body

    async def _tell(self, line: str) -> None:
        if self._settings["comm.checksum"] == "1":
            line += f":{_lrc(line[1:]):02X}"
        await self.say(line.encode("latin-1", "replace") + b"\r\n")

    def _execute(self, axis: int, number: str, words: list[str]) -> str:
        if axis > 1:
            raise Rejected("BADAXIS")
        if number and re.fullmatch(r"\d\d?|--", number) is None:
            raise Rejected("BADMESSAGEID")
        self._notice()
        if not words:
            return "0"
        command = self._commands.get(words[0])
        if command is None:
            raise Rejected("BADCOMMAND")
        return command(words[1:]) or "0"

    # State

    def _notice(self) -> None:
        """Take note of a movement that has ended."""
        if self._homing and not self._part.moving:
            self._homing, self._zero, self._referenced = False, self._part.position, True

    def _steps(self) -> int:
        return round((self._part.position - self._zero) / self._microstep)

    def _flags(self) -> list[str]:
        active = set(self._raised)
        if not self._referenced:
            active.add("WR")
        if not self._enabled:
            active.add("FO")
        return [flag for flag in ORDER if flag in active]

    def _worst(self) -> str:
        self._notice()
        return next(iter(self._flags()), "--")

    def _reset(self) -> None:
        self._part.stop()
        if not self._parked:
            self._referenced, self._zero = False, self._part.position
        self._raised.clear()
        self._homing, self._enabled = False, True

    # Commands

    def _get(self, words: Sequence[str]) -> str:
        name = " ".join(words)
        if name in self._facts:
            return self._facts[name]()
        if name not in self._settings:
            raise Rejected("BADCOMMAND")
        return self._settings[name]

    def _set(self, words: Sequence[str]) -> str:
        if len(words) != 2 or (words[0] not in self._settings and words[0] != "pos"):
            raise Rejected("BADCOMMAND")
        name, value = words[0], _whole(words[1])
        if name == "pos":
            self._idle()
            self._zero, self._referenced = self._part.position - value * self._microstep, True
            return ""
        high = 1 if name in ("comm.alert", "comm.checksum", "knob.enable") else MOST_SPEED
        low = 1 if name.endswith("maxspeed") else 0
        if not (low <= value <= high or name.startswith("limit.m")):
            raise Rejected("BADDATA")
        self._settings[name] = str(value)
        return ""

    def _idle(self) -> None:
        if self._part.moving:
            raise Rejected("STATUSBUSY")

    def _home(self, words: Sequence[str]) -> str:
        _none(words)
        speed = int(self._settings["limit.approach.maxspeed"]) / SPEED_UNIT * self._microstep
        self._start(0.0, speed)
        self._homing = "FS" not in self._raised
        return ""

    def _move(self, words: Sequence[str]) -> str:
        kind = words[0] if words else ""
        low, high = int(self._settings["limit.min"]), int(self._settings["limit.max"])
        speed = int(self._settings["maxspeed"])
        if kind in ("min", "max") and len(words) == 1:
            to = low if kind == "min" else high
        elif kind in ("abs", "rel", "vel") and len(words) == 2:
            value = _whole(words[1])
            to = value + (self._steps() if kind == "rel" else 0)
            if kind == "vel":
                to, speed = (high if value > 0 else low), abs(value)
        else:
            raise Rejected("BADCOMMAND")
        if not self._referenced and kind in ("abs", "min"):
            raise Rejected("BADDATA")
        if not low <= to <= high and self._referenced:
            raise Rejected("BADDATA")
        if speed == 0:
            return self._stop([])
        self._start(self._zero + to * self._microstep, speed / SPEED_UNIT * self._microstep)
        return ""

    def _start(self, to: float, speed: float) -> None:
        """Begin to move, in mm and mm/s; what is blocked stalls at once."""
        if self._parked:
            raise Rejected("PARKED")
        if not self._enabled:
            raise Rejected("DRIVERDISABLED")
        self._raised.discard("NI")
        if self._part.moving:
            self._raised.add("NI")
        self._homing = False
        if "stuck" in self.troubles or not self._part.move(to, speed):
            self._part.stop()
            self._raised.add("FS")
        elif self._settings["comm.alert"] == "1":
            task = asyncio.create_task(self._alert(self._part.time_left))
            self._alerts.add(task)
            task.add_done_callback(self._alerts.discard)

    async def _alert(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self._part.moving:
            await self._tell(f"!{self._address:02d} 1 IDLE {self._worst()}")

    def _stop(self, words: Sequence[str]) -> str:
        _none(words)
        if self._part.moving:
            self._raised.add("NI")
        self._homing = False
        self._part.stop()
        return ""

    def _warnings(self, words: Sequence[str]) -> str:
        flags = self._flags()
        if list(words) == ["clear"]:
            self._raised.difference_update(LATCHED)
        else:
            _none(words)
        return " ".join([f"{len(flags):02d}", *flags])

    def _driver(self, words: Sequence[str]) -> str:
        if list(words) not in (["enable"], ["disable"]):
            raise Rejected("BADCOMMAND")
        self._enabled = words[0] == "enable"
        if not self._enabled:
            self._part.stop()
        return ""

    def _tools(self, words: Sequence[str]) -> str:
        if list(words) not in (["parking", "park"], ["parking", "unpark"]):
            raise Rejected("BADCOMMAND")
        self._idle()
        if words[1] == "park" and not self._referenced:
            raise Rejected("BADDATA")
        self._parked = words[1] == "park"
        return ""

    def _system(self, words: Sequence[str]) -> str:
        if list(words) == ["restore"]:
            self._settings |= self._kept
        elif list(words) != ["reset"]:
            raise Rejected("BADCOMMAND")
        self._reset()
        return ""

    def _renumber(self, words: Sequence[str]) -> str:
        address = _whole(words[0]) if len(words) == 1 else 1
        if len(words) > 1 or not 1 <= address <= 99:
            raise Rejected("BADDATA")
        self._address = address
        self._settings["comm.address"] = str(address)
        return ""


def _fields(text: str) -> tuple[int, int, str, list[str]]:
    """Return device, axis, message id as it was sent, and the words of a command."""
    words, numbers = text.split(), []
    while words and len(numbers) < 3 and re.fullmatch(r"[0-9]{1,3}|--", words[0]):
        numbers.append(words.pop(0))
    device, axis, number = (*numbers, "", "", "")[:3]
    return _number(device), _number(axis), number, words


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _whole(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,10}", text) is None:
        raise Rejected("BADDATA")
    return int(text)


def _none(words: Sequence[str]) -> None:
    if words:
        raise Rejected("BADCOMMAND")


def _lrc(text: str) -> int:
    return -sum(text.encode("latin-1", "replace")) & 0xFF
