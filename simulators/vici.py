"""A VICI universal actuator (EUT/EUH/EUD) that speaks its protocol byte for byte.

Written from the EUT manual, pp. 14 to 19. Guesses, since it does not say: an unknown command is
answered with `= Bad command`, a wrong argument with nothing (matterlab-valves 1.2.1 sends one, and
goes on); an order while the rotor turns is ignored; the answers of `IFM1` (when they are through,
orders are repeated; HM, TO and LRN tell the position) are those that vicivalve 0.1.0 expects, and
`IFM2` is no different; the long answers of `LG1` are those that four drivers of others expect
(`Position is  = 4`, `NP = 10`); power that is lost on the way puts the rotor back to where it came
from. RS-485 puts `/` before the ID.
"""

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import LineSimulator

LETTERS = {1: "A", 2: "B"}
MOST_CYCLES = 65536
TWO_POSITIONS, MULTIPOSITION = (1, 2), 3
ENDS = {"1": b"\r", "2": b"\n", "3": b"\r\n"}
BAUDRATES = ("48", "96", "192", "384", "576", "1152")


class RotaryValve(Protocol):
    """The part of a world that is turned."""

    ports: int

    @property
    def port(self) -> int:
        """Where the rotor stands, or stood before it began to turn."""
        ...

    @property
    def moving(self) -> bool: ...

    @property
    def time_left(self) -> float:
        """Seconds until the turn has ended."""
        ...

    def turn(self, port: int, seconds: float) -> None: ...

    def place(self, port: int) -> None: ...


class Ignored(Exception):  # noqa: N818 (it is what the actuator does, not an error of ours)
    pass


class SimulatedVici(LineSimulator):
    """Two positions (A and B) on a part with two ports, multiposition on others."""

    faults: ClassVar[frozenset[str]] = frozenset({"stuck", "power cycle"})

    def __init__(
        self,
        part: RotaryValve,
        *,
        rng: np.random.Generator,
        ports: int | None = None,
        address: str | None = None,
        mode: int | None = None,
        step: float = 0.2,
        firmware: str = "EUTA-CE V1.06",
    ) -> None:
        """Power it up.

        :param ports: what it was told of the valve (`NP`); default: as many as there are.
        :param address: its ID, 0 to 9 or A to Z, with or without `/`; None: it was given none.
        :param mode: 1 two positions with stops, 2 without, 3 multiposition.
        :param step: s from one position to the next.
        """
        super().__init__(rng=rng)
        self._part, self._step, self._firmware = part, step, firmware
        self._ports = part.ports if ports is None else ports
        self._mode = mode or (1 if part.ports == 2 else MULTIPOSITION)
        self._id = address.lstrip("/") or None if address else None
        self._end, self._responses, self._long = b"\r", 0, 0
        self._cycles, self._delay, self._direction, self._baudrate = 0, 0, "A", "96"
        self._back: asyncio.TimerHandle | None = None  # of a timed toggle
        self._commands: dict[str, Callable[[str], str]] = {
            "AM": self._am,
            "CNT": self._cnt,
            "CP": lambda argument: self._none(argument) or self._position(),
            "DEL": self._del,
            "DT": self._dt,
            "ID": self._set_id,
            "IFM": self._ifm,
            "LG": self._lg,
            "NP": self._np,
            "SB": self._sb,
            "SM": self._sm,
            "VR": lambda argument: self._firmware,
            "GO": self._go,
            "CW": self._cw,
            "CC": self._cc,
        }
        self._slow = {"HM": self._hm, "TO": self._to, "TT": self._tt, "LRN": self._lrn}

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._cancel_toggle()
            if self._part.moving:
                self._part.place(self._part.port)

    def whole(self, heard: bytes) -> int | None:
        at = heard.find(self._end)
        return None if at < 0 else at + len(self._end)

    async def respond(self, request: bytes) -> None:
        text = request.decode("latin-1").strip().upper()
        command = self._mine(text)
        if command is None or not command:
            return
        await asyncio.sleep(self.rng.uniform(0.001, 0.005))
        try:
            await self._tell(await self._executed(command))
        except Ignored:
            return

    async def _executed(self, command: str) -> str:
        """Act; return what there is to say, when it is through."""
        if command == "/?":
            return " ".join(self._commands)
        if command in self._slow:
            self._slow[command]()
            if not self._responses:
                return ""
            await asyncio.sleep(self._part.time_left)
            return self._position()
        for name, act in self._commands.items():
            if command.startswith(name):
                said = act(command.removeprefix(name))
                if said and name in ("GO", "CW", "CC"):
                    await asyncio.sleep(self._part.time_left)
                return said
        return "= Bad command"

    async def _tell(self, text: str) -> None:
        if text:
            await self.say(text.encode("latin-1", "replace") + self._end)

    def _mine(self, text: str) -> str | None:
        """Return the command without its ID; None if it is for another actuator."""
        if re.fullmatch(r"\*(ID)?\*", text):
            return "ID*"
        if text.startswith("*"):
            return text[1:]
        if self._id is None:
            return text
        for prefix in (f"/{self._id}", self._id):
            if text.startswith(prefix):
                return text.removeprefix(prefix)
        return None

    # Settings; without an argument they are questions

    def _none(self, argument: str) -> str:
        if argument:
            raise Ignored
        return ""

    def _am(self, argument: str) -> str:
        if argument:
            self._mode = _whole(argument, 1, 3)
        return "" if argument else self._said("AM", str(self._mode))

    def _cnt(self, argument: str) -> str:
        if argument:
            self._cycles = _whole(argument, 0, MOST_CYCLES - 1)
        return "" if argument else self._said("CNT", f"{self._cycles:05d}")

    def _del(self, argument: str) -> str:
        if argument not in ENDS:
            raise Ignored
        self._end = ENDS[argument]
        return ""

    def _dt(self, argument: str) -> str:
        self._only(*TWO_POSITIONS)
        if argument:
            self._delay = _whole(argument, 0, 65535)
        return "" if argument else self._said("DT", f"{self._delay:04d}")

    def _set_id(self, argument: str) -> str:
        if not argument:
            return self._said("ID", self._id or "")
        if not re.fullmatch(r"[0-9A-Z*]", argument):
            raise Ignored
        self._id = None if argument == "*" else argument
        return ""

    def _ifm(self, argument: str) -> str:
        if argument:
            self._responses = _whole(argument, 0, 2)
        return "" if argument else self._said("IFM", str(self._responses))

    def _lg(self, argument: str) -> str:
        if argument:
            self._long = _whole(argument, 0, 1)
        return "" if argument else self._said("LG", str(self._long))

    def _np(self, argument: str) -> str:
        self._only(2, MULTIPOSITION)
        if argument:
            self._ports = _whole(argument, 2, 40)
        return "" if argument else self._said("NP", self._number(self._ports))

    def _sb(self, argument: str) -> str:
        if argument and argument not in BAUDRATES:
            raise Ignored
        self._baudrate = argument or self._baudrate
        return "" if argument else self._said("SB", self._baudrate)

    def _sm(self, argument: str) -> str:
        if argument and argument not in ("F", "R", "A"):
            raise Ignored
        self._direction = argument or self._direction
        return "" if argument else self._said("SM", self._direction)

    def _said(self, name: str, value: str) -> str:
        return f"{name} = {value}" if self._long else f"{name}{value}"

    def _number(self, value: int) -> str:
        return str(value) if self._long else f"{value:02d}"

    def _position(self) -> str:
        port = self._part.port
        value = self._number(port) if self._mode == MULTIPOSITION else LETTERS.get(port, "?")
        return f"Position is  = {value}" if self._long else f"CP{value}"

    # Orders

    def _only(self, *modes: int) -> None:
        if self._mode not in modes:
            raise Ignored

    def _repeated(self, order: str) -> str:
        return order if self._responses else ""

    def _go(self, argument: str) -> str:
        if self._mode != MULTIPOSITION:
            to = {"": 3 - self._part.port, "A": 1, "B": 2}.get(argument)
            if to is None:
                raise Ignored
            self._turn(to, 1)
        else:
            to = self._named(argument) if argument else self._part.port % self._ports + 1
            ahead = (to - self._part.port) % self._ports
            behind = (self._part.port - to) % self._ports
            self._turn(to, {"F": ahead, "R": behind}.get(self._direction, min(ahead, behind)))
        return self._repeated(f"GO{argument}")

    def _cw(self, argument: str) -> str:
        if self._mode != MULTIPOSITION:
            self._none(argument)
            self._turn(1, 1)
        else:
            to = self._named(argument) if argument else self._part.port % self._ports + 1
            self._turn(to, (to - self._part.port) % self._ports)
        return self._repeated(f"CW{argument}")

    def _cc(self, argument: str) -> str:
        if self._mode != MULTIPOSITION:
            self._none(argument)
            self._turn(2, 1)
        else:
            to = self._named(argument) if argument else (self._part.port - 2) % self._ports + 1
            self._turn(to, (self._part.port - to) % self._ports)
        return self._repeated(f"CC{argument}")

    def _hm(self) -> None:
        if self._mode == MULTIPOSITION:
            self._turn(1, min(self._part.port - 1, self._ports - self._part.port + 1))
        else:
            self._turn(1, 1)

    def _to(self) -> None:
        self._only(*TWO_POSITIONS)
        self._turn(3 - self._part.port, 1)

    def _tt(self) -> None:
        self._only(*TWO_POSITIONS)
        if self._delay:
            self._to()
            self._cancel_toggle()
            seconds = self._part.time_left + self._delay / 1000
            self._back = asyncio.get_running_loop().call_later(seconds, self._to)

    def _lrn(self) -> None:
        self._only(1)
        self._turn(1, 4)

    def _cancel_toggle(self) -> None:
        if self._back is not None:
            self._back.cancel()

    def _named(self, argument: str) -> int:
        return _whole(argument, 1, self._ports)

    def _turn(self, to: int, steps: int) -> None:
        if self._part.moving or "stuck" in self.troubles or to == self._part.port:
            return
        self._cycles = (self._cycles + steps) % MOST_CYCLES
        self._part.turn(to, steps * self._step)


def _whole(text: str, low: int, high: int) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) is None or not low <= int(text) <= high:
        raise Ignored
    return int(text)
