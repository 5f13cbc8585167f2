"""A PalmSens EmStat Pico or EmStat4 that runs MethodSCRIPT, byte for byte.

Sources: MethodSCRIPT manual v1.8; communication protocols of the EmStat Pico v1.6 and the EmStat4
v1.3 (both through drivers that cite them: PalmSens' MethodSCRIPT_Examples, labmcp-palmsens 0.1.3).
Guesses, since none says: the first point of a sweep is its begin; a frequency takes three periods
and 50 ms; `v` answers 01.08.00; registers answer 0; a measurement that is aborted ends its marker.
Left out: arrays, SD card, display, GPIO and I2C, multiplexer, imposed currents, fast techniques.
"""

import asyncio
import contextlib
from typing import ClassVar, Literal

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.emstat.cell import MODELS, Potentiostat
from sdl.simulators.emstat.running import Run
from sdl.simulators.emstat.script import Program, ScriptError, parse
from sdl.simulators.parts.electrochemical import ElectrochemicalCell
from sdl.simulators.simulated import LineSimulator

DEAF = 0.05  # s after an error, in which nothing is heard
MOST_SCRIPT = 20_000  # bytes
UNKNOWN, BUSY, NOTHING_LOADED, TOO_LARGE = 0x0003, 0x0006, 0x000C, 0x4005
NOISE = 1e-4  # of the range


class SimulatedEmStat(LineSimulator):
    """It hears lines: commands of one letter, and the lines of a script up to an empty one."""

    terminator: ClassVar[bytes] = b"\n"
    longest: ClassVar[int] = 4096
    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self,
        part: ElectrochemicalCell,
        *,
        rng: np.random.Generator,
        model: Literal["pico", "es4_lr", "es4_hr"] = "pico",
        noise: bool = True,
        serial: str = "ESP1A2B3C4D",
    ) -> None:
        """Power it up, with its cell off."""
        super().__init__(rng=rng)
        self._noise, self._serial = noise, serial
        self._stat = Potentiostat(part, MODELS[model], sense=self._sense, troubles=self.troubles)
        self._loading: list[str] | None = None
        self._loads_for = ""
        self._loaded: Program | None = None
        self._stored: Program | None = None
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._deaf_until = 0.0

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._loading, self._loaded = None, None
            if self._task is not None:
                self._task.cancel()
            self._run = None
            self._stat.reset()

    def _sense(self, true: float, end: float) -> float:
        if self._noise:
            true += NOISE * end * float(self.rng.standard_normal())
        if self.troubles.keys() & {"noise", "drift"}:
            return self.disturbed(true, low=-end, high=end)
        return true

    async def serve(self, line: Line) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await super().serve(line)
        finally:
            self._run = None

    async def respond(self, request: bytes) -> None:
        if asyncio.get_running_loop().time() < self._deaf_until:
            return
        text = request.decode("latin-1").rstrip("\r\n")
        if self._loading is not None:
            await self._load(text)
            return
        command = text.strip("\r\x11\x13 ")
        if not command:
            return
        await asyncio.sleep(float(self.rng.uniform(0.0005, 0.002)))
        if self._run is not None:
            await self._while_running(command, self._run)
        elif command == "t":
            await self._firmware()
        elif command == "i":
            await self._tell(f"i{self._serial}")
        elif command == "v":
            await self._tell("v01.08.00")
        elif command in ("e", "l"):
            if "busy" in self.troubles:
                await self._refuse(command, BUSY)
                return
            self._loading, self._loads_for = [], command
        else:
            await self._other(command)

    async def _other(self, command: str) -> None:
        if command == "r":
            if self._loaded is None:
                await self._refuse("r", NOTHING_LOADED)
            else:
                await self._start("r", self._loaded)
        elif command == "Fmscr":
            self._stored = self._loaded
            await self._tell("F")
        elif command == "Lmscr":
            self._loaded = self._stored
            await self._tell("L")
        elif len(command) == 3 and command[0] == "G" and command[1:].isdigit():
            await self._tell("G00000000")
        elif command in ("Z", "Y", "h", "H", "R"):
            await self._refuse(command, BUSY)
        else:
            await self._refuse(command[0], UNKNOWN)

    async def _while_running(self, command: str, run: Run) -> None:
        if command == "t":
            await self._firmware()
        elif command in ("Z", "Y", "h", "H"):
            await self._tell(command)
            if command == "Z":
                run.abort()
            elif command == "Y":
                run.end_loop()
            else:
                run.halt(command == "h")
        else:
            await self._refuse(command[0], BUSY)

    async def _load(self, text: str) -> None:
        """Take a line of a script; an empty one ends it."""
        assert self._loading is not None
        if text.strip():
            if sum(map(len, self._loading)) < MOST_SCRIPT:
                self._loading.append(text)
            return
        lines, self._loading = self._loading, None
        await asyncio.sleep(0.001 * len(lines))
        try:
            if sum(map(len, lines)) >= MOST_SCRIPT:
                raise ScriptError(TOO_LARGE, len(lines), 1)
            self._loaded = parse(lines)
        except ScriptError as error:
            self._loaded = None
            await self._tell(self._loads_for + error.reply)
            self._go_deaf()
            return
        if self._loads_for == "e":
            await self._start("e", self._loaded)
        else:
            await self._tell(self._loads_for)

    async def _start(self, command: str, program: Program) -> None:
        run = self._run = Run(program, self._stat, self._tell)
        await self._tell(command)
        self._task = self._tasks.create_task(self._finish(run))

    async def _finish(self, run: Run) -> None:
        try:
            await run.run()
        except ScriptError as error:
            await self._tell(error.reply)
            self._go_deaf()
        finally:
            if self._run is run:
                self._run = None
        await self._tell("")

    async def _firmware(self) -> None:
        model = self._stat.model
        await self._tell(f"t{model.code}{model.firmware}#Sep 30 2025 12:00:00")
        await self._tell("R*")

    async def _refuse(self, command: str, code: int) -> None:
        await self._tell(f"{command}!{code:04X}")
        self._go_deaf()

    def _go_deaf(self) -> None:
        self._deaf_until = asyncio.get_running_loop().time() + DEAF

    async def _tell(self, text: str) -> None:
        with contextlib.suppress(UnicodeEncodeError):
            await self.say(text.encode("latin-1") + b"\n")
