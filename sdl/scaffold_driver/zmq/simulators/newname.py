"""A TB-20 bath, simulated behind a service on 0MQ: written from its manual, never from the driver.

FILL IN 4: manual, revision, section, pages; and what it does not say and was guessed.

Source: TB-20 (invented), operating manual, rev. 3, section 9. Setpoint and state are lost
with the power (p. 12). Ids, headers and
frames are the endpoint's (sdl/endpoints/zmq.py); what a command does is here.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from sdl import clock
from sdl.simulators.simulated import Simulated

Header = dict[str, Any]
Publish = Callable[[str, Header, list[bytes]], None]

DELIVERED = 25.0  # degC, setpoint when the power comes
LOW, HIGH = -30.0, 150.0  # degC, of the setpoint
SENSOR = (-50.0, 200.0)  # degC, range
COMMANDS = ("hello", "status", "abort", "state", "change")


class Bath(Protocol):
    """The part of a world that it acts on."""

    setpoint: float
    running: bool

    @property
    def temperature(self) -> float: ...
    @property
    def filled(self) -> bool: ...


class Refusal(Exception):  # noqa: N818 (what the service says, not an error of ours)
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}


class SimulatedNewName(Simulated):
    """FILL IN 6: each request of the manual, and the faults that can happen inside of it."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"stuck", "local mode", "power cycle", "drift", "noise", "saturation"}
    )

    def __init__(self, part: Bath, *, rng: np.random.Generator, noise: float = 0.02) -> None:
        """Power it up.

        :param noise: degC, standard deviation of what it measures.
        """
        super().__init__(rng=rng)
        self._part, self._noise = part, noise
        self._session = ""

    async def start(self, publish: Publish) -> None:
        """Begin a new session."""
        self._session = f"{clock.now():.6f}-{self.rng.bytes(4).hex()}"

    async def stop(self) -> None:
        """End: nothing is under way by itself."""

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._part.setpoint, self._part.running = DELIVERED, False

    async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
        """Answer one request."""
        await asyncio.sleep(self.rng.uniform(0.002, 0.01))  # it thinks
        try:
            said: Header = {"status": "ok", **self._answer(header)}
        except Refusal as refusal:
            said = {"status": "error", "error": refusal.error}
        return {"protocol": 1, "session": self._session, "t": clock.now(), **said}, []

    def _answer(self, header: Header) -> Header:
        given = {k: v for k, v in header.items() if k not in ("protocol", "command", "session")}
        command = header["command"]
        if command not in COMMANDS:
            raise Refusal("unknown_command", f"{command!r:.99} is none of {', '.join(COMMANDS)}")
        if header.get("session", self._session) != self._session:
            raise Refusal("session", f"this is session {self._session}; say hello")
        if command == "change":
            self._change(given)
        elif given:
            raise Refusal("bad_argument", f"{command} knows no {', '.join(given)!r:.99}")
        if command == "hello":
            return {"model": "TB-20", "serial": "SIM0001", "firmware": "1.40"}
        return {} if command in ("status", "abort") else self._state()

    def _change(self, given: Header) -> None:
        match given:
            case {"setpoint": int() | float() as celsius} if len(given) == 1:
                if isinstance(celsius, bool) or not LOW <= celsius <= HIGH:
                    raise Refusal("bad_argument", f"{LOW:g} to {HIGH:g} degC are allowed")
            case {"running": bool()} if len(given) == 1:
                if given["running"] and not self._part.filled:
                    raise Refusal("level", "liquid level too low")
            case _:
                raise Refusal("bad_argument", "neither a setpoint nor running")
        if "local mode" in self.troubles:
            raise Refusal("local", "it is operated at its panel")
        if "stuck" not in self.troubles:  # else it takes orders, and does not carry them out
            for name, value in given.items():
                setattr(self._part, name, value)

    def _state(self) -> dict[str, Any]:
        return {
            "temperature": self._measured(),
            "setpoint": self._part.setpoint,
            "running": self._part.running,
            "alarm": "" if self._part.filled else "liquid level too low",
        }

    def _measured(self) -> float:
        value = self._part.temperature + self._noise * float(self.rng.standard_normal())
        return round(self.disturbed(value, low=SENSOR[0], high=SENSOR[1]), 2)


newname = SimulatedNewName
