"""Knauer Azura Compact pump (P 2.1S, P 4.1S), HPLC pump that flows until it is stopped.

Source: no manual was read; commands, ranges and replies are those of flowchem 1.1.6
(`azura_compact.py`), which drives real pumps with them (shared facts, 2.5). TCP port 10001, one
client at a time. Requests end with LF CR, in this order; replies with CR, LF beside it or not.
`NAME?` is answered `NAME:value`, `NAME:value` and actions `NAME:OK`; `ERROR:1` is an unknown
message, `ERROR:2` a value that is refused. Flows are in uL/min, pressures in 0.1 MPa (1 bar), both
whole numbers.

Numbers have no checksum and any width: each is asked for until two answers in a row agree, a
setting exactly, pressure and motor current to 20 % and 3 units (`agreeing`).

The pump cannot be asked whether it runs, nor how much it has delivered: a dose is for a plan to
time, and nothing can be reconciled.

Not used: discovery by UDP, `ERRIO`, `EXTCONTR` and `EXTFLOW` (flow by an analog voltage).
"""

import asyncio
import logging
import re
from typing import ClassVar, Literal

from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock, SignalRW
from ophyd_async.core import StandardReadableFormat as Format

from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, check_limits, poll_r, poll_rw
from sdl.instrument.agreeing import agreed, near, same
from sdl.wires import StreamWire, Sync, until
from sdl.wires.frames import answering

TRIES = 2  # of a question, and of a setting: each is absolute
STOPPING = 3  # times that OFF is said
STARTING = 0.5  # s after ON until it is asked for errors: a motor that is blocked shows
LEAST = 0.0005  # mL/min that are not rounded to none
PRESSURES = {10: 400.0, 50: 150.0}  # bar that each head stands
REFUSALS = {
    "1": "it does not know the message",
    "2": "it refuses: out of range, or not allowed now (START IN, control at the front panel)",
}
REPLY = until(b"\r")

Range = tuple[float, float]
log = logging.getLogger(__name__)


class Knauer(Instrument):
    """Flows at mL/min: `set` starts it, 0 stops it. The safe state is stopped.

    A flow is set and read back before the pump is switched on. It goes on until it is stopped,
    whatever becomes of this process: give the pump pressure limits.
    """

    title = "Knauer Azura Compact P 2.1S, HPLC pump"
    delivered = "tcp://192.168.1.119:10001"
    unverified = (
        "all of it against a manual: the source is flowchem 1.1.6",
        "that ON and OFF are answered ON:OK and OFF:OK",
        "REMOTE:1 and not REMOTE",
        "that ERROR:2 also means not allowed now",
        "what the codes in ERRORS? mean",
        "that the unit of pressure is 1 bar (flowchem multiplies by 0.1)",
    )
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        head: Literal[10, 50] = 10,
        max_flow: float | None = None,
        max_pressure: float | None = None,
        min_pressure: float | None = None,
        name: str = "",
    ) -> None:
        """Describe a pump.

        :param head: 10 or 50 mL/min, of the pump head that it is configured with.
        :param max_flow: mL/min, to allow less than the head can do.
        :param max_pressure: bar above which the pump stops itself; told on connecting, if given.
        :param min_pressure: bar below which it stops (it runs dry); told on connecting, if given.
        :raises ConfigError: one of them is impossible.
        """
        _check(head, max_flow, max_pressure, min_pressure)
        self._line, self._head, self._mocked = wire, int(head), False
        self._told = {f"PMAX{head}": max_pressure, f"PMIN{head}": min_pressure}
        self._sync = Sync(
            b"HEADTYPE?\n\r", REPLY, lambda reply: _value("HEADTYPE", reply) is not None
        )
        self._limits = (0.0, min(float(head), max_flow or float(head)))
        bars = (0.0, PRESSURES[head])
        at = wire.url
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.pressure = poll_r(
                float, lambda: self._changing("PRESSURE"), source=f"{at} PRESSURE", units="bar"
            )
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.flow = poll_rw(
                float,
                self._get_flow,
                self._set_flow,
                source=f"{at} FLOW",
                units="mL/min",
                precision=3,
                limits=self._limits,
            )
            self.motor_current = poll_r(
                float, lambda: self._changing("IMOTOR"), source=f"{at} IMOTOR", units="%"
            )
            self.errors = poll_r(str, self._get_errors, source=f"{at} ERRORS")
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.max_pressure = self._setting(f"PMAX{head}", "bar", bars)
            self.min_pressure = self._setting(f"PMIN{head}", "bar", bars)
            self.min_motor_current = self._setting(f"IMIN{head}", "%", (0.0, 100.0))
            self.adjustment = self._setting(f"ADJ{head}", None, (100.0, 2000.0))
            self.correction = self._setting(f"CORR{head}", None, (0.0, 300.0))
            self.start_level = self._setting("STARTLEVEL", None, (0.0, 1.0))
            self.start_mode = self._setting("STARTMODE", None, (0.0, 1.0))
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Take control, and tell the pressure limits; a pump that flows goes on flowing.

        :raises ConfigError: it is configured with another pump head.
        """
        self._mocked = bool(mock)
        if not mock:
            head = int(await self._setting_of("HEADTYPE"))
            if head != self._head:
                raise ConfigError(f"{self.name}: its head is {head} mL/min, not {self._head}")
            await self._tell("REMOTE", "1")
            for name, value in self._told.items():
                if value is not None:
                    await self._put(name, round(value))
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        """Say what is known of it: no question for its model or firmware is known."""
        return f"Azura Compact, {await self._setting_of('HEADTYPE')} mL/min pump head"

    async def check_value(self, value: float) -> None:
        """Refuse a flow that it cannot have.

        :raises RefusedError: nothing was sent.
        """
        check_limits(value, self._limits, self.name, "mL/min")
        if 0 < value < LEAST:
            least = "the least is 0.001 mL/min; nothing was sent"
            raise RefusedError(self.name, f"set {value:g} mL/min: {least}")

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Flow at `value` mL/min until told otherwise; 0 stops. Done when the pump has said so.

        :raises RefusedError: out of range, or the pump said no; it flows as before.
        :raises FaultError: it holds another flow, or reported an error in the meantime; it was told
            to stop.
        :raises NoReplyError: it was not confirmed; it may be flowing.
        """
        await self.check_value(value)
        if self._mocked:
            return
        if value == 0:
            await self.halt()
            return
        before = await self._get_errors()
        await self._set_flow(value)
        await self._tell("ON")
        await asyncio.sleep(STARTING)
        after = await self._get_errors()
        if after != before:
            await self.halt()
            raise FaultError(self.name, f"set {value:g} mL/min: errors {before} -> {after}")

    async def halt(self) -> None:
        """Stop the flow and have that confirmed.

        :raises NoReplyError: it was not confirmed: it may be flowing.
        """
        if self._mocked:
            return
        problem: NoReplyError | None = None
        for _ in range(STOPPING):
            try:
                await self._ask("OFF", r"OK", urgent=True)
            except NoReplyError as error:
                problem = error
            else:
                return
        raise NoReplyError(self.name, "OFF: it does not confirm that it stopped") from problem

    async def make_safe(self) -> None:
        await self.halt()

    # Signals

    def _setting(self, name: str, units: str | None, limits: Range) -> SignalRW[int]:
        """A whole number that the pump keeps, with its read-back."""

        async def get() -> int:
            return int(await self._setting_of(name))

        async def put(value: int) -> None:
            await self._put(name, value)

        source = f"{self._line.url} {name}"
        return poll_rw(int, get, put, source=source, units=units, limits=limits)

    async def _changing(self, name: str) -> float:
        return float(await agreed(lambda: self._question(name, r"\d{1,6}"), near))

    async def _setting_of(self, name: str) -> str:
        return await agreed(lambda: self._question(name, r"\d{1,6}"), same)

    async def _get_flow(self) -> float:
        return int(await self._setting_of("FLOW")) / 1000

    async def _set_flow(self, value: float) -> None:
        await self._put("FLOW", round(1000 * value))

    async def _get_errors(self) -> str:
        """The last five, the newest first."""
        return await agreed(lambda: self._question("ERRORS", r"\d{1,3}(,\d{1,3}){4}"), same)

    # Requests

    async def _put(self, name: str, value: int) -> None:
        """Have a setting hold `value`, read back.

        :raises RefusedError: the pump said no; nothing has changed.
        :raises FaultError: it holds something else.
        """
        await self._tell(name, str(value))
        holds = int(await self._setting_of(name))
        if holds != value:
            raise FaultError(self.name, f"{name}:{value}: it holds {holds}")

    async def _tell(self, name: str, value: str = "") -> None:
        """Say something absolute, and again if it was not confirmed."""
        request = f"{name}:{value}" if value else name
        for _ in range(TRIES - 1):
            try:
                await self._ask(request, "OK")
            except NoReplyError as error:
                log.info("said again: %s", error)
            else:
                return
        await self._ask(request, "OK")

    async def _question(self, name: str, pattern: str) -> str:
        for _ in range(TRIES - 1):
            try:
                return await self._ask(f"{name}?", pattern)
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self._ask(f"{name}?", pattern)

    async def _ask(self, request: str, pattern: str, *, urgent: bool = False) -> str:
        """Send one request, once; return the value in its reply.

        :raises RefusedError: the pump said no; nothing has changed.
        :raises NoReplyError: it did not answer, or not to this.
        """
        name = re.split("[?:]", request)[0]

        def fits(reply: bytes) -> bool:
            value = _value(name, reply)
            return refusal(reply) is not None or bool(value and re.fullmatch(pattern, value))

        packet = request.encode("ascii") + b"\n\r"
        frame = answering(REPLY, fits)
        try:
            reply = await self._line.ask(packet, frame, sync=self._sync, urgent=urgent)
        except NoReplyError as error:
            raise type(error)(self.name, f"{request}: {error}") from error
        if code := refusal(reply):
            meaning = REFUSALS.get(code, "no reason is known")
            raise RefusedError(self.name, f"{request}: ERROR:{code}: {meaning}")
        return parse(name, reply)


def parse(name: str, reply: bytes) -> str:
    """Return the value in the reply to a request called `name`.

    :raises GarbledError: it is none.
    """
    value = _value(name, reply)
    if value is None:
        raise GarbledError("", f"{reply!r} is no answer to {name}")
    return value


def refusal(reply: bytes) -> str | None:
    """Return the number of the error that a reply is; None if it is none."""
    match = re.fullmatch(rb"\n?ERROR:(\d)\n?\r", reply)
    return match[1].decode("ascii") if match else None


def _value(name: str, reply: bytes) -> str | None:
    match = re.fullmatch(rb"\n?%s:([ -~]+)\n?\r" % name.encode("ascii"), reply)
    return match[1].decode("ascii") if match else None


def _check(
    head: int, max_flow: float | None, max_pressure: float | None, min_pressure: float | None
) -> None:
    problems: list[str] = []
    if head not in PRESSURES:
        problems.append(f"head {head}: allowed is 10 or 50")
    if max_flow is not None and not 0 < max_flow <= head:
        problems.append(f"max_flow {max_flow} mL/min: allowed is up to {head}")
    most = PRESSURES.get(head, 400.0)
    for name, value in (("max_pressure", max_pressure), ("min_pressure", min_pressure)):
        if value is not None and not 0 <= value <= most:
            problems.append(f"{name} {value} bar: allowed is 0 to {most:g}")
    if problems:
        raise ConfigError(*(f"knauer: {problem}" for problem in problems))
