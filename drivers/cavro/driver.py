"""Tecan Cavro XLP 6000, XMP 6000, XCalibur: syringe pumps with a valve; the clone Runze SY-01B.

Source: "Cavro XLP 6000 Modular Syringe Pump Operating Manual", 734237-C, chapter 3 (addresses p.
3-1, OEM protocol pp. 3-3 to 3-6, DT p. 3-8, reports pp. 3-45 to 3-47, errors pp. 3-47 to 3-51).
Line: 9600 or 38400 baud, 8N1, several pumps on one. The pump takes the protocol of the first block
it hears, and ignores the other until its power is cut: OEM here, where checksum and repeat flag
make each command happen once; DT for clones and for pumps that somebody else talks to as well.

Strokes: 6000 steps (XLP, XMP), 3000 (XCalibur), 12000 (SY-01B), eight times that in fine resolution
(`N1`); speeds are counted in 6000 pulses per stroke, 12000 on the SY-01B, in both resolutions.

Not used: CAN, microsteps (`N2`), loops and programs, TTL lines, `z`, `K`, `k`, `v`, `c`, `L`, moves
of several pumps at once, and settings kept in the EEPROM (`U`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceMock,
    WatchableAsyncStatus,
    WatcherUpdate,
)
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.cavro import reconciling
from sdl.drivers.cavro.conversation import NUMBER, PATIENCE, TEXT, Conversation
from sdl.drivers.cavro.packets import PLACELESS, Protocol, meaning
from sdl.drivers.cavro.plunger import FASTEST, FINER, SLOWEST, Dose, Plunger, Stroke
from sdl.drivers.cavro.valve import PLACES, Port, Valve
from sdl.errors import ConfigError, FaultError, InstrumentError, RefusedError
from sdl.instrument import (
    Effect,
    Finding,
    Instrument,
    StopPolicy,
    Verdict,
    poll_r,
    poll_rw,
)
from sdl.wires import StreamWire

Model = Literal["xlp6000", "xmp6000", "xcalibur", "sy01b"]


class _Kind(NamedTuple):
    steps: int
    """of a stroke in normal resolution"""
    pulses: int
    """of a stroke, in which speeds are counted"""
    counts: bool
    """whether it counts initializations and moves"""


MODELS: Mapping[str, _Kind] = {
    "xlp6000": _Kind(6000, 6000, True),
    "xmp6000": _Kind(6000, 6000, True),
    "xcalibur": _Kind(3000, 6000, True),
    "sy01b": _Kind(12000, 12000, False),
}
FORCES = {1.0: 0, 0.25: 1, 0.0: 2}  # of initialization, for syringes from so many mL (table 3-6)


class Cavro(Instrument):
    """Doses mL at mL/min (`Doser`): + dispenses from the syringe, - draws into it.

    A pump that has just got power is not initialized: it refuses to move until `initialized` is set
    (or `initialize` called), which empties the syringe. `volume` is what the syringe holds.
    """

    title = "Tecan Cavro XLP 6000, syringe pump with valve"
    delivered = "serial:///dev/ttyUSB0?baudrate=9600"
    unverified = (
        "that Q says error 7 before a pump is initialized (the manual can be read otherwise)",
        "that initializations and moves are counted over a loss of power",
        "pulses per stroke of XCalibur and SY-01B (two drivers agree, no manual)",
        "that the SY-01B knows ?28",
        "which port the valve is at after Z with ports",
    )
    effect: ClassVar[Effect | None] = Effect.RELATIVE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(
        self,
        wire: StreamWire,
        *,
        capacity: float,
        address: int = 0,
        protocol: Protocol = "oem",
        model: Model = "xlp6000",
        fine: bool = False,
        ports: int | None = None,
        inlet: Port | None = None,
        outlet: Port | None = None,
        initialize: bool = False,
        counterclockwise: bool = False,
        max_rate: float | None = None,
        name: str = "",
    ) -> None:
        """Describe a pump.

        :param capacity: mL of its syringe.
        :param address: 0 to 14, of the switch at its back.
        :param protocol: "dt" for clones, and where others speak it.
        :param fine: eight times as many steps per stroke.
        :param ports: of a distribution valve, 2 to 12; None: a valve with the places input, output,
            bypass and extra.
        :param inlet: where to aspirate from, with each dose; None: from where the valve stands.
        :param outlet: where to dispense to, and to initialize into; None: where the valve stands.
        :param initialize: whether `connect` initializes a pump that is not; what is in the syringe
            then goes to `outlet`.
        :param counterclockwise: whether the valve's ports are numbered so (`Y` and not `Z`).
        :param max_rate: mL/min, to allow less than the pump can do.
        :raises ConfigError: one of them is impossible.
        """
        _check(capacity, address, protocol, model, ports, (inlet, outlet), max_rate)
        kind = MODELS[model]
        self._inlet, self._outlet = inlet, outlet
        self._counts, self._initialize = kind.counts, initialize
        self._z = _z("Y" if counterclockwise else "Z", capacity, ports, inlet, outlet)
        stroke = Stroke(capacity, kind.steps * (FINER if fine else 1), kind.pulses)
        self._pump = Conversation(wire, address, protocol, who=lambda: self.name)
        self._plunger = Plunger(self._pump, stroke, 1 if fine else 0)
        self._valve = Valve(self._pump, ports)
        self._moving = self._mocked = self._connecting = False
        self._rests = asyncio.Event()
        self._rests.set()
        at = f"{wire.url}#{address}"
        fastest = min(stroke.rate(FASTEST), max_rate or stroke.rate(FASTEST))
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.volume = poll_r(float, self._get_volume, source=f"{at} ?", units="mL", precision=4)
        with self.add_children_as_readables(Format.UNCACHED_SIGNAL):
            self.status = poll_r(str, self._get_status, source=f"{at} Q")
            self.initialized = poll_rw(
                bool, self._is_initialized, self._be_initialized, source=f"{at} Q"
            )
            self.rate = poll_rw(
                float,
                self._get_rate,
                self._plunger.set_rate,
                source=f"{at} V",
                units="mL/min",
                precision=4,
                limits=(stroke.rate(SLOWEST), fastest),
            )
            if ports is None:
                self.valve = poll_rw(str, self._get_place, self._turn, source=f"{at} ?6")
            else:
                self.valve = poll_rw(
                    int, self._get_port, self._turn, source=f"{at} ?6", limits=(1, ports)
                )
        if kind.counts:
            with self.add_children_as_readables(Format.CONFIG_SIGNAL):
                self.initializations = poll_r(int, lambda: self._number("?15"), source=f"{at} ?15")
                self.moves = poll_r(int, lambda: self._number("?16"), source=f"{at} ?16")
                self.turns = poll_r(int, lambda: self._number("?17"), source=f"{at} ?17")
        super().__init__(wire, name=name)

    async def connect(
        self,
        mock: bool | DeviceMock = False,
        timeout: float = DEFAULT_TIMEOUT,
        force_reconnect: bool = False,
    ) -> None:
        """Agree on the resolution with the pump; one that moves is left moving.

        A pump that is not initialized is connected all the same, its volume being unknown (NaN).
        """
        self._mocked = bool(mock)
        if not mock:
            await self._plunger.set_up()
            if self._initialize and not await self._is_initialized():
                await self.initialize()
        self._connecting = True
        try:
            await super().connect(mock, timeout, force_reconnect)
        finally:
            self._connecting = False

    async def identify(self) -> str:
        return (await self._pump.look("&", TEXT)).text

    async def initialize(self) -> None:
        """Find the places of valve and plunger; what is in the syringe goes to the outlet.

        :raises RefusedError: a dose is under way; nothing has moved.
        :raises FaultError: it did not succeed.
        """
        if self._mocked:
            return
        with self._alone("initialize"):
            await self._plunger.initialize(self._z)

    async def check_value(self, value: float) -> None:
        """Refuse a volume that no stroke has.

        :raises RefusedError: nothing was sent.
        """
        self._plunger.dose(value)

    @WatchableAsyncStatus.wrap
    async def set(self, value: float) -> AsyncIterator[WatcherUpdate[float]]:
        """Dispense (+) or aspirate (-) mL; done when the plunger rests where it should be.

        What is commanded is a whole number of steps: the target of the updates. The valve is turned
        to the outlet or inlet before, if they were named.

        :raises RefusedError: it cannot be done (not initialized, too little in the syringe, …);
            nothing has moved.
        :raises FaultError: a failure, or it stopped short; part of the volume may have moved.
        :raises NoReplyError: it cannot be reached; it may be moving, and will stop at the volume.
        """
        dose, began = self._plunger.dose(value), clock.monotonic()
        if self._mocked:
            yield self._update(dose, dose.volume, 0.0)
            return
        with self._alone(str(dose)):
            try:
                port = self._outlet if value > 0 else self._inlet
                if port is not None:
                    await self._valve.turn_to(port)
                async for steps in self._plunger.move(dose):
                    done = self._plunger.stroke.volume(steps)
                    yield self._update(dose, done, clock.monotonic() - began)
            except (asyncio.CancelledError, FaultError):
                await self._plunger.stop()
                raise

    async def mark(self, command: str, argument: Any) -> Mapping[str, Any]:
        """Tell the pump the rate, and return what it says of itself (`Mark`); nothing moves.

        :raises RefusedError: it is busy, or cannot dose that.
        """
        if command != "set" or self._mocked:
            return {}
        dose = self._plunger.dose(argument)
        with self._alone(str(dose)):
            return await reconciling.mark(self._pump, self._plunger, dose, counts=self._counts)

    async def reconcile(self, command: str, argument: Any, mark: Mapping[str, Any]) -> Finding:
        """Wait until the plunger rests, and say from its place what became of a dose.

        It is `UNKNOWN` where the power was lost since, where the plunger has lost its place, or
        somebody else moved it.

        :raises NoReplyError: it cannot be asked now.
        :raises FaultError: it is busy, and nothing moves.
        """
        if command != "set":
            return Finding(Verdict.UNKNOWN, f"{self.name} can tell nothing of a {command}")
        if self._mocked:
            return Finding(Verdict.NOT_DONE, f"{self.name} is mocked: nothing ever moves")
        return await reconciling.reconcile(
            self._pump, self._plunger, self._plunger.dose(argument), mark, counts=self._counts
        )

    async def halt(self) -> None:
        """Stop the plunger and have that confirmed; a valve that is turning comes to its port.

        :raises NoReplyError: it was not confirmed: the plunger may be moving.
        """
        if not self._mocked:
            await self._plunger.stop()
            try:
                async with asyncio.timeout(PATIENCE):  # the move is woken to see that it is over
                    await self._rests.wait()
            except TimeoutError as error:
                why = f"stopped, but what was under way has not seen it in {PATIENCE:g} s"
                raise InstrumentError(self.name, why) from error

    async def make_safe(self) -> None:
        await self.halt()

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Do one thing at a time.

        :raises RefusedError: another is under way; nothing was sent.
        """
        if self._moving:
            raise RefusedError(self.name, f"{what}: it is at work already; nothing was sent")
        self._moving = True
        self._rests.clear()
        try:
            yield
        finally:
            self._moving = False
            self._rests.set()

    async def _turn(self, port: Port) -> None:
        """Turn the valve. Errors are `Valve.turn_to`'s, or a dose is under way."""
        self._valve.check(port)
        with self._alone(f"valve to {port}"):
            await self._valve.turn_to(port)

    # Signals

    async def _get_volume(self) -> float:
        if self._connecting and not await self._is_initialized():
            return float("nan")
        seen = await self._plunger.position()
        return self._plunger.stroke.volume(seen.number)

    async def _get_status(self) -> str:
        seen = await self._pump.look()
        state = "ready" if seen.ready else "busy"
        return f"{state}: {meaning(seen.error)}" if seen.error else state

    async def _is_initialized(self) -> bool:
        return (await self._pump.look()).error not in PLACELESS

    async def _be_initialized(self, value: bool) -> None:
        """:raises RefusedError: it cannot be undone."""
        if not value:
            raise RefusedError(self.name, "initialized: only its power takes that away")
        if not await self._is_initialized():
            await self.initialize()

    async def _get_rate(self) -> float:
        return self._plunger.stroke.rate(await self._plunger.speed())

    async def _get_place(self) -> str:
        return str(await self._valve.stands())

    async def _get_port(self) -> int:
        return int(await self._valve.stands())

    async def _number(self, question: str) -> int:
        return (await self._pump.look(question, NUMBER)).number

    def _update(self, dose: Dose, done: float, elapsed: float) -> WatcherUpdate[float]:
        return WatcherUpdate(
            current=done,
            initial=0.0,
            target=dose.volume,
            name=self.name,
            unit="mL",
            precision=4,
            fraction=min(max(done / dose.volume, 0.0), 1.0),
            time_elapsed=elapsed,
        )


def _z(
    command: str, capacity: float, ports: int | None, inlet: Port | None, outlet: Port | None
) -> str:
    """Write the initialization of a pump: force, and the ports of a distribution valve."""
    force = next(force for least, force in FORCES.items() if capacity >= least)
    if ports is None or (inlet is None and outlet is None):
        return f"{command}{force}"
    return f"{command}{force},{inlet or outlet},{outlet or inlet}"


def _check(
    capacity: float,
    address: int,
    protocol: str,
    model: str,
    ports: int | None,
    used: tuple[Port | None, ...],
    max_rate: float | None,
) -> None:
    problems: list[str] = []
    if not 0.01 <= capacity <= 50:
        problems.append(f"capacity {capacity} mL: allowed is 0.01 to 50")
    if not 0 <= address <= 14:
        problems.append(f"address {address}: allowed is 0 to 14")
    if protocol not in ("oem", "dt"):
        problems.append(f"protocol {protocol!r}: allowed is oem or dt")
    if model not in MODELS:
        problems.append(f"model {model!r}: allowed are {', '.join(MODELS)}")
    if ports is not None and not 2 <= ports <= 12:
        problems.append(f"ports {ports}: allowed is 2 to 12, or none")
    for port in used:
        known = port in PLACES if ports is None else isinstance(port, int) and 1 <= port <= ports
        if port is not None and not known:
            allowed = ", ".join(PLACES) if ports is None else f"1 to {ports}"
            problems.append(f"inlet or outlet {port!r}: allowed is {allowed}")
    if max_rate is not None and not max_rate > 0:
        problems.append(f"max_rate {max_rate} mL/min: must be positive")
    if problems:
        raise ConfigError(*(f"cavro: {problem}" for problem in problems))
