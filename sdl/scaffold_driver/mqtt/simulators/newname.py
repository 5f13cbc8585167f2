"""A TB-20 bath, simulated on a broker: written from its manual, never from the driver.

FILL IN 4: manual, revision, section, pages; and what it does not say and was guessed.

Source: TB-20 (invented), operating manual, rev. 3, section 10, pp. 51-54. Setpoint and state are
lost with the power (p. 12). Guessed: that a message that is no JSON, or has no id, is not
answered.
"""

import asyncio
import json
from typing import Any, ClassVar, Protocol

import numpy as np

from sdl.simulators.simulated import Simulated
from sdl.wires.mqtt_session import Session, Will

DELIVERED = 25.0  # degC, setpoint when the power comes
LOW, HIGH = -30.0, 150.0  # degC, of the setpoint
SENSOR = (-50.0, 200.0)  # degC, range
PERIOD = 5.0  # s between telemetries


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
        self,
        part: Bath,
        *,
        rng: np.random.Generator,
        topic: str = "bath",
        noise: float = 0.02,
    ) -> None:
        """Power it up.

        :param topic: below which it speaks and listens.
        :param noise: degC, standard deviation of what it measures.
        """
        super().__init__(rng=rng)
        self._part, self._topic, self._noise = part, topic, noise
        self._boot, self._told = rng.bytes(2).hex(), 0

    @property
    def will(self) -> Will:
        """What the broker says when it is gone."""
        return Will(f"{self._topic}/online", b"0", retain=True)

    async def serve(self, session: Session) -> None:
        """Live on a session with the broker, until it is lost."""
        await session.publish(f"{self._topic}/online", b"1", retain=True)
        await session.subscribe(f"{self._topic}/ask")
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tell(session))
            both.create_task(self._obey(session))

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._part.setpoint, self._part.running = DELIVERED, False
            self._boot, self._told = self.rng.bytes(2).hex(), 0

    async def _tell(self, session: Session) -> None:
        while True:
            self._told += 1
            said = {"boot": self._boot, "n": self._told, "temperature": self._measured()}
            await session.publish(f"{self._topic}/telemetry", json.dumps(said).encode())
            await asyncio.sleep(PERIOD)

    async def _obey(self, session: Session) -> None:
        while True:
            message = await session.receive()
            try:
                asked = json.loads(message.payload)
            except (ValueError, RecursionError):
                continue
            if isinstance(asked, dict) and isinstance(asked.get("id"), str):
                await asyncio.sleep(self.rng.uniform(0.002, 0.01))  # it thinks
                said = {"id": asked["id"], **self._answer(asked)}
                await session.publish(f"{self._topic}/answer", json.dumps(said).encode())

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked:
            case {"get": "identity"}:
                return {"identity": {"model": "TB-20", "firmware": "1.40"}}
            case {"get": "state"}:
                return {"state": self._state()}
            case {"set": dict() as order} if len(order) == 1:
                error = self._take(order)
                return {"error": error} if error else {"state": self._state()}
        return {"error": "unknown"}

    def _take(self, order: dict[str, Any]) -> str:
        """Do what is asked for; return what is wrong with it."""
        match order:
            case {"setpoint": int() | float() as celsius}:
                if isinstance(celsius, bool) or not LOW <= celsius <= HIGH:
                    return "out of range"
            case {"running": bool()}:
                if order["running"] and not self._part.filled:
                    return "liquid level too low"
            case _:
                return "unknown"
        if "local mode" in self.troubles:
            return "it is operated at its panel"
        if "stuck" not in self.troubles:  # else it takes orders, and does not carry them out
            for name, value in order.items():
                setattr(self._part, name, value)
        return ""

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
