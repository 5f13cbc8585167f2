"""A motion controller with Grbl 1.1h, on a gantry.

Source: Grbl 1.1 documentation (interface.md: messages, errors, alarms, status reports; commands.md:
`$` and real-time commands; settings in interface.md), Grbl 1.1h ran for shared facts 2.17. What it
does as Grbl does: real-time bytes act at once, wherever they stand; 128 bytes of receive buffer;
15 planned blocks; no report while homing, and none after a limit alarm until a reset; lines wait
while it holds; a reset keeps the position unless it was moving.

Simplified: each block ends at rest (no look-ahead across corners); a feed override acts on blocks
that begin later; no arcs, no probing, no parking.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

import numpy as np

from sdl.endpoints.line import Line
from sdl.simulators.grbl import settings as numbers
from sdl.simulators.grbl.gcode import (
    MM_PER_INCH,
    ORIGIN,
    GcodeError,
    Move,
    Parser,
    Point,
    Program,
    Stored,
    less,
)
from sdl.simulators.grbl.motion import (
    BLOCKS,
    FEED,
    MOVING,
    RAPID,
    SPINDLE,
    Carriage,
    Motion,
    Planned,
)
from sdl.simulators.grbl.settings import Settings
from sdl.simulators.simulated import LineSimulator

RX_BUFFER, LONGEST_LINE = 128, 80
THINK = 0.005  # s until a report or an answer leaves
WCO_EVERY, OVERRIDES_EVERY = (10, 30), (10, 20)  # reports: at rest, moving
HELP = "[HLP:$$ $# $G $I $N $x=val $Nx=line $J=line $SLP $C $X $H ~ ! ? ctrl-x]\r\n"
UNLOCK = "[MSG:'$H'|'$X' to unlock]\r\n"
STEPS = {1: 10, 2: -10, 3: 1, 4: -1}  # % of a feed or spindle override


class SimulatedGrbl(LineSimulator):
    """One controller; `settings` are those of its EEPROM that differ from what it is made with."""

    faults: ClassVar[frozenset[str]] = frozenset({"local mode", "power cycle"})

    def __init__(
        self,
        part: Carriage,
        *,
        rng: np.random.Generator,
        settings: Mapping[int, float] | None = None,
        version: str = "1.1h.20190830",
        position: Point = ORIGIN,
    ) -> None:
        """Power up.

        :param settings: by number, as `{22: 0}` for one without homing.
        :param position: what it takes the carriage's place for, mm.
        """
        super().__init__(rng=rng)
        self._part, self._version = part, version
        self.settings, self._stored = Settings(settings or {}), Stored()
        self._parser = Parser(self._stored)
        self._info, self._startup = "", ["", ""]
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self.news = asyncio.Event()
        """Set when something has changed that a line may wait for."""
        self._tasks: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup | None = None
        self.door = False
        self._motion = Motion(part, self.settings, self, position)
        self._forget(position)

    # What others may do to it

    @property
    def position(self) -> Point:
        """Where it believes the carriage to be, mm of the machine."""
        return self._motion.position

    @property
    def state(self) -> str:
        """As a report calls it, without a number behind it."""
        return self._motion.state

    @property
    def spindle(self) -> float:
        """rpm, 0 when it is off."""
        if self._parser.modes["spindle"] == "M5":
            return 0.0
        least, most = self.settings[numbers.LEAST_SPEED], self.settings[numbers.MOST_SPEED]
        wanted = self._parser.speed * self._motion.overrides[SPINDLE] / 100
        return min(max(wanted, least), most) if wanted else 0.0

    @property
    def coolant(self) -> bool:
        """Whether M8 (or M7) is on."""
        return bool(self._parser.coolant)

    def at(self, position: Point) -> None:
        """Believe the carriage to be there, and be ready: homed, and gone there."""
        self._motion.count, self._motion.state = position, "Idle"

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.power_cycle()
        elif fault == "local mode":  # somebody opens the door to reach in
            self.door = True
            self._motion.open_door()

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "local mode":  # closes it, and presses the button to go on
            self.door = False
            if self._group is not None:
                self._motion.resume(self.door)

    def power_cycle(self) -> None:
        """Cut the power for a moment: the position is lost, the EEPROM is kept."""
        self._drop_tasks()
        self._part.halt()
        self._forget(ORIGIN)
        self._motion.state = "Alarm" if self.settings[numbers.HOMING] else "Idle"
        self._boot()

    def _forget(self, position: Point) -> None:
        self._motion.forget(position)
        self._parser.reset()
        self._buffer, self._partial, self._skipping = bytearray(), bytearray(), ""
        self._wco_in, self._overrides_in = 0, 0
        self._owes_report = False

    # Its life on the line

    async def serve(self, line: Line) -> None:
        """Live on the line until cancelled."""
        self._line = line
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._speak())
                self._boot()
                while True:
                    for byte in await line.read():
                        self._hear(byte)
        finally:
            self._group = None
            self._tasks.clear()

    async def _speak(self) -> None:
        while True:
            said = await self._outbox.get()
            await asyncio.sleep(THINK)
            await self._line.write(said.encode("latin-1"))

    def tell(self, text: str) -> None:
        self._outbox.put_nowait(text)

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        assert self._group is not None  # it has power
        task = self._group.create_task(work())
        self._tasks.append(task)
        task.add_done_callback(self._is_through)
        return task

    def _is_through(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self._tasks.remove(task)

    def _drop_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self._tasks.clear()

    def _boot(self, before: str = "") -> None:
        """Say hello, and begin to hear lines."""
        if self._group is None:
            return
        said = f"{before}\r\nGrbl {self._version[:4]} ['$' for help]\r\n"
        if self._motion.state == "Alarm":
            said += UNLOCK
        self.tell(said)
        self.start(self._obey)
        if self.door:
            self._motion.open_door()

    def _reset(self) -> None:
        """Soft reset (ctrl-x): at once, and without the position if it moves."""
        moving = self._motion.state in MOVING or self._motion.holding == "slowing"
        self._drop_tasks()
        stopped = self.position
        self._part.halt()
        alarm = "ALARM:6\r\n" if self._motion.state == "Home" else "ALARM:3\r\n" if moving else ""
        locked = moving or self._motion.state in ("Alarm", "Sleep")
        self._forget(stopped)
        self._motion.state = "Alarm" if locked else "Idle"
        self._boot(alarm)

    # Real-time bytes

    def _hear(self, byte: int) -> None:
        if byte == 0x18:
            self._reset()
        elif self._motion.locked:
            return
        elif byte == ord("?"):
            self._owes_report = self._motion.state == "Home"
            if not self._owes_report:
                self.tell(self._report())
        elif byte == ord("!"):
            self._motion.hold()
        elif byte == ord("~"):
            self._motion.resume(self.door)
        elif byte == 0x84:
            self._motion.open_door()
        elif byte == 0x85:
            if self._motion.state == "Jog":
                self._motion.hold()
        elif 0x90 <= byte <= 0x9D:
            self._override(byte)
        elif byte < 0x80 and len(self._buffer) < RX_BUFFER - 1:  # what does not fit is lost
            self._buffer.append(byte)
            self.news.set()

    def _override(self, byte: int) -> None:
        if byte in (0x95, 0x96, 0x97):
            self._motion.overrides[RAPID] = {0x95: 100, 0x96: 50, 0x97: 25}[byte]
        elif byte != 0x98:
            which, step = (FEED, byte - 0x90) if byte < 0x95 else (SPINDLE, byte - 0x99)
            wanted = 100 if step == 0 else self._motion.overrides[which] + STEPS[step]
            self._motion.overrides[which] = min(max(wanted, 10), 200)
        self._overrides_in = 0

    # Lines

    async def _obey(self) -> None:
        """Take one line after the other; those behind a hold wait."""
        while True:
            line = await self._next_line()
            await self._until(lambda: not self._motion.holding and self._motion.state != "Sleep")
            self.tell(await self._answer(line))

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready() or self._motion.locked:
            self.news.clear()
            await self.news.wait()

    async def _next_line(self) -> str | None:
        """Return a line without blanks and comments, in upper case; None if it was too long."""
        while True:
            await self._until(lambda: bool(self._buffer))
            byte = self._buffer.pop(0)
            if byte in b"\r\n":
                line, overflow = self._partial.decode("ascii").upper(), self._skipping == "overflow"
                self._partial, self._skipping = bytearray(), ""
                return None if overflow else line
            if self._skipping:
                if byte == ord(")") and self._skipping == "(":
                    self._skipping = ""
            elif byte in b"(;":
                self._skipping = chr(byte)
            elif byte > ord(" ") and byte != ord("/"):
                if len(self._partial) >= LONGEST_LINE - 1:
                    self._skipping = "overflow"
                else:
                    self._partial.append(byte)

    async def _answer(self, line: str | None) -> str:
        if line is None:
            return "error:11\r\n"
        try:
            if not line:
                return "ok\r\n"
            if line.startswith("$"):
                return await self._command(line[1:])
            if self._motion.state in ("Alarm", "Jog"):
                raise GcodeError(9)
            return await self._gcode(line)
        except GcodeError as error:
            return f"error:{error.code}\r\n"

    async def _gcode(self, line: str) -> str:
        await self._until(lambda: len(self._motion.blocks) < BLOCKS)
        eeprom_or_spindle = re.search(r"G(10|28\.1|30\.1|4)(?!\d)|M\d|G92", line)
        if eeprom_or_spindle:
            await self._until(lambda: not self._motion.blocks)
        said = ""
        for action in self._parser.execute(line, self._motion.end_of_plan):
            if isinstance(action, Program):
                said += self._program(action.code)
            elif self._motion.state != "Check":
                if isinstance(action, Move) and self._motion.is_out(action.target):
                    self._motion.settle()
                    self._motion.alarm(2)
                    await self._until(lambda: False)
                self._motion.plan(Planned(action))
        if re.search(r"G4(?!\d)", line):
            await self._until(lambda: not self._motion.blocks)
        return f"{said}ok\r\n"

    def _program(self, code: str) -> str:
        if code in ("M2", "M30"):
            return "[MSG:Pgm End]\r\n"
        if self._motion.state == "Idle":
            self._motion.state, self._motion.holding = "Hold", "complete"
        return ""

    async def _command(self, command: str) -> str:
        """Answer a `$` command, given without its `$`."""
        if command == "":
            return f"{HELP}ok\r\n"
        if command == "G":
            return f"[GC:{self._parser.shown}]\r\nok\r\n"
        if command == "$":
            if self._motion.state in ("Run", "Hold"):
                raise GcodeError(8)
            return f"{self.settings.printed()}ok\r\n"
        if command == "X":
            return self._unlock()
        if command == "C":
            return self._check()
        if command.startswith("J"):
            return await self._jog(command[1:])
        if self._motion.state not in ("Idle", "Alarm"):
            raise GcodeError(8)
        if command == "H":
            if not self.settings[numbers.HOMING]:
                raise GcodeError(5)
            if self.door:
                raise GcodeError(13)
            return await self._home()
        return self._parameter(command)

    async def _home(self) -> str:
        if not await self._motion.home():
            return ""
        if not self._owes_report:
            return "ok\r\n"
        self._owes_report = False
        return f"ok\r\n{self._report()}"

    def _unlock(self) -> str:
        if self._motion.state != "Alarm":
            return "ok\r\n"
        if self.door:
            raise GcodeError(13)
        self._motion.state = "Idle"
        return "[MSG:Caution: Unlocked]\r\nok\r\n"

    def _check(self) -> str:
        if self._motion.state == "Check":
            self.tell("[MSG:Disabled]\r\nok\r\n")
            self._later(self._reset)
            return ""
        if self._motion.state != "Idle":
            raise GcodeError(8)
        self._motion.state = "Check"
        return "[MSG:Enabled]\r\nok\r\n"

    def _later(self, reset: Callable[[], object]) -> None:
        """Reset, when the task that asks for it is through."""
        asyncio.get_running_loop().call_soon(reset)

    async def _jog(self, text: str) -> str:
        if self._motion.state not in ("Idle", "Jog"):
            raise GcodeError(8)
        if not text.startswith("="):
            raise GcodeError(16)
        await self._until(lambda: len(self._motion.blocks) < BLOCKS)
        move = self._parser.jog(text[1:], self._motion.end_of_plan)
        if self._motion.is_out(move.target):
            raise GcodeError(15)
        self._motion.plan(Planned(move, jog=True))
        return "ok\r\n"

    def _parameter(self, command: str) -> str:
        """Answer what is only allowed at rest or in an alarm."""
        if command == "I":
            return f"[VER:{self._version}:{self._info}]\r\n[OPT:V,{BLOCKS},{RX_BUFFER}]\r\nok\r\n"
        if command.startswith("I="):
            self._info = command[2:]
            return "ok\r\n"
        if command == "#":
            return f"{self._parameters()}ok\r\n"
        if command == "N":
            lines = (f"$N{number}={line}\r\n" for number, line in enumerate(self._startup))
            return "".join(lines) + "ok\r\n"
        if command == "SLP":
            self._motion.state = "Sleep"
            return "[MSG:Sleeping]\r\nok\r\n"
        if re.fullmatch(r"RST=[$#*]", command):
            return self._restore(command[-1])
        if match := re.fullmatch(r"N([01])=(.*)", command):
            return self._keep_startup(int(match[1]), match[2])
        match = re.fullmatch(r"(\d+(?:\.\d*)?)=([+-]?(?:\d+\.?\d*|\.\d+))", command)
        if match is None:
            raise GcodeError(3 if command[0].isalpha() or "=" not in command else 2)
        self.settings.store(int(float(match[1])), float(match[2]))
        return "ok\r\n"

    def _keep_startup(self, number: int, line: str) -> str:
        if self._motion.state != "Idle":
            raise GcodeError(8)
        Parser(Stored()).execute(line, ORIGIN)
        self._startup[number] = line
        return "ok\r\n"

    def _restore(self, what: str) -> str:
        if what in "$*":
            self.settings.restore()
        if what in "#*":
            self._stored.systems.clear()
        if what == "*":
            self._info, self._startup = "", ["", ""]
        self.tell("[MSG:Restoring defaults]\r\nok\r\n")
        self._later(self._reset)
        return ""

    def _parameters(self) -> str:
        codes = [*(f"G{number}" for number in range(54, 60)), "G28", "G30"]
        lines = [f"[{code}:{self._shown(self._stored.get(code))}]" for code in codes]
        lines.append(f"[G92:{self._shown(self._parser.g92)}]")
        lines.append(f"[TLO:{self._length(self._parser.tool_length)}]")
        lines.append(f"[PRB:{self._shown(ORIGIN)}:0]")
        return "".join(f"{line}\r\n" for line in lines)

    # The status report

    def _length(self, mm: float) -> str:
        if self.settings[numbers.INCHES]:
            return f"{mm / MM_PER_INCH + 0.0:.4f}"
        return f"{round(mm, 3) + 0.0:.3f}"

    def _shown(self, point: Point) -> str:
        return ",".join(map(self._length, point))

    def _report(self) -> str:
        moving = self._motion.state in (*MOVING, "Hold")
        mask = int(self.settings[numbers.REPORT])
        if mask & 1:
            fields = [self.state_shown, f"MPos:{self._shown(self.position)}"]
        else:
            work = less(self.position, self._parser.offset)
            fields = [self.state_shown, f"WPos:{self._shown(work)}"]
        if mask & 2:
            free = RX_BUFFER - 1 - len(self._buffer)
            fields.append(f"Bf:{BLOCKS - len(self._motion.blocks)},{free}")
        rate = self._part.speed * 60 / (MM_PER_INCH if self.settings[numbers.INCHES] else 1)
        fields.append(f"FS:{rate:.0f},{self.spindle:.0f}")
        if pins := self.pins:
            fields.append(f"Pn:{pins}")
        return f"<{'|'.join(fields + self._now_and_then(moving))}>\r\n"

    @property
    def state_shown(self) -> str:
        if self._motion.state == "Hold":
            return f"Hold:{int(self._motion.holding == 'slowing')}"
        if self._motion.state == "Door":
            return f"Door:{2 if self._motion.holding == 'slowing' else int(self.door)}"
        return self._motion.state

    @property
    def pins(self) -> str:
        closed = zip("XYZ", self._part.switches, strict=True)
        inverted = bool(self.settings[numbers.INVERT_LIMITS])
        return "".join(axis for axis, on in closed if on is not inverted) + "D" * self.door

    def _now_and_then(self, moving: bool) -> list[str]:
        if self._wco_in > 0:
            self._wco_in -= 1
        else:
            self._wco_in = WCO_EVERY[moving] - 1
            self._overrides_in = max(self._overrides_in - 1, 0)  # not both in one report
            return [f"WCO:{self._shown(self._parser.offset)}"]
        if self._overrides_in > 0:
            self._overrides_in -= 1
            return []
        self._overrides_in = OVERRIDES_EVERY[moving] - 1
        shown = [f"Ov:{','.join(map(str, self._motion.overrides))}"]
        running = {"M3": "S", "M4": "C", "M5": ""}[self._parser.modes["spindle"]]
        cooling = "".join({"M7": "M", "M8": "F"}[code] for code in sorted(self._parser.coolant))
        return shown + ([f"A:{running}{cooling}"] if running or cooling else [])
