"""What a Sparkplug host application says of itself: its STATE, and its will.

Source: Eclipse Sparkplug 3.0.0, chapter 4, "Sparkplug Host Application"; JSON, retained, QoS 1.
"""

import json

from sdl import clock
from sdl.errors import ConfigError
from sdl.wires.mqtt import MqttWire
from sdl.wires.mqtt_session import Will


def now() -> int:
    """Milliseconds since 1970."""
    return int(clock.now() * 1e3)


class HostState:
    """The STATE of the host application on a wire, kept up to date."""

    def __init__(self, wire: MqttWire, host_id: str, instrument: str) -> None:
        """Have the broker say that we are gone, when we are.

        :raises ConfigError: it is to say something else already.
        """
        self.topic = f"spBv1.0/STATE/{host_id}"
        self._wire, self._said, self._timestamp = wire, False, 0
        will = wire.will
        if will is not None and will.topic != self.topic:
            reason = f"the wire {wire.url} has a will on {will.topic} already"
            raise ConfigError(f"{instrument}: host_id={host_id}: {reason}")
        self._bequeath()

    def prepare(self) -> None:
        """Renew the will if there is no connection yet."""
        if not self._wire.health.connected:
            self.renew()

    def renew(self) -> None:
        """Take note that the connection is gone: the next one has a will of its own."""
        self._timestamp, self._said = now(), False
        self._bequeath()

    def _bequeath(self) -> None:
        self._wire.will = Will(self.topic, self._payload(online=False), retain=True)

    def say(self) -> None:
        """Say that we are online, if we have not since the connection was made."""
        if not self._said:
            self._said = True
            self._wire.post(self.topic, self._payload(online=True), qos=1, retain=True)

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        """Contradict what the broker says of an earlier connection of ours."""
        if payload and payload != self._payload(online=True) and b"true" not in payload:
            self._said = False
            self.say()

    def _payload(self, *, online: bool) -> bytes:
        return json.dumps({"online": online, "timestamp": self._timestamp}).encode()
