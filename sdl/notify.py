"""Messages to people, through any service that apprise knows: e-mail, Slack, ntfy, SMS, …

    notifier = Notifier(["env:SDL_NOTIFY"], title="flow-bench", tell=note)
    notifier.send("error", "trial 7 is in doubt: …")

Nothing of the lab waits for a service, and none is needed for the lab to run: each has a queue and
a thread of its own, and what could not be sent is told once. Time here is real time, on a twin too:
it is people's and the services'.
"""

import contextlib
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from sdl.errors import ConfigError, SdlError

if TYPE_CHECKING:
    from apprise import Apprise

Level = Literal["info", "warning", "error"]

ENVIRONMENT = "env:"  # an entry that begins so names a variable
TIMEOUT = 30.0  # s for one message to one service
REPEAT = 60.0  # s in which the same text is sent once
MOST_WAITING = 100
"""Messages that a service may be behind; newer ones are dropped."""

_KINDS = {"info": "info", "warning": "warning", "error": "failure"}  # apprise's words


def problems(urls: Sequence[str]) -> list[str]:
    """Say what is wrong with the entries of `notify`, without passwords; nothing is sent."""
    return _open(urls)[1]


class Notifier:
    """Sends messages to all of some services; never blocks and never raises while doing so."""

    def __init__(self, urls: Sequence[str], *, title: str, tell: Callable[[str], None]) -> None:
        """Get ready; nothing is sent yet.

        :param urls: apprise's URLs; `env:NAME`: those in an environment variable, which may be
            several with spaces between. None at all: every message is dropped.
        :param title: what stands above each message, before its level.
        :param tell: told, in some thread, once for each service, why it does not take a message.
        :raises ConfigError: an entry is no such URL, its variable is not set, apprise is missing.
        """
        services, wrong = _open(urls)
        if wrong:
            raise ConfigError(*(f"notify: {problem}" for problem in wrong))
        self._title, self._sent = title, dict[str, float]()
        self._lock, self._over = threading.Lock(), False
        self._channels = [_Channel(service, tell) for service in services]

    def send(self, level: Level, text: str) -> None:
        """Have a message sent, unless the same text was within the last minute; return at once."""
        now = time.monotonic()
        with self._lock:
            self._sent = {old: at for old, at in self._sent.items() if now - at < REPEAT}
            if self._over or text in self._sent:
                return
            self._sent[text] = now
        for channel in self._channels:
            channel.take(_Message(level, f"{self._title}: {level}", text))

    def close(self, timeout: float = 5.0) -> None:
        """Wait, at most `timeout` s of real time, until all was sent; blocks. Then send no more."""
        with self._lock:
            first, self._over = not self._over, True
        if not first:
            return
        deadline = time.monotonic() + timeout
        for channel in self._channels:
            channel.end()
        for channel in self._channels:
            channel.join(max(deadline - time.monotonic(), 0.0))


@dataclass(frozen=True)
class _Message:
    level: Level
    title: str
    text: str


@dataclass(frozen=True)
class _Service:
    """One place where messages go."""

    name: str
    """For people: kind and host, without user, password, path or token."""

    url: str
    apprise: "Apprise"

    def deliver(self, message: _Message) -> str | None:
        """Send a message and wait; return why it was not taken, None if it was."""
        try:
            result = self.apprise.notify(
                message.text,
                message.title,
                notify_type=_KINDS[message.level],
                body_format="text",
            )
        except Exception as error:  # noqa: BLE001 (somebody else's code and service)
            return self._without_secrets(f"{type(error).__name__}: {error}")
        if result:
            return None
        said = [entry.message for entry in result.logs()]
        return self._without_secrets(said[-1] if said else "it gave no reason")

    def _without_secrets(self, text: str) -> str:
        for piece in re.split(r"[/@:?&=+#,]+", self.url):
            for secret in (piece, unquote(piece)):
                if len(secret) > 3 and secret not in self.name:
                    text = text.replace(secret, "…")
        return text


class _Channel:
    """One service, its thread and what it has not taken yet."""

    def __init__(self, service: _Service, tell: Callable[[str], None]) -> None:
        self._service, self._tell, self._told = service, tell, threading.Event()
        self._queue: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._sending: threading.Thread | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._work, name=service.name, daemon=True)
        self._thread.start()

    def take(self, message: _Message) -> None:
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put(message)
        else:
            self._dropped = True

    def end(self) -> None:
        self._queue.put(None)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._fail(f"not all was sent before the end, {self._queue.qsize()} were waiting")

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            why = self._send(message)
            if why is None and self._dropped:
                why = f"it is {MOST_WAITING} messages behind, newer ones are dropped"
            if why is not None:
                self._fail(why)

    def _send(self, message: _Message) -> str | None:
        """Send in a thread that can be left behind: a service may keep it for as long as it likes.

        Daemon threads, as apprise's own pool would hold up the end of the process.
        """
        if self._sending is not None and self._sending.is_alive():
            return "it has not answered to the message before"
        answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._sending = threading.Thread(
            target=lambda: answer.put(self._service.deliver(message)), daemon=True
        )
        self._sending.start()
        try:
            return answer.get(timeout=TIMEOUT)
        except queue.Empty:
            return f"no answer in {TIMEOUT:g} s"

    def _fail(self, why: str) -> None:
        if self._told.is_set():
            return
        self._told.set()
        with contextlib.suppress(SdlError):  # a full disk is no reason to send nothing more
            self._tell(f"a notification to {self._service.name} was not sent: {why}")


def _open(urls: Sequence[str]) -> tuple[list[_Service], list[str]]:
    """Return the services, and what is wrong with the entries that name none."""
    services: list[_Service] = []
    wrong: list[str] = []
    if not urls:
        return services, wrong
    with warnings.catch_warnings():  # of the modules that it loads
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            from apprise import Apprise, AppriseAsset  # 0.2 s, and only some labs have it
        except ImportError:
            return services, ['needs apprise, which is not there: pip install "sdl[notify]"']
        asset = AppriseAsset(async_mode=False, service_timeout=0, secure_logging=True)
        for number, entry in enumerate(urls, 1):
            for url in _urls(entry, wrong):
                plugin = Apprise.instantiate(url, asset=asset)
                if plugin is None:
                    wrong.append(f"entry {number}, {_hint(entry, url)}: {_NO_SERVICE}")
                    continue
                together = Apprise(asset=asset)
                together.add(plugin)
                services.append(_Service(_name(plugin.url(privacy=True)), url, together))
    return services, wrong


_NO_SERVICE = "apprise knows no such service, or its URL lacks something; see `apprise --details`"


def _urls(entry: str, wrong: list[str]) -> list[str]:
    if not entry.startswith(ENVIRONMENT):
        return [entry]
    name = entry.removeprefix(ENVIRONMENT)
    found = os.environ.get(name, "").split()
    if not found:
        wrong.append(f"{entry}: the environment has no {name!r}, or nothing in it; set it to URLs")
    return found


def _hint(entry: str, url: str) -> str:
    """What can be said of a URL that is wrong: anything in it may be a password."""
    scheme, found, _ = url.partition("://")
    shown = f"{scheme}://…" if found and scheme.isalnum() else "text without ://"
    return f"{entry} ({shown})" if entry.startswith(ENVIRONMENT) else shown


def _name(private: str) -> str:
    scheme, _, rest = private.partition("://")
    return f"{scheme}://{re.split('[/?]', rest, maxsplit=1)[0].rpartition('@')[2]}"
