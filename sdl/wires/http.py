"""HTTP/1.1 instruments: requests and their answers, one at a time, over httpx.

What an answer's status leaves to assume (RFC 9110, section 15):

- 4xx: the request was understood as wrong or not allowed; nothing has changed (`RefusedError`).
  408 is a request that did not arrive whole: nobody has answered it.
- 3xx is not followed, since that would send the request again; nothing has changed.
- 502, 503 and 504 come from what stands before the instrument, or from one that still boots: it was
  not reached, or it is not known whether it was (`NoReplyError`). 501 and 505: nothing has changed.
- any other 5xx: the instrument reports a failure of its own, and may have acted (`FaultError`).

Each connection has one request on its way, and one whose answer did not come whole and in time is
closed: no answer is ever taken for another's. Nothing is sent again by the wire.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.wires.urls import Read, WireUrl, parse, switch, without_password
from sdl.wires.wire import Wire

Upload = tuple[str, bytes]  # a file's name and what is in it

PORTS = {"http": 80, "https": 443}
OPTIONS: Mapping[str, Read] = {"verify": switch}  # https: whether the certificate must be good
MOST_BYTES = 64 * 2**20  # of an answer
LOGGED = 2000  # bytes of a message that the log keeps
QUOTED = 300  # characters of an answer in an error message
IDLE = 2.0  # s that an unused connection is kept: servers close theirs after 5 s and more

NOT_REACHED = (408, 502, 503, 504)
UNCHANGED = (501, 505)


class HttpRefusedError(RefusedError):
    """The instrument said no; nothing has changed."""

    def __init__(self, instrument: str, message: str, status: int, body: bytes) -> None:
        super().__init__(instrument, message)
        self.status, self.body = status, body


class HttpUnavailableError(NoReplyError):
    """Something answered, but not the instrument, or not yet."""

    def __init__(self, instrument: str, message: str, status: int) -> None:
        super().__init__(instrument, message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What came back with a status of 2xx."""

    asked: str
    """The request's line: `GET /health`."""
    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    url: str = field(repr=False)

    def json(self) -> Any:
        """Return the body, read as JSON.

        :raises GarbledError: it is none, or has numbers that are none (NaN).
        """
        try:
            return json.loads(self.body.decode(), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            reason = f"{self.asked}: the answer is not JSON ({error}): {_quoted(self.body)}"
            raise GarbledError(self.url, reason) from error


class HttpWire(Wire):
    """One request, one answer."""

    def __init__(
        self,
        url: str,
        open_transport: Callable[[], httpx.AsyncBaseTransport],
        *,
        timeout: float = 1.0,
        reach: Callable[[], Awaitable[None]] | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Describe a connection; nothing is opened yet.

        :param reach: finds out whether anybody is there; raises OSError if not.
        :param login: user and password.
        :raises ConfigError: the URL is wrong.
        """
        super().__init__(without_password(url), timeout=timeout)
        self._open_transport, self._reach, self._login = open_transport, reach, login
        where = parts_of(url)
        host = f"[{where.host}]" if ":" in where.host else where.host
        self._root = f"{where.scheme}://{host}:{where.port}"
        self._client: httpx.AsyncClient | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | bool] | None = None,
        data: Any = None,
        files: Sequence[tuple[str, Upload]] = (),
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send a request once, return the answer to it.

        :param path: from the root on: `/health`.
        :param data: what is sent as JSON.
        :param files: sent as multipart/form-data, each with its field's name.
        :param form: fields that go with `files`.
        :param timeout: s in which the whole answer must have come (default: the wire's).
        :raises RefusedError: a status of 4xx (`HttpRefusedError`); nothing has changed.
        :raises NoReplyError: no whole answer came in time; the request may have been acted upon.
        :raises FaultError: the instrument failed; it may have acted.
        """
        limit = self.timeout if timeout is None else timeout
        asked = f"{method} {path}"

        async def exchange() -> Answer:
            if self._client is None:
                raise ConnectionError("not open")
            request = self._client.build_request(
                method,
                path,
                params=query,
                json=data,
                files=list(files) or None,
                data=form,
                headers=headers,
            )
            self.log.sent(_line(asked, await request.aread()))
            try:
                async with asyncio.timeout(limit):
                    status, answered, body = await self._converse(self._client, request)
            except TimeoutError as error:
                await self._shut()
                raise NoReplyError(self.url, f"{asked}: no answer in {limit:g} s") from error
            except httpx.HTTPError as error:
                await self._shut()
                why = str(error) or type(error).__name__
                raise NoReplyError(self.url, f"{asked}: no whole answer came: {why}") from error
            self.log.received(_line(str(status), body))
            self._judge(asked, status, answered, body)
            return Answer(asked, status, body, answered, self.url)

        return await self._transact(exchange)

    async def _converse(
        self, client: httpx.AsyncClient, request: httpx.Request
    ) -> tuple[int, Mapping[str, str], bytes]:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MOST_BYTES:
                    raise httpx.ReadError(f"an answer of more than {MOST_BYTES} bytes")
            self._whole(response, len(body))
            return response.status_code, response.headers, bytes(body)
        finally:
            await response.aclose()

    def _whole(self, response: httpx.Response, length: int) -> None:
        promised = response.headers.get("content-length")
        encoded = "content-encoding" in response.headers
        if promised is None or encoded or response.request.method == "HEAD":
            return
        if promised != str(length):
            raise httpx.ReadError(f"{length} bytes came of {promised}")

    def _judge(self, asked: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if 200 <= status < 300:
            return
        said = f"{asked}: {status} {_quoted(body)}".rstrip()
        if status in NOT_REACHED:
            raise HttpUnavailableError(self.url, said, status)
        if 300 <= status < 400:
            said = f"{said} (elsewhere: {headers.get('location', 'not said where')})"
        if 300 <= status < 500 or status in UNCHANGED:
            raise HttpRefusedError(self.url, said, status, body)
        raise FaultError(self.url, f"{said} (the instrument failed, and may have acted)")

    async def _open(self) -> None:
        await self._close()
        if self._reach is not None:
            await self._reach()
        self._client = httpx.AsyncClient(
            transport=self._open_transport(),
            base_url=self._root,
            timeout=None,  # the wire's own covers the whole exchange
            follow_redirects=False,
            trust_env=False,
            auth=self._login,
        )

    async def _close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def wire(url: str, *, timeout: float = 1.0) -> HttpWire:
    """Return the wire to `http://host[:80]` or `https://[user:password@]host[:443][?verify=0]`.

    :raises ConfigError: the URL is wrong.
    """
    where = parts_of(url)
    login = None if where.user is None else (where.user, where.password or "")

    def transport() -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(
            verify=where.scheme == "https" and where.option("verify", True),
            trust_env=False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=IDLE),
            retries=0,
        )

    async def reach() -> None:
        _, writer = await asyncio.open_connection(where.host, where.port)
        writer.close()

    return HttpWire(url, transport, timeout=timeout, reach=reach, login=login)


def parts_of(url: str) -> WireUrl:
    """Take apart an HTTP URL.

    :raises ConfigError: it is wrong.
    """
    scheme = "https" if url.startswith("https:") else "http"
    options = OPTIONS if scheme == "https" else {}
    return parse(url, scheme, allowed_options=options, default_port=PORTS[scheme], login=True)


def _line(head: str, body: bytes) -> bytes:
    """What the log keeps of a message."""
    short = body if len(body) <= LOGGED else b"%b ... %d bytes" % (body[:LOGGED], len(body))
    return head.encode() + (b" " + short if short else b"")


def _quoted(body: bytes) -> str:
    text = body.decode(errors="replace")
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} ..."


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
