"""A Mettler-Toledo balance that speaks MT-SICS.

Written from "MT-SICS Interface Command, Reference Manual" 11781363L (12/2018): pp. 9-13 replies and
errors, and the page of each command; draft shield (WS) from 11780711, second hand. Guesses: a
command that waits for stability gives up after `patience` s; meanwhile, and while it is adjusted,
all but @ is answered with I; the texts of I1, I3 and I11.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.simulated import LineSimulator
from sdl.simulators.weighing import Load, Look, WeighingCell

UPDATE = 0.1  # s between two weights
ADJUSTING = 60.0  # s that an internal adjustment takes
DOOR_MOVES = 2.0  # s
DOORS = ("0", "1", "2")  # all closed, right open, left open
WEIGHT_COMMANDS = ("S", "SI", "SIR", "SR", "SNR", "SC", "SU", "SIU", "SIRU", "SNRU")
SYNTAX, LOGICAL = b"ES\r\n", b"EL\r\n"
NUMBER = r"-?\d{1,9}(?:\.\d{0,9})?"
LEVELS = {
    0: ("I0", "I1", "I2", "I3", "I4", "I5", "S", "SI", "SIR", "Z", "ZI", "@"),
    1: ("D", "DW", "K", "SR", "T", "TA", "TAC", "TI"),
    2: ("C0", "C3", "I10", "I11", "I14", "M21", "M28", "PWR", "RDB", "SC", "SIRU", "SIU", "SNR"),
    3: ("SNRU", "SU", "TC", "UPD", "WS", "ZC"),
}


class SimulatedMTSICS(LineSimulator):
    """An analytical balance with an internal weight and a motorised draft shield."""

    terminator = b"\r\n"
    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self,
        part: Load,
        *,
        rng: np.random.Generator,
        capacity: float = 220.0,
        decimals: int = 4,
        model: str = "XS204",
        serial_number: str = "B021002593",
        patience: float = 40.0,
        settling: float = 1.0,
        draft_shield: bool = True,
        noise: bool = True,
    ) -> None:
        """Describe a balance.

        :param capacity: g.
        :param decimals: of a gram.
        :param patience: s until it gives up waiting for a stable weight.
        :param settling: s that it takes to settle after a change.
        :param draft_shield: whether it has one with motors.
        """
        super().__init__(rng=rng)
        self.cell = WeighingCell(
            part, self, capacity=capacity, decimals=decimals, noise=noise, settling=settling
        )
        self._model, self._serial, self._patience = model, serial_number, patience
        self._has_doors, self._doors = draft_shield, "0"
        self._identity = ""
        self.display = ""
        """text in the display; empty: the weight"""
        self.adjustments = 0
        self.broken = ""
        """code of an error that it has instead of a weight, as "10b": a fault to inject"""
        self._standby = False
        self._unit = 0  # of M21: 0 g, 1 kg, 3 mg
        self._update = 1 / UPDATE
        self._keys = 1
        self._job: asyncio.Task[None] | None = None  # a command that waits, or repeats
        self._repeats = False
        self._commands: dict[str, Callable[[str], bytes]] = {
            "I0": self._list,
            "I1": lambda a: self._text("I1", a, '"0123" "2.30" "2.20" "1.00" "1.50"'),
            "I2": lambda a: self._text("I2", a, f'"{model} Excellence {capacity:.{decimals}f} g"'),
            "I3": lambda a: self._text("I3", a, '"1.10 12.28.0.493.142"'),
            "I4": lambda a: self._text("I4", a, f'"{serial_number}"'),
            "I5": lambda a: self._text("I5", a, '"12121306C"'),
            "I10": self._id,
            "I11": lambda a: self._text("I11", a, f'"{model}"'),
            "I14": lambda a: b'I14 A 0 1 "Bridge"\r\n' if a == "0" else b"I14 L\r\n",
            "S": lambda a: self._stable("S", a),
            "SU": lambda a: self._stable("S", a),
            "SI": lambda a: self._now("S", a),
            "SIU": lambda a: self._now("S", a),
            "SC": self._stable_or_now,
            "SIR": lambda a: self._repeat(a, on_change=False),
            "SIRU": lambda a: self._repeat(a, on_change=False),
            "SR": lambda a: self._repeat(a, on_change=True),
            "SNR": lambda a: self._repeat(a, on_change=True),
            "SNRU": lambda a: self._repeat(a, on_change=True),
            "Z": lambda a: self._zero("Z", a, self._patience),
            "ZI": lambda a: self._zero("ZI", a, 0.0),
            "ZC": lambda a: self._zero("ZC", "", _milliseconds(a)),
            "T": lambda a: self._tare("T", a, self._patience),
            "TI": lambda a: self._tare("TI", a, 0.0),
            "TC": lambda a: self._tare("TC", "", _milliseconds(a)),
            "TA": self._tare_value,
            "TAC": self._clear_tare,
            "D": self._show,
            "DW": self._show_weight,
            "K": self._key_control,
            "C0": lambda a: b'C0 A 0 0 ""\r\n' if not a else b"C0 A\r\n",
            "C3": self._adjust,
            "M21": self._units,
            "M28": lambda a: b"M28 L\r\n" if a else b"M28 B 1 22.5\r\nM28 A 2 22.8\r\n",
            "PWR": self._power,
            "RDB": lambda a: self._text("RDB", a, str(decimals)),
            "UPD": self._update_rate,
            "WS": self._draft_shield,
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        if fault == "power cycle":
            self._power_up()
            self._later(self._greet())
            return
        super().begin(fault, size)

    async def serve(self, line: Line) -> None:
        try:
            await super().serve(line)
        finally:
            self._cancel()

    async def powered(self) -> None:
        self._power_up()
        await self._greet()

    def _power_up(self) -> None:
        self._cancel()
        self.forget()
        self.cell.power_up()
        self.display, self._standby, self._keys = "", False, 1

    async def _greet(self) -> None:
        await self.say(self._text("I4", "", f'"{self._serial}"'))

    def answer(self, request: bytes) -> bytes:
        name, _, argument = request[:-2].decode("latin-1").partition(" ")
        if name == "@" and not argument:
            self._cancel()
            self._standby, self._keys = False, 1
            return self._text("I4", "", f'"{self._serial}"')
        if name not in self._commands or (name == "WS" and not self._has_doors):
            return SYNTAX
        reply_id = "S" if name in WEIGHT_COMMANDS else name
        if self._repeats and name in WEIGHT_COMMANDS:
            self._cancel()
        if self._is_busy or (self._standby and name != "PWR"):
            return f"{reply_id} I\r\n".encode()
        try:
            return self._commands[name](argument)
        except ValueError:
            return f"{reply_id} L\r\n".encode()

    # Commands that take their time

    @property
    def _is_busy(self) -> bool:
        waiting = self._job is not None and not self._job.done() and not self._repeats
        return waiting or "busy" in self.troubles

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
        self._job, self._repeats = None, False

    def _later(self, work: Coroutine[Any, Any, None], *, repeats: bool = False) -> None:
        self._cancel()
        self._job, self._repeats = asyncio.create_task(work), repeats

    async def _when_settled(self, seconds: float, act: Callable[[Look], bytes]) -> None:
        """Act on the first stable weight; after `seconds` on the newest one that is not."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            await asyncio.sleep(UPDATE)
            look = self.cell.look()
            if look.stable or look.range or asyncio.get_running_loop().time() >= deadline:
                await self.say(act(look))
                return

    def _wait(self, seconds: float, act: Callable[[Look], bytes]) -> bytes:
        """Act at once where it can be; else wait, and hear other commands meanwhile."""
        look = self.cell.look()
        if look.stable or look.range or seconds <= 0:
            return act(look)
        self._later(self._when_settled(seconds, act))
        return b""

    # Weights

    def _value(self, grams: float) -> str:
        scale, fewer, unit = {0: (1.0, 0, "g"), 1: (1e-3, -3, "kg"), 3: (1e3, 3, "mg")}[self._unit]
        decimals = max(self.cell.decimals - fewer, 0)
        return f"{grams * scale + 0.0:10.{decimals}f} {unit}"

    def _weight(self, reply_id: str, look: Look, grams: float) -> bytes:
        if self.broken:
            return f"S S {f'Error {self.broken}':>10}\r\n".encode()
        if look.range:
            return f"{reply_id} {'+' if look.range > 0 else '-'}\r\n".encode()
        return f"{reply_id} {'S' if look.stable else 'D'} {self._value(grams)}\r\n".encode()

    def _now(self, reply_id: str, argument: str) -> bytes:
        _nothing(argument)
        look = self.cell.look()
        return self._weight(reply_id, look, look.net)

    def _stable(self, reply_id: str, argument: str) -> bytes:
        _nothing(argument)

        def tell(look: Look) -> bytes:
            if not look.stable and not look.range:
                return f"{reply_id} I\r\n".encode()
            return self._weight(reply_id, look, look.net)

        return self._wait(self._patience, tell)

    def _stable_or_now(self, argument: str) -> bytes:
        seconds = _milliseconds(argument, least=0)
        return self._wait(seconds, lambda look: self._weight("S", look, look.net))

    def _repeat(self, argument: str, *, on_change: bool) -> bytes:
        if argument and not (on_change and re.fullmatch(rf"{NUMBER} m?g", argument)):
            raise ValueError
        self._later(self._stream(on_change), repeats=True)
        return b""

    async def _stream(self, on_change: bool) -> None:
        told: float | None = None
        while True:
            look = self.cell.look()
            changed = told is None or abs(look.net - told) > max(0.125 * abs(told), 30e-4)
            if not on_change or (changed and look.stable):
                told = look.net
                await self.say(self._weight("S", look, look.net))
            await asyncio.sleep(1 / self._update)

    # Zero and tare

    def _zero(self, name: str, argument: str, seconds: float) -> bytes:
        _nothing(argument)

        def act(look: Look) -> bytes:
            if name == "Z" and not look.stable and not look.range:
                return b"Z I\r\n"
            if look.range or not self.cell.take_zero(look):
                return f"{name} {'-' if look.gross < 0 else '+'}\r\n".encode()
            how = "A" if name == "Z" else "S" if look.stable else "D"
            return f"{name} {how}\r\n".encode()

        return self._wait(seconds, act)

    def _tare(self, name: str, argument: str, seconds: float) -> bytes:
        _nothing(argument)

        def act(look: Look) -> bytes:
            if name == "T" and not look.stable and not look.range:
                return b"T I\r\n"
            if look.range or look.gross < -10 * self.cell.digit:
                return f"{name} {'+' if look.range > 0 else '-'}\r\n".encode()
            self.cell.take_tare(look)
            return self._weight(name, look, self.cell.tare)

        return self._wait(seconds, act)

    def _tare_value(self, argument: str) -> bytes:
        if argument:
            match = re.fullmatch(rf"({NUMBER}) (k?g|mg)", argument)
            if match is None:
                raise ValueError
            grams = float(match[1]) * {"g": 1.0, "kg": 1e3, "mg": 1e-3}[match[2]]
            if not 0 <= grams <= self.cell.capacity:
                raise ValueError
            self.cell.tare = round(grams, self.cell.decimals)
        return f"TA A {self._value(self.cell.tare)}\r\n".encode()

    def _clear_tare(self, argument: str) -> bytes:
        _nothing(argument)
        self.cell.tare = 0.0
        return b"TAC A\r\n"

    # The rest

    def _text(self, name: str, argument: str, text: str) -> bytes:
        _nothing(argument)
        return f"{name} A {text}\r\n".encode("latin-1")

    def _list(self, argument: str) -> bytes:
        _nothing(argument)
        lines = [f'I0 B {level} "{name}"' for level, names in LEVELS.items() for name in names]
        lines[-1] = lines[-1].replace(" B ", " A ")
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _id(self, argument: str) -> bytes:
        if not argument:
            return f'I10 A "{self._identity}"\r\n'.encode("latin-1")
        self._identity = _quoted(argument)[:20]
        return b"I10 A\r\n"

    def _show(self, argument: str) -> bytes:
        self.display = _quoted(argument)
        return b"D A\r\n"

    def _show_weight(self, argument: str) -> bytes:
        _nothing(argument)
        self.display = ""
        return b"DW A\r\n"

    def _key_control(self, argument: str) -> bytes:
        if argument not in ("1", "2", "3", "4"):
            raise ValueError
        self._keys = int(argument)
        return b"K A\r\n"

    def _units(self, argument: str) -> bytes:
        if not argument:
            return f"M21 B 0 {self._unit}\r\nM21 B 1 0\r\nM21 A 2 0\r\n".encode()
        match = re.fullmatch(r"([012])(?: ([013]))?", argument)
        if match is None:
            raise ValueError
        if match[2] is None:
            return f"M21 A {match[1]} {self._unit if match[1] == '0' else 0}\r\n".encode()
        if match[1] == "0":
            self._unit = int(match[2])
        return b"M21 A\r\n"

    def _update_rate(self, argument: str) -> bytes:
        if not argument:
            return f"UPD A {self._update:.1f}\r\n".encode()
        if not re.fullmatch(r"\d{1,3}(?:\.\d{1,3})?", argument) or not 1 <= float(argument) <= 92:
            raise ValueError
        self._update = float(argument)
        return b"UPD A\r\n"

    def _power(self, argument: str) -> bytes:
        if argument not in ("0", "1"):
            raise ValueError
        was, self._standby = self._standby, argument == "0"
        greeting = self._text("I4", "", f'"{self._serial}"') if was and not self._standby else b""
        return b"PWR A\r\n" + greeting

    def _adjust(self, argument: str) -> bytes:
        _nothing(argument)
        self._later(self._calibrate())
        return b"C3 B\r\n"

    async def _calibrate(self) -> None:
        await asyncio.sleep(ADJUSTING)
        look = self.cell.look()
        if not look.stable or look.range or abs(look.gross) > 0.02 * self.cell.capacity:
            await self.say(b"C3 I\r\n")
            return
        self.adjustments += 1
        await self.say(b"C3 A\r\n")

    def _draft_shield(self, argument: str) -> bytes:
        if not argument:
            return f"WS A {self._doors}\r\n".encode()
        if argument not in DOORS:
            raise ValueError
        if argument == self._doors:
            return b"WS A\r\n"
        self._doors = "9"
        self._later(self._move_doors(argument))
        return b""

    async def _move_doors(self, position: str) -> None:
        await asyncio.sleep(DOOR_MOVES)
        self._doors = position
        await self.say(b"WS A\r\n")


def _nothing(argument: str) -> None:
    if argument:
        raise ValueError(argument)


def _milliseconds(argument: str, least: int = 1) -> float:
    """Return s."""
    if not re.fullmatch(r"[0-9]{1,5}", argument) or not least <= int(argument) <= 65535:
        raise ValueError(argument)
    return int(argument) / 1000


def _quoted(argument: str) -> str:
    """Return what stands between quotation marks; one within it has a backslash before it."""
    match = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', argument)
    if match is None:
        raise ValueError(argument)
    return re.sub(r"\\(.)", r"\1", match[1])
