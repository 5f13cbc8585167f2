"""Knauer Azura Compact pump (P 2.1S, P 4.1S), simulated as it speaks on TCP port 10001.

Source: no manual was read. Commands, ranges and replies are those that flowchem 1.1.6 uses against
real pumps (its `azura_compact.py`, BSD); requests end with LF CR, replies `NAME:value`, `NAME:OK`,
`ERROR:1` (no such message) or `ERROR:2` (value refused).

Guesses: a reply ends with LF CR as well; a request may end with either alone; a flow beyond a new
head's range becomes its highest; `ON` and `OFF` are answered `ON:OK` and `OFF:OK`; settings
outlive a loss of power, the flow does only with `STARTMODE:1`; a command that is not allowed at the
moment (control at the front panel, START IN open) is answered `ERROR:2`; the codes in `ERRORS?`;
motor current 15 % without, and 60 % at the highest pressure.
"""

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.simulated import LineSimulator

END = b"\n\r"
THINKING = (0.002, 0.008)  # s from a request to its reply
SUPERVISION = 0.2  # s between two looks at the pressure
NO_MESSAGE, REFUSED = "ERROR:1", "ERROR:2"
BLOCKED, TOO_HIGH, TOO_LOW, POWER = 1, 4, 5, 9  # codes in ERRORS; no source tells them
START_UP = 10.0  # s in which the least pressure need not be there yet
HIGHEST = {10: 400, 50: 150}  # bar of each head
RANGES: dict[str, tuple[int, int]] = {
    **{"IMIN10": (0, 100), "IMIN50": (0, 100), "ADJ10": (100, 2000), "ADJ50": (100, 2000)},
    **{"CORR10": (0, 300), "CORR50": (0, 300), "STARTLEVEL": (0, 1), "STARTMODE": (0, 1)},
    **{"ERRIO": (0, 1), "EXTCONTR": (0, 1)},
    **{f"{name}{head}": (0, HIGHEST[head]) for name in ("PMIN", "PMAX") for head in HIGHEST},
}
ACTIONS = ("ON", "OFF", "REMOTE", "LOCAL")


class Pump(Protocol):
    """The part of a world that flows."""

    @property
    def rate(self) -> float: ...
    @property
    def pressure(self) -> float: ...
    def start(self, rate: float) -> None: ...
    def stop(self) -> None: ...


class SimulatedKnauer(LineSimulator):
    """One pump behind a socket; it supervises its pressure as long as it flows."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "drift", "noise", "saturation", "power cycle", "local mode"}
    )

    def __init__(
        self,
        part: Pump,
        *,
        rng: np.random.Generator,
        head: Literal[10, 50] = 10,
        flow: float = 0.0,
        start_in: bool = True,
        noise: bool = True,
    ) -> None:
        """Describe a pump that has power, and does not flow.

        :param head: mL/min of its pump head.
        :param flow: mL/min that it was set to last.
        :param start_in: whether the contact START IN is closed.
        :param noise: of the pressure, 0.2 bar (one sigma).
        """
        super().__init__(rng=rng)
        self._part, self._start_in = part, start_in
        self._noise = 0.2 if noise else 0.0
        self.head, self.flow, self.running, self.remote = (
            int(head),
            round(1000 * flow),
            False,
            False,
        )
        self.errors = [0, 0, 0, 0, 0]
        self.settings = {name: low for name, (low, _) in RANGES.items()}
        self.settings |= {f"PMAX{head}": most for head, most in HIGHEST.items()}
        self.settings |= {"ADJ10": 1000, "ADJ50": 1000, "STARTLEVEL": 1}
        self._flowing_since = 0.0
        self._questions: dict[str, Callable[[], str]] = {
            "HEADTYPE": lambda: str(self.head),
            "FLOW": lambda: str(self.flow),
            "PRESSURE": lambda: str(round(self._pressure())),
            "IMOTOR": lambda: str(self._motor()),
            "EXTFLOW": lambda: "0",
            "ERRORS": lambda: ",".join(map(str, self.errors)),
            **{name: lambda name=name: str(self.settings[name]) for name in RANGES},
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.end(fault)
            self.power_cycle()
        self._flow()

    def end(self, fault: str) -> None:
        super().end(fault)
        self._flow()

    def power_cycle(self) -> None:
        """Cut the power for a moment."""
        self.forget()
        self.running, self.remote = self.settings["STARTMODE"] == 1, False
        self._report(POWER)
        self._flow()

    async def serve(self, line: Line) -> None:
        watching = asyncio.get_running_loop().create_task(self._supervise())
        try:
            await super().serve(line)
        finally:
            watching.cancel()

    def whole(self, heard: bytes) -> int | None:
        return next((at + 1 for at, byte in enumerate(heard) if byte in END), None)

    async def respond(self, request: bytes) -> None:
        text = request.decode("latin-1").strip("\r\n")
        if not text:
            return
        reply = self._reply(text)
        await asyncio.sleep(float(self.rng.uniform(*THINKING)))
        await self.say(reply.encode("latin-1") + END)

    def _reply(self, text: str) -> str:
        match = re.fullmatch(r"([A-Z]+\d{0,2})(\?|:(\d{1,6}))?", text)
        if match is None:
            return NO_MESSAGE
        name, kind, value = match.groups()
        if kind == "?":
            return f"{name}:{self._questions[name]()}" if name in self._questions else NO_MESSAGE
        if name in ACTIONS and value in (None, "1"):
            return self._act(name)
        if value is None or not (name in RANGES or name in ("FLOW", "HEADTYPE")):
            return NO_MESSAGE
        return self._set(name, int(value))

    def _act(self, name: str) -> str:
        if "local mode" in self.troubles and name != "OFF":
            return REFUSED
        if name == "ON" and not (self._start_in or self.settings["STARTLEVEL"]):
            return REFUSED
        if name in ("REMOTE", "LOCAL"):
            self.remote = name == "REMOTE"
        else:
            self.running = name == "ON"
            self._flow()
        return f"{name}:OK"

    def _set(self, name: str, value: int) -> str:
        if "local mode" in self.troubles:
            return REFUSED
        if name == "HEADTYPE":
            if value not in HIGHEST or self.running:
                return REFUSED
            self.head, self.flow = value, min(self.flow, 1000 * value)
        elif name == "FLOW":
            if value > 1000 * self.head:
                return REFUSED
            self.flow = value
            self._flow()
        else:
            low, high = RANGES[name]
            if not low <= value <= high:
                return REFUSED
            self.settings[name] = value
        return f"{name}:OK"

    # What it does

    def _flow(self) -> None:
        """Have the pistons do what is wanted now."""
        flowing = self.running and "stuck" not in self.troubles
        if flowing and not self._part.rate:
            self._flowing_since = self._now()
        self._part.start(self.flow / 1000 if flowing else 0.0)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(SUPERVISION)
            if not self.running or not self.flow:
                continue
            pressure = self._pressure()
            if "stuck" in self.troubles:
                self._trip(BLOCKED)
            elif pressure > self.settings[f"PMAX{self.head}"]:
                self._trip(TOO_HIGH)
            elif (
                pressure < self.settings[f"PMIN{self.head}"]
                and self._now() - self._flowing_since > START_UP
            ):
                self._trip(TOO_LOW)

    def _trip(self, code: int) -> None:
        self.running = False
        self._report(code)
        self._flow()

    def _report(self, code: int) -> None:
        self.errors = [code, *self.errors[:-1]]

    def _pressure(self) -> float:
        """Bar, as the sensor has it."""
        true = self._part.pressure + self._noise * float(self.rng.standard_normal())
        return self.disturbed(true, low=0.0, high=float(HIGHEST[self.head]))

    def _motor(self) -> int:
        if not self._part.rate:
            return 0
        load = min(self._part.pressure / HIGHEST[self.head], 1.0)
        return round(15 + 45 * load)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
