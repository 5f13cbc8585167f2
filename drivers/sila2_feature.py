"""Any SiLA 2 server as an instrument. Source: SiLA 2 Part (A) 1.1 and (B) 1.1 as `sila2` 0.14 has
them: commands and properties of features; validation, execution, framework and connection errors.

The client is `sila2`'s, which blocks: it lives in a thread of its own. Values of a property are
asked for, also of an observable one. An observable command is asked for its result until it has
one, so a server that died is noticed. Not used: metadata, locks, binary transfer, discovery.
"""

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from sdl import clock
from sdl.drivers.served.instrument import Safe, Served
from sdl.drivers.served.words import Command, Given, Reading, Setting
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from sdl.instrument.blocking import Blocking

PERIOD = 0.1  # s between looks whether an observable command has ended
SELDOM = 20  # looks until it is asked, though nothing says that it has ended
EXTRA = "pip install 'sdl[sila2]'"


class Sila2Link:
    """A client of `sila2` in a thread."""

    def __init__(
        self, url: str, feature: str, name: str, *, insecure: bool, root_certs: str, timeout: float
    ) -> None:
        place = urlsplit(url)
        if place.scheme != "sila2" or not place.hostname or place.port is None:
            raise ConfigError(f"sila2_feature: url={url!r}; allowed is sila2://HOST:PORT")
        self._host, self._port = place.hostname, place.port
        self.url, self._feature, self._name = url, feature, name
        self._security: dict[str, Any] = {"insecure": True} if insecure else {}
        self._root_certs = root_certs
        errors, lost = _errors()
        self._client = Blocking(
            name, self._connected, close=lambda c: c.close(), timeout=timeout, errors=errors,
            lost=lost,
        )  # fmt: skip

    def _connected(self) -> Any:
        if self._root_certs:
            self._security["root_certs"] = Path(self._root_certs).read_bytes()
        kind = importlib.import_module("sila2.client").SilaClient
        client = kind.__new__(kind)
        try:
            client.__init__(self._host, self._port, **self._security)
        except Exception:
            # else its channel stays in gRPC's back-off, and the next client's with it
            if (channel := getattr(client, "_channel", None)) is not None:
                channel.close()
            raise
        return client

    async def open(self) -> None:
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def identify(self) -> str:
        def ask(client: Any) -> str:
            about = client.SiLAService
            kind, version = about.ServerType.get(), about.ServerVersion.get()
            return f"{about.ServerName.get()} ({kind} {version})"

        return await self._client.call("who are you", ask)

    async def value(self, of: str) -> Any:
        return await self._client.call(f"read {of}", lambda client: self._find(client, of).get())

    async def write(self, to: str, value: Any) -> None:
        raise ConfigError(f"sila2_feature: {to}: a property cannot be written; give `call`")

    async def call(
        self, command: str, given: Given, timeout: float, *, urgent: bool = False
    ) -> Mapping[str, Any]:
        """Call a command and return its responses, of an observable one when it has ended."""
        began = clock.monotonic()
        ask = self._client.aside if urgent else self._client.call  # gRPC takes calls of any thread
        begun = await ask(
            command, lambda client: self._find(client, command)(**given), timeout=timeout
        )
        if not hasattr(begun, "get_responses"):
            return _named(begun)
        try:
            looks = 0
            while clock.monotonic() - began < timeout:
                if begun.done or looks % SELDOM == SELDOM - 1:
                    done, result = await ask(command, lambda _: _result(begun))
                    if done:
                        return _named(result)
                looks += 1
                await asyncio.sleep(PERIOD)
        finally:
            begun.cancel_execution_info_subscription()
        raise NoReplyError(self._name, f"{command}: not done in {timeout:g} s; it may go on")

    def _find(self, client: Any, path: str) -> Any:
        """Find `Property` of the feature, or `Feature.Property`."""
        feature, _, what = path.rpartition(".")
        feature = feature or self._feature
        found = getattr(getattr(client, feature, None), what, None)
        if found is None:
            known = ", ".join(getattr(client, "_features", ())) or "none"
            message = f"{feature}.{what} is not served; its features are: {known}"
            raise RefusedError(self._name, message)
        return found


class Sila2Feature(Served):
    """What one feature of a SiLA 2 server offers; other features as `Feature.Command`."""

    title: ClassVar[str] = "any SiLA 2 server"

    def __init__(
        self,
        url: str,
        feature: str,
        *,
        readings: dict[str, Reading] | None = None,
        setting: Setting | None = None,
        measuring: Command | None = None,
        stopping: Command | None = None,
        safe: Safe | None = None,
        insecure: bool = False,
        root_certs: str = "",
        timeout: float = 10.0,
        name: str = "",
    ) -> None:
        """Describe a feature; readings and the rest: see `sdl.drivers.served`.

        :param url: sila2://HOST:PORT.
        :param feature: its identifier, such as TemperatureController.
        :param insecure: without encryption, as servers for tests are.
        :param root_certs: a file with certificates to trust (PEM); default: the system's.
        :param timeout: s of one call to the server, an unobservable command's apart.
        :raises ConfigError: it cannot be described so, or `sila2` is not installed.
        """
        security = {"insecure": insecure, "root_certs": root_certs, "timeout": timeout}
        super().__init__(
            Sila2Link(url, feature, name, **security),
            readings=readings or {},
            setting=setting,
            measuring=measuring,
            stopping=stopping,
            safe=safe,
            name=name,
        )


def _result(begun: Any) -> tuple[bool, Any]:
    """Whether an observable command has ended, and its responses; in the client's thread."""
    not_finished = importlib.import_module("sila2.framework").CommandExecutionNotFinished
    try:
        return True, begun.get_responses()
    except not_finished:
        return False, None


def _named(responses: Any) -> dict[str, Any]:
    return dict(responses._asdict()) if hasattr(responses, "_asdict") else {}


def _errors() -> tuple[dict[type[Exception], type[InstrumentError]], tuple[type[Exception], ...]]:
    """What its errors mean, and which of them end the connection.

    :raises ConfigError: it is not installed.
    """
    try:
        theirs = importlib.import_module("sila2.framework")
    except ImportError as error:
        raise ConfigError(f"sila2_feature needs the SiLA 2 client: {EXTRA}") from error
    meaning: dict[type[Exception], type[InstrumentError]] = {
        theirs.ValidationError: RefusedError,
        theirs.CommandExecutionNotAccepted: RefusedError,
        theirs.NoMetadataAllowed: RefusedError,
        theirs.InvalidMetadata: RefusedError,
        theirs.DefinedExecutionError: FaultError,
        theirs.UndefinedExecutionError: FaultError,
        TypeError: RefusedError,  # a parameter that its client does not even send
    }
    return meaning, (theirs.SilaConnectionError,)
