"""What a lab file calls a wire: a URL, taken apart; all that is wrong with one is said at once.

A device has a path (`serial:///dev/ttyUSB0?baudrate=19200`), what is reached over a network a host
and a port (`tcp://10.0.0.7:4001`).
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit

from sdl.errors import ConfigError
from sdl.wires.wire import Wire

T = TypeVar("T")
Read = Callable[[str], Any]  # reads an option's text; its ValueError says what is allowed

# One line per kind of wire: its module (which has `wire(url, timeout=)`) and a right URL.
KINDS: Mapping[str, tuple[str, str]] = {
    "serial": ("sdl.wires.serial", "serial:///dev/ttyUSB0?baudrate=19200"),
    "tcp": ("sdl.wires.tcp", "tcp://10.0.0.7:4001"),
    "modbus+tcp": ("sdl.wires.modbus", "modbus+tcp://10.0.0.8:502"),
    "modbus+rtu": ("sdl.wires.modbus", "modbus+rtu:///dev/ttyUSB1?baudrate=9600&parity=N"),
    "mqtt": ("sdl.wires.mqtt", "mqtt://broker:1883"),
    "zmq+tcp": ("sdl.wires.zmq", "zmq+tcp://10.0.0.9:5555"),
    "http": ("sdl.wires.http", "http://10.0.0.10:31950"),
    "https": ("sdl.wires.http", "https://10.0.0.11:443"),
}


@dataclass(frozen=True)
class WireUrl:
    """The parts of a URL that was found right. What leads to a device has a path, else a host."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    query: str = ""
    """The options as they were written, to be kept when the address changes."""

    def option(self, name: str, default: T) -> T:
        return cast(T, self.options.get(name, default))


def open_wire(url: str, *, timeout: float = 1.0) -> Wire:
    """Return the wire that `url` leads to; it connects when it is first used.

    :param timeout: s to wait for a reply, unless an exchange says otherwise.
    :raises ConfigError: the URL is wrong; the message says what, what is allowed, and shows one.
    """
    scheme, found, _ = url.partition("://")
    if not found or scheme.lower() not in KINDS:
        known = ", ".join(f"{name}://" for name in KINDS)
        problem = f"unknown scheme {scheme!r}" if found else "no scheme:// at its beginning"
        raise ConfigError(_message(url, [f"{problem} (known are {known})"], KINDS["serial"][1]))
    module, _ = KINDS[scheme.lower()]
    return cast(Wire, importlib.import_module(module).wire(url, timeout=timeout))


def parse(
    url: str,
    scheme: str,
    *,
    allowed_options: Mapping[str, Read] | None = None,
    leads_to: Literal["host", "path"] = "host",
    default_port: int | None = None,
    login: bool = False,
    example: str | None = None,
) -> WireUrl:
    """Take apart a URL of one kind.

    :param scheme: the scheme the URL must have.
    :param allowed_options: what may follow `?`, each with the function that reads it.
    :param leads_to: a host and port, or the path of a device.
    :param default_port: what a URL without a port means; None: it must have one.
    :param login: whether `user:password@` may stand before the host.
    :param example: a right URL for the message (default: the one in `KINDS`).
    :raises ConfigError: one message with all that is wrong, what is allowed, and an example.
    """
    example = example or KINDS[scheme][1]
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError(_message(url, ["a blank or control character in it"], example))
    try:
        parts = urlsplit(url)
    except ValueError as error:  # brackets that do not close
        raise ConfigError(_message(url, [str(error)], example)) from error
    if parts.scheme != scheme or "://" not in url:
        problem = f"it must begin with {scheme}://"
        raise ConfigError(_message(url, [problem], example))
    problems = ["it has a fragment (#...), which means nothing here"] if "#" in url else []
    problems += _wrong_login(parts, allowed=login)
    problems += _wrong_path(parts) if leads_to == "path" else _wrong_host(parts)
    port = _port(parts, default_port, problems) if leads_to == "host" else 0
    options = _options(parts.query, allowed_options or {}, problems)
    if problems:
        raise ConfigError(_message(url, problems, example))
    return WireUrl(
        scheme=scheme,
        host=parts.hostname or "",
        port=port,
        path=_device(unquote(parts.path)) if leads_to == "path" else "",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        options=options,
        query=parts.query,
    )


def without_password(url: str) -> str:
    """The URL as it may stand in a message or a log."""
    scheme, slashes, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at or ":" not in login:
        return url
    return f"{scheme}{slashes}{login.partition(':')[0]}:***@{place}"


def whole(least: int = 1, most: int | None = None) -> Read:
    """An option that is a whole number from `least` to `most`."""
    allowed = f"a whole number from {least}" + (" on" if most is None else f" to {most}")

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(allowed)
        if int(text) < least or (most is not None and int(text) > most):
            raise ValueError(allowed)
        return int(text)

    return read


def one_of(*values: T) -> Callable[[str], T]:
    """An option that is one of a few values, written as Python prints them; case is not minded."""
    by_text = {str(value).upper(): value for value in values}

    def read(text: str) -> T:
        if text.upper() not in by_text:
            raise ValueError("one of " + ", ".join(str(value) for value in values))
        return by_text[text.upper()]

    return read


def switch(text: str) -> bool:
    """An option that is on or off: 1 or 0, true or false, yes or no, on or off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("1 (on) or 0 (off)")


# What any serial line may say, as pyserial names it; its defaults are 9600 8N1 without handshake.
SERIAL_OPTIONS: Mapping[str, Read] = {
    "baudrate": whole(1, 4_000_000),
    "bytesize": one_of(5, 6, 7, 8),
    "parity": one_of("N", "E", "O", "M", "S"),
    "stopbits": one_of(1, 1.5, 2),
    "rtscts": switch,
    "xonxoff": switch,
}


def _message(url: str, problems: list[str], example: str) -> str:
    return f"{without_password(url)!r}: {'; '.join(problems)}; for example {example}"


def _wrong_login(parts: SplitResult, *, allowed: bool) -> list[str]:
    if "@" not in parts.netloc or allowed:
        return []
    return ["user and password (...@) do not belong here"]


def _wrong_host(parts: SplitResult) -> list[str]:
    problems = [] if parts.hostname else [f"no host after {parts.scheme}://"]
    if parts.path not in ("", "/"):
        problems.append(f"nothing but options may follow the port, so not {parts.path!r}")
    return problems


def _wrong_path(parts: SplitResult) -> list[str]:
    place = parts.netloc.rpartition("@")[2]
    if place:
        path = f"/{place}{parts.path}" if parts.path or place.upper().startswith("COM") else ""
        instead = f"{parts.scheme}://{path or '/dev/' + place}"
        return [f"a device has no host {place!r}: three slashes, as in {instead}"]
    return [] if parts.path.strip("/") else [f"no device path after {parts.scheme}://"]


def _device(path: str) -> str:
    """`/COM3` is how a URL says COM3; every other path is as it stands."""
    name = path.lstrip("/")
    return name if name.upper().startswith("COM") and name[3:].isdigit() else path


def _port(parts: SplitResult, default: int | None, problems: list[str]) -> int:
    text = parts.netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")
    if not text[1]:
        if default is None:
            problems.append("no port (host:port)")
        return default or 0
    if not (text[2].isascii() and text[2].isdigit()) or not 1 <= int(text[2]) <= 65535:
        problems.append(f"port {text[2]!r} is not a whole number from 1 to 65535")
        return 0
    return int(text[2])


def _options(query: str, allowed: Mapping[str, Read], problems: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for item in query.split("&") if query else ():
        name, given, text = (unquote(part) for part in item.partition("="))
        if name not in allowed:
            known = ", ".join(allowed) or "none here"
            problems.append(f"unknown option {name!r} (known are {known})")
        elif name in options:
            problems.append(f"option {name!r} is given twice")
        else:
            options[name] = None
            try:
                options[name] = allowed[name](text)
            except ValueError as error:
                wrong = f"{name}={text}" if given else f"{name} without a value"
                problems.append(f"{wrong}: {name} must be {error}")
    return options
