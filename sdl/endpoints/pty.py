"""The instrument's side of a serial line: simulators behind a pseudo-terminal, or in memory.

A PTY has no baud rate: the cable paces the bytes at the one in the URL (9600 where it says none, as
pyserial does), and counts parity and stop bits as the URL has them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sdl.endpoints.line import BITS_PER_BYTE, Cable, LineDevice
from sdl.endpoints.memory import joined
from sdl.errors import ConfigError
from sdl.wires.serial import settings_of
from sdl.wires.stream import StreamWire
from sdl.wires.urls import SERIAL_OPTIONS, parse


@asynccontextmanager
async def serve(url: str, devices: Sequence[LineDevice]) -> AsyncIterator[str]:
    """Serve simulators on a new pseudo-terminal; yield the URL at which a driver can connect.

    Hosts may come, go and come again. All simulators hear the same bytes, as on one RS-485 bus.

    :param url: `serial://…` as the lab file has it; its options are kept, its path is not used.
    :raises ConfigError: the URL is wrong, or this system has no pseudo-terminals.
    :raises Exception: on leaving, what a simulator died of.
    """
    parts = parse(url, "serial", allowed_options=SERIAL_OPTIONS, leads_to="path")
    cable = _cable(url, devices)
    port = PseudoTerminal(cable)
    try:
        await cable.plug_in()
        yield f"serial://{port.name}" + (f"?{parts.query}" if parts.query else "")
    finally:
        port.close()
        await cable.pull_out()


@asynccontextmanager
async def memory_wire(
    url: str, devices: Sequence[LineDevice], *, timeout: float = 1.0
) -> AsyncIterator[StreamWire]:
    """Join simulators to a wire in memory, at the baud rate of the URL; virtual time works.

    :raises ConfigError: the URL is wrong.
    :raises Exception: on leaving, what a simulator died of.
    """
    async with joined(url, _cable(url, devices), timeout) as wire:
        yield wire


class PseudoTerminal:
    """A raw pseudo-terminal whose master side is joined to a cable through the running loop."""

    def __init__(self, cable: Cable) -> None:
        """Open it.

        :raises ConfigError: this system has none.
        """
        if not hasattr(os, "openpty"):
            raise ConfigError("this system has no pseudo-terminals: serve on tcp:// instead")
        import tty  # not on Windows

        # We keep the slave open too: without it, reading gives EIO whenever no host has it open.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)
        self._cable, self._loop = cable, asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._hear)
        cable.to_host = self._say

    def close(self) -> None:
        """Take it away; a host sees its port vanish."""
        self._cable.to_host = None
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)

    def _hear(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._cable.from_host(data)

    def _say(self, data: bytes) -> None:
        try:
            os.write(self._master, data)  # what does not fit is lost, as in a UART nobody reads
        except BlockingIOError:
            return


def _cable(url: str, devices: Sequence[LineDevice]) -> Cable:
    settings = settings_of(url)
    return Cable(devices, baudrate=settings.baudrate * BITS_PER_BYTE / settings.bits)
