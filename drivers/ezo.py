"""Atlas Scientific EZO circuits (pH, EC, DO, RTD) in UART mode.

Sources: datasheets EZO-pH V 5.8/6.1, EZO-EC V 6.x, EZO-DO V 5.8, EZO-RTD V 3.7, UART chapters, as
in shared facts 2.14 and in LabMCP 0.1.2, which cites them. 9600 8N1, lines end with CR.

An answer is the data, then `*OK` or `*ER`. A circuit as delivered says a reading each second,
unasked: `connect` ends that (`C,0`, kept without power) and has it say `*OK` (`*OK,1`). Numbers
have neither checksum nor a fixed width: a digit that is lost in front gives another number. A
reading is therefore taken twice and believed when both agree to 20 % and a little (`Kind.slack`): a
lost digit makes it half as much at most. The second is returned. Settings are read until two
answers are equal. The temperature that it compensates for is lost with its power, and therefore
sent before each reading; not with it (`RT`), as sources differ on where its `*OK` then stands.

Not used: `Sleep`, `Find`, `Factory`, import and export of calibrations, the RTD's memory; and, as
they end the conversation, `Baud` and `I2C`.
"""

import contextlib
import logging
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from ophyd_async.core import DEFAULT_TIMEOUT, DeviceMock, StandardReadableFormat

from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import Instrument, StopPolicy, poll_r, poll_rw
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import Frame, answering

TRIES = 2
READINGS = 5  # until two in a row must have agreed
AGREE = 0.2
CALIBRATING = 2.0  # s more than the wire's time-out
READING = 1.2  # s more: 0.9 s for pH, 0.6 s for the others
OK, ALARMS = b"*OK\r", {"OV": "supply above 5.5 V", "UV": "supply below 3.1 V"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """What one kind of circuit measures, and how it writes it."""

    labels: tuple[str, ...]
    """what it calls itself"""
    units: str
    number: str
    """pattern of a reading"""
    low: float
    high: float
    slack: float
    """how much two readings may differ beside 20 %"""
    precision: int
    calibration: dict[str, bool]
    """points, and whether they need a value"""
    output: str = ""
    """name among the outputs that can be switched on; it must be the first that is"""
    compensated: bool = True


KINDS = {
    "pH": Kind(
        ("pH",), "", r"\d{1,2}\.\d{3}", 0.0, 14.0, 0.2, 3, {"mid": True, "low": True, "high": True}
    ),
    "EC": Kind(
        ("EC",),
        "uS/cm",
        r"\d{1,2}\.\d{2}|\d{3}(?:\.\d)?|\d{4,6}",
        0.0,
        1e6,
        1.0,
        2,
        {"dry": False, "single": True, "low": True, "high": True},
        output="EC",
    ),
    "DO": Kind(
        ("DO", "D.O."),
        "mg/L",
        r"\d{1,3}\.\d{2}",
        0.0,
        100.0,
        0.2,
        2,
        {"atmospheric": False, "zero": False},
        output="mg",
    ),
    "RTD": Kind(
        ("RTD",),
        "degC",
        r"-?\d{1,4}\.\d{3}",
        -126.0,
        1254.0,
        0.1,
        3,
        {"single": True},
        compensated=False,
    ),
}
NO_PROBE = -1023.0  # what an RTD circuit reads without a probe


class Ezo(Instrument):
    """One probe: `value` is what it measures (pH; uS/cm; mg/L; degC).

    A probe moves nothing and is safe as it is. `calibrate` and `clear_calibration` are for a person
    with a buffer at hand; `mid` of a pH probe and `dry` of a conductivity probe clear the others.
    """

    title = "Atlas Scientific EZO, probe (pH, EC, DO, RTD)"
    delivered = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified = (
        "no real circuit was asked; formats second hand from the datasheets",
        "digits of a conductivity (4 significant ones)",
        "which outputs a DO circuit gives first (mg/L)",
    )
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: StreamWire,
        *,
        measures: Literal["pH", "EC", "DO", "RTD"] = "pH",
        name: str = "",
    ) -> None:
        """Describe a circuit.

        :param measures: which one it is; `connect` asks it.
        :raises ConfigError: there is no driver for that.
        """
        if measures not in KINDS:
            raise ConfigError(f"ezo: measures={measures!r}; allowed are {', '.join(KINDS)}")
        self._line, self._kind, self._measures = wire, KINDS[measures], measures
        self._sync = Sync(b"i\r", until(OK), self._is_me)
        self._temperature: float | None = None  # that was asked for
        self._columns, at = 1, wire.url
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.value = poll_r(
                float,
                self._read,
                source=f"{at} R",
                units=self._kind.units or None,
                precision=self._kind.precision,
            )
        if self._kind.compensated:
            with self.add_children_as_readables(StandardReadableFormat.UNCACHED_SIGNAL):
                self.compensation = poll_rw(
                    float,
                    self._compensation,
                    self._compensate,
                    source=f"{at} T",
                    units="degC",
                    precision=2,
                    limits=(-126.0, 150.0),
                )
        if measures == "EC":
            self.cell_constant = poll_rw(
                float, self._constant, self._set_constant, source=f"{at} K", limits=(0.01, 10.2)
            )
        self.calibration = poll_r(int, self._points, source=f"{at} Cal")
        self.supply = poll_r(float, self._supply, source=f"{at} Status", units="V", precision=3)
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        if not mock:
            await self._be_quiet()
            await self._prepare()
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Ask for the kind of circuit and its firmware."""
        label, firmware = await self._query("i", r"[A-Za-z.]+,\d+\.\d+", twice=True)
        return f"EZO {label}, firmware {firmware}"

    async def make_safe(self) -> None:
        """Do nothing: a probe is safe as it is."""

    async def calibrate(self, point: str, value: float | None = None) -> int:
        """Calibrate with what the probe stands in; return how many points it has now.

        :param point: mid, low or high (pH); dry, single, low or high (EC); atmospheric or zero
            (DO); single (RTD).
        :param value: of the buffer.
        :raises RefusedError: there is no such point, or no value where one is needed, or one where
            none is; nothing was sent. Or the circuit said no.
        """
        needed = self._kind.calibration.get(point)
        if needed is None or needed is (value is None):
            allowed = ", ".join(
                f"{name} {'with' if with_value else 'without'} a value"
                for name, with_value in self._kind.calibration.items()
            )
            raise RefusedError(self.name, f"calibrate {point!r}, {value}: allowed are {allowed}")
        if value is not None and not self._kind.low <= value <= self._kind.high:
            allowed = f"{self._kind.low:g} to {self._kind.high:g}"
            raise RefusedError(self.name, f"calibrate {point}: {value:g} is outside {allowed}")
        words = {"single": "Cal", "atmospheric": "Cal", "zero": "Cal,0"}.get(point, f"Cal,{point}")
        await self._command(words if value is None else f"{words},{value:.3f}", CALIBRATING)
        return await self._points()

    async def clear_calibration(self) -> None:
        """Forget all points."""
        await self._command("Cal,clear", CALIBRATING)
        if points := await self._points():
            raise FaultError(self.name, f"clear calibration: it still has {points} points")

    async def slope(self) -> tuple[float, float, float]:
        """Return how good a pH probe is: % of the ideal slope, acid and base; zero point in mV.

        :raises RefusedError: it is no pH circuit.
        """
        if self._measures != "pH":
            raise RefusedError(self.name, "slope: only a pH circuit has one")
        pattern = r"\d+(?:\.\d+)?,\d+(?:\.\d+)?,-?\d+(?:\.\d+)?"
        acid, base, zero = await self._query("Slope,?", pattern, name="Slope", twice=True)
        return float(acid), float(base), float(zero)

    # Connecting

    async def _be_quiet(self) -> None:
        """End the readings that nobody asked for, and have commands acknowledged."""
        for command in (b"*OK,1\r", b"C,0\r"):
            for left in reversed(range(TRIES + 1)):  # the first may only wake it
                try:
                    with contextlib.suppress(GarbledError):
                        await self._line.ask(
                            command, until(OK), sync=self._sync, urgent=True
                        )  # readings may stand before it
                    break
                except NoReplyError as error:
                    if not left:
                        raise NoReplyError(self.name, f"connect: {error}") from error

    async def _prepare(self) -> None:
        label, _ = await self._query("i", r"[A-Za-z.]+,\d+\.\d+", twice=True)
        if label not in self._kind.labels:
            raise ConfigError(f"{self.name}: it measures {label}, not {self._measures}")
        if self._kind.output:
            outputs = await self._query("O,?", r"[A-Za-z%,]+", name="O", twice=True)
            given = sorted(outputs, key=lambda each: each != "mg")  # mg/L first, whatever it says
            if given[0] != self._kind.output:
                said = f"its first output is {given[0]}"
                raise ConfigError(f"{self.name}: {said}; switch on O,{self._kind.output},1")
            self._columns = len(outputs)
        if self._measures == "RTD" and await self._query("S,?", "[ckf]", name="S") != ["c"]:
            await self._command("S,c")

    def _is_me(self, reply: bytes) -> bool:
        return re.fullmatch(rb"\?i,[A-Za-z.]+,\d+\.\d+\r\*OK\r", reply, re.IGNORECASE) is not None

    # Signals

    async def _read(self) -> float:
        """Read until two readings in a row agree; return the second."""
        last: float | None = None
        seen: list[str] = []
        for _ in range(READINGS):
            number = await self._read_once()
            if last is not None and self._agree(last, number):
                if number == NO_PROBE:
                    raise FaultError(self.name, "value: there is no probe")
                return number
            last = number
            seen.append(f"{number:g}")
        raise FaultError(self.name, f"value: no two readings agree: {', '.join(seen)}")

    def _agree(self, one: float, other: float) -> bool:
        return abs(one - other) <= AGREE * max(abs(one), abs(other)) + self._kind.slack

    async def _read_once(self) -> float:
        """Have it compensate, then read; from the beginning if it did not answer, as it may have
        lost its power.
        """
        more = r"(?:,\d+(?:\.\d+)?)" + f"{{{self._columns - 1}}}"
        pattern = rf"(?:{self._kind.number}){more}"
        for left in reversed(range(TRIES)):
            if self._temperature is not None:
                await self._command(f"T,{self._temperature:.2f}")
            try:
                reply = await self._ask("R", pattern, READING, tries=1)
            except NoReplyError:
                if not left:
                    raise
            else:
                return parse_reading(reply, self._measures)
        raise AssertionError("unreachable")

    async def _compensation(self) -> float:
        (number,) = await self._query("T,?", r"-?\d{1,3}(?:\.\d+)?", name="T", twice=True)
        return float(number)

    async def _compensate(self, celsius: float) -> None:
        await self._command(f"T,{celsius:.2f}")
        if abs((found := await self._compensation()) - celsius) > 0.06:
            raise FaultError(self.name, f"compensation {celsius:g} degC: it has {found:g} degC")
        self._temperature = celsius

    async def _constant(self) -> float:
        (number,) = await self._query("K,?", r"\d{1,2}(?:\.\d+)?", name="K", twice=True)
        return float(number)

    async def _set_constant(self, constant: float) -> None:
        await self._command(f"K,{constant:.2f}")
        if abs((found := await self._constant()) - constant) > 0.06:
            raise FaultError(self.name, f"cell constant {constant:g}: it has {found:g}")

    async def _points(self) -> int:
        (number,) = await self._query("Cal,?", r"\d", name="Cal")
        return int(number)

    async def _supply(self) -> float:
        _, volts = await self._query("Status", r"[PSBWU],\d\.\d{2,3}", twice=True)
        return float(volts)

    # Talking

    async def _query(
        self, command: str, pattern: str, *, name: str = "", twice: bool = False
    ) -> list[str]:
        """Ask for a setting; the answer begins with `?` and its name.

        :param twice: until two answers in a row are equal: a lost character could not be seen.
        """
        start = rf"\?,?{name or command},"
        last: list[str] = []
        for _ in range(READINGS):
            reply = await self._ask(command, start + pattern)
            text = re.sub(r"(?s)^.*?\?,?[^,]+,", "", reply.removesuffix(b"\r" + OK).decode("ascii"))
            values = text.split(",")
            if values == last or not twice:
                return values
            last = values
        raise FaultError(self.name, f"{command}: no two answers are equal")

    async def _command(self, command: str, seconds: float = 0.0) -> None:
        """Tell it something that may be told twice."""
        await self._ask(command, "", seconds)

    async def _ask(
        self, command: str, pattern: str, seconds: float = 0.0, *, tries: int = TRIES
    ) -> bytes:
        """Ask, and once more if need be.

        :param seconds: more than the wire's time-out.
        :raises RefusedError: it said `*ER`.
        :raises FaultError: its supply is not as it must be.
        """
        frame, timeout = _frame(pattern), self._line.timeout + seconds
        reply = b""
        for left in reversed(range(tries)):
            try:
                reply = await self._line.ask(
                    f"{command}\r".encode(), frame, timeout=timeout, sync=self._sync
                )
                break
            except NoReplyError as error:
                log.info("%s: %s", self.name, error)
                if isinstance(error, GarbledError) or "fall silent" in str(error):
                    await self._hush()
                if not left:
                    raise type(error)(self.name, f"{command}: {error}") from error
        for code in re.findall(r"\*([A-Z]{2})\r", reply.decode("latin-1")):
            if code in ALARMS:
                raise FaultError(self.name, f"{command}: {ALARMS[code]}")
        if reply.endswith(b"*ER\r"):
            raise RefusedError(self.name, f"{command}: it does not know that, or not this value")
        return reply

    async def _hush(self) -> None:
        """End readings that nobody asked for: somebody has it say one each second again."""
        with contextlib.suppress(NoReplyError):
            await self._line.ask(b"C,0\r", until(OK), sync=self._sync, urgent=True)


def parse_reading(reply: bytes, measures: str) -> float:
    """Return the first number of a reading.

    :raises GarbledError: it is no reading of such a circuit.
    """
    kind = KINDS[measures]
    pattern = rf"(?:\*[OU]V\r)*({kind.number})(?:,\d+(?:\.\d+)?)*\r\*OK\r"
    match = re.fullmatch(pattern, reply.decode("latin-1"), re.ASCII)
    if match is None:
        raise GarbledError("", f"no reading: {reply!r}")
    number = float(match[1])
    if not kind.low <= number <= kind.high and not (measures == "RTD" and number == NO_PROBE):
        raise GarbledError("", f"no {measures}: {number:g}")
    return number


def _frame(pattern: str) -> Frame:
    """The data, if any, and `*OK`; or `*ER`. Before it the circuit may complain of its supply."""
    data = rf"(?:{pattern})\r" if pattern else ""
    answer = re.compile(rf"(?:\*[OU]V\r)*(?:{data}\*OK|\*ER)\r".encode(), re.ASCII | re.IGNORECASE)

    def whole(received: bytes) -> int | None:
        ends = [at for end in (OK, b"*ER\r") if (at := received.find(end)) >= 0]
        return min(ends) + len(OK) if ends else None

    return answering(whole, lambda reply: answer.fullmatch(reply) is not None)
