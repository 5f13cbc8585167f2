"""A safety PLC that cuts the power of a bench, on Modbus TCP, unit 1.

Source: our own published map, vendor-neutral (shared facts 2.11); what each answer is: Modbus
Application Protocol 1.1b3. What the facts leave open is fixed here, and so published:

- `trip_cause` bits and `first_out` codes: 0 (1) emergency stop, 1 (2) door, 2 (3) fume hood,
  3 (4) overtemperature, 4 (5) leak, 5 (6) gas alarm, 6 (7) heartbeat; first_out 0: no trip.
- A trip drops all three enables and latches. Until it is reset, an enable that is written stays
  off: no exception, it reads back 0. `reset_latch` reads back 0; it acts if all inputs are healthy.
- The heartbeat is watched from its first change on, and after a reset from the next one on;
  watchdog_ms is 100 to 60000 or, for none, 0. After a loss of power all is off and nothing is
  latched; watchdog_ms is kept.
- Exceptions: 2 for what is not in the map, 3 for a value that is not allowed, 1 for a write of an
  input, 6 while it is busy (a program is loaded into it).
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np

from sdl.endpoints.modbus import Kind, ModbusRefusal
from sdl.simulators.simulated import Simulated

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY = 1, 2, 3, 6
ENABLES = ("heaters", "pumps", "gas_supply")
RESET, BUZZER = 3, 4  # coils behind the enables
INPUTS = ("estop", "door", "hood", "heat", "leak", "gas")  # in the order of their inputs
GAS = 5  # this input says 1 when something is wrong
HEARTBEAT_LOST = 6  # bit of the trip cause
LOWEST_FLOW = 30.0  # cm/s below which the flow in the fume hood is not healthy
COUNTS = {"coil": 5, "discrete": 6, "input": 4, "holding": 3}
LEAST_MS, MOST_MS = 100, 60_000
FIRMWARE = 100
SCAN = 0.01  # s: how late it notices that the heartbeat is missing


class Bench(Protocol):
    """What it watches, and switches."""

    @property
    def hood_flow(self) -> float:
        """Of the air into the fume hood, cm/s."""
        ...

    def healthy(self, name: str) -> bool: ...
    def power(self, name: str, on: bool) -> None: ...
    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` whenever something that it watches has changed."""


class SimulatedPlcInterlock(Simulated):
    """A `RegisterDevice` that acts when something happens, whether or not somebody asks."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "power cycle", "watchdog expiry", "noise", "drift", "saturation"}
    )

    def __init__(
        self,
        part: Bench,
        *,
        rng: np.random.Generator,
        unit: int = 1,
        watchdog_ms: int = 0,
        noise: float = 0.3,
    ) -> None:
        """Power up.

        :param watchdog_ms: of the heartbeat, as it was left; 0: it is not watched.
        :param noise: cm/s, standard deviation of the measured flow.
        """
        super().__init__(rng=rng)
        self.unit, self._part, self._noise = unit, part, noise
        self._watchdog_ms, self._alarm_clock = watchdog_ms, None
        part.watch(self.scan)
        self._power_up()

    _alarm_clock: asyncio.TimerHandle | None
    _began: float | None

    def _power_up(self) -> None:
        self._began = None  # its first second begins when it is first asked
        self._enabled = dict.fromkeys(ENABLES, False)
        self._buzzer = False
        self._heartbeat, self._beat_at = 0, None
        self.trips, self.first_out = 0, 0
        self._switch()

    _beat_at: float | None  # when the heartbeat changed last; None: it is not watched

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._power_up()
        elif fault == "watchdog expiry" and self._watchdog_ms:
            self._beat_at = self._now - self._watchdog_ms / 1000.0 - SCAN
            self.scan()

    @property
    def uptime(self) -> int:
        """Whole seconds since it got its power."""
        if self._began is None:
            self._began = self._now
        return int(self._now - self._began)

    def scan(self) -> None:
        """Look at the inputs and at the clock."""
        expired = self._beat_at is not None and self._watchdog_ms
        if expired and self._now - (self._beat_at or 0.0) > self._watchdog_ms / 1000.0:
            self._trip(HEARTBEAT_LOST)
        for bit in range(len(INPUTS)):
            if not self.is_healthy(bit):
                self._trip(bit)
        self._switch()

    def is_healthy(self, bit: int) -> bool:
        if INPUTS[bit] == "hood" and self._part.hood_flow < LOWEST_FLOW:
            return False
        return self._part.healthy(INPUTS[bit])

    def _trip(self, bit: int) -> None:
        if not self.trips:
            self.first_out = bit + 1
        self.trips |= 1 << bit
        self._enabled = dict.fromkeys(ENABLES, False)

    def _switch(self) -> None:
        for name, on in self._enabled.items():
            self._part.power(name, on)
        self._part.power("buzzer", self._buzzer)

    def _flow(self) -> int:
        measured = self._part.hood_flow + self._noise * float(self.rng.standard_normal())
        return round(self.disturbed(max(measured, 0.0), low=0.0, high=200.0))

    # On Modbus

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        self._check(kind, address, count)
        self.scan()
        values = {
            "coil": [*map(int, self._enabled.values()), 0, int(self._buzzer)],
            "discrete": [
                int(self.is_healthy(bit) is not (bit == GAS)) for bit in range(len(INPUTS))
            ],
            "input": [self.trips, self._flow(), self.first_out, self.uptime & 0xFFFF],
            "holding": [self._heartbeat, self._watchdog_ms, FIRMWARE],
        }[kind]
        return values[address : address + count]

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        if kind not in ("coil", "holding"):
            raise ModbusRefusal(ILLEGAL_FUNCTION)
        self._check(kind, address, len(values))
        wanted = dict(enumerate(values, address))
        if kind == "holding" and (2 in wanted or not self._allowed(wanted.get(1, 0))):
            raise ModbusRefusal(ILLEGAL_ADDRESS if 2 in wanted else ILLEGAL_VALUE)
        self.scan()
        for at, value in wanted.items():
            if kind == "holding":
                self._hold(at, value)
            else:
                self._coil(at, bool(value))
        self.scan()

    def _check(self, kind: Kind, address: int, count: int) -> None:
        if "busy" in self.troubles:
            raise ModbusRefusal(BUSY)
        if address + count > COUNTS[kind]:
            raise ModbusRefusal(ILLEGAL_ADDRESS)

    @staticmethod
    def _allowed(watchdog_ms: int) -> bool:
        return watchdog_ms == 0 or LEAST_MS <= watchdog_ms <= MOST_MS

    def _hold(self, at: int, value: int) -> None:
        if at == 1:
            self._watchdog_ms = value
        elif value != self._heartbeat:
            self._heartbeat, self._beat_at = value, self._now
        if self._alarm_clock is not None:
            self._alarm_clock.cancel()
        if self._beat_at is not None and self._watchdog_ms:
            expires = self._beat_at + self._watchdog_ms / 1000.0 + SCAN
            self._alarm_clock = asyncio.get_running_loop().call_at(expires, self.scan)

    def _coil(self, at: int, on: bool) -> None:
        if at == RESET:
            if on:
                self.reset()
        elif "stuck" in self.troubles:  # the relay is welded, or its wire broken
            return
        elif at == BUZZER:
            self._buzzer = on
        elif not (on and self.trips):
            self._enabled[ENABLES[at]] = on

    def reset(self) -> None:
        """Take a trip back, if all inputs are healthy."""
        if all(map(self.is_healthy, range(len(INPUTS)))):
            self.trips, self.first_out, self._beat_at = 0, 0, None
