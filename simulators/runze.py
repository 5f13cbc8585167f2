"""Runze SV-06 selector valve and smart SY-01 syringe pump that speak the binary protocol.

No manual was at hand. Frames, functions and statuses are those that flowchem 1.1.6,
matterlab-valves 1.2.1 and runze-control agree on; a circle takes at most 5 s (SV-06 data sheet).
Guesses: what is asked while a motor runs is answered with 04, orders too; an unknown function with
02; a wrong sum with 01; after an origin reset (4F), between two ports and after power was lost on
the way the position is unknown (06) until it is sent somewhere.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import LineSimulator

BEGIN, END, PASSWORD = 0xCC, 0xDD, b"\xff\xee\xbb\xaa"
COMMON, FACTORY = 8, 14  # bytes of a packet
OK, FRAME, PARAMETER, BUSY, STALLED, UNKNOWN, ACCEPTED = 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0xFE
Answer = tuple[int, int]  # status, value


class RotaryValve(Protocol):
    """The part of a world that a valve's motor turns."""

    ports: int

    @property
    def port(self) -> int: ...

    @property
    def open(self) -> int | None:
        """The port that it stands at; None between two, and while it turns."""
        ...

    @property
    def moving(self) -> bool: ...

    def turn(self, port: int, seconds: float) -> None: ...

    def stop(self) -> None: ...


class Syringe(Protocol):
    """The part of a world that a pump's motor moves."""

    capacity_mL: float  # noqa: N815 (the unit's symbol)

    @property
    def syringe(self) -> float:
        """Volume in it, mL."""
        ...

    @property
    def running(self) -> bool: ...

    @property
    def stalled(self) -> bool: ...

    def start(self, rate: float, volume: float | None = None) -> None:
        """Move at mL/min, + out, - in."""
        ...

    def stop(self) -> None: ...


class RunzeBoard(LineSimulator):
    """Packets, address and what the factory sets: the same for all of Runze's instruments."""

    faults: ClassVar[frozenset[str]] = frozenset({"busy", "stuck", "power cycle"})

    def __init__(self, *, rng: np.random.Generator, address: int, firmware: int) -> None:
        super().__init__(rng=rng)
        self._address, self._firmware, self._baudrate = address, firmware, 0
        self._stalled = False
        self._functions: dict[int, Callable[[int], Answer]] = {
            0x20: lambda _: (OK, self._address),
            0x21: lambda _: (OK, self._baudrate),
            0x22: lambda _: (OK, self._baudrate),
            0x23: lambda _: (OK, 0),
            0x2E: lambda _: (OK, 0),
            0x30: lambda _: (OK, 0),
            0x3F: lambda _: (OK, self._firmware),
            0x49: self._strong_stop,
            0x4A: lambda _: (self._motor(), 0),
        }

    def whole(self, heard: bytes) -> int | None:
        if not heard:
            return None
        if heard[0] != BEGIN:
            at = heard.find(BEGIN)
            return len(heard) if at < 0 else at
        if len(heard) > 5 and heard[5] == END:
            return COMMON if len(heard) >= COMMON else None
        if heard[3:7] == PASSWORD[: len(heard[3:7])]:
            return FACTORY if len(heard) >= FACTORY else None
        return 1 if len(heard) > 5 else None

    async def respond(self, request: bytes) -> None:
        if len(request) < COMMON or request[1] != self._address:
            return
        status, value = self._judged(request)
        await asyncio.sleep(self.rng.uniform(0.001, 0.004))
        reply = bytes([BEGIN, request[1], status]) + value.to_bytes(2, "little") + bytes([END])
        await self.say(reply + _sum(reply))

    def _judged(self, request: bytes) -> Answer:
        if request[-2:] != _sum(request[:-2]):
            return FRAME, 0
        if len(request) == FACTORY:
            return self._set_up(request[2], int.from_bytes(request[7:11], "little"))
        act = self._functions.get(request[2])
        return act(int.from_bytes(request[3:5], "little")) if act is not None else (PARAMETER, 0)

    def _set_up(self, function: int, value: int) -> Answer:
        if function == 0x00 and value < 0x80:
            self._address = value
        elif function in (0x01, 0x02) and value < 5:
            self._baudrate = value  # in force after the next power-up
        elif function == 0xFF:
            self._address = self._baudrate = 0
        else:
            return PARAMETER, 0
        return OK, 0

    def _motor(self) -> int:
        if "busy" in self.troubles or self._running():
            return BUSY
        return STALLED if self._has_stalled() else OK

    def _when_still(self, act: Callable[[int], Answer]) -> Callable[[int], Answer]:
        """Return an order that is refused while the motor runs; what stalled is forgotten."""

        def order(value: int) -> Answer:
            if self._motor() == BUSY:
                return BUSY, 0
            self._stalled = False
            return act(value)

        return order

    def _has_stalled(self) -> bool:
        return self._stalled

    def _running(self) -> bool:
        raise NotImplementedError

    def _strong_stop(self, value: int) -> Answer:
        raise NotImplementedError


class SimulatedRunzeValve(RunzeBoard):
    """An SV-06."""

    def __init__(
        self,
        part: RotaryValve,
        *,
        rng: np.random.Generator,
        address: int = 0,
        ports: int | None = None,
        circle: float = 3.0,
        firmware: int = 0x0109,
    ) -> None:
        """Power it up.

        :param ports: default: as many as the part has.
        :param circle: s for a whole turn.
        """
        super().__init__(rng=rng, address=address, firmware=firmware)
        self._part, self._ports = part, ports or part.ports
        self._circle = circle
        self._functions |= {
            0x3E: self._where,
            0x44: self._when_still(self._go),
            0xA4: self._when_still(self._go_through),
            0xB4: self._when_still(self._go_between),
            0x45: self._when_still(lambda _: self._go(1)),
            0x4F: self._when_still(self._origin),
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._part.stop()
            self._stalled = False

    def _running(self) -> bool:
        return self._part.moving

    def _strong_stop(self, value: int) -> Answer:
        self._part.stop()
        return OK, 0

    def _where(self, value: int) -> Answer:
        if self._motor() == BUSY:
            return BUSY, 0
        port = self._part.open
        return (UNKNOWN, 0) if port is None else (OK, port)

    def _go(self, port: int) -> Answer:
        if not 1 <= port <= self._ports:
            return PARAMETER, 0
        ahead = (port - self._part.port) % self._ports
        self._turn(port, min(ahead, self._ports - ahead))
        return ACCEPTED, 0

    def _go_through(self, value: int) -> Answer:
        through, port = value & 0xFF, value >> 8
        if not (1 <= port <= self._ports and 1 <= through <= self._ports):
            return PARAMETER, 0
        ahead = (port - self._part.port) % self._ports
        passes = (through - self._part.port) % self._ports < ahead
        self._turn(port, ahead if passes else self._ports - ahead)
        return ACCEPTED, 0

    def _go_between(self, value: int) -> Answer:
        low, high = value & 0xFF, value >> 8
        if not (1 <= low <= self._ports and high == low % self._ports + 1):
            return PARAMETER, 0
        self._turn(low, 1)
        self._part.stop()
        return ACCEPTED, 0

    def _origin(self, value: int) -> Answer:
        self._turn(1, 1)
        self._part.stop()
        return ACCEPTED, 0

    def _turn(self, port: int, steps: int) -> None:
        if "stuck" in self.troubles:
            self._stalled = True
        elif port != self._part.open:
            self._part.turn(port, max(steps, 1) * self._circle / self._ports)


class SimulatedRunzePump(RunzeBoard):
    """A smart SY-01 with a valve of its own, of which only `open_to` knows."""

    def __init__(
        self,
        part: Syringe,
        *,
        rng: np.random.Generator,
        address: int = 0,
        ports: int = 6,
        steps: int = 12000,
        stroke: float = 6.0,
        firmware: int = 0x0203,
    ) -> None:
        """Power it up, homed and synchronised.

        :param steps: of a whole stroke.
        :param stroke: s for a whole stroke.
        """
        super().__init__(rng=rng, address=address, firmware=firmware)
        self._part, self._ports, self._full = part, ports, steps
        self._rate = part.capacity_mL / stroke * 60.0  # mL/min
        self._homed, self.open_to = True, 1
        self._functions |= {
            0x42: self._when_still(lambda steps: self._move(steps, 1)),
            0x43: self._when_still(lambda steps: self._move(steps, -1)),
            0x44: self._when_still(self._go),
            0x45: self._when_still(self._home),
            0x4F: self._when_still(self._home),
            0x66: self._position,
            0x67: self._synchronise,
        }

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self.forget()
            self._part.stop()
            self._homed = self._stalled = False

    def _running(self) -> bool:
        return self._part.running

    def _strong_stop(self, value: int) -> Answer:
        self._part.stop()
        return OK, 0

    def _position(self, value: int) -> Answer:
        if not self._homed:
            return UNKNOWN, 0
        return OK, round(self._part.syringe / self._part.capacity_mL * self._full)

    def _synchronise(self, value: int) -> Answer:
        self._homed = True
        return OK, 0

    def _go(self, port: int) -> Answer:
        if not 1 <= port <= self._ports:
            return PARAMETER, 0
        self.open_to = port
        return ACCEPTED, 0

    def _home(self, value: int) -> Answer:
        self._start(self._part.syringe, 1)
        return ACCEPTED, 0

    def _move(self, steps: int, sign: int) -> Answer:
        if not 0 < steps <= self._full:
            return PARAMETER, 0
        held = self._part.syringe if sign > 0 else self._part.capacity_mL - self._part.syringe
        self._start(min(steps * self._part.capacity_mL / self._full, held), sign)
        return ACCEPTED, 0

    def _start(self, volume: float, sign: int) -> None:
        if "stuck" in self.troubles:
            self._stalled = True
        elif volume > 0:  # at its optocoupler it ends of itself
            self._part.start(sign * self._rate, volume)

    def _has_stalled(self) -> bool:
        return self._stalled or self._part.stalled


def _sum(packet: bytes) -> bytes:
    return (sum(packet) & 0xFFFF).to_bytes(2, "little")
