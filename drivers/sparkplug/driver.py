"""A device of a Sparkplug B edge node (a gateway, a PLC), or the node itself, over MQTT.

Source: Eclipse Sparkplug 3.0.0, chapters 4 to 6. We are a host application: births, data and deaths
of the node are heard (`spBv1.0/<group>/+/<node>/#`), writes go as DCMD (or NCMD), and a rebirth is
asked for (`Node Control/Rebirth`) when a message was missed, when nothing was heard for `max_age`,
and when we come. Values are reported when they change, so what is known is good as long as the node
lives and all its messages have come: each message proves that for all metrics.

With `host_id` we also publish our STATE, for nodes that wait for their primary host; the broker is
to say that we are gone (will).

Not used: data sets, templates, arrays, properties of metrics, historical values, other brokers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ophyd_async.core import SignalR, SignalRW, StandardReadableFormat

from sdl import clock
from sdl.drivers.sparkplug.host import HostState, now
from sdl.drivers.sparkplug.metrics import (
    TYPES,
    MetricOption,
    Reported,
    check_ids,
    checked_options,
)
from sdl.drivers.sparkplug.payload import BOOLEAN, DATETIME, Scalar, encode_command, rounded
from sdl.drivers.sparkplug.session import KINDS, Device, News, NodeSession
from sdl.errors import ConfigError, GarbledError, NoReplyError, RefusedError
from sdl.instrument import Effect, Instrument, StopPolicy, push_r
from sdl.instrument.signals import TIMEOUT
from sdl.wires.mqtt import MqttWire

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
MAX_AGE = 300.0  # s
LEAST_PAUSE = 1.0  # s between rebirths that nobody waits for
NEVER_OLD = float("inf")
PROPERTIES = ("Properties/Hardware Make", "Properties/Hardware Model", "Properties/FW")

NOBODY = Device()


class Sparkplug(Instrument):
    """Each metric of the lab file is a signal; `online` is whether the device lives.

    A value is set when the node says that it has it. All that is known is stale as soon as the
    node, its device or the connection is gone, or a message was missed and no birth has followed.
    """

    title: ClassVar[str] = "Sparkplug B edge node, any device"
    delivered: ClassVar[str] = "mqtt://broker:1883"
    unverified: ClassVar[tuple[str, ...]] = ("commercial edge nodes; two open ones were tried",)
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        wire: MqttWire,
        *,
        group: str,
        node: str,
        metrics: Mapping[str, MetricOption],
        device: str = "",
        safe: Mapping[str, bool | float | str] = {},
        host_id: str = "",
        max_age: float = MAX_AGE,
        name: str = "",
    ) -> None:
        """Describe a device.

        :param group: its Sparkplug group ID.
        :param node: the edge node's ID.
        :param metrics: what is read and written, by the names of the signals.
        :param device: the device's ID; empty for metrics of the node itself.
        :param safe: what `make_safe` writes, by signal.
        :param host_id: of the host application that we are; empty: we say nothing of us.
        :param max_age: s without any message of the node after which it is asked to be born again.
        """
        self._mqtt, self._group, self._node, self._device = wire, group, node, device
        self._options = checked_options(name, metrics, TAKEN)
        check_ids(name, group=group, node=node, device=device, host_id=host_id)
        if strange := [each for each in safe if not self._is_writable(each)]:
            raise ConfigError(f"{name}: safe={strange}: no such signal that is writable")
        self._safe, self._session, self._max_age = dict(safe), NodeSession(), max_age
        self._subscribing, self._turn, self._listening = asyncio.Lock(), asyncio.Lock(), False
        self._born, self._news = asyncio.Event(), asyncio.Event()
        self._asked_at, self._problem = -NEVER_OLD, ""
        self._properties: Sequence[str] = ()
        self._state = HostState(wire, host_id, name) if host_id else None
        self._signals = {each: self._pushed(each) for each in self._options}
        self._names = {self._metric(each): each for each in self._options}
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            for each, backend in self._signals.items():
                kind = SignalRW if self._is_writable(each) else SignalR
                setattr(self, each, kind(backend, timeout=TIMEOUT))
        self.online, self._online = push_r(
            bool, source=self._source("online"), max_age=NEVER_OLD, subscribe=self._listen
        )
        wire.on_lost(self._lost)
        super().__init__(wire, name)

    async def identify(self) -> str:
        """Say who it is and what it says of itself; it is asked to be born again.

        :raises NoReplyError: it is not there.
        """
        await self._listen()
        async with self._turn:
            why = await self._ask()
        known = self._session.devices.get(self._device)
        if known is None:
            raise NoReplyError(self.name, why or f"{self._path} was not born")
        return " ".join(["Sparkplug", self._path, *self._properties])

    async def make_safe(self) -> None:
        """Write what `safe` says."""
        for each, value in self._safe.items():
            await getattr(self, each).set(value)

    # What is heard

    async def _listen(self) -> None:
        async with self._subscribing:
            if not self._listening:
                if self._state is not None:
                    self._state.prepare()
                    await self._mqtt.subscribe(self._state.topic, self._state.hear)
                everything = f"{NAMESPACE}/{self._group}/+/{self._node}/#"
                await self._mqtt.subscribe(everything, self._hear)
                self._listening = True
        if self._state is not None:
            self._state.say()

    def _hear(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._state is not None:
            self._state.say()
        _, _, kind, _, *device = topic.split("/")
        if retained or kind not in KINDS:  # of unknown age; or a command
            return
        try:
            news = self._session.hear(topic, kind, device[0] if device else "", payload)
        except GarbledError as error:
            self._problem = str(error)
            self._invalidate()
            self._want_birth()
            raise  # so that the wire's health tells of it
        if news is not None:
            self._take(news)

    def _take(self, news: News) -> None:
        alive = self._device in self._session.devices
        if not alive:
            self._invalidate()
        elif news.device == self._device:
            for metric, value in news.values.items():
                self._take_value(metric, value)
            if news.birth:
                said = (news.values.get(each) for each in PROPERTIES)
                self._properties = [str(each) for each in said if each is not None]
        for signal in self._signals.values() if alive else ():
            signal.confirm()
        self._online.publish(alive)
        if alive and news.birth and news.device == self._device:
            self._problem = ""
            self._born.set()
        self._news.set()

    def _take_value(self, metric: str, value: Scalar | None) -> None:
        name = self._names.get(metric)
        if name is None:
            return
        ours = None if value is None else self._converted(name, metric, value)
        if ours is None:
            self._signals[name].invalidate()
        else:
            self._signals[name].publish(ours)

    def _converted(self, name: str, metric: str, value: Scalar) -> Any:
        """Return a value as the signal has it; None if it is none."""
        wanted = self._options[name].type
        if self._session.devices[self._device].metrics[metric].datatype == DATETIME:
            return float(value) / 1e3 if wanted == "float" else None  # s since 1970
        if wanted == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if abs(value) < NEVER_OLD else None
        return value if type(value) is TYPES[wanted] else None

    def _lost(self) -> None:
        self._session.forget()
        self._invalidate()
        self._online.invalidate()
        if self._state is not None:
            self._state.renew()

    def _invalidate(self) -> None:
        for signal in self._signals.values():
            signal.invalidate()
        self._online.publish(False)

    # What is asked and told

    async def _ask(self) -> str:
        """Have the node be born again and wait for it; return why there is no value."""
        self._born.clear()
        self._asked_at = clock.monotonic()
        await self._mqtt.publish(*self._rebirth(), qos=0)
        try:
            async with asyncio.timeout(self._mqtt.timeout):
                await self._born.wait()
        except TimeoutError:
            silent = f"{self._path} was not born again in {self._mqtt.timeout:g} s"
            return self._problem or silent
        known = ", ".join(self._session.devices.get(self._device, NOBODY).metrics)
        return f"its birth has no value of that type under that name; it has: {known}"

    def _want_birth(self) -> None:
        if clock.monotonic() - self._asked_at >= LEAST_PAUSE:
            self._asked_at = clock.monotonic()
            self._mqtt.post(*self._rebirth(), qos=0)

    def _rebirth(self) -> tuple[str, bytes]:
        topic = f"{NAMESPACE}/{self._group}/NCMD/{self._node}"
        return topic, encode_command(now(), True, BOOLEAN, name=REBIRTH)

    async def _write(self, name: str, value: Scalar) -> None:
        """Write a metric and wait until the node says that it has the value.

        :raises NoReplyError: it does not say so; it may have it.
        """
        await self._listen()
        metric = self._metric(name)
        async with self._turn:
            if self._device not in self._session.devices and (why := await self._ask()):
                self._check_known(metric, why)
            self._check_known(metric, "it was not born")
            born = self._session.devices[self._device].metrics[metric]
            sent = self._as_sent(value, born.datatype)
            for _ in range(2 if self._options[name].effect is Effect.ABSOLUTE else 1):
                self._signals[name].invalidate()
                message = encode_command(now(), sent, born.datatype, name=metric, alias=born.alias)
                await self._mqtt.publish(self._command_topic, message, qos=0)
                wanted = self._converted(name, metric, sent)
                if await self._says(name, wanted):
                    return
                await self._ask()  # it says nothing if it had that value before
                if self._is(name, wanted):
                    return
        newest, known = self._signals[name].newest, self._device in self._session.devices
        said = f"it says {newest['value']!r}" if newest and known else self._problem or "silence"
        raise NoReplyError(self.name, f"write {value!r} to {metric}: {said}")

    def _as_sent(self, value: Scalar, datatype: int) -> Scalar:
        """Return a value as the metric has it.

        :raises RefusedError: it cannot be of that datatype; nothing was sent.
        """
        if datatype == DATETIME and isinstance(value, float):
            return round(value * 1e3)
        try:
            return rounded(value, datatype)
        except ConfigError as error:
            raise RefusedError(self.name, f"{error}; nothing was sent") from error

    async def _says(self, name: str, wanted: Any) -> bool:
        deadline = clock.monotonic() + self._mqtt.timeout
        while not self._is(name, wanted):
            self._news.clear()
            try:
                async with asyncio.timeout(deadline - clock.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    def _is(self, name: str, wanted: Any) -> bool:
        signal = self._signals[name]
        return signal.counts and signal.newest is not None and signal.newest["value"] == wanted

    def _check_known(self, metric: str, why: str) -> None:
        device = self._session.devices.get(self._device)
        if device is None or metric not in device.metrics:
            raise NoReplyError(self.name, f"{metric} cannot be written: {why}; nothing was sent")

    # Names

    @property
    def _path(self) -> str:
        return "/".join(filter(None, (self._group, self._node, self._device)))

    @property
    def _command_topic(self) -> str:
        if self._device:
            return f"{NAMESPACE}/{self._group}/DCMD/{self._node}/{self._device}"
        return f"{NAMESPACE}/{self._group}/NCMD/{self._node}"

    def _metric(self, name: str) -> str:
        return self._options[name].metric or name

    def _is_writable(self, name: str) -> bool:
        return name in self._options and self._options[name].writable

    def _source(self, what: str) -> str:
        return f"{self._mqtt.url}/{self._path}#{what}"

    def _pushed(self, name: str) -> Reported[Any]:
        option = self._options[name]

        async def put(value: Any) -> None:
            await self._write(name, value)

        low, high = option.low, option.high
        given = low is not None or high is not None
        limits = (-NEVER_OLD if low is None else low, NEVER_OLD if high is None else high)
        return Reported(
            TYPES[option.type],
            source=self._source(self._metric(name)),
            max_age=self._max_age,
            subscribe=self._listen,
            ask=self._ask,
            turn=self._turn,
            put=put if option.writable else None,
            units=option.units,
            limits=limits if given else None,
            effect=option.effect,
        )


TAKEN = {*dir(Sparkplug), "online", "name", "wire"}  # what no signal can be called
