"""The instrument's side of a wire: serve a simulator in memory, on a port, a broker, a web server.

Each kind of wire has a module here with two context managers: `memory_wire` (a twin's wire: the
same class, joined to the simulators in memory, so that virtual time works) and `serve` (a port).
"""

import importlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

from sdl.errors import ConfigError
from sdl.wires import Wire

_MODULES = {
    "serial": "sdl.endpoints.pty",
    "tcp": "sdl.endpoints.tcp",
    "modbus+tcp": "sdl.endpoints.modbus",
    "modbus+rtu": "sdl.endpoints.modbus",
    "mqtt": "sdl.endpoints.mqtt",
    "zmq+tcp": "sdl.endpoints.zmq",
    "http": "sdl.endpoints.http",
    "https": "sdl.endpoints.http",
}


def memory_wire(
    url: str, devices: Sequence[Any], *, timeout: float = 1.0
) -> AbstractAsyncContextManager[Wire]:
    """Return the kind of wire that `url` names, joined to the simulators in memory."""
    return _module(url).memory_wire(url, devices, timeout=timeout)


def serve(url: str, devices: Sequence[Any]) -> AbstractAsyncContextManager[str]:
    """Serve simulators on this machine; the context gives the URL where a driver can connect."""
    return _module(url).serve(url, devices)


def _module(url: str) -> ModuleType:
    scheme = url.partition(":")[0]
    if scheme not in _MODULES:
        raise ConfigError(f"{url}: unknown scheme {scheme!r}; known are {', '.join(_MODULES)}")
    return importlib.import_module(_MODULES[scheme])
