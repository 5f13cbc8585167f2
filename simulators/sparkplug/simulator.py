"""A Sparkplug B edge node with one device, or none: a gateway that reports what a part is.

Source: Eclipse Sparkplug 3.0.0, chapters 4 to 6. Its death is its will, with the bdSeq of its
birth, which counts connections; sequence numbers go from 0 to 255; values are looked at each
`scan_rate` and reported when they have changed, with their alias only; `Node Control/Rebirth` is
obeyed. One that has a primary host is born when that says that it is online, and dies when it says
that it is not.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from sdl import clock
from sdl.simulators.simulated import Simulated
from sdl.simulators.sparkplug.codec import DATATYPES, decode, encode, value_of, with_value
from sdl.wires.mqtt_session import Message, Session, Will

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
USUAL = {"float": "Double", "int": "Int32", "bool": "Boolean", "str": "String"}
MAKE = {"Properties/Hardware Make": "sdl", "Properties/Hardware Model": "SIM-1"}


class SimulatedSparkplug(Simulated):
    """One node. A metric is the attribute of the part that the lab file's signal is called."""

    faults: ClassVar[frozenset[str]] = frozenset(
        {"busy", "stuck", "drift", "noise", "saturation", "power cycle"}
    )

    def __init__(
        self,
        part: Any,
        *,
        rng: np.random.Generator,
        group: str,
        node: str,
        metrics: Mapping[str, Mapping[str, Any]],
        device: str = "",
        datatypes: Mapping[str, str] = {},
        aliases: bool = True,
        primary_host: str = "",
        scan_rate: float = 1.0,
    ) -> None:
        """Describe a node.

        :param metrics: by attribute of the part: `metric` (its name), `type`, `writable`, and for
            faults of its sensor `low` and `high`.
        :param datatypes: by attribute, where it is not the usual one of its type.
        :param aliases: whether data carry aliases in place of names and datatypes.
        :param primary_host: ID of the host that it waits for; empty: of none.
        :param scan_rate: s between looks at the part.
        """
        super().__init__(rng=rng)
        self._part, self._group, self._node, self._device = part, group, node, device
        self._metrics, self._aliases, self._scan_rate = dict(metrics), aliases, scan_rate
        self._datatypes = {
            name: datatypes.get(name, USUAL[each.get("type", "float")])
            for name, each in metrics.items()
        }
        self._host, self._bd_seq, self._seq = primary_host, 0, 0
        self._host_state = (-1, False)  # timestamp, online
        self._reported: dict[str, Any] = {}
        self._cut = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def will(self) -> Will:
        payload = encode({"timestamp": _now(), "metrics": [self._bd_metric()]})
        return Will(self._topic("NDEATH"), payload, retain=False)

    def begin(self, fault: str, size: float = 1.0) -> None:
        super().begin(fault, size)
        if fault == "power cycle":
            self._cut.set()

    async def serve(self, session: Session) -> None:
        self._session = session
        self._cut.clear()
        try:
            await session.subscribe(self._topic("NCMD"))
            if self._device:
                await session.subscribe(self._topic("DCMD"))
            async with asyncio.TaskGroup() as everything:
                everything.create_task(self._fail())
                everything.create_task(self._live())
                if self._host:
                    await session.subscribe(f"{NAMESPACE}/STATE/{self._host}")
                everything.create_task(self._obey())
        finally:
            self._bd_seq = (self._bd_seq + 1) % 256

    async def _fail(self) -> None:
        await self._cut.wait()
        raise ConnectionResetError("the power failed, or the host is gone")

    async def _live(self) -> None:
        while self._host and not self._host_state[1]:
            await asyncio.sleep(self._scan_rate)
        await self._be_born()
        while True:
            await asyncio.sleep(self._scan_rate)
            await self._report()

    async def _obey(self) -> None:
        while True:
            message = await self._session.receive()
            kind = message.topic.split("/")[2]
            try:
                if message.topic == f"{NAMESPACE}/STATE/{self._host}":
                    self._hear_host(message)
                elif kind in ("NCMD", "DCMD"):
                    await self._command(kind, decode(message.payload))
            except (ValueError, RecursionError):
                continue  # what cannot be understood is not done

    def _hear_host(self, message: Message) -> None:
        said = json.loads(message.payload)
        if not isinstance(said, dict) or type(said.get("timestamp")) is not int:
            return
        newest, was_online = self._host_state
        if said["timestamp"] >= newest and isinstance(said.get("online"), bool):
            self._host_state = said["timestamp"], said["online"]
            if was_online and not said["online"]:
                self._cut.set()

    async def _command(self, kind: str, payload: Mapping[str, Any]) -> None:
        reborn = False
        for metric in payload.get("metrics", []):
            if kind == "NCMD" and metric.get("name") == REBIRTH:
                reborn = reborn or bool(value_of(metric, "Boolean"))
            elif (kind == "DCMD") == bool(self._device):
                self._write(metric)
        if reborn:
            await self._be_born()
        else:
            await self._report()

    def _write(self, metric: Mapping[str, Any]) -> None:
        for number, (name, option) in enumerate(self._metrics.items()):
            known = (option.get("metric") or name, number)
            if metric.get("name") != known[0] and metric.get("alias") != known[1]:
                continue
            value = value_of(metric, self._datatypes[name])
            if option.get("writable") and not {"busy", "stuck"} & self.troubles.keys():
                setattr(self._part, name, value)

    # What it says

    async def _be_born(self) -> None:
        async with self._lock:
            self._seq = 0
            control = with_value({"name": REBIRTH, **_typed("Boolean")}, False, "Boolean")
            metrics = [self._bd_metric(), control]
            await self._say("NBIRTH", [*metrics, *([] if self._device else self._birth())])
            if self._device:
                await self._say("DBIRTH", self._birth())

    def _birth(self) -> list[dict[str, Any]]:
        properties = [
            with_value({"name": name, **_typed("String")}, text, "String")
            for name, text in MAKE.items()
        ]
        self._reported = {name: self._measure(name) for name in self._metrics}
        return [*properties, *(self._metric(name, birth=True) for name in self._metrics)]

    async def _report(self) -> None:
        async with self._lock:
            measured = {name: self._measure(name) for name in self._metrics}
            changed = [name for name, value in measured.items() if value != self._reported[name]]
            self._reported = measured
            if changed:
                kind = "DDATA" if self._device else "NDATA"
                await self._say(kind, [self._metric(name) for name in changed])

    def _measure(self, name: str) -> Any:
        value, option = getattr(self._part, name), self._metrics[name]
        low, high = option.get("low"), option.get("high")
        if self._datatypes[name] in ("Float", "Double") and low is not None and high is not None:
            return self.disturbed(value, low=low, high=high)
        return value

    def _metric(self, name: str, *, birth: bool = False) -> dict[str, Any]:
        datatype, value = self._datatypes[name], self._reported[name]
        number = list(self._metrics).index(name)
        metric: dict[str, Any] = {"timestamp": _now()}
        if birth or not self._aliases:
            metric["name"] = self._metrics[name].get("metric") or name
        if self._aliases:
            metric["alias"] = number
        if birth or not self._aliases:
            metric["datatype"] = DATATYPES[datatype][0]
        return {**metric, "is_null": True} if value is None else with_value(metric, value, datatype)

    def _bd_metric(self) -> dict[str, Any]:
        return with_value({"name": "bdSeq", **_typed("Int64")}, self._bd_seq, "Int64")

    async def _say(self, kind: str, metrics: list[dict[str, Any]]) -> None:
        payload = encode({"timestamp": _now(), "metrics": metrics, "seq": self._seq})
        self._seq = (self._seq + 1) % 256
        await self._session.publish(self._topic(kind), payload, qos=0)

    def _topic(self, kind: str) -> str:
        device = f"/{self._device}" if kind.startswith("D") else ""
        return f"{NAMESPACE}/{self._group}/{kind}/{self._node}{device}"


def _typed(datatype: str) -> dict[str, Any]:
    return {"timestamp": _now(), "datatype": DATATYPES[datatype][0]}


def _now() -> int:
    return int(clock.now() * 1e3)
