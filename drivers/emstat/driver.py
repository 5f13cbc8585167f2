"""PalmSens EmStat Pico and EmStat4 potentiostats (MethodSCRIPT).

Sources: MethodSCRIPT manual v1.8; communication protocols of the EmStat Pico v1.6 and the EmStat4
v1.3 (both through PalmSens' MethodSCRIPT_Examples and labmcp-palmsens 0.1.3). Pico: 230400 8N1,
XON/XOFF; EmStat4: 921600 8N1, RTS/CTS, or USB. Lines end with LF.

Every script begins by sending a number of its own, ends by sending it again, and switches the cell
off at its end, also when it is aborted. Packages carry the instrument's time: one that was lost or
came twice is seen. A package that is damaged ends the measurement. Not used: scripts kept in the
instrument, halt and resume, its SD card, its pins, multiplexer, second working electrode.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from event_model import DataKey
from numpy.typing import NDArray
from ophyd_async.core import DEFAULT_TIMEOUT, AsyncStatus, DeviceMock, SignalR
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.emstat.line import Lines
from sdl.drivers.emstat.methods import MODELS, OCP, Method, parse_method
from sdl.drivers.emstat.packages import (
    OVERLOAD,
    STATUS,
    Variable,
    parse_error,
    parse_firmware,
    parse_package,
)
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    StaleError,
)
from sdl.instrument import Effect, Instrument, PushBackend, poll_r, poll_rw
from sdl.wires import StreamWire

Array = NDArray[np.float64]

TRIES = 2  # of what measures nothing
DEAF = 0.15  # s after an error in which it may hear nothing
MARGIN = 2.0  # s beyond the time that a step takes
ABORTING = 5.0  # s until a script that is aborted has ended
UNREAD = 200  # lines of an earlier script that are passed over
MAX_AGE = 3600.0  # s after which a curve is no longer the present one
TIMEOUT = 30.0  # s of a signal
AT_REST = OCP(duration=0.1, every=0.1)
CURVES = {
    "time": "s",
    "potential": "V",
    "current": "A",
    "frequency": "Hz",
    "impedance_real": "ohm",
    "impedance_imaginary": "ohm",
}
log = logging.getLogger(__name__)


class EmStat(Instrument):
    """`trigger` measures what `method` says; the curves are arrays of one length.

    Those that a technique does not have are empty. A current with overload is NaN, and `status`
    tells how many are. `open_circuit` is the potential of the cell at rest, measured anew each time
    it is read. The safe state is: no script, cell off.
    """

    effects: ClassVar[Mapping[str, Effect]] = {"trigger": Effect.MEASURE}
    title: ClassVar[str] = "PalmSens EmStat Pico / EmStat4, potentiostat"
    delivered: ClassVar[str] = "serial:///dev/ttyUSB0?baudrate=230400&xonxoff=1"
    unverified: ClassVar[tuple[str, ...]] = (
        "whether sweeps begin with a point at their first potential: one more or less is taken",
        "an empty line after the error that ends a script",
        "how long it is deaf after an error (0.15 s are waited)",
        "how long a frequency of EIS takes at most (1 s and 10 periods are waited)",
    )

    def __init__(
        self,
        wire: StreamWire,
        *,
        model: str = "pico",
        method: str = "ocp duration=5 every=0.1",
        name: str = "",
    ) -> None:
        """Describe a potentiostat.

        :param model: pico, es4_lr or es4_hr.
        :param method: what is measured until a plan sets another, as `cv begin=0 vertex1=0.5
            vertex2=-0.2 step=0.005 rate=0.1 scans=2`. Techniques: lsv, cv, dpv, swv, ca, ocp, eis.
        :raises ConfigError: one of them is impossible.
        """
        if model not in MODELS:
            raise ConfigError(f"EmStat: model={model!r}; allowed are {', '.join(MODELS)}")
        self._model = MODELS[model]
        self._method = parse_method(method, self._model)
        self._lines = Lines(wire, lambda: self.name)
        self._busy, self._stopping, self._mocked = asyncio.Lock(), False, False
        self._tags = itertools.cycle(range(1, 10000))
        self._rests = asyncio.Event()
        self._rests.set()
        at = wire.url
        self._backends = {name: _Curve(f"{at}#{name}", units) for name, units in CURVES.items()}
        self._status = _Curve(f"{at}#status", "", datatype=str)
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.time = self._curve("time")
            self.potential = self._curve("potential")
            self.current = self._curve("current")
            self.frequency = self._curve("frequency")
            self.impedance_real = self._curve("impedance_real")
            self.impedance_imaginary = self._curve("impedance_imaginary")
            self.status = SignalR(self._status, timeout=TIMEOUT)
        with self.add_children_as_readables(Format.CONFIG_SIGNAL):
            self.method = poll_rw(str, self._get_method, self._put_method, source=f"{at}#method")
        self.open_circuit = poll_r(
            float, self._get_open_circuit, source=f"{at} ocp", units="V", precision=6
        )
        super().__init__(wire, name=name)

    def _curve(self, name: str) -> SignalR[Any]:
        return SignalR(self._backends[name], timeout=TIMEOUT)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """End whatever runs on it, since nobody can have its data; switch the cell off.

        :raises ConfigError: it is another model.
        """
        self._mocked = bool(mock)
        if not mock:
            await self.make_safe()
            code, _ = await self._firmware()
            if code != self._model.code:
                raise ConfigError(f"{self.name}: it is a {code}, not a {self._model.code}")
        await super().connect(mock, timeout, force_reconnect)

    async def identify(self) -> str:
        code, firmware = await self._firmware()
        return f"PalmSens {code}, firmware {firmware}"

    @AsyncStatus.wrap
    async def stage(self) -> None:
        self._forget()  # what was measured before does not belong to this run
        await super().stage()

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Measure; done when the curves are here and the cell is off.

        :raises RefusedError: another measurement is under way, or it refused the script; nothing
            has been applied.
        :raises InstrumentError: it was stopped; the cell is off.
        :raises FaultError: it met with an error; the cell is off.
        :raises NoReplyError: its data did not come, or not whole; it may have been applied.
        """
        self._forget()
        if self._mocked:
            return
        method = self._method
        began = clock.now()
        packages = await self._measure(method)
        self._publish(method, packages, began)

    async def halt(self) -> None:
        """End the measurement under way, if any; its cell goes off. Others are not touched.

        :raises NoReplyError: it was not confirmed.
        """
        if self._mocked or not self._busy.locked():
            return
        self._stopping = True
        await self._lines.send(b"Z\n")
        try:
            async with asyncio.timeout(3 * ABORTING):
                await self._rests.wait()
        except TimeoutError:
            raise NoReplyError(self.name, "stopped, but the script did not end") from None

    async def make_safe(self) -> None:
        """End the script that runs, if any; switch the cell off and have both confirmed.

        :raises NoReplyError: it was not confirmed; the order was sent all the same.
        """
        if self._mocked:
            return
        await self.halt()
        async with self._busy:
            await self._make_idle()

    # Scripts

    async def _measure(self, method: Method) -> list[Sequence[Variable]]:
        """Run a method once and return its packages."""
        if self._busy.locked():
            raise RefusedError(self.name, "a measurement is under way; nothing was sent")
        async with self._busy:
            self._rests.clear()
            self._stopping = False
            try:
                return await self._run(method)
            except (InstrumentError, asyncio.CancelledError) as error:
                await asyncio.shield(self._end())
                if self._stopping and isinstance(error, InstrumentError):
                    raise InstrumentError(self.name, f"{method.text}: stopped") from error
                raise
            finally:
                self._rests.set()

    async def _end(self) -> None:
        """After what went wrong: have the cell off, or say that nobody knows."""
        await asyncio.sleep(DEAF)
        try:
            await self._make_idle()
        except InstrumentError as error:
            log.error("%s: whether its cell is off is not known: %s", self.name, error)

    async def _run(self, method: Method) -> list[Sequence[Variable]]:
        tag = str(next(self._tags))
        script = method.script(self._model, tag)
        await self._lines.forget()
        await self._lines.send("\n".join(["e", *script, "", ""]).encode("ascii"))
        await self._begins(tag, method.text)
        patience = method.slowest + getattr(method, "equilibration", 0.0) + MARGIN
        packages: list[Sequence[Variable]] = []
        ended = False
        while True:
            line = await self._lines.next(patience + self.wire.timeout)
            patience = method.slowest + MARGIN
            if line == f"T{tag}.":
                ended = True
            elif line == "":
                break
            elif line.startswith("P") and not ended:
                packages.append(self._package(line, method))
            elif not self._is_expected(line, method):
                self._fail(line, method.text)
        if not ended:
            raise GarbledError(self.name, f"{method.text}: the script ended before its end")
        self._check_times(method, packages)
        return packages

    async def _begins(self, tag: str, what: str) -> None:
        """Wait until the script with that number runs; what comes before is not its own."""
        for _ in range(UNREAD):
            line = await self._lines.next(MARGIN + self.wire.timeout)
            if line == f"T{tag}":
                return
            error = parse_error(line)
            if error is not None and error[0] == "e":
                raise RefusedError(self.name, f"{what}: {error[2]}")
        raise GarbledError(self.name, f"{what}: it says other things all the time")

    def _is_expected(self, line: str, method: Method) -> bool:
        if line == "Z":
            return self._stopping
        if self._stopping and line.startswith("P"):
            return True
        marker = line in (f"M{method.marker:04X}", "*", "-")
        return marker or (len(line) == 5 and line[0] == "C" and line[1:].isdigit())

    def _fail(self, line: str, what: str) -> None:
        error = parse_error(line)
        if error is not None and not error[0]:
            raise FaultError(self.name, f"{what}: {error[2]}")
        raise GarbledError(self.name, f"{what}: {line!r} came among its data")

    def _package(self, line: str, method: Method) -> Sequence[Variable]:
        try:
            package = parse_package(line)
        except GarbledError as error:
            raise GarbledError(self.name, f"{method.text}: {error}") from error
        kinds = [variable.kind for variable in package]
        if kinds != ["eb", *method.outputs.values()]:
            raise GarbledError(self.name, f"{method.text}: {line!r} has other variables")
        return package

    def _check_times(self, method: Method, packages: Sequence[Sequence[Variable]]) -> None:
        """:raises GarbledError: a package is missing, or there twice."""
        wanted, slack = method.points * method.rounds, 0 if not method.interval else method.rounds
        if not abs(len(packages) - wanted) <= slack or not packages:
            found = f"{len(packages)} points came, not {wanted}"
            raise GarbledError(self.name, f"{method.text}: {found}")
        times = [package[0].value for package in packages]
        for before, after in itertools.pairwise(times):
            apart = after - before
            even = not method.interval or 0.5 <= apart / method.interval <= 1.5
            if not (apart > 0 and even):
                found = f"points at {before:g} s and {after:g} s follow each other"
                raise GarbledError(self.name, f"{method.text}: {found}")

    async def _make_idle(self) -> None:
        """End what runs and switch the cell off: each confirmed."""
        failure: InstrumentError | None = None
        for _ in range(TRIES):
            try:
                await self._abort()
                await self._switch_off()
                return
            except InstrumentError as error:
                failure = error
        assert failure is not None
        raise NoReplyError(self.name, f"cell off: {failure}") from failure

    async def _abort(self) -> None:
        """:raises NoReplyError: it does not say that nothing runs."""
        await self._lines.forget()
        await self._lines.send(b"\nZ\n")  # an empty line ends a script that came only in part
        deadline = clock.monotonic() + ABORTING
        aborted = False
        while clock.monotonic() < deadline:
            try:
                line = await self._lines.next(min(deadline - clock.monotonic(), 1.0))
            except GarbledError:
                continue
            if line == "Z!0006":
                break
            aborted = aborted or line == "Z"
            if aborted and line == "":
                break
        else:
            raise NoReplyError(self.name, "it does not say that its script has ended")
        await asyncio.sleep(DEAF)

    async def _switch_off(self) -> None:
        tag = str(next(self._tags))
        await self._lines.forget()
        await self._lines.send(f'e\ncell_off\nsend_string "{tag}"\n\n'.encode("ascii"))
        await self._begins(tag, "cell off")
        while await self._lines.next(MARGIN):
            continue

    # Signals

    async def _firmware(self) -> tuple[str, str]:
        for last in (False, True):
            try:
                return await self._ask_firmware()
            except NoReplyError:
                if last:
                    raise
        raise AssertionError

    async def _ask_firmware(self) -> tuple[str, str]:
        async with self._busy:
            await self._lines.forget()
            await self._lines.send(b"t\n")
            lines = [await self._lines.next(self.wire.timeout)]
            while not lines[-1].endswith("*") and len(lines) < 4:
                lines.append(await self._lines.next(self.wire.timeout))
        try:
            return parse_firmware(lines)
        except GarbledError as error:
            raise GarbledError(self.name, str(error)) from error

    async def _get_open_circuit(self) -> float:
        for last in (False, True):
            try:
                ((_, potential),) = await self._measure(AT_REST)
                return potential.value
            except NoReplyError as error:
                if last:
                    raise
                log.info("asked again: %s", error)
        raise AssertionError

    async def _get_method(self) -> str:
        return self._method.text

    async def _put_method(self, text: str) -> None:
        """:raises RefusedError: it is none, or not for this instrument; nothing has changed."""
        try:
            self._method = parse_method(text, self._model)
        except ConfigError as error:
            raise RefusedError(self.name, f"method: {error}; nothing was sent") from error

    # Curves

    def _forget(self) -> None:
        for backend in (*self._backends.values(), self._status):
            backend.invalidate()

    def _publish(
        self, method: Method, packages: Sequence[Sequence[Variable]], began: float
    ) -> None:
        names = ("time", *method.outputs)
        curves = {
            name: np.array([_value(package[n]) for package in packages], dtype=np.float64)
            for n, name in enumerate(names)
        }
        for name, backend in self._backends.items():
            backend.publish(curves.get(name, np.zeros(0)), began)
        self._status.publish(_status(packages), began)


def _value(variable: Variable) -> float:
    return math.nan if variable.status & OVERLOAD else variable.value


def _status(packages: Sequence[Sequence[Variable]]) -> str:
    flags = [variable.status for package in packages for variable in package]
    counts = {meaning: sum(1 for flag in flags if flag & bit) for bit, meaning in STATUS.items()}
    return ", ".join(f"{count} x {meaning}" for meaning, count in counts.items() if count) or "ok"


class _Curve(PushBackend[Any]):
    """A curve that `trigger` brings; how long it is nobody knows before."""

    def __init__(self, source: str, units: str, *, datatype: type = np.ndarray) -> None:
        super().__init__(
            datatype, source=source, max_age=MAX_AGE, subscribe=_nothing, units=units or None
        )
        self._is_text = datatype is str

    async def connect(self, timeout: float) -> None:
        """Wait for nothing: nothing comes before the first trigger."""

    async def get_reading(self) -> Any:
        try:
            return await super().get_reading()
        except StaleError as error:
            advice = "trigger() measures anew, as bps.trigger_and_read and bp.count do"
            raise StaleError("", f"{error}; {advice}") from None

    async def get_datakey(self, source: str) -> DataKey:
        if self._is_text:
            return await super().get_datakey(source)
        return DataKey(
            source=source, dtype="array", shape=[None], dtype_numpy="<f8", **self.metadata
        )


async def _nothing() -> None: ...
