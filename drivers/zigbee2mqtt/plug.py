"""Zigbee plugs and relays behind Zigbee2MQTT, with or without a meter.

Source: as `zigbee2mqtt`. `<base>/<friendly name>/set` takes `{"state":"ON"}`; the state is
published when the device has acknowledged it, and if it does not, `bridge/logging` says why.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from ophyd_async.core import AsyncStatus, SignalRW, StandardReadableFormat

from sdl import clock
from sdl.drivers.zigbee2mqtt import messages
from sdl.drivers.zigbee2mqtt.messages import Definition
from sdl.drivers.zigbee2mqtt.sensor import MAX_AGE, Reported, ZigbeeSensor
from sdl.errors import ConfigError, FaultError, NoReplyError
from sdl.instrument import Effect, PushBackend, StopPolicy
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

Safe = Literal["off", "on", "keep"]

TRIES = 2
STATE = "state"
PATIENCE = 10.0  # s: Zigbee2MQTT's own, for a device that does not acknowledge


class ZigbeePlug(ZigbeeSensor):
    """`set(True)` switches it on, and is done when Zigbee2MQTT says that it is on.

    One with a meter has `power`, `voltage`, `current` and `energy` among its exposes.
    """

    title: ClassVar[str] = "Zigbee2MQTT device, plug or relay"
    effect: ClassVar[Effect | None] = Effect.ABSOLUTE
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: MqttWire,
        *,
        friendly_name: str,
        exposes: Sequence[str] = (),
        safe: Safe = "off",
        base: str = "zigbee2mqtt",
        max_age: float = MAX_AGE,
        name: str = "",
    ) -> None:
        """Describe a plug; parameters that are not here: see `ZigbeeSensor`.

        :param exposes: what is read beside its state: power, voltage, current, energy, …
        :param safe: what `make_safe` does: switch it off or on, or keep it as it is.
        """
        if safe not in ("off", "on", "keep"):
            raise ConfigError(f"{name}: safe={safe!r}; allowed are off, on, keep")
        self._safe = safe
        self._said: bool | None = None  # of its state, since the newest command
        super().__init__(
            wire,
            friendly_name=friendly_name,
            exposes=exposes,
            base=base,
            max_age=max_age,
            name=name,
        )

    def _add_signals(self) -> None:
        self._state: Reported[bool] = Reported(
            bool,
            source=f"{self._mqtt.url}/{self._base}/{self._device}#{STATE}",
            max_age=self._max_age,
            subscribe=self._listen,
            ask=self._ask,
            turn=self._turn,
            put=self._switch,
        )
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.on = SignalRW(self._state, timeout=TIMEOUT)
        super()._add_signals()

    @AsyncStatus.wrap
    async def set(self, value: bool) -> None:
        """Switch it on or off.

        :raises NoReplyError: nobody said that it was; it may have been.
        :raises FaultError: it is said to be as it was.
        """
        await self.on.set(value)

    async def make_safe(self) -> None:
        """Switch it off, or what `safe` says."""
        if self._safe != "keep":
            await self.on.set(self._safe == "on")

    async def _switch(self, on: bool) -> None:
        definition = await self._defined()
        wanted = f"switch {'on' if on else 'off'}"
        if not (self._bridge and self._available):
            reason = f"{self._device} or its bridge is offline; nothing was sent"
            raise NoReplyError(self.name, f"{wanted}: {reason}")
        expose = definition.exposes[STATE]
        payload = json.dumps({STATE: expose.on if on else expose.off})
        for _ in range(TRIES):  # sent again it changes nothing
            self._said, self._problem = None, ""
            await self._mqtt.publish(f"{self._base}/{self._device}/set", payload)
            if await self._says(on):
                return
        self._state.invalidate()
        if self._said is not None:
            raise FaultError(self.name, f"{wanted}: {self._device} is said to be as it was")
        limit = self._mqtt.timeout + PATIENCE
        why = self._problem or f"{self._device} was not heard in {limit:g} s"
        raise NoReplyError(self.name, f"{wanted}: {why}, twice")

    async def _says(self, on: bool) -> bool:
        """Wait until it is said to be so, or why it is not."""
        deadline = clock.monotonic() + self._mqtt.timeout + PATIENCE
        while self._said is not on:
            self._heard.clear()
            try:
                async with asyncio.timeout(deadline - clock.monotonic()):
                    await self._heard.wait()
            except TimeoutError:
                return False
            if self._problem:
                return False
        return True

    def _take(self, state: Mapping[str, Any], definition: Definition) -> list[str]:
        wrong = super()._take(state, definition)
        if STATE not in state:
            return wrong
        on = messages.parse_truth(state[STATE], definition.exposes[STATE])
        if on is None:
            self._state.invalidate()
            return [*wrong, STATE]
        self._state.publish(on)
        self._said = on
        return wrong

    def _wrong_with(self, definition: Definition) -> str:
        wrong = super()._wrong_with(definition)
        if not wrong and not definition.exposes[STATE].can_be_set:
            return f"{self._device} has a state that cannot be set"
        return wrong

    def _asked(self) -> Sequence[str]:
        return [STATE, *super()._asked()]

    def _signals(self) -> Sequence[PushBackend[Any]]:
        return [self._state, *super()._signals()]
