"""The NE-1000 driver, through its simulator and through lines that lie."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus, Msg
from hypothesis import given
from hypothesis import strategies as st
from ophyd_async.core import WatchableAsyncStatus

from sdl.clock import new_loop
from sdl.drivers.ne1000 import NE1000
from sdl.drivers.ne1000.packets import parse, quantity, reply_frame, request
from sdl.endpoints.line import Cable, Line, LineDevice
from sdl.endpoints.memory import memory
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    cause_of,
)
from sdl.instrument import Doser, Effect, StopPolicy, effect_of
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.ne1000.program import Phase
from sdl.simulators.parts.syringe import PumpHead
from sdl.wires import StreamWire

URL = "serial:///dev/pump"


class Now:
    """A world that has only time."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def advance(self) -> None: ...


def as_it_is(data: bytes) -> bytes:
    return data


@dataclass
class LyingLine:
    """Stands between host and pump: changes what is heard and said."""

    device: LineDevice
    to_pump: Callable[[bytes], bytes] = as_it_is
    to_host: Callable[[bytes], bytes] = as_it_is

    async def serve(self, line: Line) -> None:
        self._line = line
        await self.device.serve(self)

    def hang_up(self, seconds: float = 0.0) -> None: ...

    async def read(self) -> bytes:
        while not (data := self.to_pump(await self._line.read())):
            pass
        return data

    async def write(self, data: bytes) -> None:
        if said := self.to_host(data):
            await self._line.write(said)


@dataclass
class Bench:
    pump: NE1000
    wire: StreamWire
    line: LyingLine
    simulator: SimulatedNE1000
    head: PumpHead
    full: float = 25.0

    @property
    def given(self) -> float:
        """mL that have left the syringe."""
        return self.full - self.head.syringe

    def sent(self, command: str) -> int:
        """How often the host sent a command."""
        return sum(
            entry.direction == "sent" and command.encode() in entry.data for entry in self.wire.log
        )


@asynccontextmanager
async def bench(*, simulator: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Bench]:
    head = PumpHead(Now(), capacity_mL=50.0, filled_mL=25.0)
    pump = SimulatedNE1000(head, rng=np.random.default_rng(1), **(simulator or {}))
    line = LyingLine(pump)
    cable = Cable([line], baudrate=19200)
    wire = StreamWire(URL, memory(cable), timeout=0.5)
    await cable.plug_in()
    driver = NE1000(wire, **{"diameter": 26.59, "name": "pump", **options})
    try:
        yield Bench(driver, wire, line, pump, head)
    finally:
        await wire.close()
        await cable.pull_out()


def on_bench(
    talk: Callable[[Bench], Awaitable[None]], *, rate: float = 6.0, **options: Any
) -> None:
    """Run `talk` with a connected pump, set to 6 mL/min (0.1 mL/s)."""

    async def session() -> None:
        async with bench(**options) as b:
            await b.pump.connect()
            await b.pump.rate.set(rate)
            await talk(b)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def once(action: Callable[[bytes], bytes], when: bytes) -> Callable[[bytes], bytes]:
    """Do `action` to the first packet that has `when` in it."""
    left = [action]

    def change(data: bytes) -> bytes:
        return left.pop()(data) if left and when in data else data

    return change


def drop(data: bytes) -> bytes:
    return b""


def updates_of(status: WatchableAsyncStatus[float]) -> list[tuple[float, float, float]]:
    """Return what the status tells from now on: (current, target, fraction)."""
    seen: list[tuple[float, float, float]] = []

    def note(
        current: float | None = None,
        initial: float | None = None,
        target: float | None = None,
        name: str | None = None,
        unit: str | None = None,
        precision: float | None = None,
        fraction: float | None = None,
        time_elapsed: float | None = None,
        time_remaining: float | None = None,
    ) -> None:
        assert (name, unit, initial) == ("pump", "mL", 0.0)
        assert current is not None
        assert target is not None
        assert fraction is not None
        seen.append((current, target, fraction))

    status.watch(note)
    return seen


both_modes = pytest.mark.parametrize(
    "options", [{}, {"mode": "safe", "watchdog": 20}], ids=["basic", "safe"]
)


# Dosing


@both_modes
def test_it_doses_and_reports_progress_up_to_the_volume(options: dict[str, Any]) -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(0.5)
        seen = updates_of(status)
        await status
        assert b.given == pytest.approx(0.5, abs=1e-6)
        assert seen[-1] == (0.5, 0.5, 1.0)
        assert seen == sorted(seen)
        assert 5 < len(seen) < 40
        await b.pump.set(-0.2)
        assert b.given == pytest.approx(0.3, abs=1e-6)
        assert await b.pump.moved() == pytest.approx(0.3)
        reading = await b.pump.read()
        assert reading["pump-dispensed"]["value"] == 0.5
        assert reading["pump-withdrawn"]["value"] == 0.2
        assert reading["pump-status"]["value"] == "stopped"
        assert reading["pump-rate"]["value"] == 6.0

    on_bench(talk, **options)


def test_what_is_commanded_has_four_digits_and_is_what_is_reported() -> None:
    async def talk(b: Bench) -> None:
        targets = []
        for volume in (1.23456, 0.0123456, -12.3456):
            status, before = b.pump.set(volume), b.given
            seen = updates_of(status)
            await status
            targets.append(seen[-1][1])
            assert b.given - before == pytest.approx(targets[-1], abs=1e-9)
        assert targets == pytest.approx([1.235, 0.01235, -12.35])

    on_bench(talk)


@given(st.floats(1e-6, 9999))
def test_a_volume_is_rounded_by_less_than_a_percent_and_a_large_one_by_a_thousandth(
    volume: float,
) -> None:
    units = {"ML": 1.0, "UL": 1e-3}
    try:
        told = quantity(volume, units)
    except ValueError:
        assert volume < 6e-5
        return
    assert len(told.text.replace(".", "")) <= 4
    assert told.value == pytest.approx(float(told.text) * units[told.unit])
    assert abs(told.value / volume - 1) <= (1e-3 if volume > 1e-3 else 1e-2)


@pytest.mark.parametrize("volume", [0.0, math.nan, math.inf, 1e-9, 20_000.0])
def test_a_volume_it_cannot_give_is_refused_before_anything_is_sent(volume: float) -> None:
    async def talk(b: Bench) -> None:
        before = len(b.wire.log)
        with pytest.raises(RefusedError, match="nothing was sent"):
            await b.pump.set(volume)
        with pytest.raises(RefusedError):
            await b.pump.check_value(volume)
        assert len(b.wire.log) == before

    on_bench(talk)


@pytest.mark.parametrize(("rate", "limit"), [(28.4, None), (3e-4, None), (2.1, 2.0)])
def test_a_rate_beyond_the_plunger_or_the_lab_is_refused_before_anything_is_sent(
    rate: float, limit: float | None
) -> None:
    async def talk(b: Bench) -> None:
        before = len(b.wire.log)
        with pytest.raises(RefusedError, match="nothing was sent"):
            await b.pump.rate.set(rate)
        assert len(b.wire.log) == before

    on_bench(talk, rate=1.0, max_rate=limit)


def test_the_rate_is_set_in_the_unit_that_rounds_it_least() -> None:
    async def talk(b: Bench) -> None:
        await b.pump.rate.set(1 / 3)
        assert await b.pump.rate.get_value() == pytest.approx(1 / 3, abs=1e-12)
        assert b.sent("RAT20.00MH") == 1

    on_bench(talk)


def test_the_rate_may_change_while_it_pumps_in_the_unit_it_has() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        await b.pump.rate.set(11.111111)
        await status
        assert b.given == pytest.approx(2.0)
        assert b.sent("RAT11.11MM") == 1
        await b.pump.set(0.1)  # the pump has not kept it: it is set again
        assert await b.pump.rate.get_value() == pytest.approx(11.11)

    on_bench(talk)


def test_an_old_program_in_phase_2_does_not_run_on() -> None:
    async def talk(b: Bench) -> None:
        await b.pump.set(0.5)
        await asyncio.sleep(60)
        assert b.given == pytest.approx(0.5)

    async def session() -> None:
        async with bench() as b:
            b.simulator.memory.phases[2] = Phase("RAT", "5.000", "MM")
            await b.pump.connect()
            await b.pump.rate.set(6.0)
            await talk(b)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


def test_a_second_dose_is_refused_while_the_first_goes_on() -> None:
    async def talk(b: Bench) -> None:
        first = b.pump.set(1.0)
        await asyncio.sleep(3)
        with pytest.raises(RefusedError, match="under way"):
            await b.pump.set(1.0)
        await first
        assert b.given == pytest.approx(1.0)

    on_bench(talk)


@pytest.mark.parametrize(("counted", "cleared"), [(9.0, 0), (123.4, 1)])
def test_a_counter_is_cleared_only_when_it_is_too_coarse_for_the_dose(
    counted: float, cleared: int
) -> None:
    async def talk(b: Bench) -> None:
        b.simulator._program.counted["INF"] = counted
        await b.pump.set(0.5)
        assert b.sent("CLDINF") == cleared
        assert await b.pump.dispensed.get_value() == pytest.approx(0.5 + (not cleared) * counted)

    on_bench(talk)


def test_many_doses_in_microlitres_never_lose_count() -> None:
    async def talk(b: Bench) -> None:
        for _ in range(4):
            await b.pump.set(4.2)
        assert b.given == pytest.approx(16.8)

    on_bench(talk, diameter=14.0)


def test_without_a_rate_nothing_moves() -> None:
    async def session() -> None:
        async with bench() as b:
            await b.pump.connect()
            with pytest.raises(RefusedError, match="set `rate` first"):
                await b.pump.set(1.0)
            assert b.sent("RUN") == 0

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


# Connecting


def test_connecting_keeps_the_counters_of_a_syringe_it_knows() -> None:
    async def talk(b: Bench) -> None:
        await b.pump.set(0.5)
        again = NE1000(b.wire, diameter=26.59, name="again")
        await again.connect()
        assert await again.moved() == 0.5
        other = NE1000(b.wire, diameter=20.0, name="other")
        await other.connect()
        assert await other.diameter.get_value() == 20.0
        assert await other.moved() == 0.0

    on_bench(talk)


def test_connecting_leaves_a_pump_running_that_runs() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(1.0)
        await asyncio.sleep(3)
        again = NE1000(b.wire, diameter=26.59, name="again")
        await again.connect()
        assert await again.status.get_value() == "infusing"
        with pytest.raises(RefusedError, match="infusing for somebody else"):
            await again.set(1.0)
        await status
        await again.set(0.1)
        assert b.given == pytest.approx(1.1)

    on_bench(talk)


@pytest.mark.parametrize("left_in", ["basic", "safe"])
@both_modes
def test_it_finds_the_pump_in_whatever_mode_it_was_left(
    left_in: str, options: dict[str, Any]
) -> None:
    async def talk(b: Bench) -> None:
        assert await b.pump.identify() == "NE1000V3.923"
        await b.pump.set(0.1)
        assert b.given == pytest.approx(0.1)

    on_bench(talk, simulator={"mode": left_in}, **options)


def test_in_mock_mode_nothing_is_sent() -> None:
    async def session() -> None:
        async with bench() as b:
            await b.pump.connect(mock=True)
            await b.pump.rate.set(1.0)
            await b.pump.set(1.0)
            await b.pump.halt()
            assert len(b.wire.log) == 0

    asyncio.run(session())


def test_it_says_what_it_is_to_plans_and_engine() -> None:
    async def talk(b: Bench) -> None:
        assert isinstance(b.pump, Doser)
        assert effect_of(b.pump) is Effect.RELATIVE
        assert effect_of(b.pump.rate) is Effect.ABSOLUTE
        assert b.pump.stop_policy is StopPolicy.STOP
        described: Any = await b.pump.describe()
        assert described["pump-dispensed"]["units"] == "mL"
        assert described["pump-rate"]["limits"]["control"]["high"] == pytest.approx(28.32, abs=0.01)
        assert (await b.pump.read_configuration())["pump-diameter"]["value"] == 26.59

    on_bench(talk)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"diameter": 51.0}, "diameter 51.0 mm: allowed is 0.1 to 50"),
        ({"address": 100}, "address 100"),
        ({"mode": "loud"}, "mode 'loud': allowed is basic or safe"),
        ({"watchdog": 5}, "basic mode has none"),
        ({"mode": "safe", "watchdog": 256}, "watchdog 256 s"),
        ({"max_rate": 0.0}, "max_rate"),
    ],
)
def test_an_impossible_pump_is_a_config_error(options: dict[str, Any], named: str) -> None:
    async def session() -> None:
        wire = StreamWire(URL, memory(Cable([])))
        with pytest.raises(ConfigError, match=named):
            NE1000(wire, **{"diameter": 20.0, **options})

    asyncio.run(session())


# Stopping


@both_modes
def test_stop_in_the_middle_stops_the_plunger_and_fails_the_move(options: dict[str, Any]) -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        await b.pump.stop(success=False)
        given = b.given
        with pytest.raises(InstrumentError, match=r"stopped after 0\.\d+ mL: it was told to stop"):
            await status
        assert await b.pump.status.get_value() == "stopped"
        await asyncio.sleep(30)
        assert 0.3 < b.given == given < 0.6

    on_bench(talk, **options)


def test_a_cancelled_move_stops_the_plunger() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        status.task.cancel()
        await asyncio.wait({status.task})
        given = b.given
        await asyncio.sleep(30)
        assert 0.3 < b.given == given < 0.6
        await b.pump.set(0.1)
        assert b.given == pytest.approx(given + 0.1)

    on_bench(talk)


def test_told_to_stop_before_run_it_never_starts() -> None:
    async def talk(b: Bench) -> None:
        halting: list[asyncio.Task[None]] = []

        def stop_now(data: bytes) -> bytes:
            halting.append(asyncio.ensure_future(b.pump.halt()))
            return data

        b.line.to_pump = once(stop_now, b"VOL")
        with pytest.raises(InstrumentError, match="told to stop before it began"):
            await b.pump.set(1.0)
        await halting[0]
        assert b.sent("RUN") == 0

    on_bench(talk)


def test_halt_is_repeated_until_it_is_confirmed() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(2)
        b.line.to_pump = once(drop, b"STP")
        await b.pump.halt()
        assert not b.head.running
        with pytest.raises(InstrumentError):
            await status
        b.line.to_host = drop
        with pytest.raises(NoReplyError, match="does not confirm that it stopped"):
            await b.pump.make_safe()

    on_bench(talk)


def test_a_pump_paused_by_hand_is_a_fault_and_is_not_resumed() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        b.simulator.press_start_stop()
        with pytest.raises(FaultError, match=r"paused after 0\.4\d+ mL"):
            await status
        await asyncio.sleep(30)
        assert b.given < 0.6

    on_bench(talk)


# Lost, garbled and foreign replies


@both_modes
def test_a_lost_reply_to_run_that_was_executed_doses_once(options: dict[str, Any]) -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = once(drop, b"00I")
        await b.pump.set(0.5)
        assert b.sent("RUN") == 1
        assert b.given == pytest.approx(0.5)

    on_bench(talk, **options)


def test_even_when_the_dose_is_over_before_the_pump_is_asked() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = once(drop, b"00I")
        await b.pump.set(0.05)
        assert b.sent("RUN") == 1
        assert b.given == pytest.approx(0.05)

    on_bench(talk)


@both_modes
def test_a_run_that_never_arrived_is_sent_again_once_the_pump_says_that_it_stands(
    options: dict[str, Any],
) -> None:
    async def talk(b: Bench) -> None:
        b.line.to_pump = once(drop, b"RUN")
        await b.pump.set(0.5)
        assert b.sent("RUN") == 2
        assert b.given == pytest.approx(0.5)

    on_bench(talk, **options)


def test_a_run_that_never_arrives_is_refused_and_nothing_has_moved() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_pump = lambda data: b"" if b"RUN" in data else data
        with pytest.raises(RefusedError, match="RUN was not executed; nothing has moved"):
            await b.pump.set(0.5)
        assert b.given == 0.0

    on_bench(talk)


def test_a_dose_too_small_to_be_seen_is_never_repeated_on_suspicion() -> None:
    async def talk(b: Bench) -> None:
        await b.pump.rate.set(0.0006)
        b.line.to_pump = lambda data: b"" if b"RUN" in data else data
        with pytest.raises(NoReplyError, match="too little for the counter to tell"):
            await b.pump.set(2e-6)
        assert b.sent("RUN") == 1

    on_bench(talk)


def test_a_dose_outlives_some_seconds_without_a_reply() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(1.0)
        await asyncio.sleep(2)
        b.line.to_host = drop
        await asyncio.sleep(7)
        b.line.to_host = as_it_is
        await status
        assert b.given == pytest.approx(1.0)

    on_bench(talk)


def test_when_the_line_dies_after_run_the_state_is_unknown() -> None:
    async def talk(b: Bench) -> None:
        def die(data: bytes) -> bytes:
            b.line.to_host = drop
            return b""

        b.line.to_host = once(die, b"00I")
        with pytest.raises(NoReplyError) as caught:
            await b.pump.set(0.5)
        assert str(caught.value).startswith("pump: ")
        assert b.sent("RUN") == 1

    on_bench(talk)


@both_modes
def test_a_garbled_reply_to_run_doses_once(options: dict[str, Any]) -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = once(lambda data: data.replace(b"00I", b"0\xffI"), b"00I")
        await b.pump.set(0.5)
        assert b.sent("RUN") == 1
        assert b.given == pytest.approx(0.5)

    on_bench(talk, **options)


def test_lost_and_garbled_looks_do_not_end_a_dose() -> None:
    async def talk(b: Bench) -> None:
        count = 0

        def now_and_then(data: bytes) -> bytes:
            nonlocal count
            count += b"W0" in data
            return data[: count % 3] if b"W0" in data and count % 4 == 0 else data

        b.line.to_host = now_and_then
        await b.pump.set(1.0)
        assert b.given == pytest.approx(1.0)
        assert b.sent("RUN") == 1

    on_bench(talk)


def test_a_number_of_which_a_digit_is_missing_is_asked_for_again() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = once(lambda data: data.replace(b"12.00", b"2.00"), b"12.00MM")
        assert await b.pump.rate.get_value() == 12.0
        b.line.to_host = lambda data: data.replace(b"12.00", b"12.0")  # always: it is its way
        assert await b.pump.rate.get_value() == 12.0
        b.line.to_host = lambda data: data.replace(b"12.00", b"1200")
        with pytest.raises(GarbledError):
            await b.pump.rate.get_value()

    on_bench(talk, rate=12.0)


def test_a_wrong_crc_is_garbled() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = lambda data: data.replace(b"26.59", b"26.58")
        with pytest.raises(GarbledError, match="wrong CRC"):
            await b.pump.diameter.get_value()
        b.line.to_host = as_it_is
        assert await b.pump.diameter.get_value() == 26.59

    on_bench(talk, mode="safe")


def test_the_reply_of_another_pump_is_garbled_and_the_place_is_found_again() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_host = lambda data: data.replace(b"\x0200S26", b"\x0207S26")
        with pytest.raises(GarbledError, match="pump 7 answered"):
            await b.pump.diameter.get_value()
        b.line.to_host = as_it_is
        assert await b.pump.status.get_value() == "stopped"

    on_bench(talk)


def test_a_late_reply_never_answers_the_next_command() -> None:
    async def talk(b: Bench) -> None:
        late: list[bytes] = []

        def keep(data: bytes) -> bytes:
            late.append(data)
            return b""

        def after(data: bytes) -> bytes:
            return late.pop() + data if late else data

        b.line.to_host = once(keep, b"NE1000")
        assert await b.pump.identify() == "NE1000V3.923"
        b.line.to_host = after
        late.append(b"\x0200S6.000MM\x03")
        assert await b.pump.diameter.get_value() == 26.59

    on_bench(talk)


def test_a_refusal_says_why() -> None:
    async def talk(b: Bench) -> None:
        b.line.to_pump = lambda data: data.replace(b"VOL0.500", b"VOLX.500")
        with pytest.raises(RefusedError, match=r"VOL0\.500: refused with '\?': unknown command"):
            await b.pump.set(0.5)
        assert b.given == 0.0

    on_bench(talk)


# Alarms


@both_modes
def test_a_stall_is_a_fault(options: dict[str, Any]) -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        b.head.blocked = True
        with pytest.raises(FaultError, match="infuse 2 mL: alarm 'S': the motor stalled"):
            await status
        b.head.blocked = False
        await asyncio.sleep(30)
        assert b.given < 0.6

    on_bench(talk, **options)


@both_modes
@pytest.mark.parametrize("command", [b"VOL", b"DIR", b"RUN", b"RAT"])
def test_power_lost_before_run_is_made_good_and_the_dose_given_once(
    command: bytes, options: dict[str, Any]
) -> None:
    async def talk(b: Bench) -> None:
        await b.pump.set(0.3)

        def cut(data: bytes) -> bytes:
            b.simulator.power_cycle()
            b.simulator.memory.phases[2] = Phase("RAT", "5.000", "MM")
            return data

        b.line.to_pump = once(cut, command)
        await b.pump.set(0.5)
        await asyncio.sleep(10)
        assert b.given == pytest.approx(0.8)

    on_bench(talk, **options)


@both_modes
def test_power_lost_in_the_middle_of_a_dose_is_a_fault_and_the_rest_is_not_given(
    options: dict[str, Any],
) -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        b.simulator.power_cycle()
        with pytest.raises(FaultError, match="alarm 'R': the pump was reset"):
            await status
        await asyncio.sleep(30)
        assert 0.3 < b.given < 0.6

    on_bench(talk, **options)


def test_power_lost_with_the_reply_to_run_is_a_fault_not_a_second_run() -> None:
    async def talk(b: Bench) -> None:
        def cut(data: bytes) -> bytes:
            asyncio.get_running_loop().call_later(0.2, b.simulator.power_cycle)
            return b""

        b.line.to_host = once(cut, b"00I")
        with pytest.raises(FaultError, match="the pump was reset"):
            await b.pump.set(0.5)
        assert b.sent("RUN") == 1

    on_bench(talk)


@both_modes
@pytest.mark.parametrize("alarm", ["R", "S"])
def test_an_alarm_that_a_reading_hears_is_a_fault_of_the_dose(
    alarm: str, options: dict[str, Any]
) -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(10.0)  # it is looked at every 3 s
        await asyncio.sleep(4.5)
        if alarm == "R":
            b.simulator.power_cycle()
            await b.pump.read()
        else:
            b.head.blocked = True
            with pytest.raises(FaultError, match="stalled"):
                await b.pump.read()
        with pytest.raises(FaultError, match=f"infuse 10 mL: alarm {alarm!r}"):
            await status

    on_bench(talk, **options)


def test_the_watchdog_is_fed_while_it_moves_and_may_expire_while_it_rests() -> None:
    async def talk(b: Bench) -> None:
        await b.pump.set(1.0)
        await asyncio.sleep(60)
        await b.pump.set(1.0)
        assert b.given == pytest.approx(2.0)

    on_bench(talk, rate=0.6, mode="safe", watchdog=2)


def test_a_dead_host_is_a_stopped_pump_and_a_fault_for_its_dose() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(5)
        b.line.to_pump = drop
        await asyncio.sleep(3)
        assert not b.head.running
        b.line.to_pump = as_it_is
        with pytest.raises(FaultError, match="no valid packet came"):
            await status

    on_bench(talk, mode="safe", watchdog=2)


def test_an_alarm_heard_while_the_wire_finds_its_place_is_not_lost() -> None:
    async def talk(b: Bench) -> None:
        status = b.pump.set(2.0)
        await asyncio.sleep(3)

        def lose(data: bytes) -> bytes:
            b.head.blocked = True
            return b""

        b.line.to_host = once(lose, b"W0")
        with pytest.raises(FaultError, match="the motor stalled"):
            await status

    on_bench(talk)


# Several on one wire; plans


def test_several_pumps_share_one_wire() -> None:
    async def session() -> None:
        heads = [PumpHead(Now(), capacity_mL=50.0, filled_mL=25.0) for _ in range(3)]
        rng = np.random.default_rng(0)
        cable = Cable(
            [SimulatedNE1000(h, rng=rng, address=n) for n, h in enumerate(heads)], baudrate=19200
        )
        wire = StreamWire(URL, memory(cable), timeout=0.5)
        await cable.plug_in()
        pumps = [NE1000(wire, diameter=26.59, address=n, name=f"pump{n}") for n in range(3)]
        await asyncio.gather(*(pump.connect() for pump in pumps))
        await asyncio.gather(*(pump.rate.set(n + 1.0) for n, pump in enumerate(pumps)))
        await asyncio.gather(*(pump.set(0.2 * (n + 1)) for n, pump in enumerate(pumps)))
        assert [25 - head.syringe for head in heads] == pytest.approx([0.2, 0.4, 0.6])
        await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(session())


@contextmanager
def engine() -> Iterator[tuple[RunEngine, Bench]]:
    """A RunEngine on a virtual loop, with a connected pump."""
    loop = new_loop("virtual")
    run_engine = RunEngine(loop=loop, context_managers=[], call_returns_result=True)

    def call(work: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(waited(), loop).result(20)

    context = bench()
    b = call(context.__aenter__())
    call(b.pump.connect())
    try:
        yield run_engine, b
    finally:
        call(context.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        run_engine._th.join(10)
        loop.close()


def test_a_plan_moves_it() -> None:
    def plan() -> Iterator[Msg]:
        yield from bps.mv(b.pump.rate, 6.0)
        yield from bps.mv(b.pump, 0.5)
        return (yield from bps.rd(b.pump.dispensed))

    with engine() as (run_engine, b):
        result: Any = run_engine(plan())
        assert result.plan_result == 0.5
        assert b.sent("RUN") == 1


def test_a_plan_that_stops_it_in_the_middle_fails_with_the_cause() -> None:
    def plan() -> Iterator[Msg]:
        yield from bps.mv(b.pump.rate, 6.0)
        yield from bps.abs_set(b.pump, 5.0, group="dose")
        yield from bps.sleep(3)
        yield from bps.stop(b.pump)
        yield from bps.wait("dose")

    with engine() as (run_engine, b):
        with pytest.raises(FailedStatus) as caught:
            run_engine(plan())
        assert "told to stop" in str(cause_of(caught.value))


# Packets


def safe_reply(text: str) -> bytes:
    """What a pump would send: for address 0 a request has the same form."""
    return request(int(text[0]), text[1:], safe=True)


@given(st.text("ABCDEFGHIJ0123456789.", max_size=20), st.integers(0, 99))
def test_a_safe_packet_is_read_whole_from_any_number_of_bytes(data: str, address: int) -> None:
    packet = safe_reply(f"{address:02d}S{data}")
    assert all(reply_frame(packet[:n]) is None for n in range(len(packet)))
    assert reply_frame(packet + b"more") == len(packet)
    reply = parse(packet)
    assert (reply.address, reply.prompt, reply.data, reply.safe) == (address, "S", data, True)


@given(st.data())
def test_a_damaged_safe_packet_is_never_taken_for_one(data: st.DataObject) -> None:
    packet = bytearray(safe_reply("00SI0.100W0.200ML"))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        length = reply_frame(bytes(packet))
        taken = length is not None and parse(bytes(packet[:length])).safe
    except GarbledError:
        taken = False
    assert not taken


def test_a_halted_pump_takes_the_next_dose_at_once() -> None:
    """`halt` returns when the move is over, not while it sleeps until its next look."""

    async def talk(b: Bench) -> None:
        first = b.pump.set(20.0)  # looked at every 5 s
        await asyncio.sleep(21)
        await b.pump.halt()
        await b.pump.set(-0.5)
        assert isinstance(first.exception(), InstrumentError)

    on_bench(talk)
