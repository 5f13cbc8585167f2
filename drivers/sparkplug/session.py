"""What a host knows of one Sparkplug edge node: whether it lives, and what its metrics are.

Source: Eclipse Sparkplug 3.0.0, chapters 4 ("Topics and messages"), 5 ("Operational behavior") and
6 ("Payloads"). No input or output: messages go in, news comes out.

MQTT keeps the order of one topic only, and QoS 0 may lose: each message has the number that follows
that of the one before, from any of the node's topics, and a time that is not earlier. One that has
not proves that something was missed or came late. Then nothing that is known counts, until the node
was born again, which it must do when asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sdl.drivers.sparkplug.payload import Metric, Payload, Scalar, parse_payload, parse_value
from sdl.errors import GarbledError

BD_SEQ = "bdSeq"
NODE = ""
"""The device that is the node itself."""

Kind = Literal["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"]
KINDS: tuple[Kind, ...] = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")


@dataclass(frozen=True)
class Born:
    """What a birth says of a metric."""

    name: str
    alias: int | None
    datatype: int


@dataclass
class Device:
    """What was born of a device, or of the node itself."""

    metrics: dict[str, Born] = field(default_factory=dict)
    aliases: dict[int, Born] = field(default_factory=dict)

    def bear(self, topic: str, metric: Metric) -> Born:
        """Take a metric of a birth.

        :raises GarbledError: it has no name or no datatype.
        """
        if metric.name is None or metric.datatype is None:
            raise GarbledError(topic, f"a birth needs names and datatypes: {metric}")
        born = self.metrics[metric.name] = Born(metric.name, metric.alias, metric.datatype)
        if metric.alias is not None:
            self.aliases[metric.alias] = born
        return born


@dataclass(frozen=True)
class News:
    """What a message has brought."""

    device: str
    values: Mapping[str, Scalar | None] = field(default_factory=dict)
    """by metric; None is null, or no value of its type"""
    birth: bool = False


class OutOfOrderError(GarbledError):
    """Something was missed, or came late: the node has to be born again."""


class NodeSession:
    """One edge node with its devices."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        """Those that live, by their ID; empty if the node does not."""
        self.bd_seq: Scalar | None = None
        self._next, self._newest = 0, 0
        self._last: tuple[str, bytes] | None = None

    @property
    def alive(self) -> bool:
        return NODE in self.devices

    def forget(self) -> None:
        """Know nothing any more: a message may have been missed."""
        self.devices.clear()
        self._last, self._newest = None, 0

    def hear(self, topic: str, kind: Kind, device: str, data: bytes) -> News | None:
        """Take a message; return what it has brought, None if nothing (one that came twice).

        :raises OutOfOrderError: nothing is known any more; the node must be born again.
        :raises GarbledError: as well; it is no such message.
        """
        if self._last == (topic, data):
            return None
        try:
            payload = parse_payload(topic, data)
            news = self._take(topic, kind, device, payload)
        except GarbledError:
            self.forget()
            raise
        self._last = topic, data
        return news

    def _take(self, topic: str, kind: Kind, device: str, payload: Payload) -> News:
        if kind == "NDEATH":
            return self._die(topic, payload)
        if kind == "NBIRTH":
            return self._be_born(topic, payload)
        if kind == "DDEATH" and payload.seq is None:  # a will: mqtt-spb-wrapper does that
            self.devices.pop(device, None)
            return News(device)
        self._check_order(topic, payload)
        if kind == "DDEATH":
            self.devices.pop(device, None)
            return News(device)
        if kind == "DBIRTH":
            self.devices[device] = Device()
            return News(device, self._births(topic, device, payload.metrics), birth=True)
        if device not in self.devices:
            raise OutOfOrderError(topic, f"data of {device}, which was not born")
        return News(device, self._data(topic, device, payload.metrics))

    def _be_born(self, topic: str, payload: Payload) -> News:
        metric = payload.value_of(BD_SEQ)
        if metric is None or metric.datatype is None or payload.seq != 0:
            raise GarbledError(topic, f"a birth needs bdSeq and sequence number 0: {payload.seq}")
        bd_seq = parse_value(topic, metric, metric.datatype)
        timestamp = payload.timestamp or 0
        if self.alive and bd_seq == self.bd_seq and timestamp < self._newest:
            raise OutOfOrderError(topic, f"a birth of {timestamp}, after {self._newest}")
        self.devices = {NODE: Device()}
        self.bd_seq, self._next, self._newest = bd_seq, 1, timestamp
        return News(NODE, self._births(topic, NODE, payload.metrics), birth=True)

    def _die(self, topic: str, payload: Payload) -> News:
        metric = payload.value_of(BD_SEQ)
        bd_seq = metric and metric.datatype and parse_value(topic, metric, metric.datatype)
        if self.alive and bd_seq != self.bd_seq:
            # of an earlier session; or of a node that counts wrongly, as some do: ask it
            raise OutOfOrderError(topic, f"death {bd_seq} of a node with birth {self.bd_seq}")
        self.forget()
        return News(NODE)

    def _check_order(self, topic: str, payload: Payload) -> None:
        if not self.alive:
            raise OutOfOrderError(topic, "its node was not born")
        if payload.seq != self._next:
            raise OutOfOrderError(topic, f"sequence number {payload.seq}, not {self._next}")
        timestamp = self._newest if payload.timestamp is None else payload.timestamp
        if timestamp < self._newest:
            raise OutOfOrderError(topic, f"a message of {timestamp}, after {self._newest}")
        self._next, self._newest = (self._next + 1) % 256, timestamp

    def _births(
        self, topic: str, device: str, metrics: Sequence[Metric]
    ) -> dict[str, Scalar | None]:
        values = {}
        for metric in metrics:
            born = self.devices[device].bear(topic, metric)
            values |= _value(topic, metric, born)
        return values

    def _data(self, topic: str, device: str, metrics: Sequence[Metric]) -> dict[str, Scalar | None]:
        values = {}
        for metric in metrics:
            born = self._known(topic, device, metric)
            if not metric.is_historical:
                values |= _value(topic, metric, born)
        return values

    def _known(self, topic: str, device: str, metric: Metric) -> Born:
        known = self.devices[device]
        born = None
        if metric.alias is not None:
            born = known.aliases.get(metric.alias)
        if born is None and metric.name is not None:
            born = known.metrics.get(metric.name)
        if born is None and metric.name is not None and metric.datatype is not None:
            return known.bear(topic, metric)  # it says all that its birth should have said
        if born is None:
            raise OutOfOrderError(topic, f"data of a metric that was not born: {metric}")
        return born


def _value(topic: str, metric: Metric, born: Born) -> dict[str, Scalar | None]:
    """Return the value by name; nothing for what cannot be read (a data set, a template)."""
    if metric.raw is None and not metric.is_null:
        return {}
    try:
        return {born.name: parse_value(topic, metric, born.datatype)}
    except GarbledError:
        return {born.name: None}  # not this one; the others are good
