"""The techniques of MethodSCRIPT: the points of each, in their order.

A point is the scan it belongs to (-1 where scans are not counted), the seconds until it is there,
and what is read then: the values of the variables that the technique writes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sdl.simulators.emstat.cell import Potentiostat, Value
from sdl.simulators.emstat.script import ScriptError, Statement, value_of

Read = Callable[[], tuple[Value, ...]]
Points = Iterator[tuple[int, float, Read]]

HIGH_SPEED = 3
SETTLING, PERIODS = 0.05, 3.0  # s, and periods, that a frequency takes
MOST_STAIRS = 100_000


def sweep(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """LSV and CV: a staircase through its corners."""
    *corners, step, rate = numbers[2:]
    must_be_on(stat, statement)
    must_be_positive(statement, step, rate)
    for corner in corners:
        must_be_possible(stat, statement, corner)
    if statement.name == "meas_loop_cv":
        corners.append(corners[0])
    stairs = staircase(corners, step)
    if len(stairs) < 2:
        raise ScriptError(0x4029, statement.line)
    scans = scans_of(statement)
    for scan in range(scans):
        for potential in stairs:
            yield scan if scans > 1 else -1, step / rate, stair(stat, potential, step / rate)


def scans_of(statement: Statement) -> int:
    try:
        scans = int(value_of(statement.options.get("nscans", "1").strip())[0])
    except ValueError:
        raise ScriptError(0x4039, statement.line) from None
    if not 1 <= scans <= 9999:
        raise ScriptError(0x4205, statement.line)
    return scans


def pulses(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """DPV: at each step a pulse; what is told is the difference that it makes."""
    begin, end, step, height, width, rate = numbers[2:]
    must_be_on(stat, statement)
    must_be_positive(statement, step, width, rate)
    if rate > step / width / 2:
        raise ScriptError(0x4205, statement.line)
    for corner in (begin, end, begin + height, end + height):
        must_be_possible(stat, statement, corner)

    def pulse(potential: float) -> tuple[Value, ...]:
        before = stat.apply(potential, step / rate - width)
        after = stat.apply(potential + height, width)
        return Value(potential, "da"), replace(after, value=after.value - before.value)

    for potential in staircase([begin, end], step):
        yield -1, step / rate, lambda potential=potential: pulse(potential)


def square_wave(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """SWV: forward, reverse, and their difference."""
    begin, end, step, amplitude, frequency = numbers[4:]
    must_be_on(stat, statement)
    must_be_positive(statement, step, frequency)
    for corner in (begin + amplitude, begin - amplitude, end + amplitude, end - amplitude):
        must_be_possible(stat, statement, corner)

    def wave(potential: float) -> tuple[Value, ...]:
        forward = stat.apply(potential + amplitude, 0.5 / frequency)
        reverse = stat.apply(potential - amplitude, 0.5 / frequency)
        difference = replace(forward, value=forward.value - reverse.value)
        return Value(potential, "da"), difference, forward, reverse

    for potential in staircase([begin, end], step):
        yield -1, 1 / frequency, lambda potential=potential: wave(potential)


def amperometry(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """CA: the current at one potential."""
    potential, interval, duration = numbers[2:]
    must_be_on(stat, statement)
    must_be_positive(statement, interval, duration)
    must_be_possible(stat, statement, potential)
    for _ in range(max(round(duration / interval), 1)):
        yield -1, interval, stair(stat, potential, interval)


def open_circuit(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """OCP: the potential while nothing flows."""
    interval, duration = numbers[1:]
    if stat.on:
        raise ScriptError(0x0014, statement.line)
    must_be_positive(statement, interval, duration)
    for _ in range(max(round(duration / interval), 1)):
        yield -1, interval, lambda: (stat.measured_potential(interval),)


def spectrum(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """EIS: the impedance at frequencies that lie evenly on a logarithmic scale."""
    amplitude, first, last, count, potential = numbers[3:]
    must_be_on(stat, statement)
    if stat.mode != HIGH_SPEED:
        raise ScriptError(0x0023, statement.line)
    must_be_positive(statement, amplitude, first, last, count)
    if max(first, last) > stat.model.fastest * 1.001:
        raise ScriptError(0x0011, statement.line)
    must_be_possible(stat, statement, potential)

    def line(frequency: float, seconds: float) -> tuple[Value, ...]:
        stat.apply(potential, seconds)
        return Value(frequency, "dc"), *stat.impedance(frequency, amplitude)

    for k in range(int(count)):
        share = k / (int(count) - 1) if count > 1 else 0.0
        frequency = first * (last / first) ** share
        seconds = SETTLING + PERIODS / frequency
        yield -1, seconds, lambda f=frequency, s=seconds: line(f, s)


def unsupported(stat: Potentiostat, statement: Statement, numbers: list[float]) -> Points:
    """Refuse: no current can be imposed on our cells."""
    raise ScriptError(0x001B, statement.line)
    yield


TECHNIQUES: dict[str, tuple[int, Callable[[Potentiostat, Statement, list[float]], Points]]] = {
    "lsv": (0x00, sweep),
    "dpv": (0x01, pulses),
    "swv": (0x02, square_wave),
    "cv": (0x05, sweep),
    "ca": (0x07, amperometry),
    "cp": (0x0A, unsupported),
    "ocp": (0x0B, open_circuit),
    "eis": (0x0D, spectrum),
}


def stair(stat: Potentiostat, potential: float, dt: float) -> Read:
    return lambda: (Value(potential, "da"), stat.apply(potential, dt))


def staircase(corners: Sequence[float], step: float) -> Sequence[float]:
    """Return the potentials from the first corner through the others, each a step from the next."""
    stairs = [corners[0]]
    for corner in corners[1:]:
        start = stairs[-1]
        count = min(math.floor(abs(corner - start) / step + 1e-6), MOST_STAIRS)
        way = math.copysign(step, corner - start)
        stairs += [float(each) for each in start + way * np.arange(1, count + 1)]
    return stairs


def must_be_on(stat: Potentiostat, statement: Statement) -> None:
    if not stat.on:
        raise ScriptError(0x4027, statement.line)


def must_be_positive(statement: Statement, *values: float) -> None:
    if min(values) <= 0:
        raise ScriptError(0x4204, statement.line)


def must_be_possible(stat: Potentiostat, statement: Statement, potential: float) -> None:
    if not stat.allows(potential):
        raise ScriptError(0x000F, statement.line)
