"""Command strings of a Cavro pump, taken apart: manual 734237-C, sections 3.3 to 3.5."""

import re
from dataclasses import dataclass

MOVES, VALVES, STARTS = "AaPpDd", "IOBE", "ZYW"
SETTINGS = {  # lowest and highest value, in normal resolution
    "V": (5, 6000),
    "v": (50, 1000),
    "c": (50, 2700),
    "L": (1, 20),
    "S": (0, 40),
    "N": (0, 2),
    "K": (0, 31),
    "k": (0, 255),
    "J": (0, 7),
}
FINER = "Kk"  # settings in steps: eight times as much where steps are finer
KNOWN = frozenset(MOVES + VALVES + STARTS + "wzgGMHRX" + "".join(SETTINGS) + "Uu!")
# speed codes of S, in pulses/s: 6000 at S0, 5 at S40 by and by (XP 3000 manual, table of S)
SPEEDS = (
    *(6000, 5600, 5000, 4400, 3800, 3200, 2600, 2200, 2000, 1800, 1600, 1400, 1200, 1000, 800),
    *(600, 400, 200, 190, 180, 170, 160, 150, 140, 130, 120, 110, 100, 90, 80, 70, 60, 50, 40),
    *(30, 20, 18, 16, 14, 12, 10),
)
LONGEST = 255  # characters of the command buffer

_TOKEN = re.compile(r"([A-Za-z!])(-?\d{0,8}(?:,\d{0,8}){0,2})")


@dataclass(frozen=True)
class Step:
    """One command of a string, and its parameters; None where one was left out."""

    letter: str
    values: tuple[int | None, ...]

    @property
    def value(self) -> int | None:
        return self.values[0]


def parse(text: str) -> list[Step] | None:
    """Take a string apart; None if there is something in it that is no command."""
    steps, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match[1] not in KNOWN:
            return None
        numbers = match[2].split(",")
        steps.append(Step(match[1], tuple(int(n) if n not in ("", "-") else None for n in numbers)))
        at = match.end()
    return steps


def loops(steps: list[Step]) -> dict[int, int] | None:
    """Return for each end of a loop (`G`) where it begins (`g`); None if they do not match."""
    begins: list[int] = []
    found: dict[int, int] = {}
    for at, step in enumerate(steps):
        if step.letter == "g":
            begins.append(at)
        elif step.letter == "G":
            if not begins:
                return None
            found[at] = begins.pop()
    return None if begins else found
