"""A dose of which nobody heard the end: the NE-1000's verdict against what truly was given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.drivers.ne1000 import NE1000
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.line import Cable
from sdl.endpoints.memory import MemoryConnector
from sdl.errors import InstrumentError, NoReplyError, RefusedError
from sdl.instrument import Finding, Reconcilable, Verdict
from sdl.simulators.ne1000 import SimulatedNE1000
from sdl.simulators.parts.syringe import PumpHead
from sdl.wires import StreamWire

DIGIT = 0.001  # mL, what a counter below 10 mL can tell
WATCHDOG = 4  # s
BAD_REPLIES: list[str] = ["lost reply", "late reply", "double reply", "garbled reply", "cut"]


class Now:
    """A world that has only time."""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def advance(self) -> None: ...


class Mortal:
    """A process's way to its wire; a killed one says nothing any more, not even STP."""

    def __init__(self, cable: Cable) -> None:
        self._connector, self._alive = MemoryConnector(cable), True
        self._transports: list[asyncio.WriteTransport] = []

    async def __call__(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        if not self._alive:
            raise OSError("killed")
        self._transports.append(await self._connector(protocol))
        return self._transports[-1]

    def kill(self) -> None:
        self._alive = False
        for transport in self._transports:
            transport.abort()


@dataclass
class Process:
    """A runtime with its driver."""

    lab: "Lab"
    pump: NE1000
    wire: StreamWire
    mortal: Mortal

    def kill(self) -> None:
        self.mortal.kill()

    def sent(self, command: str) -> int:
        return sum(e.direction == "sent" and command.encode() in e.data for e in self.wire.log)


class Lab:
    """One pump that lives on while processes come and go."""

    def __init__(self, mode: str = "basic", **options: Any) -> None:
        self.head = PumpHead(Now(), capacity_mL=50.0, filled_mL=25.0)
        self.simulator = SimulatedNE1000(self.head, rng=np.random.default_rng(1))
        self.line = Faulty(self.simulator)
        self.cable = Cable([self.line], baudrate=19200)
        watch = {"mode": mode, "watchdog": WATCHDOG} if mode == "safe" else {}
        self.orphans: list[asyncio.Task[None]] = []  # of killed processes
        self._options = {"diameter": 26.59, "name": "pump", **watch, **options}

    @property
    def given(self) -> float:
        """mL that have left the syringe, in truth."""
        return 25.0 - self.head.syringe

    async def process(self, *, rate: float | None = None, **options: Any) -> Process:
        mortal = Mortal(self.cable)
        wire = StreamWire("serial:///dev/pump", mortal, timeout=0.5)
        process = Process(self, NE1000(wire, **{**self._options, **options}), wire, mortal)
        await process.pump.connect()
        if rate is not None:
            await process.pump.rate.set(rate)
        return process


@asynccontextmanager
async def lab(mode: str = "basic", **options: Any) -> AsyncIterator[Lab]:
    lab = Lab(mode, **options)
    await lab.cable.plug_in()
    try:
        yield lab
    finally:
        await asyncio.gather(*lab.orphans, return_exceptions=True)
        await lab.cable.pull_out()


def in_lab(story: Callable[[Lab], Awaitable[None]], mode: str = "basic", **options: Any) -> None:
    async def run() -> None:
        async with lab(mode, **options) as made:
            await story(made)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


async def killed_after(process: Process, volume: float, seconds: float) -> Any:
    """Begin a dose, kill the process some time later; return the mark that its journal has."""
    mark = await process.pump.mark("set", volume)
    status = process.pump.set(volume)
    await asyncio.sleep(seconds)
    process.kill()
    process.lab.orphans.append(status.task)
    return mark


def is_true(finding: Finding, asked: float, given: float, digit: float = DIGIT) -> bool:
    """Whether a verdict agrees with what was given, as far as the counter can tell."""
    if finding.verdict is Verdict.DONE:
        return abs(given - asked) <= 3 * digit
    if finding.verdict is Verdict.NOT_DONE:
        return abs(given) <= digit + 1e-9
    if finding.verdict is Verdict.PARTLY:
        return abs(given + finding.rest - asked) <= 2 * digit
    return True


both_modes = pytest.mark.parametrize("mode", ["basic", "safe"])


# After a crash


def test_it_can_be_asked() -> None:
    async def story(lab: Lab) -> None:
        assert isinstance((await lab.process()).pump, Reconcilable)

    in_lab(story)


def test_a_dose_that_was_marked_and_never_begun_is_not_done() -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        mark = await first.pump.mark("set", 0.5)
        first.kill()
        second = await lab.process()
        finding = await second.pump.reconcile("set", 0.5, mark)
        assert finding.verdict is Verdict.NOT_DONE
        assert "infused 0 -> 0 mL" in finding.evidence
        await second.pump.set(0.5)
        assert lab.given == pytest.approx(0.5)

    in_lab(story)


@pytest.mark.parametrize("volume", [0.5, -0.5])
def test_a_dose_under_way_is_waited_for_and_done_and_nothing_is_sent_that_acts(
    volume: float,
) -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), volume, 1.5)
        second = await lab.process()
        finding = await second.pump.reconcile("set", volume, mark)
        assert finding.verdict is Verdict.DONE
        assert lab.given == pytest.approx(volume)
        assert second.sent("RUN") == second.sent("STP") == second.sent("CLD") == 0
        assert await second.pump.reconcile("set", volume, mark) == finding  # asked again

    in_lab(story)


@pytest.mark.parametrize("stops", [1, 2])
@pytest.mark.parametrize("volume", [1.0, -1.0])
def test_a_dose_that_was_stopped_is_partly_done_and_its_rest_can_be_given(
    volume: float, stops: int
) -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        mark = await killed_after(first, volume, 4.0)
        if stops == 1:
            lab.simulator.press_start_stop()
        second = await lab.process()
        if stops == 2:
            await second.pump.make_safe()
        finding = await second.pump.reconcile("set", volume, mark)
        assert finding.verdict is Verdict.PARTLY
        assert 0.4 < finding.rest / volume < 0.8
        again = await second.pump.mark("set", finding.rest)
        await second.pump.set(finding.rest)
        assert lab.given == pytest.approx(volume, abs=2 * DIGIT)
        assert (await second.pump.reconcile("set", finding.rest, again)).verdict is Verdict.DONE

    in_lab(story)


def test_a_dose_that_the_watchdog_stopped_is_partly_done() -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), 2.0, 3.0)
        await asyncio.sleep(WATCHDOG + 1)
        assert not lab.head.running
        second = await lab.process()
        finding = await second.pump.reconcile("set", 2.0, mark)
        assert finding.verdict is Verdict.PARTLY
        await second.pump.set(finding.rest)
        assert lab.given == pytest.approx(2.0, abs=2 * DIGIT)

    in_lab(story, "safe")


def test_asking_feeds_the_watchdog_of_a_dose_under_way() -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=3.0), 2.0, 3.0)
        second = await lab.process()
        assert (await second.pump.reconcile("set", 2.0, mark)).verdict is Verdict.DONE

    in_lab(story, "safe")


@both_modes
def test_a_stalled_dose_is_partly_done_and_the_evidence_names_the_alarm(mode: str) -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), 2.0, 3.0)
        second = await lab.process()
        asyncio.get_running_loop().call_later(2.0, setattr, lab.head, "blocked", True)
        finding = await second.pump.reconcile("set", 2.0, mark)
        assert finding.verdict is Verdict.PARTLY
        assert "the motor stalled" in finding.evidence

    in_lab(story, mode)


# Power


@both_modes
@pytest.mark.parametrize("counted", [0.0, 3.0])
def test_a_power_cycle_leaves_a_dose_unknown_whoever_heard_of_it(mode: str, counted: float) -> None:
    """Process B hears the alarm, and is killed; process C asks a pump that says nothing of it."""

    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        if counted:
            await first.pump.set(counted)
        mark = await killed_after(first, 0.5, 3.0)
        lab.simulator.power_cycle()
        second = await lab.process()
        heard = await second.pump.reconcile("set", 0.5, mark)
        assert heard.verdict is Verdict.UNKNOWN
        second.kill()
        third = await lab.process()
        assert (await third.pump.reconcile("set", 0.5, mark)).verdict is Verdict.UNKNOWN

    in_lab(story, mode)


def test_a_power_cycle_that_only_a_reading_heard_is_not_forgotten() -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        mark = await first.pump.mark("set", 0.5)
        await first.pump.set(0.5)
        lab.simulator.power_cycle()
        await first.pump.read()
        first.kill()
        second = await lab.process()
        assert (await second.pump.reconcile("set", 0.5, mark)).verdict is Verdict.UNKNOWN

    in_lab(story)


def test_a_power_cycle_before_the_dose_was_marked_does_not_matter() -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        await first.pump.set(0.5)
        lab.simulator.power_cycle()
        mark = await killed_after(first, 0.5, 1.0)
        second = await lab.process()
        assert (await second.pump.reconcile("set", 0.5, mark)).verdict is Verdict.DONE

    in_lab(story)


def test_another_syringe_clears_the_counters_and_leaves_a_dose_unknown() -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), 0.5, 8.0)
        second = await lab.process(diameter=20.0)
        assert (await second.pump.reconcile("set", 0.5, mark)).verdict is Verdict.UNKNOWN
        second.kill()
        third = await lab.process()
        assert (await third.pump.reconcile("set", 0.5, mark)).verdict is Verdict.UNKNOWN

    in_lab(story)


# Others, and what cannot be counted


@pytest.mark.parametrize(("by_hand", "said"), [(1.0, "more than that"), (-0.3, "the other way")])
def test_what_somebody_else_moved_leaves_a_dose_unknown(by_hand: float, said: str) -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), 0.5, 8.0)
        second = await lab.process(rate=6.0)
        await second.pump.set(by_hand)
        finding = await second.pump.reconcile("set", 0.5, mark)
        assert finding.verdict is Verdict.UNKNOWN
        assert said in finding.evidence

    in_lab(story)


def test_a_dose_too_small_for_the_counter_is_unknown_and_not_guessed() -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=0.001)
        mark = await first.pump.mark("set", 5e-6)
        first.kill()
        second = await lab.process()
        finding = await second.pump.reconcile("set", 5e-6, mark)
        assert finding.verdict is Verdict.UNKNOWN
        assert "too little" in finding.evidence

    in_lab(story)


def test_a_mark_of_another_driver_and_another_command_are_unknown() -> None:
    async def story(lab: Lab) -> None:
        pump = (await lab.process()).pump
        assert (await pump.reconcile("set", 0.5, {"x": 1})).verdict is Verdict.UNKNOWN
        assert (await pump.reconcile("kickoff", None, {})).verdict is Verdict.UNKNOWN

    in_lab(story)


def test_a_pump_that_cannot_be_asked_is_no_reply_and_can_be_asked_later() -> None:
    async def story(lab: Lab) -> None:
        mark = await killed_after(await lab.process(rate=6.0), 0.5, 2.0)
        second = await lab.process()
        lab.line.plan(Fault("cut", 1, seconds=60.0))
        with pytest.raises(NoReplyError):
            await second.pump.reconcile("set", 0.5, mark)
        await asyncio.sleep(60)
        assert (await second.pump.reconcile("set", 0.5, mark)).verdict is Verdict.DONE

    in_lab(story)


# The mark


def test_a_counter_is_cleared_by_the_mark_and_never_between_mark_and_run() -> None:
    async def story(lab: Lab) -> None:
        first = await lab.process(rate=6.0)
        lab.simulator._program.counted["INF"] = 123.4
        mark = await first.pump.mark("set", 0.5)
        assert first.sent("CLDINF") == 1
        assert mark["infused"] == 0.0
        before = len(first.wire.log)
        await first.pump.set(0.5)
        packets = [e.data for e in list(first.wire.log)[before:] if e.direction == "sent"]
        assert packets[:2] == [b"0DIS\r", b"0RUN\r"]
        assert (await first.pump.reconcile("set", 0.5, mark)).verdict is Verdict.DONE

    in_lab(story)


@pytest.mark.parametrize("meanwhile", ["rate", "late", "stop", "by hand", "power"])
def test_what_happens_after_the_mark_does_not_change_the_dose(meanwhile: str) -> None:
    async def story(lab: Lab) -> None:
        process = await lab.process(rate=6.0)
        await process.pump.mark("set", 0.5)
        if meanwhile == "rate":
            await process.pump.rate.set(3.0)
        elif meanwhile == "late":
            await asyncio.sleep(60)
            lab.simulator.memory.phases[1].volume = 3.0
        elif meanwhile == "stop":
            await process.pump.halt()
        elif meanwhile == "by hand":
            lab.simulator.press_start_stop()
            await asyncio.sleep(1)
            lab.simulator.press_start_stop()
        else:
            lab.simulator.power_cycle()
        before = lab.given
        await process.pump.set(0.5)
        assert lab.given - before == pytest.approx(0.5)

    in_lab(story)


def test_a_pump_that_is_busy_is_not_marked() -> None:
    async def story(lab: Lab) -> None:
        process = await lab.process(rate=6.0)
        status = process.pump.set(0.5)
        await asyncio.sleep(2)
        with pytest.raises(RefusedError, match="under way"):
            await process.pump.mark("set", 0.5)
        other = await lab.process()
        with pytest.raises(RefusedError, match="infusing for somebody else"):
            await other.pump.mark("set", 0.5)
        process.kill()
        await asyncio.wait([status.task])
        assert status.exception() is not None

    in_lab(story)


def test_a_mock_marks_nothing_and_has_moved_nothing() -> None:
    async def story(lab: Lab) -> None:
        pump = NE1000(StreamWire("serial:///dev/none", Mortal(lab.cable)), diameter=26.59)
        await pump.connect(mock=True)
        mark = await pump.mark("set", 0.5)
        assert (await pump.reconcile("set", 0.5, mark)).verdict is Verdict.NOT_DONE

    in_lab(story)


def test_the_watchdog_is_armed_in_safe_mode_only() -> None:
    async def safe(lab: Lab) -> None:
        process = await lab.process(rate=6.0)
        await process.pump.arm_watchdog(2.5)
        assert lab.simulator.memory.timer == 3
        with pytest.raises(RefusedError, match="allowed is 1 to 255 s"):
            await process.pump.arm_watchdog(256)
        await process.pump.set(2.0)  # looked at often enough
        assert lab.given == pytest.approx(2.0)

    async def basic(lab: Lab) -> None:
        process = await lab.process()
        before = len(process.wire.log)
        await process.pump.arm_watchdog(3)
        assert len(process.wire.log) == before

    in_lab(safe, "safe")
    in_lab(basic)


# Each mishap at each exchange


@both_modes
@pytest.mark.parametrize("kind", ["lost request", *BAD_REPLIES])
def test_whatever_goes_wrong_at_whichever_exchange_the_verdict_is_true(
    kind: str, mode: str
) -> None:
    """The dose is begun with the mark; a fresh process asks, the same one, and one more."""

    async def story_at(exchange: int) -> bool:
        async with lab(mode) as made:
            first = await made.process(rate=6.0)
            mark = await first.pump.mark("set", 0.5)
            made.line.plan(Fault(kind, exchange, seconds=2.0))
            with contextlib.suppress(InstrumentError):
                await first.pump.set(0.5)
            happened = made.line.happened
            same = await first.pump.reconcile("set", 0.5, mark)
            first.kill()
            await asyncio.sleep(3)
            other = await (await made.process()).pump.reconcile("set", 0.5, mark)
            for finding in (same, other):
                assert finding.verdict is not Verdict.UNKNOWN, finding
                assert is_true(finding, 0.5, made.given), finding
            return happened

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        exchange = 1
        while runner.run(story_at(exchange)):
            exchange += 1
    assert exchange > 5


@both_modes
@pytest.mark.parametrize("kind", BAD_REPLIES)
def test_whatever_goes_wrong_while_it_is_asked_the_verdict_is_true(kind: str, mode: str) -> None:
    async def story_at(exchange: int, seconds: float) -> bool:
        async with lab(mode) as made:
            mark = await killed_after(await made.process(rate=6.0), 0.5, seconds)
            second = await made.process()
            made.line.plan(Fault(kind, exchange, seconds=2.0))
            finding = await second.pump.reconcile("set", 0.5, mark)
            assert finding.verdict is Verdict.DONE, finding
            assert made.given == pytest.approx(0.5)
            return made.line.happened

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        for seconds in (1.0, 8.0):
            exchange = 1
            while runner.run(story_at(exchange, seconds)):
                exchange += 1
            assert exchange > 3


@both_modes
@pytest.mark.parametrize("before_request", [True, False])
def test_power_lost_at_whichever_exchange_the_verdict_is_true(
    mode: str, before_request: bool
) -> None:
    async def story_at(exchange: int) -> bool:
        async with lab(mode) as made:
            first = await made.process(rate=6.0)
            mark = await first.pump.mark("set", 0.5)
            cut = made.simulator.power_cycle
            made.line.plan(Fault("event", exchange), event=cut, before_request=before_request)
            with contextlib.suppress(InstrumentError):
                await first.pump.set(0.5)
            same = await first.pump.reconcile("set", 0.5, mark)
            first.kill()
            other = await (await made.process()).pump.reconcile("set", 0.5, mark)
            for finding in (same, other):
                assert is_true(finding, 0.5, made.given), finding
            return made.line.happened

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        exchange = 1
        while runner.run(story_at(exchange)):
            exchange += 1
    assert exchange > 5


# Any dose, any death


@given(
    volume=st.floats(0.02, 4.0).map(lambda v: round(v, 3)),
    infuse=st.booleans(),
    rate=st.floats(0.5, 20.0).map(lambda r: round(r, 2)),
    earlier=st.sampled_from([0.0, 0.0, 1.234, 7.77]),
    death=st.floats(0.0, 1.3),
    meanwhile=st.sampled_from(["nothing", "watchdog", "power", "power heard", "stop", "stall"]),
)
@settings(max_examples=100, deadline=None)
def test_a_verdict_is_true_whatever_the_dose_and_whenever_the_process_dies(
    volume: float, infuse: bool, rate: float, earlier: float, death: float, meanwhile: str
) -> None:
    asked = volume if infuse else -volume

    async def story(lab: Lab) -> None:
        first = await lab.process(rate=20.0)
        if earlier:
            await first.pump.set(earlier)
        await first.pump.rate.set(rate)
        before = lab.given
        seconds = volume / rate * 60
        mark = await killed_after(first, asked, death * (seconds + 0.15))
        match meanwhile:
            case "watchdog":
                await asyncio.sleep(WATCHDOG + 1)
            case "power" | "power heard":
                lab.simulator.power_cycle()
                if meanwhile == "power heard":
                    (await lab.process()).kill()
            case "stop":
                await (await lab.process()).pump.make_safe()
            case "stall":
                lab.head.blocked = True
        last = await lab.process()
        finding = await last.pump.reconcile("set", asked, mark)
        digit = DIGIT if earlier + volume < 9.99 else 10 * DIGIT  # it shows four digits
        assert is_true(finding, asked, lab.given - before, digit), (finding, lab.given - before)
        if "power" not in meanwhile:
            assert finding.verdict is not Verdict.UNKNOWN, finding
        lab.head.blocked = False
        if finding.verdict in (Verdict.PARTLY, Verdict.NOT_DONE):
            left = finding.rest if finding.verdict is Verdict.PARTLY else asked
            await last.pump.set(left)
            assert lab.given - before == pytest.approx(asked, abs=3 * digit)

    in_lab(story, "safe")
