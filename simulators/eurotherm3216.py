"""Eurotherm 3216 temperature controller (3200 series), simulated on Modbus.

Source: HA028651 (3200 series engineering manual), p. 81: addresses 1 to 26, 203, 276 and the
warning of EEPROM wear; the other addresses, the status bits and the float region from third
parties' maps (shared facts, 2.10). Functions 3, 4, 6 and 16. Guesses, since no source says:
exception 2 for what is unmapped or read-only, 3 for a value out of range; alarm 1 is a full-scale
high alarm, alarm 2 a low one, neither latches; a broken sensor reads above the range and switches
the output off; the remote setpoint is lost with the power, all else is kept.

Registers are int16, temperatures with `decimals` decimals, outputs and the proportional band with
one. `0x8000 + 2 * address` holds the same as a 32-bit float, high word first.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from sdl.endpoints.modbus import Kind, ModbusRefusal
from sdl.simulators.simulated import Simulated

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
FLOATS = 0x8000
WEARING = (2, 24, 25)  # each write goes to the EEPROM, which stands 100,000 of them
MEMORY = {7: 0, 16: 0, 17: 0, 18: 0, 23: 0, 39: 0, 79: 0, 80: 0, 203: 0, 215: 25, 12544: 1}
READ_ONLY_MEMORY = (39, 79, 80, 215, 12544)
HYSTERESIS = 1.0  # degC of the alarms
OF_THE_SENSOR = {"drift", "noise", "saturation"}


class Heater(Protocol):
    """The part of a world that is controlled."""

    @property
    def temperature(self) -> float:
        """Temperature at the sensor now, in degC."""
        ...

    def attach_controller(self, control: Callable[[float, float], float]) -> None:
        """Call `control(dt in s, measured degC)` in every step; it returns the power, 0 to 1."""
        ...


@runtime_checkable
class Aimed(Protocol):
    """A heater that keeps a record of what it was to do."""

    def aim(self, celsius: float) -> None:
        """Hear what the controller aims at."""
        ...


@dataclass
class Pid:
    """Proportional on error, derivative on the measured value, integral that does not wind up."""

    band: float
    """degC in which the output goes from 0 to 100 %"""
    integral_time: float
    """s; 0: no integral action"""
    derivative_time: float
    """s"""
    integral: float = 0.0
    """%, kept within 0..100"""

    def output(self, dt: float, setpoint: float, measured: float, before: float) -> float:
        """Return the output in %, 0..100, `dt` s after `before` was measured."""
        gain, error = 100.0 / self.band, setpoint - measured
        proportional = gain * (error - self.derivative_time * (measured - before) / dt)
        wanted = proportional + self.integral
        saturated = (wanted >= 100.0 and error > 0) or (wanted <= 0.0 and error < 0)
        if self.integral_time > 0 and not saturated:
            self._keep(self.integral + gain * error * dt / self.integral_time)
        return min(max(proportional + self.integral, 0.0), 100.0)

    def follow(self, output: float, setpoint: float, measured: float) -> None:
        """Go on from `output` without a bump, as far as the integral can take it."""
        self._keep(output - 100.0 / self.band * (setpoint - measured))

    def _keep(self, integral: float) -> None:
        self.integral = min(max(integral, 0.0), 100.0)


@dataclass(frozen=True)
class _Parameter:
    get: Callable[[], float]
    put: Callable[[float], None] | None
    scale: float
    low: float
    high: float


class SimulatedEurotherm3216(Simulated):
    """A `RegisterDevice` that controls a heater.

    Its faults: those of a sensor, of which the controller knows nothing; a heater that gets no
    power, whatever the output ("stuck"); manual mode, as long as somebody stands at its front panel
    ("local mode"); a remote setpoint that nobody repeats ("watchdog expiry"); a loss of power.
    """

    faults: ClassVar[frozenset[str]] = frozenset(
        {*OF_THE_SENSOR, "stuck", "power cycle", "local mode", "watchdog expiry"}
    )

    def __init__(
        self,
        part: Heater,
        *,
        rng: np.random.Generator,
        unit: int = 1,
        decimals: int = 1,
        noise: float = 0.04,
        span: tuple[float, float] = (0.0, 200.0),
        setpoint: float = 20.0,
        proportional_band: float = 5.0,
        integral_time: float = 60.0,
        derivative_time: float = 2.0,
        remote_timeout: float = 60.0,
    ) -> None:
        """Power up, in automatic mode on setpoint 1.

        :param noise: degC, standard deviation of the measured temperature.
        :param span: degC, range of the input and of the setpoints.
        :param proportional_band: % of the span.
        :param remote_timeout: s without a write to 26 after which the local setpoint is used again.
        """
        super().__init__(rng=rng)
        self._part, self.unit = part, unit
        self._aimed = part if isinstance(part, Aimed) else None
        self._noise, (self._low, self._high) = noise, span
        self._setpoints, self._selected = [setpoint, setpoint], 0
        self._remote, self._remote_on, self._remote_age = setpoint, 0, 0.0
        self._remote_timeout = remote_timeout
        self._working, self._rate = setpoint, 0.0  # degC, degC/min (0: no limit)
        self._mode = self._manual = 0
        self._manual_output = self._output = 0.0  # %
        self._alarm_limits, self._alarms = [self._high, self._low], [False, False]
        self._band = proportional_band
        self._pid = Pid(1.0, integral_time, derivative_time)
        self._set_band(proportional_band)
        self._memory: dict[int, float] = {k: float(v) for k, v in MEMORY.items()}
        self.sensor_broken = False
        """A fault to inject."""
        self.eeprom_writes: Counter[int] = Counter()
        """How often each address was written that wears the EEPROM."""
        self._pv = part.temperature
        self._parameters = self._map(10.0**decimals)
        part.attach_controller(self._control)
        self._tell_aim()

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        _ = self._part.temperature
        if fault == "power cycle":
            self._remote, self._remote_on, self._remote_age = self._setpoints[0], 0, 0.0
            self._working, self._pid.integral = self._pv, 0.0
        elif fault == "local mode":
            self._manual, self._manual_output = 1, self._output
        elif fault == "watchdog expiry":
            self._remote_age = float("inf")

    def end(self, fault: str) -> None:
        super().end(fault)
        if fault == "local mode":
            self._manual = 0

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        self._refuse_coils(kind)
        _ = self._part.temperature  # brings the world, and with it the control loop, up to now
        if address >= FLOATS:
            wanted = self._floats(address, count)
            return [word for a in wanted for word in _float_words(self._parameter(a).get())]
        wanted = range(address, address + count)
        return [_int_word(p.get() * p.scale) for p in map(self._parameter, wanted)]

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        self._refuse_coils(kind)
        _ = self._part.temperature
        if address >= FLOATS:
            wanted = self._floats(address, len(values))
            raw = struct.pack(f">{len(values)}H", *values)
            numbers = list(struct.unpack(f">{len(wanted)}f", raw))
        else:
            wanted = range(address, address + len(values))
            ints = struct.unpack(f">{len(values)}h", struct.pack(f">{len(values)}H", *values))
            numbers = [v / self._parameter(a).scale for a, v in zip(wanted, ints, strict=True)]
        puts = [self._checked(a, v) for a, v in zip(wanted, numbers, strict=True)]
        for a, put, number in zip(wanted, puts, numbers, strict=True):
            if a in WEARING:
                self.eeprom_writes[a] += 1
            put(number)
        self._tell_aim()

    def _refuse_coils(self, kind: Kind) -> None:
        if kind not in ("holding", "input"):
            raise ModbusRefusal(ILLEGAL_FUNCTION)

    def _floats(self, address: int, count: int) -> range:
        if (address - FLOATS) % 2 or count % 2:
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        first = (address - FLOATS) // 2
        return range(first, first + count // 2)

    def _parameter(self, address: int) -> _Parameter:
        if address not in self._parameters:
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        return self._parameters[address]

    def _checked(self, address: int, value: float) -> Callable[[float], None]:
        parameter = self._parameter(address)
        if parameter.put is None:
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        if not parameter.low <= value <= parameter.high:
            raise ModbusRefusal(ILLEGAL_VALUE)
        return parameter.put

    # what the controller does, once in every step of the world

    def _control(self, dt: float, measured: float) -> float:
        before, self._pv = self._pv, measured + self._noise * self.rng.standard_normal()
        if OF_THE_SENSOR & self.troubles.keys():
            self._pv = self.disturbed(self._pv, low=self._low, high=self._high)
        if self.sensor_broken:
            self._pv = self._high + 0.05 * (self._high - self._low)
        self._remote_age += dt
        self._tell_aim()
        self._ramp(dt)
        self._watch()
        if self._mode or self.sensor_broken:
            self._output = 0.0
        elif self._manual:
            self._output = self._manual_output
            self._pid.follow(self._output, self._working, self._pv)
        else:
            self._output = self._pid.output(dt, self._working, self._pv, before)
        return 0.0 if "stuck" in self.troubles else self._output / 100.0

    @property
    def _aim(self) -> float:
        remote = self._remote_on and not self._remote_lost
        return self._remote if remote else self._setpoints[self._selected]

    def _tell_aim(self) -> None:
        if self._aimed is not None:
            self._aimed.aim(self._aim)

    def _ramp(self, dt: float) -> None:
        target = self._aim
        most = self._rate / 60.0 * dt if self._rate > 0 else float("inf")
        self._working += min(max(target - self._working, -most), most)

    def _watch(self) -> None:
        high, low = self._alarm_limits
        self._alarms[0] = self._pv > high - (HYSTERESIS if self._alarms[0] else 0.0)
        self._alarms[1] = self._pv < low + (HYSTERESIS if self._alarms[1] else 0.0)

    @property
    def _remote_lost(self) -> bool:
        return bool(self._remote_on) and self._remote_age > self._remote_timeout

    def _status(self) -> int:
        bits = {
            0: self._alarms[0],
            1: self._alarms[1],
            4: bool(self._manual),
            5: self.sensor_broken,
            10: self._pv > self._high,
            12: any(self._alarms),
            14: self._remote_lost,
        }
        return sum(1 << bit for bit, on in bits.items() if on)

    # what each register reads and writes

    def _map(self, degree: float) -> dict[int, _Parameter]:
        low, high, span = self._low, self._high, self._high - self._low

        def shown(get: Callable[[], float], scale: float = 1.0) -> _Parameter:
            return _Parameter(get, None, scale, 0, 0)

        def kept(owner: object, name: str, scale: float, least: float, most: float) -> _Parameter:
            def put(value: float) -> None:
                setattr(owner, name, value if scale > 1 else round(value))

            return _Parameter(lambda: getattr(owner, name), put, scale, least, most)

        def listed(values: list[float], at: int, least: float = low) -> _Parameter:
            def put(value: float) -> None:
                values[at] = value

            return _Parameter(lambda: values[at], put, degree, least, high)

        target = _Parameter(
            lambda: self._setpoints[self._selected], self._set_target, degree, low, high
        )
        return {
            1: shown(lambda: self._pv, degree),
            2: target,
            3: kept(self, "_manual_output", 10.0, 0.0, 100.0),
            4: shown(lambda: self._output, 10.0),
            5: shown(lambda: self._working, degree),
            6: _Parameter(lambda: self._band, self._set_band, 10.0, 0.1, 999.9),
            8: kept(self._pid, "integral_time", 1.0, 0, 9999),
            9: kept(self._pid, "derivative_time", 1.0, 0, 9999),
            11: shown(lambda: low, degree),
            12: shown(lambda: high, degree),
            13: listed(self._alarm_limits, 0),
            14: listed(self._alarm_limits, 1),
            15: kept(self, "_selected", 1.0, 0, 1),
            24: listed(self._setpoints, 0),
            25: listed(self._setpoints, 1),
            26: _Parameter(lambda: self._remote, self._set_remote, degree, low, high),
            35: kept(self, "_rate", degree, 0.0, 10 * span),
            75: shown(self._status),
            199: kept(self, "_mode", 1.0, 0, 2),
            273: kept(self, "_manual", 1.0, 0, 1),
            276: kept(self, "_remote_on", 1.0, 0, 1),
            **{address: self._cell(address) for address in self._memory},
        }

    def _cell(self, address: int) -> _Parameter:
        def put(value: float) -> None:
            self._memory[address] = round(value)

        writable = None if address in READ_ONLY_MEMORY else put
        return _Parameter(lambda: self._memory[address], writable, 1.0, -32768, 32767)

    def _set_target(self, value: float) -> None:
        self._setpoints[self._selected] = value

    def _set_remote(self, value: float) -> None:
        self._remote, self._remote_age = value, 0.0

    def _set_band(self, percent: float) -> None:
        self._band = percent
        self._pid.band = percent / 100.0 * (self._high - self._low)


def _int_word(value: float) -> int:
    """An int16 as it goes over the wire; what does not fit stays at the end of the range."""
    return min(max(round(value), -32768), 32767) & 0xFFFF


def _float_words(value: float) -> tuple[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low
