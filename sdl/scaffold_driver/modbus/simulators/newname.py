"""A TB-20 bath, simulated on Modbus: written from its manual, never from the driver.

FILL IN 4: manual, revision, section, pages; and what it does not say and was guessed.

Source: TB-20 (invented), operating manual, rev. 3, section 8, pp. 45-47. Setpoint and state are
lost with the power (p. 12). Guessed: that a setpoint out of range is refused with exception
3.
"""

import struct
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from sdl.endpoints.modbus import Kind, ModbusRefusal
from sdl.simulators.simulated import Simulated

DELIVERED = 25.0  # degC, setpoint when the power comes
LOW, HIGH = -30.0, 150.0  # degC, of the setpoint
SENSOR = (-50.0, 200.0)  # degC, range
ILLEGAL_ADDRESS, ILLEGAL_VALUE, NOT_NOW = 2, 3, 7
MODEL, FIRMWARE = 20, 140


class Bath(Protocol):
    """The part of a world that it acts on."""

    setpoint: float
    running: bool

    @property
    def temperature(self) -> float: ...
    @property
    def filled(self) -> bool: ...


class SimulatedNewName(Simulated):
    """FILL IN 6: each request of the manual, and the faults that can happen inside of it."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "local mode", "power cycle", "drift", "noise", "saturation"}
    )

    def __init__(
        self, part: Bath, *, rng: np.random.Generator, unit: int = 1, noise: float = 0.02
    ) -> None:
        """Power it up.

        :param unit: its Modbus address.
        :param noise: degC, standard deviation of what it measures.
        """
        super().__init__(rng=rng)
        self.unit, self._part, self._noise = unit, part, noise
        self._map: Mapping[tuple[str, int], Callable[[], int]] = {
            ("input", 0): lambda: _word(self._measured()),
            ("input", 1): lambda: int(not self._part.filled),
            ("input", 10): lambda: MODEL,
            ("input", 11): lambda: FIRMWARE,
            ("holding", 0): lambda: _word(self._part.setpoint),
            ("coil", 0): lambda: int(self._part.running),
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._part.setpoint, self._part.running = DELIVERED, False

    async def read(self, kind: Kind, address: int, count: int) -> list[int]:
        wanted = [(kind, at) for at in range(address, address + count)]
        if any(place not in self._map for place in wanted):
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        return [self._map[place]() for place in wanted]

    async def write(self, kind: Kind, address: int, values: list[int]) -> None:
        if (kind, address) not in (("holding", 0), ("coil", 0)) or len(values) > 1:
            raise ModbusRefusal(ILLEGAL_ADDRESS)
        (celsius,) = (word / 10 for word in struct.unpack(">h", struct.pack(">H", values[0])))
        if kind == "holding" and not LOW <= celsius <= HIGH:
            raise ModbusRefusal(ILLEGAL_VALUE)
        no_water = kind == "coil" and values[0] and not self._part.filled
        if "local mode" in self.troubles or no_water:
            raise ModbusRefusal(NOT_NOW)
        if "stuck" in self.troubles:  # it takes orders, and does not carry them out
            return
        if kind == "holding":
            self._part.setpoint = celsius
        else:
            self._part.running = bool(values[0])

    def _measured(self) -> float:
        value = self._part.temperature + self._noise * float(self.rng.standard_normal())
        return self.disturbed(value, low=SENSOR[0], high=SENSOR[1])


def _word(celsius: float) -> int:
    """An int16 in 0.1 degC, as it goes over the wire."""
    return round(10 * celsius) & 0xFFFF


newname = SimulatedNewName
