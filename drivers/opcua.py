"""Any OPC UA server as an instrument. Source: OPC 10000-4 (services, status codes) as `asyncua` 2.1
has them.

Nodes are named as they are seen in a browser of the address space: `DeviceSet/Oven/Temperature`
under Objects; a name is that of a node's BrowseName in whatever namespace, or `2:Temperature` in
namespace 2; or by NodeId, `ns=2;s=oven.temperature`. Not used: subscriptions, events, history;
values are asked for. Their quality counts: a bad or uncertain one is no reading.
"""

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from sdl.drivers.served.instrument import Safe, Served
from sdl.drivers.served.words import Command, Given, Reading, Setting
from sdl.errors import (
    ConfigError,
    FaultError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    StaleError,
)
from sdl.instrument.blocking import finished

T = TypeVar("T")
LONGEST = 3600.0  # s; the waiting is ours
LINGER = 2.0  # s that a server may take to say goodbye
EXTRA = "pip install 'sdl[opcua]'"
NODE_ID = re.compile(r"(ns=\d+;)?[isgb]=.+")
REFUSED = (
    *("BadOutOfRange", "BadTypeMismatch", "BadNotWritable", "BadUserAccessDenied"),
    *("BadInvalidArgument", "BadArgumentsMissing", "BadTooManyArguments", "BadMethodInvalid"),
    *("BadNotImplemented", "BadNotExecutable", "BadInvalidState", "BadStateNotActive"),
    *("BadNodeIdUnknown", "BadNodeIdInvalid", "BadNotReadable", "BadNotSupported"),
)
ABSTRACT = {26: 11, 27: 8, 28: 9}  # Number, Integer, UInteger: as Double, Int64, UInt64
STALE = ("BadWaitingForInitialData", "BadNoData", "BadDataUnavailable")
UNHEARD = (
    *("BadTimeout", "BadRequestTimeout", "BadCommunicationError", "BadConnectionClosed"),
    *("BadSecureChannelClosed", "BadSecureChannelIdInvalid", "BadSessionIdInvalid"),
    *("BadSessionClosed", "BadSessionNotActivated", "BadServerHalted", "BadShutdown"),
)


@dataclass(frozen=True)
class _Argument:
    """One of a method: its type, and whether it may be an empty list where nothing is given."""

    kind: Any
    empty: bool


class OpcUaLink:
    """A session of `asyncua` on our loop."""

    def __init__(self, url: str, name: str, *, timeout: float, security: str = "") -> None:
        if not url.startswith("opc.tcp://"):
            raise ConfigError(f"opcua: url={url!r}; allowed is opc.tcp://HOST:PORT/PATH")
        try:
            self._asyncua = importlib.import_module("asyncua")
        except ImportError as error:
            raise ConfigError(f"opcua needs the OPC UA client: {EXTRA}") from error
        self.url, self._name = url, name
        self._timeout, self._security = timeout, security
        self._client: Any = None
        self._nodes: dict[str, Any] = {}
        self._opening = asyncio.Lock()
        self._going: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Open a session, unless there is one.

        :raises NoReplyError: nobody answered.
        """
        async with self._opening:
            if self._client is not None:
                return
            client = self._asyncua.Client(self.url, timeout=LONGEST)
            if self._security:
                secure = client.set_security_string
                await self._heard("connect", lambda: secure(self._security), self._timeout)
            try:
                await self._heard("connect", client.connect, self._timeout)
            except BaseException:
                client.disconnect_socket()  # which an attempt that was given up leaves open
                await asyncio.sleep(0)
                raise
            self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        self._nodes.clear()
        if client is None:
            return
        try:
            async with asyncio.timeout(LINGER):
                await client.disconnect()
        except (TimeoutError, OSError, self._asyncua.ua.UaError):
            client.disconnect_socket()

    async def identify(self) -> str:
        build = await self.value("Server/ServerStatus/BuildInfo")
        return f"{build.ProductName} {build.SoftwareVersion} ({build.ManufacturerName})"

    async def value(self, of: str) -> Any:
        """Read a node whose value is good.

        :raises StaleError: the server has none now.
        :raises FaultError: it says that the value is bad, or uncertain.
        """
        node, asked = await self.node(of), f"read {of}"
        data = await self._sent(asked, lambda: node.read_data_value(raise_on_bad_status=False))
        status = data.StatusCode
        if not status.is_good():
            raise self._meaning(status.name, asked)
        value = data.Value.Value
        return getattr(value, "Text", value)  # of a LocalizedText, its text

    async def write(self, to: str, value: Any) -> None:
        node = await self.node(to)
        kind = await self._sent(f"what is {to}", node.read_data_type_as_variant_type)
        variant = self._asyncua.ua.Variant(_as(value, kind.name), kind)
        await self._sent(f"write {to} {value!r}", lambda: node.write_value(variant))

    async def call(
        self, command: str, given: Given, timeout: float, *, urgent: bool = False
    ) -> Mapping[str, Any]:
        """Call a method with its input arguments by name; return its outputs by name.

        A list of structures that is not given is empty.
        """
        method = await self.node(command)
        owner = await self.node(command.rpartition("/")[0]) if "/" in command else None
        owner = owner or await self._sent(command, method.get_parent)
        wanted = await self._arguments(method, "InputArguments")
        missing = {name for name, each in wanted.items() if not each.empty} - set(given)
        if missing or set(given) - set(wanted):
            takes = ", ".join(wanted) or "nothing"
            raise RefusedError(self._name, f"{command}: given {', '.join(given)}; it takes {takes}")
        variant = self._asyncua.ua.Variant
        arguments = [
            variant(_as(given[name], each.kind.name), each.kind)
            if name in given
            else variant([], each.kind, is_array=True)
            for name, each in wanted.items()
        ]
        answers = await self._sent(
            command, lambda: owner.call_method(method, *arguments), timeout=timeout
        )
        names = await self._arguments(method, "OutputArguments")
        if len(names) <= 1:
            return dict.fromkeys(names, answers)
        return dict(zip(names, answers, strict=True))

    async def _arguments(self, method: Any, which: str) -> dict[str, _Argument]:
        async def ask() -> dict[str, _Argument]:
            for child in await method.get_properties():
                if (await child.read_browse_name()).Name == which:
                    return {a.Name: self._argument(a) for a in await child.read_value() or ()}
            return {}

        return await self._sent(which, ask)

    def _argument(self, its: Any) -> _Argument:
        kinds, number = self._asyncua.ua.VariantType, its.DataType.Identifier
        number = ABSTRACT.get(number, number)
        built_in = its.DataType.NamespaceIndex == 0 and number in {k.value for k in kinds}
        kind = kinds(number) if built_in else kinds.ExtensionObject
        return _Argument(kind, empty=not built_in and its.ValueRank >= 0)

    async def node(self, path: str) -> Any:
        """Find a node; where it is, is asked once in a session.

        :raises RefusedError: there is none, or there are several.
        """
        await self.open()
        if path not in self._nodes:
            if NODE_ID.fullmatch(path):
                self._nodes[path] = self._client.get_node(path)
            else:
                self._nodes[path] = await self._sent(f"find {path}", lambda: self._walk(path))
        return self._nodes[path]

    async def _walk(self, path: str) -> Any:
        node = self._client.nodes.objects
        for step in path.split("/"):
            names = {child: await child.read_browse_name() for child in await node.get_children()}
            space, _, name = step.rpartition(":")
            fit = [
                child
                for child, its in names.items()
                if its.Name == name and space in ("", str(its.NamespaceIndex))
            ]
            if len(fit) != 1:
                known = ", ".join(f"{its.NamespaceIndex}:{its.Name}" for its in names.values())
                said = f"{step!r} is there {len(fit)} times among {known or 'nothing'}"
                raise RefusedError(self._name, f"find {path}: {said}")
            node = fit[0]
        return node

    async def _sent(
        self, asked: str, ask: Callable[[], Awaitable[T]], timeout: float | None = None
    ) -> T:
        """Ask in an open session; one that was lost is opened anew next time."""
        await self.open()
        try:
            return await self._heard(asked, ask, timeout or self._timeout)
        except NoReplyError:
            await self.close()
            raise

    async def _heard(self, asked: str, ask: Callable[[], Awaitable[T]], limit: float) -> T:
        """Wait for an answer; say what its errors mean. Who is cancelled does not take it back."""
        ua, answer = self._asyncua.ua, asyncio.ensure_future(ask())
        self._going.add(answer)
        answer.add_done_callback(self._gone)
        if not await finished(answer, limit):
            answer.cancel()
            raise NoReplyError(self._name, f"{asked}: {self.url}: no answer in {limit:g} s")
        try:
            return answer.result()
        except ua.UaStatusCodeError as error:
            raise self._meaning(type(error).__name__, asked) from error
        except ua.UaError as error:
            raise NoReplyError(self._name, f"{asked}: {error}") from error
        except (TimeoutError, OSError, asyncio.CancelledError) as error:
            said = str(error) or "the connection was lost"
            raise NoReplyError(self._name, f"{asked}: {self.url}: {said}") from error

    def _gone(self, answer: "asyncio.Future[Any]") -> None:
        self._going.discard(answer)
        if not answer.cancelled():
            answer.exception()  # whoever asked may have left

    def _meaning(self, status: str, asked: str) -> InstrumentError:
        if status in UNHEARD:
            return NoReplyError(self._name, f"{asked}: {status}")
        if status in STALE:
            return StaleError(self._name, f"{asked}: {status}")
        kind = RefusedError if status in REFUSED else FaultError
        return kind(self._name, f"{asked}: {status}")


class OpcUa(Served):
    """Nodes and methods of any OPC UA server."""

    title: ClassVar[str] = "any OPC UA server"

    def __init__(
        self,
        url: str,
        *,
        readings: dict[str, Reading] | None = None,
        setting: Setting | None = None,
        measuring: Command | None = None,
        stopping: Command | None = None,
        safe: Safe | None = None,
        security: str = "",
        timeout: float = 4.0,
        name: str = "",
    ) -> None:
        """Describe it; readings and the rest: see `sdl.drivers.served`. `of`, `write` and `call`
        are nodes.

        :param url: opc.tcp://HOST:PORT/PATH, with USER:PASSWORD@ where it wants them.
        :param security: as `asyncua` takes it: "Basic256Sha256,SignAndEncrypt,cert.der,key.pem".
        :param timeout: s for an answer.
        :raises ConfigError: it cannot be described so, or `asyncua` is not installed.
        """
        super().__init__(
            OpcUaLink(url, name, timeout=timeout, security=security),
            readings=readings or {},
            setting=setting,
            measuring=measuring,
            stopping=stopping,
            safe=safe,
            name=name,
        )


def _as(value: Any, kind: str) -> Any:
    """A number as its node wants it: whole ones are not rounded silently."""
    if kind in ("Float", "Double") and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    whole = kind.startswith(("Int", "UInt", "SByte", "Byte")) and kind != "ByteString"
    if whole and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
