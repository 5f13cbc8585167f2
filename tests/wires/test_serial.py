"""Serial ports, over pseudo-terminals: real file descriptors, real time."""

import asyncio
import os
import select
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import serial as pyserial

from sdl.errors import ConfigError, NoReplyError
from sdl.wires import serial, until

CR = until(b"\r")

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """The master side and the name of a pseudo-terminal."""
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        yield master, os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)  # kept open: without it the master reads EIO before a host has come


async def answer(master: int, reply: bytes) -> bytes:
    """Read a request at the other side and say `reply`."""
    request = await heard(master)
    os.write(master, reply)
    return request


async def heard(master: int) -> bytes:
    readable, _, _ = await asyncio.to_thread(select.select, [master], [], [], 5)
    assert readable, "nothing was sent"
    return os.read(master, 100)


def test_a_request_is_answered():
    async def test(master: int, name: str) -> None:
        wire = serial.wire(f"serial://{name}?baudrate=19200")
        asked = asyncio.create_task(wire.ask(b"a\r", CR))
        assert await answer(master, b"ok\r") == b"a\r"
        assert await asked == b"ok\r"
        await wire.close()

    with terminal() as (master, name):
        asyncio.run(test(master, name))


@pytest.mark.parametrize("settings", ["parity=E&bytesize=7", "parity=O&stopbits=2", "rtscts=1"])
def test_settings_that_a_pseudo_terminal_has_not_can_be_asked_for_again_and_again(settings: str):
    async def test(master: int, name: str) -> None:
        for _ in range(3):
            wire = serial.wire(f"serial://{name}?{settings}")
            asked = asyncio.create_task(wire.ask(b"a\r", CR))
            await answer(master, b"ok\r")
            assert await asked == b"ok\r"
            await wire.close()

    with terminal() as (master, name):
        asyncio.run(test(master, name))


def test_the_settings_asked_for_are_kept():
    settings = serial.wire("serial:///dev/pts/0?parity=E&bytesize=7&xonxoff=1").settings
    assert settings == serial.SerialSettings(
        "/dev/pts/0", baudrate=9600, bytesize=7, parity="E", stopbits=1, xonxoff=True
    )
    assert settings.bits == 10
    assert serial.settings_of("serial:///dev/ttyS0?parity=E&stopbits=2").bits == 12


def test_the_settings_reach_a_port_that_has_them(monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(pyserial, "Serial", lambda device, **options: asked.append(options))
    serial.open_port(serial.settings_of("serial:///dev/ttyS9?baudrate=1200&parity=E&rtscts=1"))
    assert asked[0].items() >= {"baudrate": 1200, "parity": "E", "rtscts": True}.items()
    assert asked[0]["exclusive"] is True


def test_what_stood_in_the_input_buffer_is_gone_when_the_port_is_opened():
    async def test(master: int, name: str) -> None:
        wire = serial.wire(f"serial://{name}")
        os.write(master, b"old\r")
        await wire.connect()
        asked = asyncio.create_task(wire.ask(b"a\r", CR))
        await answer(master, b"new\r")
        assert await asked == b"new\r"
        await wire.close()

    with terminal() as (master, name):
        asyncio.run(test(master, name))


def test_a_port_is_ours_alone_and_free_again_when_closed():
    async def test(name: str) -> None:
        ours, theirs = serial.wire(f"serial://{name}"), serial.wire(f"serial://{name}")
        await ours.connect()
        with pytest.raises(NoReplyError, match=f"another program has {name} open"):
            await theirs.connect()
        await ours.close()
        await theirs.connect()
        await theirs.close()

    with terminal() as (_, name):
        asyncio.run(test(name))


def test_a_port_whose_opening_took_too_long_does_not_stay_open(monkeypatch: pytest.MonkeyPatch):
    opened: list[pyserial.Serial] = []
    open_port = serial.open_port

    async def test(name: str) -> None:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slowly(settings: serial.SerialSettings) -> pyserial.Serial:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            opened.append(open_port(settings))
            return opened[-1]

        monkeypatch.setattr(serial, "open_port", slowly)
        connector = serial.SerialConnector(serial.settings_of(f"serial://{name}"))
        opening = asyncio.create_task(connector(asyncio.Protocol()))
        await asyncio.sleep(0.01)
        opening.cancel()
        await asyncio.wait([opening])
        gate.set()
        async with asyncio.timeout(10):
            while not opened or opened[0].is_open:
                await asyncio.sleep(0.01)

    with terminal() as (_, name):
        asyncio.run(test(name))


def test_a_port_that_vanishes_breaks_the_connection():
    async def test(name: str) -> None:
        wire = serial.wire(f"serial://{name}", timeout=5)
        asked = asyncio.create_task(wire.ask(b"a\r", CR))
        await heard(master)
        os.close(slave)
        os.close(master)
        with pytest.raises(NoReplyError, match="the connection broke"):
            await asked
        assert not wire.health.connected
        with pytest.raises(NoReplyError, match=f"there is no {name}; is it plugged in"):
            await wire.connect()
        await wire.close()

    master, slave = os.openpty()
    asyncio.run(test(os.ttyname(slave)))


def refused(url: str) -> str:
    with pytest.raises(NoReplyError) as error:
        asyncio.run(serial.wire(url).connect())
    return str(error.value)


def test_a_port_that_is_not_there_is_named():
    assert "there is no /dev/ttyNONE; is it plugged in? Present are:" in refused(
        "serial:///dev/ttyNONE"
    )


def test_a_file_is_no_serial_port():
    assert "/dev/null is not a serial port" in refused("serial:///dev/null")


def test_who_may_not_open_a_port_is_told_which_group_to_join(monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object, **__: object) -> None:
        raise pyserial.SerialException(13, "could not open port: Permission denied")

    monkeypatch.setattr(pyserial, "Serial", denied)
    monkeypatch.setattr(serial.Path, "group", lambda _: "uucp")
    message = refused("serial:///dev/ttyUSB0")
    assert "no permission to open /dev/ttyUSB0; join the group uucp" in message
    assert "usermod -aG uucp $USER" in message


def test_a_wrong_url_is_known_before_anything_is_opened():
    with pytest.raises(ConfigError, match="baudrate must be a whole number"):
        serial.wire("serial:///dev/ttyUSB0?baudrate=fast")
