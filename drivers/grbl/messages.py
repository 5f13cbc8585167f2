"""What Grbl 1.1 says: status reports, answers to lines, push messages.

Source: Grbl 1.1 documentation, interface.md (Message Summary; Response Messages; Push Messages;
Real-time Status Reports) and commands.md.
"""

import re
from dataclasses import dataclass

from sdl.errors import GarbledError
from sdl.wires.frames import Frame

ERRORS = {
    1: "a word has no letter",
    2: "a value is missing or no number",
    3: "unknown $ command",
    4: "a negative value",
    5: "homing is not enabled ($22)",
    8: "only allowed at rest",
    9: "locked by an alarm or a jog",
    10: "soft limits need homing",
    11: "the line is too long",
    13: "the safety door is open",
    15: "the jog goes beyond the machine's travel",
    16: "no jog",
    20: "unsupported G-code",
    22: "no feed rate",
    26: "axis words are missing",
    33: "no such target",
}
ALARMS = {
    1: "a limit switch was hit; the position is probably lost: home it",
    2: "a target lay beyond the machine's travel; the position is kept",
    3: "a reset while it moved; the position is probably lost: home it",
    4: "the probe was not as expected before probing",
    5: "the probe did not touch",
    6: "a reset while homing",
    7: "the door was opened while homing",
    8: "homing could not leave a limit switch",
    9: "homing did not find a limit switch",
}
REST = ("Idle", "Alarm", "Check", "Sleep", "Hold:0", "Door:0", "Door:1")

_NUMBER = r"-?\d+\.\d{3}"
_POINT = rf"{_NUMBER},{_NUMBER},{_NUMBER}"
_FIELD = (
    r"Bf:\d+,\d+|Ln:\d+|FS?:\d+(?:,\d+)?|Pn:[XYZPDHRS]+"
    rf"|WCO:{_POINT}|Ov:\d+,\d+,\d+|A:[SCFM]+"
)
_STATE = r"Idle|Run|Hold:[01]|Jog|Alarm|Door:[0-3]|Check|Home|Sleep"
_REPORT = re.compile(rf"<({_STATE})\|MPos:({_POINT})((?:\|(?:{_FIELD}))*)>\r\n")
_BANNER = r"(?:\r\n)?Grbl 1\.1[a-z]? \['\$' for help\]\r\n"
_PUSHED = re.compile(rf"(?:{_BANNER}|ALARM:\d\r\n|\[MSG:[^\]\r\n]*\]\r\n|>[^\r\n]*\r\n)*")
_END = re.compile(r"(?:\A|\n)(?:ok|error:(\d+))\r\n")

# what the answer to a line holds beside `ok`
SETTINGS = r"(?:\$\d{1,3}=\d+(?:\.\d{3})?\r\n)+"
BUILD = r"\[VER:v?1\.1[a-z]\.\d{8}:[^\]\r\n]*\]\r\n\[OPT:[^\]\r\n]*\]\r\n"
MODES = r"\[GC:[A-Z0-9. -]+\]\r\n"


@dataclass(frozen=True)
class Report:
    """A status report: mm, mm/min and rpm."""

    state: str
    position: tuple[float, float, float]
    feed: float
    spindle: float
    pins: str

    @property
    def rests(self) -> bool:
        return self.state in REST

    def agrees(self, other: "Report", seconds: float) -> bool:
        """Whether both can be true, `seconds` apart: a number that lost a digit would not.

        At rest all is equal. On its way the carriage has gone no farther than its speed takes it,
        and half of that more; the speed is nearly the same (20 % and 300 mm/min).
        """
        if self.rests or other.rests:
            return self == other
        fastest = max(self.feed, other.feed)
        way = 1.5 * fastest / 60 * seconds + 1.0
        near = all(abs(a - b) <= way for a, b in zip(self.position, other.position, strict=True))
        same = (self.state, self.spindle, self.pins) == (other.state, other.spindle, other.pins)
        return near and same and abs(self.feed - other.feed) <= 0.2 * fastest + 300


def parse_report(text: str) -> Report:
    """Read one report.

    :raises GarbledError: it is none, or one of positions that are not the machine's.
    """
    match = _REPORT.fullmatch(text)
    if match is None:
        raise GarbledError("", f"{text!r} is no status report with MPos")
    state, point, rest = match.groups()
    fields = dict(each.split(":", 1) for each in rest.split("|") if each)
    if len(fields) != rest.count("|"):
        raise GarbledError("", f"{text!r} has a field twice")
    x, y, z = map(float, point.split(","))
    feed, _, spindle = (fields.get("FS") or fields.get("F") or "0").partition(",")
    return Report(state, (x, y, z), float(feed), float(spindle or 0), fields.get("Pn", ""))


def parse_pushed(text: str) -> tuple[list[int], bool]:
    """Return the alarms in what was pushed, and whether it said hello: it was reset.

    :raises GarbledError: there is something else.
    """
    if _PUSHED.fullmatch(text) is None:
        raise GarbledError("", f"{text!r} was not asked for")
    return [int(n) for n in re.findall(r"ALARM:(\d)", text)], "Grbl 1.1" in text


def parse_settings(text: str) -> dict[int, float]:
    """Read what `$$` prints.

    :raises GarbledError: it is not that, or a setting comes twice.
    """
    if re.fullmatch(SETTINGS, text) is None:
        raise GarbledError("", f"{text!r} are no settings")
    found = re.findall(r"\$(\d+)=([\d.]+)", text)
    settings = {int(number): float(value) for number, value in found}
    if len(settings) < len(found):
        raise GarbledError("", f"{text!r}: a setting comes twice")
    return settings


def parse_answer(text: str, data: str) -> tuple[str, str, int]:
    """Take the answer to a line apart: what was pushed before, its data, its error (0: ok).

    :param data: what the data must be, as a regular expression.
    :raises GarbledError: it is no answer to that.
    """
    match = re.fullmatch(rf"({_PUSHED.pattern})(?:({data})ok|error:(\d+))\r\n", text)
    if match is None:
        raise GarbledError("", f"{text!r} is no answer to it")
    pushed, said, error = match.groups()
    return pushed, said or "", int(error or 0)


def report_frame(received: bytes) -> int | None:
    """Up to the end of the first report; before it nothing but push messages."""
    begin = received.find(b"<")
    end = received.find(b">\r\n", begin) if begin >= 0 else -1
    if end < 0:
        return None
    text = received[: end + 3].decode("latin-1")
    parse_pushed(text[:begin])
    parse_report(text[begin:])
    return end + 3


def answer_frame(data: str) -> Frame:
    """Up to `ok` or `error:…`, with what must stand before it."""

    def frame(received: bytes) -> int | None:
        text = received.decode("latin-1")
        match = _END.search(text)
        if match is None:
            return None
        parse_answer(text[: match.end()], data)
        return match.end()

    return frame


def hello_frame(received: bytes) -> int | None:
    """Up to the end of the banner."""
    match = re.search(_BANNER, received.decode("latin-1"))
    return None if match is None else match.end()
