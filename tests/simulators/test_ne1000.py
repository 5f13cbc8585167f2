"""The simulated NE-1000 against the manual's rules, byte by byte."""

import asyncio
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.ne1000.link import Listener
from sdl.simulators.parts.syringe import PumpHead


class Now:
    """A world that has only time."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def advance(self) -> None: ...


class Host:
    """Writes bytes to the pump and takes what has come back."""

    def __init__(self, **options: Any) -> None:
        self.head = PumpHead(Now(), capacity_mL=50.0, filled_mL=25.0)
        self.pump = SimulatedNE1000(self.head, rng=np.random.default_rng(1), **options)
        self.cable = Cable([self.pump])
        self._heard = bytearray()
        self.cable.to_host = self._heard.extend

    async def bytes(self, data: bytes, wait: float = 0.02) -> bytes:
        """Send, give the pump time to answer, return all it said."""
        self.cable.from_host(data)
        await asyncio.sleep(wait)
        said = bytes(self._heard)
        self._heard.clear()
        return said

    async def ask(self, command: str) -> str:
        """Basic mode, one command; the reply without its frame."""
        said = await self.bytes(command.encode() + b"\r")
        if not said:
            return ""
        assert (said[0], said[-1]) == (2, 3), said
        return said[1:-1].decode()

    async def safe(self, command: str) -> str:
        said = await self.bytes(safe(command))
        assert said == safe(said[2:-3].decode()), said
        return said[2:-3].decode()


def safe(data: str) -> bytes:
    raw = data.encode()
    crc = binascii.crc_hqx(raw, 0).to_bytes(2, "big")
    return bytes([2, len(raw) + 4]) + raw + crc + b"\x03"


def with_pump(talk: Callable[[Host], Awaitable[None]], **options: Any) -> None:
    async def session() -> None:
        host = Host(**{"reset_alarm": False, **options})
        await host.cable.plug_in()
        await asyncio.sleep(0.01)
        await talk(host)
        await host.cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_it_understands_the_manuals_own_safe_packet_in_basic_mode() -> None:
    async def talk(host: Host) -> None:
        assert await host.bytes(bytes.fromhex("02 08 53 41 46 30 55 43 03")) == b"\x0200S\x03"

    with_pump(talk)


def test_after_power_up_the_first_command_is_answered_with_the_alarm_and_not_executed() -> None:
    async def talk(host: Host) -> None:
        assert await host.ask("DIA20.00") == "00A?R"
        assert await host.ask("DIA") == "00S26.59"

    with_pump(talk, reset_alarm=True)


def test_case_spaces_and_control_characters_do_not_matter() -> None:
    async def talk(host: Host) -> None:
        assert await host.ask("\n 0 rat 1.5 mm ") == "00S"
        assert await host.ask("0 RAT") == "00S1.500MM"

    with_pump(talk)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("XYZ", "00S?"),
        ("DIA12345", "00S?OOR"),
        ("DIA1.2345", "00S?OOR"),
        ("DIA0.05", "00S?OOR"),
        ("DIA50.1", "00S?OOR"),
        ("DIAx", "00S?"),
        ("RAT28.40MM", "00S?OOR"),
        ("RAT28.30MM", "00S"),
        ("RAT0.388UM", "00S?OOR"),
        ("RAT0.390UM", "00S"),
        ("VOL-1", "00S?"),
        ("SAF256", "00S?OOR"),
        ("PHN42", "00S?OOR"),
        ("DIRUP", "00S?"),
        ("STP", "00S?NA"),
        ("RUN", "00S?OOR"),  # no rate has been set
        ("BUZ1", "00S"),
        ("LOC", "00S0"),
        ("AL", "00S1"),
    ],
)
def test_commands_are_accepted_or_refused_as_the_manual_says(command: str, reply: str) -> None:
    async def talk(host: Host) -> None:
        assert await host.ask(command) == reply

    with_pump(talk)


async def start(host: Host, *commands: str) -> None:
    for command in ("RAT6.000MM", "VOL1.000", *commands):
        assert await host.ask(command) == "00S"
    assert (await host.ask("RUN"))[2] in "IW"


def test_it_pumps_its_volume_and_counts_it() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        await asyncio.sleep(5)
        assert (await host.ask("DIS")).startswith("00II0.50")
        await asyncio.sleep(6)
        assert await host.ask("DIS") == "00SI1.000W0.000ML"
        assert host.head.syringe == pytest.approx(24.0)
        await start(host, "DIRWDR")
        await asyncio.sleep(11)
        assert await host.ask("DIS") == "00SI1.000W1.000ML"
        assert await host.ask("CLDINF") == "00S"
        assert await host.ask("DIS") == "00SI0.000W1.000ML"

    with_pump(talk)


def test_one_stp_pauses_run_resumes_and_two_stop() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        await asyncio.sleep(2)
        assert await host.ask("STP") == "00P"
        assert await host.ask("RUN") == "00I"
        await asyncio.sleep(9)
        assert await host.ask("DIS") == "00SI1.000W0.000ML"
        await start(host)
        assert [await host.ask("STP"), await host.ask("STP")] == ["00P", "00S"]

    with_pump(talk)


def test_it_goes_on_with_phase_2_unless_that_says_stop() -> None:
    async def talk(host: Host) -> None:
        for command in ("PHN2", "FUNRAT", "RAT3.000MM", "PHN1"):
            assert await host.ask(command) == "00S"
        await start(host)
        await asyncio.sleep(20)
        assert (await host.ask("")) == "00I"
        assert host.head.syringe < 23.8

    with_pump(talk)


def test_while_pumping_the_rate_may_change_but_not_its_unit_nor_the_diameter() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        assert await host.ask("RAT12.00MH") == "00I?NA"
        assert await host.ask("DIA20.00") == "00I?NA"
        assert await host.ask("VOL2.000") == "00I?NA"
        assert await host.ask("RAT12.00") == "00I"
        assert await host.ask("RAT") == "00I12.00MM"
        await asyncio.sleep(5.1)
        assert await host.ask("DIS") == "00SI1.000W0.000ML"
        assert await host.ask("RAT") == "00S6.000MM"  # it was not kept

    with_pump(talk)


def test_the_diameter_resets_the_counters_and_chooses_the_unit() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        await asyncio.sleep(11)
        assert await host.ask("DIA14.00") == "00S"
        assert await host.ask("DIS") == "00SI0.000W0.000UL"
        assert await host.ask("DIA14.01") == "00S"
        assert await host.ask("DIS") == "00SI0.000W0.000ML"

    with_pump(talk)


def test_a_stalled_motor_is_an_alarm_that_stops_it() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        host.head.blocked = True
        assert await host.ask("RUN") == "00A?S"
        assert await host.ask("") == "00S"

    with_pump(talk)


def test_a_power_cycle_keeps_the_settings_and_loses_the_counters() -> None:
    async def talk(host: Host) -> None:
        assert await host.ask("") == "00A?R"
        await start(host)
        await asyncio.sleep(2)
        host.pump.power_cycle()
        assert await host.ask("") == "00A?R"
        assert await host.ask("DIS") == "00SI0.000W0.000ML"
        assert await host.ask("RAT") == "00S6.000MM"
        assert not host.head.running

    with_pump(talk, reset_alarm=True)


def test_it_is_silent_when_another_address_is_called() -> None:
    async def talk(host: Host) -> None:
        assert await host.ask("3VER") == ""
        assert await host.ask("12VER") == "12SNE1000V3.923"

    with_pump(talk, address=12)


def test_a_burst_is_executed_and_answered_with_what_nobody_can_read() -> None:
    async def talk(host: Host) -> None:
        said = await host.bytes(b"0RAT2.500MM*1RAT3.000MM*\r")
        assert said
        assert said[:1] != b"\x02" or b"00S" not in said
        assert await host.ask("RAT") == "00S2.500MM"

    with_pump(talk)


def test_in_safe_mode_only_whole_packets_count() -> None:
    async def talk(host: Host) -> None:
        assert await host.safe("SAF20") == "00S"
        assert await host.bytes(b"VER\r") == b""
        assert await host.safe("VER") == "00SNE1000V3.923"
        damaged = safe("VER").replace(b"VER", b"VES")
        assert await host.bytes(damaged) == safe("00S?COM")
        first, rest = safe("VER")[:3], safe("VER")[3:]
        assert await host.bytes(first, wait=0.6) == b""  # too long between two bytes
        assert await host.bytes(rest) == b""
        assert await host.bytes(first, wait=0.4) == b""
        assert await host.bytes(rest) == safe("00SNE1000V3.923")

    with_pump(talk)


def test_in_safe_mode_silence_stops_it_with_an_alarm_that_it_tells_unasked() -> None:
    async def talk(host: Host) -> None:
        for command in ("RAT6.000MM", "VOL5.000", "SAF5"):
            await host.bytes(safe(command))
        assert await host.safe("RUN") == "00I"
        assert await host.bytes(b"", wait=4.9) == b""
        assert await host.bytes(b"", wait=0.2) == safe("00A?T")
        assert not host.head.running
        assert await host.safe("RUN") == "00A?T"  # telling it did not acknowledge it
        assert await host.safe("") == "00S"

    with_pump(talk)


def test_in_safe_mode_a_line_that_is_shut_is_told_at_once_and_unasked() -> None:
    async def talk(host: Host) -> None:
        for command in ("RAT6.000MM", "VOL5.000", "SAF60"):
            await host.bytes(safe(command))
        assert await host.safe("RUN") == "00I"
        assert await host.bytes(b"", wait=10.0) == b""
        host.head.blocked = True
        assert await host.bytes(b"") == safe("00A?S")

    with_pump(talk)


def test_safe_mode_outlives_a_power_cycle_but_its_timer_waits_for_a_packet() -> None:
    async def talk(host: Host) -> None:
        assert await host.bytes(safe("SAF5")) == b"\x0200A?R\x03"
        assert await host.safe("SAF5") == "00S"
        host.pump.power_cycle()
        assert await host.bytes(b"") == safe("00A?R")
        assert await host.bytes(b"", wait=60) == b""
        assert await host.safe("") == "00A?R"
        assert await host.bytes(b"", wait=5.1) == safe("00A?T")

    with_pump(talk, reset_alarm=True)


def test_a_busy_pump_answers_questions_and_ignores_what_would_change_something() -> None:
    async def talk(host: Host) -> None:
        host.pump.begin("busy")
        assert [await host.ask(c) for c in ("RAT6.000MM", "RUN", "STP")] == ["00S?IGN"] * 3
        assert await host.ask("RAT") == "00S0.000MH"
        host.pump.end("busy")
        assert await host.ask("RAT6.000MM") == "00S"

    with_pump(talk)


def test_a_stuck_plunger_stalls_the_motor_until_it_is_free() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        host.pump.begin("stuck")
        assert await host.ask("") == "00A?S"
        host.pump.end("stuck")
        assert await host.ask("RUN") == "00I"

    with_pump(talk)


@pytest.mark.parametrize(("locked", "prompt"), [("0", "00P"), ("1", "00I")])
def test_somebody_at_the_keypad_pauses_it_unless_that_is_locked(locked: str, prompt: str) -> None:
    async def talk(host: Host) -> None:
        assert await host.ask(f"LOC{locked}") == "00S"
        await start(host)
        host.pump.begin("local mode")
        assert await host.ask("") == prompt

    with_pump(talk)


def test_its_watchdog_can_expire_in_safe_mode_only() -> None:
    async def talk(host: Host) -> None:
        await start(host)
        host.pump.begin("watchdog expiry")
        assert await host.ask("") == "00I"
        assert await host.safe("SAF60") == "00I"
        host.pump.begin("watchdog expiry")
        assert await host.bytes(b"") == safe("00A?T")
        assert not host.head.running

    with_pump(talk)


@given(st.lists(st.binary(min_size=1, max_size=7), max_size=12))
def test_rubbish_never_breaks_the_listener(pieces: list[bytes]) -> None:
    listener = Listener()
    for piece in pieces:
        listener.hear(piece, 0.0)
    listener.hear(b"", 10.0)
    listener.hear(b"\r", 20.0)
    assert [h.text for h in listener.hear(safe("0VER"), 30.0)] == ["0VER"]


@given(st.integers(1, 30))
def test_packets_may_come_in_pieces_of_any_size(size: int) -> None:
    data, listener = b"0 dia 20\r" + safe("0VER") + b"0RUN\r", Listener()
    heard = [
        packet.text
        for start in range(0, len(data), size)
        for packet in listener.hear(data[start : start + size], 0.0)
    ]
    assert heard == ["0DIA20", "0VER", "0RUN"]
