import pytest

from sdl.errors import ConfigError
from sdl.wires.serial import SerialWire
from sdl.wires.stream import StreamWire
from sdl.wires.urls import (
    KINDS,
    SERIAL_OPTIONS,
    WireUrl,
    one_of,
    open_wire,
    parse,
    switch,
    whole,
    without_password,
)


def refusal(url: str) -> str:
    with pytest.raises(ConfigError) as refused:
        open_wire(url)
    message = str(refused.value)
    assert "\n" not in message, "one message"
    assert "; for example " in message
    return message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/dev/ttyUSB0", "no scheme://"),
        ("localhost:4001", "no scheme://"),
        ("tcp:host:4001", "no scheme://"),
        ("", "no scheme://"),
        ("usb://pump", "unknown scheme 'usb' (known are serial://, tcp://, modbus+tcp://"),
        (" tcp://pump:4001", "unknown scheme ' tcp'"),
        ("tcp://", "no host after tcp://"),
        ("tcp://:4001", "no host"),
        ("tcp://pump", "no port"),
        ("tcp://[::1]", "no port"),
        ("tcp://pump:", "port '' is not a whole number from 1 to 65535"),
        ("tcp://pump:0", "port '0'"),
        ("tcp://pump:65536", "port '65536'"),
        ("tcp://pump:http", "port 'http'"),
        ("tcp://pump:4001/line", "not '/line'"),
        ("tcp://[::1:4001", "IPv6"),
        ("tcp://pump:4001#1", "fragment"),
        ("tcp://lab:secret@pump:4001", "user and password"),
        ("tcp://pump:4001?baudrate=9600", "unknown option 'baudrate' (known are none here)"),
        ("serial://", "no device path"),
        ("serial:///", "no device path"),
        ("serial://ttyUSB0", "three slashes, as in serial:///dev/ttyUSB0"),
        ("serial://dev/ttyUSB0", "three slashes, as in serial:///dev/ttyUSB0"),
        ("serial://COM3", "three slashes, as in serial:///COM3"),
        ("serial:///dev/tty USB0", "blank"),
        ("serial:///dev/ttyUSB0\n", "blank"),
        ("serial:///dev/ttyUSB0?baudrate=fast", "baudrate must be a whole number from 1"),
        ("serial:///dev/ttyUSB0?baudrate=0", "baudrate must be a whole number from 1"),
        ("serial:///dev/ttyUSB0?baudrate=9600.5", "baudrate=9600.5: "),
        ("serial:///dev/ttyUSB0?baudrate", "baudrate without a value"),
        ("serial:///dev/ttyUSB0?parity=even", "parity must be one of N, E, O, M, S"),
        ("serial:///dev/ttyUSB0?stopbits=3", "stopbits must be one of 1, 1.5, 2"),
        ("serial:///dev/ttyUSB0?rtscts=maybe", "rtscts must be 1 (on) or 0 (off)"),
        ("serial:///dev/ttyUSB0?speed=1", "unknown option 'speed' (known are baudrate, bytesize,"),
        ("serial:///dev/ttyUSB0?parity=N&parity=E", "option 'parity' is given twice"),
        ("serial://lab:secret@/dev/ttyUSB0", "user and password"),
    ],
)
def test_a_wrong_url_gets_one_message_that_says_what_is_wrong(url: str, said: str):
    assert said in refusal(url)


def test_all_that_is_wrong_is_said_at_once():
    message = refusal("serial://ttyUSB0?baudrate=fast&speed=1")
    assert "three slashes" in message
    assert "baudrate must be" in message
    assert "unknown option 'speed'" in message


def test_a_password_stands_in_no_message():
    assert "secret" not in refusal("tcp://lab:secret@pump:4001")
    assert without_password("mqtt://lab:secret@broker:1") == "mqtt://lab:***@broker:1"
    assert without_password("mqtt://broker:1") == "mqtt://broker:1"


def test_the_example_of_every_kind_is_right():
    for scheme, (_, example) in KINDS.items():
        serial = "///" in example
        parse(
            example,
            scheme,
            leads_to="path" if serial else "host",
            allowed_options=SERIAL_OPTIONS if serial else None,
        )


def test_a_right_url_comes_apart():
    url = "serial:///dev/serial/by-id/usb-FTDI?baudrate=19200&parity=e&stopbits=1.5&rtscts=on"
    parts = parse(url, "serial", allowed_options=SERIAL_OPTIONS, leads_to="path")
    assert parts.path == "/dev/serial/by-id/usb-FTDI"
    assert parts.options == {"baudrate": 19200, "parity": "E", "stopbits": 1.5, "rtscts": True}
    assert parts.option("baudrate", 9600) == 19200
    assert parts.option("bytesize", 8) == 8
    assert parts.query == "baudrate=19200&parity=e&stopbits=1.5&rtscts=on"


def test_hosts_ports_and_logins_come_apart():
    assert parse("tcp://10.0.0.7:4001", "tcp") == WireUrl("tcp", "10.0.0.7", 4001)
    assert parse("tcp://[::1]:4001/", "tcp") == WireUrl("tcp", "::1", 4001)
    assert parse("TCP://pump:4001", "tcp").host == "pump"
    assert parse("mqtt://broker", "mqtt", default_port=1883).port == 1883
    login = parse("mqtt://lab%40home:se%2Fcret@broker:1", "mqtt", login=True)
    assert (login.user, login.password, login.host) == ("lab@home", "se/cret", "broker")
    assert "se/cret" not in repr(login)


def test_windows_ports_are_named_after_three_slashes():
    assert parse("serial:///COM3", "serial", leads_to="path").path == "COM3"


def test_the_resolver_opens_nothing_and_returns_the_kind_of_wire():
    wire = open_wire("serial:///dev/ttyUSB0?baudrate=19200&parity=E", timeout=0.3)
    assert isinstance(wire, SerialWire)
    assert (wire.settings.baudrate, wire.settings.parity, wire.timeout) == (19200, "E", 0.3)
    assert isinstance(open_wire("tcp://pump:4001"), StreamWire)


@pytest.mark.parametrize(
    ("read", "text"),
    [(whole(0, 9), "10"), (whole(0, 9), "-1"), (whole(1), "²"), (one_of(1, 2), "3"), (switch, "2")],
)
def test_an_option_that_cannot_be_read_says_what_is_allowed(read, text: str):
    with pytest.raises(ValueError, match=r"whole number|one of|1 \(on\)"):
        read(text)
