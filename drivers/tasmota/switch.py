"""A relay with Tasmota firmware (a mains plug, a power strip), over MQTT.

Source: Tasmota documentation, "MQTT", "Commands" (Control: Power<x>; Management: Status 11) and
"JSON Status Responses". `Power<x> ON|OFF` is answered on `stat/<topic>/RESULT` with
`{"POWER":"ON"}`, `POWER<x>` on boards with several relays; so is a press of the board's own button.
The state also comes each TelePeriod on `tele/<topic>/STATE`, or when asked for, by `Status 11`.

The board knows what it told the relay, not whether its contact moved. Not used: TOGGLE, BLINK,
PulseTime (a board that has one switches back by itself, and its state says so), metering.
"""

import asyncio
from typing import Any, ClassVar, Literal

from ophyd_async.core import AsyncStatus, SignalRW
from ophyd_async.core import StandardReadableFormat as Format

from sdl import clock
from sdl.drivers.tasmota.board import MAX_AGE, OFFLINE, Board, parse_object
from sdl.errors import ConfigError, FaultError, GarbledError, NoReplyError
from sdl.instrument import Effect, Instrument, StopPolicy
from sdl.instrument.asked_for import AskedFor
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

Safe = Literal["off", "on", "keep"]

MOST_RELAYS = 32
TRIES = 2
STATES = {"ON": True, "OFF": False}


class TasmotaSwitch(Instrument):
    """`set(True)` switches it on, and is done when the board says that it is."""

    title: ClassVar[str] = "Tasmota relay or plug, switch"
    delivered: ClassVar[str] = "mqtt://broker:1883"
    unverified: ClassVar[tuple[str, ...]] = ("boards with several relays",)
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: MqttWire,
        *,
        topic: str,
        relay: int = 1,
        safe: Safe = "off",
        max_age: float = MAX_AGE,
        name: str = "",
    ) -> None:
        """Describe a switch.

        :param topic: the `Topic` set on the device.
        :param relay: which, 1 to 32.
        :param safe: what `make_safe` does: switch it off or on, or keep it as it is.
        :param max_age: s after which the newest state is asked for again.
        """
        if not 1 <= relay <= MOST_RELAYS:
            raise ConfigError(f"{name}: relay={relay}; allowed is 1 to {MOST_RELAYS}")
        if safe not in ("off", "on", "keep"):
            raise ConfigError(f"{name}: safe={safe!r}; allowed are off, on, keep")
        self._relay, self._safe = relay, safe
        self._heard = asyncio.Event()
        self._said: bool | None = None  # since the newest command
        topics = [f"tele/{topic}/STATE", f"stat/{topic}/RESULT"]
        board = self._board = Board(wire, topic, status=11, topics=topics, take=self._take)
        self._state = AskedFor(
            bool,
            source=f"{wire.url}/stat/{topic}/RESULT#POWER{relay}",
            max_age=max_age,
            subscribe=board.listen,
            ask=board.ask,
            turn=board.turn,
            put=self._switch,
        )
        board.values.append(self._state)
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.on = SignalRW(self._state, timeout=TIMEOUT)
        self.online = board.online
        super().__init__(wire, name)

    @AsyncStatus.wrap
    async def set(self, value: bool) -> None:
        """Switch it on or off.

        :raises NoReplyError: the board did not say that it has; it may have.
        :raises FaultError: it says that it is still as it was.
        """
        await self.on.set(value)

    async def identify(self) -> str:
        """Ask for the firmware's version."""
        return await self._board.identify(self.name)

    async def make_safe(self) -> None:
        """Switch it off, or what `safe` says."""
        if self._safe != "keep":
            await self.on.set(self._safe == "on")

    async def _switch(self, on: bool) -> None:
        await self._board.listen()
        for _ in range(TRIES):  # sent again it changes nothing
            if self._board.offline:
                break
            self._said = None
            await self._board.command(f"Power{self._relay}", "ON" if on else "OFF")
            if await self._says(on):
                return
        self._state.invalidate()
        wanted = f"switch {'on' if on else 'off'}"
        if self._said is not None:
            raise FaultError(self.name, f"{wanted}: the board says that it is not")
        why = OFFLINE if self._board.offline else f"no answer in {self._board.timeout:g} s, twice"
        raise NoReplyError(self.name, f"{wanted}: {why}")

    async def _says(self, on: bool) -> bool:
        """Wait until the board says so."""
        deadline = clock.monotonic() + self._board.timeout
        while self._said is not on:
            self._heard.clear()
            try:
                async with asyncio.timeout(deadline - clock.monotonic()):
                    await self._heard.wait()
            except TimeoutError:
                return False
        return True

    def _take(self, topic: str, payload: bytes) -> bool:
        state = parse_power(topic, payload, self._relay)
        if state is None:
            return False
        self._board.is_there()
        self._state.publish(state)
        self._said = state
        self._heard.set()
        return True


def parse_power(topic: str, payload: bytes, relay: int) -> bool | None:
    """Return the state of a relay; None for a result that is not about it.

    :raises GarbledError: it should be there, and is not, or is neither ON nor OFF.
    """
    message: Any = parse_object(topic, payload)
    if topic.endswith("/STATUS11"):
        message = message.get("StatusSTS")
    keys = (f"POWER{relay}", "POWER") if relay == 1 else (f"POWER{relay}",)
    said = [message[key] for key in keys if key in message] if isinstance(message, dict) else []
    if not said and topic.endswith("/RESULT"):
        return None
    if len(said) != 1 or not isinstance(said[0], str) or said[0] not in STATES:
        raise GarbledError(topic, f"{keys[0]} is neither ON nor OFF: {payload[:200]!r}")
    return STATES[said[0]]
