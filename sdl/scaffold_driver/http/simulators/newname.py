"""A TB-20 bath, simulated behind HTTP: written from its manual, never from the driver.

FILL IN 4: manual, revision, section, pages; and what it does not say and was guessed.

Source: TB-20 (invented), operating manual, rev. 3, section 9, pp. 48-50. Setpoint and state are
lost with the power (p. 12). Guessed: that an unknown key is refused with 422.
"""

import asyncio
import json
from typing import Any, ClassVar, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdl.endpoints.http import App
from sdl.simulators.simulated import Simulated

DELIVERED = 25.0  # degC, setpoint when the power comes
LOW, HIGH = -30.0, 150.0  # degC, of the setpoint
SENSOR = (-50.0, 200.0)  # degC, range


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

    def __init__(self, part: Bath, *, rng: np.random.Generator, noise: float = 0.02) -> None:
        """Power it up.

        :param noise: degC, standard deviation of what it measures.
        """
        super().__init__(rng=rng)
        self._part, self._noise = part, noise
        self._starlette = Starlette(
            routes=[
                Route("/info", self._info, methods=["GET"]),
                Route("/bath", self._tell, methods=["GET"]),
                Route("/bath", self._take, methods=["PUT"]),
            ]
        )

    @property
    def app(self) -> App:
        """What answers requests, as an ASGI application."""
        return self._starlette

    async def serve(self) -> None:
        """Do nothing of itself."""
        await asyncio.Event().wait()

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._part.setpoint, self._part.running = DELIVERED, False

    async def _info(self, request: Request) -> Response:
        return JSONResponse({"model": "TB-20", "firmware": "1.40"})

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(self._state())

    async def _take(self, request: Request) -> Response:
        try:
            order = json.loads(await request.body())
        except (ValueError, RecursionError):
            return _refused(400, "no JSON")
        except ClientDisconnect:
            return _refused(400, "nobody waits")
        match order:
            case {"setpoint": int() | float() as celsius} if len(order) == 1:
                if isinstance(celsius, bool) or not LOW <= celsius <= HIGH:
                    return _refused(422, "out of range")
            case {"running": bool()} if len(order) == 1:
                if order["running"] and not self._part.filled:
                    return _refused(409, "liquid level too low")
            case _:
                return _refused(422, "neither a setpoint nor running")
        if "local mode" in self.troubles:
            return _refused(409, "it is operated at its panel")
        if "stuck" not in self.troubles:  # else it takes orders, and does not carry them out
            for name, value in order.items():
                setattr(self._part, name, value)
        return JSONResponse(self._state())

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


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)


newname = SimulatedNewName
