"""A New Era NE-1000 that speaks its protocol byte for byte.

Written from the user manual, publication 1200-01 (firmware 3.9): p. 33 syntax, p. 34 safe mode and
alarms, p. 35 commands; plunger speeds from the specifications. Guesses: a busy pump ignores what
would change anything (`?IGN`); the keypad in local mode stops a pump, and then stays away.
"""

import asyncio
import math
import re
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.ne1000.link import Heard, Listener, packet
from sdl.simulators.ne1000.program import (
    PER_MINUTE,
    PHASES,
    Memory,
    Phase,
    PumpHead,
    PumpingProgram,
)
from sdl.simulators.simulated import Simulated

PER_UNIT = {"UL": 1e-3, "ML": 1.0}  # mL
MICRO_UP_TO = 14.0  # mm of diameter
DIRECTIONS = {"INF": True, "WDR": False}
ACTIONS = ("RUN", "STP", "PUR")  # what without an argument is no question
THINKING = (0.001, 0.004)  # s from a packet to its reply


class NotAccepted(Exception):  # noqa: N818 (it is the pump's answer, not an error of ours)
    """Carries the answer: ?, ?NA, ?OOR."""


class SimulatedNE1000(Simulated):
    """Serve it on a `Cable`. Power comes with `serve`, and with it the alarm A?R.

    Its faults: what it is told to change it ignores ("busy"), its plunger does not move and the
    motor stalls ("stuck"), somebody presses its stop key unless that is locked ("local mode"), the
    timer of its safe mode expires ("watchdog expiry"), and its power is lost for a moment.
    """

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "power cycle", "local mode", "watchdog expiry"}
    )

    def __init__(
        self,
        part: PumpHead,
        *,
        rng: np.random.Generator,
        address: int = 0,
        diameter: float = 26.59,
        firmware: str = "NE1000V3.923",
        mode: Literal["basic", "safe"] = "basic",
        watchdog: int = 0,
        reset_alarm: bool = True,
    ) -> None:
        """Describe a pump as it was left when its power was cut.

        :param diameter: mm.
        :param mode: "safe": it was left in safe mode, with `watchdog` s (0: 255 s).
        :param reset_alarm: whether power-up raises the alarm A?R, as the real one does.
        """
        super().__init__(rng=rng)
        self._part, self._address, self._firmware = part, address, firmware
        self._reset_alarm = reset_alarm
        unit = "UL" if diameter <= MICRO_UP_TO else "ML"
        self.memory = Memory(diameter, unit, (watchdog or 255) if mode == "safe" else 0)
        self._program = PumpingProgram(part, self.memory)
        self._listener = Listener()
        self._alarm: str | None = None
        self._unsent: list[bytes] = []
        self._selected = 1  # the phase that commands are about
        self._deadline = math.inf  # of the safe mode's timer
        self._news = asyncio.Event()
        part.watch(self._news.set)
        self._commands: dict[str, Callable[[str], str]] = {
            "DIA": self._dia,
            "RAT": self._rat,
            "VOL": self._vol,
            "DIR": self._dir,
            "RUN": self._run,
            "STP": self._stp,
            "PUR": self._pur,
            "DIS": self._dis,
            "CLD": self._cld,
            "PHN": self._phn,
            "FUN": self._fun,
            "SAF": self._saf,
            "VER": self._ver,
            "BUZ": lambda argument: self._switch("BUZ", argument),
            "LOC": lambda argument: self._switch("LOC", argument),
            "AL": lambda argument: self._switch("AL", argument),
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.power_cycle()
        elif fault == "stuck":
            self._part.blocked = True
        elif fault == "local mode":
            self._program.catch_up()
            if self._program.moving and self.memory.switches["LOC"] == "0":
                self.press_start_stop()
        elif fault == "watchdog expiry" and self.memory.timer:
            self._deadline = _now()
            self._news.set()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "stuck":
            self._part.blocked = False

    def power_cycle(self) -> None:
        """Cut the power for a moment; what the memory does not keep is gone."""
        self._power_up()
        self._news.set()

    def press_start_stop(self) -> None:
        """Press the key on the front: pause a pump that runs, start one that does not."""
        self._program.catch_up()
        if self._program.moving:
            self._program.stop()
        else:
            self._program.run()
        self._news.set()

    def _power_up(self) -> None:
        self._program.lose_power()
        self._listener.forget()
        self._listener.safe_only = self.memory.timer > 0
        self._alarm, self._selected, self._deadline = None, 1, math.inf
        if self._reset_alarm:
            self._raise("R")

    async def serve(self, line: Line) -> None:
        self._power_up()
        listening = asyncio.create_task(self._listen(line))
        listening.add_done_callback(lambda _: self._news.set())
        try:
            while not listening.done():
                await self._say(line)
                await self._wait(self._until_next())
                self._catch_up()
            listening.result()
        finally:
            listening.cancel()

    async def _listen(self, line: Line) -> None:
        while True:
            data = await line.read()
            self._catch_up()
            for heard in self._listener.hear(data, _now()):
                self._answer(heard)
            if self._unsent:  # most of what is heard on a shared line is for other pumps
                self._news.set()

    async def _wait(self, seconds: float | None) -> None:
        """Wait for news, at most so long."""
        loop = asyncio.get_running_loop()
        alarm = None if seconds is None else loop.call_later(seconds, self._news.set)
        try:
            await self._news.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._news.clear()

    async def _say(self, line: Line) -> None:
        while self._unsent:
            await asyncio.sleep(self.rng.uniform(*THINKING))
            await line.write(self._unsent.pop(0))

    def _until_next(self) -> float | None:
        """Return s until something happens of itself."""
        soonest = min(self._deadline - _now(), self._program.time_left)
        return None if math.isinf(soonest) else max(soonest, 0.0)

    def _catch_up(self) -> None:
        if _now() >= self._deadline:
            self._deadline = math.inf
            self._program.abort()
            self._raise("T")
        self._raise(self._program.catch_up())

    def _raise(self, alarm: str | None) -> None:
        if alarm is None:
            return
        self._alarm = alarm
        if self.memory.timer:  # told at once, but only a reply acknowledges it
            self._unsent.append(self._packet(f"A?{alarm}"))

    # Packets

    def _packet(self, data: str) -> bytes:
        return packet(f"{self._address:02d}{data}", safe=self.memory.timer > 0)

    def _answer(self, heard: Heard) -> None:
        if "*" in heard.text:
            self._burst(heard)
            return
        address, command = re.fullmatch(r"(\d{0,2})(.*)", heard.text).groups()  # type: ignore[union-attr]
        if int(address or 0) != self._address:
            return
        at = len(self._unsent)
        if heard.damaged:
            reply = self._packet(f"{self._program.prompt}?COM")
        elif self._alarm is not None:
            reply = self._packet(f"A?{self._alarm}")
            self._alarm = None
            self._wind_up()
        else:
            data = self._execute(command)
            reply = self._packet(self._program.prompt + data)  # in the mode that is now
            self._wind_up()
        self._unsent.insert(at, reply)

    def _wind_up(self) -> None:
        """Start the timer of the safe mode again."""
        self._deadline = _now() + self.memory.timer if self.memory.timer else math.inf

    def _burst(self, heard: Heard) -> None:
        """`<n>cmd*<n>cmd*`: all pumps of a network answer at once, so nobody can read it."""
        mine = re.findall(rf"(?<!\d)0?{self._address}([A-Z][^*]*)\*", heard.text)
        if heard.damaged or not mine or self._alarm is not None:
            return
        for command in mine:
            self._execute(command)
        self._unsent.append(self.rng.bytes(5))

    def _execute(self, command: str) -> str:
        if not command:
            return ""
        name = next((name for name in self._commands if command.startswith(name)), None)
        if name is None:
            return "?"
        argument = command.removeprefix(name)
        if "busy" in self.troubles and (argument or name in ACTIONS):
            return "?IGN"
        try:
            return self._commands[name](argument)
        except NotAccepted as answer:
            return str(answer)

    # Commands; without an argument they are questions

    @property
    def _phase(self) -> Phase:
        return self.memory.phases[self._selected]

    def _when_still(self) -> None:
        if self._program.moving:
            raise NotAccepted("?NA")

    def _dia(self, argument: str) -> str:
        if not argument:
            return _shown(self.memory.diameter)
        self._when_still()
        self.memory.diameter = _number(argument, 0.1, 50.0)
        self.memory.unit = "UL" if self.memory.diameter <= MICRO_UP_TO else "ML"
        self._program.counted = {"INF": 0.0, "WDR": 0.0}
        return ""

    def _rat(self, argument: str) -> str:
        phase, moving = self._phase, self._program.moving
        if not argument:
            rate = self._program.live_rate if moving else None
            return (rate or phase.rate) + phase.rate_unit
        match = re.fullmatch(r"([\d.]+)([UM][MH])?", argument)
        if match is None:
            raise NotAccepted("?")
        unit = match[2] or phase.rate_unit
        if moving and unit != phase.rate_unit:
            raise NotAccepted("?NA")
        size = PER_MINUTE[unit]
        value = _number(match[1], self.memory.slowest / size, self.memory.fastest / size)
        if moving:
            self._program.change_rate(_shown(value), value * size)
        else:
            phase.rate, phase.rate_unit = _shown(value), unit
        return ""

    def _vol(self, argument: str) -> str:
        size = PER_UNIT[self.memory.unit]
        if not argument:
            return _shown(self._phase.volume / size) + self.memory.unit
        self._when_still()
        if argument in PER_UNIT:
            self.memory.unit = argument
        else:
            self._phase.volume = _number(argument, 0.0, 9999.0) * size
        return ""

    def _dir(self, argument: str) -> str:
        if not argument:
            return "INF" if self._phase.infuse else "WDR"
        self._when_still()
        ways = {**DIRECTIONS, "REV": not self._phase.infuse, "STK": self._phase.infuse}
        if argument not in ways:
            raise NotAccepted("?")
        self._phase.infuse = ways[argument]
        return ""

    def _run(self, argument: str) -> str:
        self._when_still()
        number = _whole(argument, 1, PHASES) if argument else None
        first = self.memory.phases[number or 1]
        fits = self.memory.slowest * 0.999 <= first.flow <= self.memory.fastest * 1.001
        if first.function == "RAT" and not fits:
            raise NotAccepted("?OOR")
        self._raise(self._program.run(number))
        return ""

    def _stp(self, argument: str) -> str:
        if self._program.prompt == "S":
            raise NotAccepted("?NA")
        self._program.stop()
        return ""

    def _pur(self, argument: str) -> str:
        self._when_still()
        self._program.purge()
        return ""

    def _dis(self, argument: str) -> str:
        size = PER_UNIT[self.memory.unit]
        infused, withdrawn = (
            _shown(self._program.counter(which) / size % 10_000, cut=True) for which in DIRECTIONS
        )
        return f"I{infused}W{withdrawn}{self.memory.unit}"

    def _cld(self, argument: str) -> str:
        self._when_still()
        if argument not in DIRECTIONS:
            raise NotAccepted("?")
        self._program.counted[argument] = 0.0
        return ""

    def _phn(self, argument: str) -> str:
        if not argument:
            return f"{self._selected:02d}"
        self._when_still()
        self._selected = _whole(argument, 1, PHASES)
        return ""

    def _fun(self, argument: str) -> str:
        if not argument:
            return self._phase.function
        self._when_still()
        if argument not in ("RAT", "STP"):
            raise NotAccepted("?")
        self._phase.function = argument
        return ""

    def _saf(self, argument: str) -> str:
        if not argument:
            return str(self.memory.timer)
        self.memory.timer = _whole(argument, 0, 255)
        self._listener.safe_only = self.memory.timer > 0
        return ""

    def _ver(self, argument: str) -> str:
        return self._firmware

    def _switch(self, name: str, argument: str) -> str:
        if not argument:
            return self.memory.switches[name]
        if argument[0] not in "01":
            raise NotAccepted("?")
        self.memory.switches[name] = argument[0]
        return ""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _number(text: str, low: float, high: float) -> float:
    """At most 4 digits, 3 of them behind the point."""
    if re.fullmatch(r"\d+\.?\d*|\.\d+", text) is None:
        raise NotAccepted("?")
    decimals = len(text.partition(".")[2])
    if len(text.replace(".", "")) > 4 or decimals > 3:
        raise NotAccepted("?OOR")
    if not low * (1 - 1e-9) <= float(text) <= high * (1 + 1e-9):
        raise NotAccepted("?OOR")
    return float(text)


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdigit():
        raise NotAccepted("?")
    if not low <= int(text) <= high:
        raise NotAccepted("?OOR")
    return int(text)


def _shown(value: float, *, cut: bool = False) -> str:
    """Four digits and a point; a counter is cut, not rounded."""
    for decimals in (3, 2, 1):
        scale = 10**decimals
        digits = math.floor(value * scale + 1e-6) if cut else round(value * scale)
        if digits <= 9999:
            whole, part = divmod(digits, scale)
            return f"{whole}.{part:0{decimals}d}"
    return f"{math.floor(value + 1e-6) if cut else round(value)}."
