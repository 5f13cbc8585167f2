"""Runs to Tiled, the data service of the Bluesky world, by following the journal.

Each run becomes the container `<uid>` (BlueskyRun 3.0): scalars in a table per stream, arrays as
arrays. A run is written when it has ended, and counts as sent when it was read back: its stop
document, the number of every event and the length of every array. What an outage left of a run is
deleted first, for Tiled refuses a second run of one uid (409).

Needs the extra `tiled`. How to set it up: docs/how-to/send-data-to-tiled.md.
"""

import contextlib
import copy
import json
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdl.data.follower import Follower, Run
from sdl.errors import ConfigError, SdlError, explain

if TYPE_CHECKING:
    from bluesky_tiled_plugins import TiledWriter
    from tiled.client.container import Container

NOT_NOW = frozenset({401, 403, 429, 502, 503, 504})
"""HTTP statuses that are about the service or our key, not about the run."""


def follow(
    journal_url: str,
    tiled_uri: str,
    *,
    api_key: str | None = None,
    once: bool = False,
    again: bool = False,
    stop: threading.Event | None = None,
) -> int:
    """Send every finished run of a journal to Tiled until `stop` is set; return how many were sent.

    :param tiled_uri: a server, `http://host:8000`, or a container on it, `…/api/v1/metadata/lab`.
    :param api_key: default: the environment's TILED_API_KEY.
    :param once: send what is finished now, then return.
    :param again: look at all runs again, for a server that has lost some.
    :raises ConfigError: the URL is none, or the extra `tiled` is not installed.
    :raises JournalError: there is no journal, or somebody sends it there already.
    :raises SdlError: with `once`, not everything could be sent; what was sent stays sent.
    """
    sink = TiledSink(tiled_uri, api_key=api_key)
    with contextlib.closing(sink):
        follower = Follower(journal_url, "tiled", sink, to=sink.place)
        return follower.follow(stop, once=once, again=again)


class TiledSink:
    """Puts whole runs into a Tiled catalog, each one once. A sink for `Follower`."""

    def __init__(self, uri: str, *, api_key: str | None = None) -> None:
        """Check what can be checked without the server, which may be down.

        :raises ConfigError: the URL is none, or the extra `tiled` is not installed.
        """
        self.place = _without_secrets(uri)
        self._uri, self._api_key = uri, api_key
        self._catalog: Container | None = None
        # the follower has patience enough, and sees a stop between two tries (read at import)
        os.environ.setdefault("TILED_RETRY_ATTEMPTS", "1")
        try:
            import bluesky_tiled_plugins  # noqa: F401
            import tiled.client  # noqa: F401
        except ImportError as error:
            hint = 'install the extra `tiled`: pip install "sdl[tiled]"'
            raise ConfigError(f"Tiled's client cannot be imported ({error}); {hint}") from error

    def __call__(self, run: Run) -> None:
        """Return when the run is in the catalog, whole.

        :raises ConnectionError: no server, or it does not let us in; some of the run may be there.
        :raises SdlError: another run of this uid is there (it was left alone), or what was written
            could not be read back.
        """
        with self._told():
            catalog = self._connected()
            if _holds(catalog, run):
                return
            writer = _writer(catalog)
            for name, doc in run.documents:
                writer(name, copy.deepcopy(doc))
            if not _holds(catalog, run):
                raise SdlError("what was written to Tiled was not there when it was read back")

    def close(self) -> None:
        """Close the connections."""
        if self._catalog is not None:
            self._catalog.context.close()
            self._catalog = None

    def _connected(self) -> "Container":
        if self._catalog is not None:
            return self._catalog
        from tiled.client import from_uri
        from tiled.client.context import CannotPrompt

        not_it = (KeyError, TypeError, ValueError, RuntimeError, CannotPrompt)  # no Tiled, no key
        try:
            catalog: Container = from_uri(self._uri, api_key=self._api_key, show_progress=False)
        except not_it as error:
            raise ConnectionError(f"{self.place}: {_first_line(error)}") from error
        self._catalog = catalog
        return catalog

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell a service that cannot be used now from a run that it refuses."""
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            raise ConnectionError(f"{self.place}: {explain(error)}") from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code in NOT_NOW or self._catalog is None:
                raise ConnectionError(f"{self.place}: {_first_line(error)}") from error
            raise SdlError(_first_line(error)) from error


def _writer(catalog: "Container") -> "TiledWriter":
    """A writer for one run, all its arrays as arrays: tables hold no matrices."""
    from bluesky_tiled_plugins import TiledWriter
    from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer

    class LateStart(RunNormalizer):
        """Writes start documents with what follows: RunRouter swallows errors on the former."""

        _start: dict[str, Any] | None = None

        def __call__(self, name: str, doc: Any, validate: bool = False) -> Any:
            if name == "start":
                self._start = doc
                return name, doc
            if self._start is not None:
                start, self._start = self._start, None
                super().__call__("start", start, validate)
            return super().__call__(name, doc, validate)

    return TiledWriter(catalog, normalizer=LateStart, max_array_size=0)


def _holds(catalog: "Container", run: Run) -> bool:
    """Whether the run is there, whole; what is there of it but is not whole, is deleted.

    :raises SdlError: another run has its uid.
    """
    node = catalog.get(run.uid)
    if node is None:
        return False
    _check_same(run, dict(node.metadata))
    if "stop" in node.metadata and all(_whole(node, *stream) for stream in _streams(run).items()):
        return True
    catalog.delete_contents(run.uid, recursive=True, external_only=False)
    return False


def _check_same(run: Run, there: dict[str, Any]) -> None:
    from bluesky_tiled_plugins.utils import truncate_json_overflow

    ours = {k: v for k, v in run.start.items() if k not in ("tiled_access_tags", "tiled_specs")}
    same = _text(truncate_json_overflow(ours)) == _text(there.get("start"))  # as it is written
    if not same or ("stop" in there and _text(run.stop) != _text(there["stop"])):
        raise SdlError(
            "another run of this uid is in Tiled and was left as it is (a twin begun anew counts "
            "its runs from the first again); delete that one, or give this campaign another name"
        )


def _text(document: Any) -> str:
    """A document as Tiled's JSON, which knows no NaN, to compare one with what was read back."""
    from tiled.utils import safe_json_dump

    return json.dumps(json.loads(safe_json_dump(document)), sort_keys=True)


def _streams(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The events of each stream."""
    from event_model import unpack_event_page

    names: dict[str, str] = {}
    streams: dict[str, list[dict[str, Any]]] = {}
    for name, doc in run.documents:
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
            streams.setdefault(doc["name"], [])
        elif name == "event":
            streams[names[doc["descriptor"]]].append(doc)
        elif name == "event_page":
            streams[names[doc["descriptor"]]] += unpack_event_page(doc)  # type: ignore[arg-type]
    return streams


def _whole(node: Any, stream: str, events: list[dict[str, Any]]) -> bool:
    """Whether every event is there, and none twice."""
    if stream not in node:
        return False
    numbers = [event["seq_num"] for event in events]
    found: list[int] = []
    for key, part in node[stream].base.items():
        if part.structure_family == "table":
            if "seq_num" in part.columns:
                found = part.read(["seq_num"])["seq_num"].tolist()
        elif part.structure_family == "array":
            expected = sum(key in event["data"] for event in events)
            if expected and part.shape[0] != expected:
                return False
    return found == numbers


def _without_secrets(uri: str) -> str:
    """:raises ConfigError: it is no URL of a web server."""
    try:
        parts = urlsplit(uri)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("Tiled's URL should be like http://localhost:8000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def _first_line(error: Exception) -> str:
    return explain(error).partition("\n")[0].strip()
