"""Serial ports: pyserial opens them, pyserial-asyncio-fast joins them to the event loop.

`serial:///dev/ttyUSB0?baudrate=19200&bytesize=8&parity=N&stopbits=1&rtscts=0&xonxoff=0`, and
`serial:///COM3` on Windows. Linux pseudo-terminals know neither parity nor 7 bits (`tcsetattr`
fails with EINVAL, at once or when a setting is next changed): they are opened as 8N1, and what was
asked for stands in `SerialWire.settings`.
"""

import asyncio
import errno
import os
from dataclasses import dataclass
from pathlib import Path

import serial
import serial.tools.list_ports
import serial_asyncio_fast

from sdl.wires.stream import StreamWire
from sdl.wires.urls import SERIAL_OPTIONS, parse

try:
    from termios import error as TermiosError  # noqa: N812 (no OSError, and not on Windows)
except ImportError:
    TermiosError = OSError


@dataclass(frozen=True)
class SerialSettings:
    """What a serial line is set to; the defaults are pyserial's."""

    device: str
    baudrate: int = 9600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    rtscts: bool = False
    xonxoff: bool = False

    @property
    def bits(self) -> float:
        """How many bits one byte takes on the line, start and stop included."""
        return 1 + self.bytesize + (self.parity != "N") + self.stopbits


class SerialWire(StreamWire):
    """A stream over a serial port; `settings` are those asked for."""

    def __init__(self, url: str, *, timeout: float = 1.0) -> None:
        """Describe the port `url` leads to; nothing is opened yet.

        :raises ConfigError: the URL is wrong.
        """
        self.settings = settings_of(url)
        super().__init__(url, SerialConnector(self.settings), timeout=timeout)


def wire(url: str, *, timeout: float = 1.0) -> SerialWire:
    """Return the wire to a serial port; it opens when it is first used.

    :raises ConfigError: the URL is wrong.
    """
    return SerialWire(url, timeout=timeout)


def settings_of(url: str) -> SerialSettings:
    """Read a `serial://` URL.

    :raises ConfigError: it is wrong.
    """
    parts = parse(url, "serial", allowed_options=SERIAL_OPTIONS, leads_to="path")
    return SerialSettings(parts.path, **parts.options)


class SerialConnector:
    """Opens the port for the running loop, for us alone, with nothing left in its input buffer."""

    def __init__(self, settings: SerialSettings) -> None:
        self.settings = settings

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, open_port, self.settings)
        try:
            port = await asyncio.shield(opening)
        except (
            asyncio.CancelledError
        ):  # the thread goes on: a port nobody waits for must not stay open
            opening.add_done_callback(_close_unwanted)
            raise
        return SerialTransport(loop, protocol, port)


class SerialTransport(serial_asyncio_fast.SerialTransport):
    """Closes without `tcdrain`, which waits for ever when the other side holds its flow control.

    The kernel sends what it has when a port is closed, and gives up after a while.
    """

    def close(self) -> None:
        if self.get_write_buffer_size() == 0:
            self.abort()
        else:
            super().close()

    def abort(self) -> None:
        if not self.is_closing() or self.get_write_buffer_size() > 0:
            super().abort()


def open_port(settings: SerialSettings) -> serial.Serial:
    """Open the port, blocking.

    :raises OSError: it cannot be opened; the message says what to do about it.
    """
    pty = os.path.realpath(settings.device).startswith("/dev/pts/")
    try:
        return serial.Serial(
            settings.device,
            baudrate=settings.baudrate,
            bytesize=8 if pty else settings.bytesize,
            parity="N" if pty else settings.parity,
            stopbits=settings.stopbits,
            rtscts=settings.rtscts,
            xonxoff=settings.xonxoff,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError) as error:
        raise OSError(_what_to_do(settings, error)) from error
    except TermiosError as error:
        raise OSError(f"{settings.device} does not take {settings}: {error}") from error


def _what_to_do(settings: SerialSettings, error: OSError | ValueError) -> str:
    device, number, text = settings.device, getattr(error, "errno", None), str(error)
    # On Windows pyserial's error has no number, only the other error's name.
    if number == errno.ENOENT or "FileNotFoundError" in text:
        ports = ", ".join(sorted(port.device for port in serial.tools.list_ports.comports()))
        return f"there is no {device}; is it plugged in? Present are: {ports or 'none'}"
    if number in (errno.EAGAIN, errno.EBUSY) or "PermissionError(" in text:
        return f"another program has {device} open; close it there"
    if number in (errno.EACCES, errno.EPERM):
        group = _group(device)
        return (
            f"no permission to open {device}; join the group {group} "
            f"(sudo usermod -aG {group} $USER) and log in again"
        )
    if "Could not configure port" in text:
        return f"{device} is not a serial port"
    return text


def _group(device: str) -> str:
    try:
        return Path(device).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def _close_unwanted(opening: "asyncio.Future[serial.Serial]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
