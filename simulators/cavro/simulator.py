"""Tecan Cavro XLP 6000, XMP 6000 and XCalibur syringe pumps, and the clone Runze SY-01B, simulated.

Source: "Cavro XLP 6000 Modular Syringe Pump Operating Manual", 734237-C, chapter 3, and the command
tables of the XP 3000 manual (725730C, appendix G). The pump takes OEM or DT, whichever it hears
first.

Guesses, where the manual is silent or can be read in two ways: `Q` says error 7 until the pump is
initialized, and then the plunger is reported at 0; counters of initializations and moves outlive
the power; the plunger is initialized with 500 pulses/s, a valve turns in 0.25 s; after `Z` with
ports the valve stands at the first (input) one; a plunger that cannot move is an overload after 0.2
s; ramps (`v`, `c`, `L`), backlash and dead volume take no time and no steps;
`U`, `u` and `!` are taken and do nothing.
"""

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.cavro import link
from sdl.simulators.cavro.drive import PLACES, Drive, Failed, SyringeWithValve, Volatile
from sdl.simulators.cavro.program import LONGEST, loops, parse
from sdl.simulators.simulated import LineSimulator

MODELS = {  # steps and pulses of a stroke, what it calls itself, what it says first
    "xlp6000": (6000, 6000, "XLP6000 30024500 Rev-B", b""),
    "xmp6000": (6000, 6000, "XMP6000 30025500 Rev-A", b""),
    "xcalibur": (3000, 6000, "XCalibur 733136 Rev-F", b""),
    "sy01b": (12000, 12000, "SY-01B V4.21", link.LINE_SYNC),
}
REPORTS = ("?", "Q", "F", "&", "#", "*", "<")
THINKING = (0.001, 0.004)  # s from a block to its answer


class SimulatedCavro(LineSimulator):
    """Moves a syringe and its valve. Several on one cable are several on one line."""

    faults: ClassVar[frozenset[str]] = frozenset({"busy", "stuck", "power cycle"})
    longest: ClassVar[int] = 2 * link.LONGEST_BLOCK

    def __init__(
        self,
        part: SyringeWithValve,
        *,
        rng: np.random.Generator,
        address: int = 0,
        model: Literal["xlp6000", "xmp6000", "xcalibur", "sy01b"] = "xlp6000",
        ports: int | None = None,
        initialized: bool = False,
    ) -> None:
        """Describe a pump.

        :param address: 0 to 14, of its switch.
        :param ports: of a distribution valve; None: a valve with input, output, bypass and extra.
        :param initialized: whether it has been initialized since it got power.
        """
        super().__init__(rng=rng)
        self._part, self._ports = part, ports
        steps, pulses, self._firmware, self._prefix = MODELS[model]
        self.drive = Drive(
            part,
            steps=steps,
            pulses=pulses,
            ports=ports,
            initialized=initialized,
            is_stuck=lambda: "stuck" in self.troubles,
        )
        self._mine, self._groups = 0x31 + address, link.groups_of(address)
        self.user = [0] * 16
        self._protocol: str | None = None
        self._last_number = 0

    @property
    def state(self) -> Volatile:
        """What a loss of power takes."""
        return self.drive.state

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.end(fault)
            self.power_cycle()
        self.drive.look_again()

    def end(self, fault: str) -> None:
        super().end(fault)
        self.drive.look_again()

    def power_cycle(self) -> None:
        """Cut the power for a moment."""
        self.drive.lose_power()
        self._protocol, self._last_number = None, 0
        self.forget()

    async def serve(self, line: Line) -> None:
        try:
            await super().serve(line)
        finally:
            self.drive.switch_off()

    def whole(self, heard: bytes) -> int | None:
        return link.length_of_first(heard)

    async def respond(self, request: bytes) -> None:
        block = link.read(request)
        if block is None or block.protocol != (self._protocol or block.protocol):
            return
        if block.address in self._groups:
            self._protocol = block.protocol
            self._hear(block)
        elif block.address == self._mine:
            self._protocol = block.protocol
            status, data = self._hear(block)
            await asyncio.sleep(float(self.rng.uniform(*THINKING)))
            await self.say(link.answer(block.protocol, status, data, prefix=self._prefix))

    def _hear(self, block: link.Block) -> tuple[int, str]:
        """Act on a block; return status and data."""
        again = block.repeated and block.number == self._last_number
        self._last_number = block.number
        error = self.state.error  # what goes wrong later is told later
        try:
            if block.text in ("Q", "?29"):
                return self._query(), ""
            done = again and not block.text.startswith(REPORTS)
            data = "" if done else self._obey(block.text)
        except Failed as failure:
            return self._status(failure.error), ""
        return self._status(error), data

    def _obey(self, text: str) -> str:
        if text in ("T", "TR"):
            self.drive.terminate()
            return ""
        if text.startswith(REPORTS):
            return self._report(text)
        return self._take(text)

    # Status

    @property
    def _busy(self) -> bool:
        return "busy" in self.troubles or (self.drive.runs and self.drive.shows_busy)

    def _status(self, error: int) -> int:
        return 0x40 | (0 if self._busy else 0x20) | error

    def _query(self) -> int:
        """Tell the error that was there; it is over then, but not what it came from."""
        error, self.state.error = self.state.error, 0
        return self._status(error or (0 if self.state.initialized or self.drive.runs else 7))

    def _report(self, question: str) -> str:
        state = self.state
        if question[:1] == "<":
            if not re.fullmatch("<([0-9]|1[0-5])?", question):
                raise Failed(3)
            return str(self.user[int(question[1:] or 0)])
        answers: dict[str, Callable[[], str]] = {
            "?": lambda: str(self.drive.position),
            "?1": lambda: str(state.v),
            "?2": lambda: str(state.V),
            "?3": lambda: str(state.c),
            "?4": lambda: str(self.drive.position),
            "?6": self._stands,
            "?10": lambda: str(int(bool(state.buffer))),
            "F": lambda: str(int(bool(state.buffer))),
            "?12": lambda: str(state.K),
            "?13": lambda: "1",
            "?14": lambda: "1",
            **{name: lambda name=name: str(self.drive.counts[name]) for name in self.drive.counts},
            "?20": lambda: "A5C3",
            "#": lambda: "A5C3",
            "?23": lambda: self._firmware,
            "&": lambda: self._firmware,
            "?24": lambda: str(state.k),
            "?25": lambda: str(state.L),
            "?28": lambda: str(state.N),
            "?76": lambda: f"{self._firmware} {self._ports or 3}-port",
            "*": lambda: "240",
        }
        if question not in answers:
            raise Failed(2)
        return answers[question]()

    def _stands(self) -> str:
        port = self._part.port
        if isinstance(port, int):
            return str(port)
        return next((letter.lower() for letter, place in PLACES.items() if place == port), "i")

    # Strings of commands

    def _take(self, text: str) -> str:
        run = text.endswith("R")
        body = text[:-1] if run else text
        steps = parse(body)
        if steps is None or loops(steps) is None:
            raise Failed(2)
        speeds = bool(steps) and all(step.letter == "V" for step in steps)
        if self.drive.runs or "busy" in self.troubles:
            if run and not body and self.drive.runs:
                self.drive.go_on()  # after H
            elif speeds:
                self.drive.change_speed(steps)
            else:
                raise Failed(15)
            return ""
        if len(self.state.buffer) + len(body) > LONGEST:
            raise Failed(15)
        if not run:
            self.state.buffer += body
            return ""
        self.drive.run(self.state.buffer + body)
        return ""
