"""G-code as Grbl 1.1 reads it: words, modal groups, offsets, errors.

Source: Grbl 1.1 documentation (interface.md: error codes; commands.md: modal groups, parameters;
change_summary.md), and RS274/NGC for what the words mean. Not simulated: arcs (G2, G3) and probing
(G38), which answer error 20; inverse time (G93) is taken for units per minute.
"""

import math
import re
from dataclasses import dataclass, field

MM_PER_INCH = 25.4
MOST_TOOL, MOST_LINE = 255, 9_999_999

Point = tuple[float, float, float]
ORIGIN: Point = (0.0, 0.0, 0.0)

GROUPS = {
    "motion": ("G0", "G1", "G80"),
    "plane": ("G17", "G18", "G19"),
    "distance": ("G90", "G91"),
    "arc distance": ("G91.1",),
    "feed mode": ("G93", "G94"),
    "units": ("G20", "G21"),
    "cutter": ("G40",),
    "length": ("G43.1", "G49"),
    "coordinates": ("G54", "G55", "G56", "G57", "G58", "G59"),
    "control": ("G61",),
    "program": ("M0", "M1", "M2", "M30"),
    "spindle": ("M3", "M4", "M5"),
    "coolant": ("M7", "M8", "M9"),
    "once": ("G4", "G10", "G28", "G28.1", "G30", "G30.1", "G53", "G92", "G92.1"),
}
GROUP_OF = {code: group for group, codes in GROUPS.items() for code in codes}
USES_AXES = ("G10", "G28", "G30", "G92", "G43.1")
WORD = re.compile(r"([A-Z])([+-]?(?:\d+\.?\d*|\.\d+))?")


class GcodeError(Exception):
    """The line is not executed; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error:{code}")
        self.code = code


@dataclass(frozen=True)
class Move:
    """A straight line to `target` (mm of the machine); `feed` in mm/min, None as fast as it can."""

    target: Point
    feed: float | None


@dataclass(frozen=True)
class Dwell:
    seconds: float


@dataclass(frozen=True)
class Program:
    """M0, M1: pause; M2, M30: the end."""

    code: str


Action = Move | Dwell | Program


@dataclass
class Block:
    """One line, taken apart."""

    codes: dict[str, str] = field(default_factory=dict)
    """the code of each modal group"""
    words: dict[str, float] = field(default_factory=dict)


def read_block(line: str) -> Block:
    """Take a line apart that has neither blanks nor comments and is in upper case.

    :raises GcodeError: it is no G-code, or not Grbl's.
    """
    block, at = Block(), 0
    while at < len(line):
        match = WORD.match(line, at)
        if match is None:
            raise GcodeError(1)
        letter, number = match.groups()
        if number is None:
            raise GcodeError(2)
        at = match.end()
        if letter in "GM":
            _take_code(block, letter, float(number))
        elif letter not in "FIJKLNPRSTXYZ":
            raise GcodeError(20)
        elif letter in block.words:
            raise GcodeError(25)
        else:
            block.words[letter] = float(number)
    for letter in "FNPST":
        if block.words.get(letter, 0.0) < 0:
            raise GcodeError(4)
    if block.words.get("N", 0.0) > MOST_LINE:
        raise GcodeError(27)
    if block.words.get("T", 0.0) > MOST_TOOL:
        raise GcodeError(38)
    return block


def _take_code(block: Block, letter: str, number: float) -> None:
    code = f"{letter}{number:g}"
    if code not in GROUP_OF:
        if round(number) != number and code[:4] not in ("G38.", "G59."):
            raise GcodeError(23)
        raise GcodeError(29 if code.startswith("G59.") else 20)
    group = GROUP_OF[code]
    if group in block.codes:
        raise GcodeError(21)
    block.codes[group] = code


@dataclass
class Stored:
    """What the EEPROM keeps of coordinates: G54 to G59, G28 and G30."""

    systems: dict[str, Point] = field(default_factory=dict)

    def get(self, code: str) -> Point:
        return self.systems.get(code, ORIGIN)


class Parser:
    """The modal state, and what it makes of each line."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.reset()

    def reset(self) -> None:
        """Forget what a reset forgets."""
        self.modes = {
            "motion": "G0",
            "coordinates": "G54",
            "plane": "G17",
            "units": "G21",
            "distance": "G90",
            "feed mode": "G94",
            "spindle": "M5",
        }
        self.coolant: set[str] = set()
        self.tool, self.speed, self.feed = 0, 0.0, 0.0
        self.g92, self.tool_length = ORIGIN, 0.0

    @property
    def offset(self) -> Point:
        """Work coordinates are those of the machine less these."""
        x, y, z = (a + b for a, b in zip(self._system, self.g92, strict=True))
        return x, y, z + self.tool_length

    @property
    def _system(self) -> Point:
        return self.stored.get(self.modes["coordinates"])

    @property
    def shown(self) -> str:
        """As `$G` says it."""
        groups = ("motion", "coordinates", "plane", "units", "distance", "feed mode", "spindle")
        words = [self.modes[group] for group in groups]
        words += sorted(self.coolant) or ["M9"]
        inches = self.modes["units"] == "G20"
        feed = f"{self.feed / MM_PER_INCH:.1f}" if inches else f"{self.feed:.0f}"
        return " ".join([*words, f"T{self.tool}", f"F{feed}", f"S{self.speed:.0f}"])

    def jog(self, line: str, position: Point) -> Move:
        """Read what stands behind `$J=`; nothing modal changes.

        :raises GcodeError: it is no jog.
        """
        block = read_block(line)
        for group, code in block.codes.items():
            if group not in ("units", "distance") and code != "G53":
                raise GcodeError(16)
        axes = {letter for letter in "XYZ" if letter in block.words}
        if not axes:
            raise GcodeError(26)
        if "F" not in block.words:
            raise GcodeError(22)
        if block.words.keys() - axes - {"F", "N"}:
            raise GcodeError(36)
        modes = {**self.modes, **{g: c for g, c in block.codes.items() if g != "once"}}
        scale = MM_PER_INCH if modes["units"] == "G20" else 1.0
        target = self._target(block, position, scale, modes["distance"] == "G91")
        return Move(target, block.words["F"] * scale)

    def execute(self, line: str, position: Point) -> list[Action]:
        """Take over what is modal; return what is to be done.

        :param position: where the planned moves end, mm of the machine.
        :raises GcodeError: nothing has changed.
        """
        block = read_block(line)
        words, once = block.words, block.codes.get("once", "")
        axes = {letter for letter in "XYZ" if letter in words}
        modes = {**self.modes, **{g: c for g, c in block.codes.items() if g in self.modes}}
        self._check(block, axes, modes, once)
        scale = MM_PER_INCH if modes["units"] == "G20" else 1.0
        relative = modes["distance"] == "G91"
        feed = words["F"] * scale if "F" in words else self.feed
        moves = axes and once not in USES_AXES
        if moves and modes["motion"] == "G1" and feed == 0:
            raise GcodeError(22)
        self.modes, self.feed = modes, feed
        self.speed = words.get("S", self.speed)
        self.tool = int(words.get("T", self.tool))
        self._cool(block.codes.get("coolant"))
        actions: list[Action] = []
        if once == "G4":
            actions.append(Dwell(words["P"]))
        self._length(block, scale)
        if once in ("G28", "G30"):
            if axes:
                actions.append(Move(self._target(block, position, scale, relative), None))
            actions.append(Move(self.stored.get(once), None))
        elif once in USES_AXES or once in ("G28.1", "G30.1", "G92.1"):
            self._store(block, once, position, scale)
        elif moves and "G43.1" not in block.codes.values():
            rapid = modes["motion"] == "G0"
            target = self._target(block, position, scale, relative)
            actions.append(Move(target, None if rapid else feed))
        if "program" in block.codes:
            actions.append(self._end(block.codes["program"]))
        return actions

    def _check(self, block: Block, axes: set[str], modes: dict[str, str], once: str) -> None:
        words = block.words
        taking = [code for code in block.codes.values() if code in USES_AXES]
        motion = block.codes.get("motion")
        if len(taking) + (motion in ("G0", "G1")) > 1:
            raise GcodeError(24)
        if once == "G4" and "P" not in words:
            raise GcodeError(28)
        if once == "G10":
            if not axes:
                raise GcodeError(26)
            if words.get("L") not in (2.0, 20.0) or "P" not in words:
                raise GcodeError(28 if not {"L", "P"} <= words.keys() else 20)
            if words["P"] > 6:
                raise GcodeError(29)
        if (once == "G92" or "G43.1" in taking) and not axes:
            raise GcodeError(26)
        if "G43.1" in taking and axes != {"Z"}:
            raise GcodeError(37)
        if once == "G53" and modes["motion"] == "G80":
            raise GcodeError(30)
        if modes["motion"] == "G80" and axes and not taking:
            raise GcodeError(31)
        used = {"F", "S", "T", "N", *axes}
        used |= {"G4": {"P"}, "G10": {"P", "L"}}.get(once, set())
        if words.keys() - used:
            raise GcodeError(36)

    def _target(self, block: Block, position: Point, scale: float, relative: bool) -> Point:
        offset = ORIGIN if "once" in block.codes and block.codes["once"] == "G53" else self.offset
        absolute = not relative or "G53" in block.codes.values()
        target = []
        for letter, at, zero in zip("XYZ", position, offset, strict=True):
            word = block.words.get(letter)
            if word is None:
                target.append(at)
            else:
                target.append(word * scale + (zero if absolute else at))
        x, y, z = target
        if not all(math.isfinite(each) for each in target):
            raise GcodeError(2)
        return x, y, z

    def _cool(self, code: str | None) -> None:
        if code == "M9":
            self.coolant.clear()
        elif code is not None:
            self.coolant.add(code)

    def _length(self, block: Block, scale: float) -> None:
        if block.codes.get("length") == "G43.1":
            self.tool_length = block.words["Z"] * scale
        elif "length" in block.codes:
            self.tool_length = 0.0

    def _store(self, block: Block, once: str, position: Point, scale: float) -> None:
        if once in ("G28.1", "G30.1"):
            self.stored.systems[once[:3]] = position
        elif once == "G92.1":
            self.g92 = ORIGIN
        elif once == "G92":
            self.g92 = self._zero(block, position, scale, self._system, self.g92)
        elif once == "G10":
            number = int(block.words["P"])
            code = f"G{53 + number}" if number else self.modes["coordinates"]
            old = self.stored.get(code)
            if block.words["L"] == 20:
                new = self._zero(block, position, scale, self.g92, old)
            else:
                given = zip("XYZ", old, strict=True)
                x, y, z = (
                    block.words[axis] * scale if axis in block.words else was for axis, was in given
                )
                new = (x, y, z)
            self.stored.systems[code] = new

    def _zero(self, block: Block, position: Point, scale: float, other: Point, old: Point) -> Point:
        """What has to be taken off the machine's position for the words to be where it is now."""
        lengths = (0.0, 0.0, self.tool_length)
        x, y, z = (
            at - beside - length - block.words[axis] * scale if axis in block.words else was
            for axis, at, beside, was, length in zip(
                "XYZ", position, other, old, lengths, strict=True
            )
        )
        return x, y, z

    def _end(self, code: str) -> Program:
        if code in ("M2", "M30"):
            defaults = {"motion": "G1", "plane": "G17", "distance": "G90", "feed mode": "G94"}
            self.modes = {**self.modes, **defaults, "coordinates": "G54", "spindle": "M5"}
            self.coolant.clear()
        return Program(code)


def less(a: Point, b: Point) -> Point:
    """Return a - b."""
    x, y, z = (p - q for p, q in zip(a, b, strict=True))
    return x, y, z
