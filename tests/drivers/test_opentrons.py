"""The Opentrons driver: a run happens once, and what became of it can be told."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import monotonic, new_loop
from sdl.drivers.opentrons import Opentrons, replies
from sdl.endpoints.faults import Fault
from sdl.endpoints.faulty import Faulty
from sdl.endpoints.http import memory_wire
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
)
from sdl.instrument import Reconcilable, Verdict
from sdl.simulators.opentrons import SimulatedOpentrons
from sdl.simulators.parts.deck import Deck
from sdl.testing import StillWorld
from tests.conformance.test_opentrons import Transfer

ONE = Transfer(0.2)


class Bench:
    def __init__(self, deck: Deck, faulty: Faulty, robot: Opentrons, wire: Any) -> None:
        self.deck, self.faulty, self.robot, self.wire = deck, faulty, robot, wire

    @property
    def given(self) -> float:
        return self.deck.volume("2", "B1")

    def sent(self, what: str) -> int:
        return sum(what in entry.data.decode() for entry in self.wire.log if entry[1] == "sent")

    async def after_a_crash(self, **options: Any) -> Opentrons:
        """A driver in a new process, which knows nothing."""
        robot = Opentrons(self.wire, name="robot", **options)
        await robot.connect()
        return robot


def on_a_bench(
    story: Callable[[Bench], Awaitable[Any]],
    *,
    kind: Any = "ot2",
    simulated: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        deck = Deck(StillWorld())
        deck.fill("1", "A1", 10.0)
        rng = np.random.default_rng(1)
        simulator = SimulatedOpentrons(deck, rng=rng, robot=kind, **(simulated or {}))
        faulty = Faulty(simulator)
        async with memory_wire(Opentrons.delivered, [faulty]) as wire:
            robot = Opentrons(wire, robot=kind, name="robot", **options)
            await robot.connect()
            faulty.plan()
            await story(Bench(deck, faulty, robot, wire))

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def flex(volume: float) -> dict[str, Any]:
    return {**Transfer(volume), "robot": {"model": "OT-3 Standard", "deckId": "ot3_standard"}}


def test_a_protocol_is_run_once_with_its_progress() -> None:
    async def story(bench: Bench) -> None:
        seen: list[tuple[int, int]] = []
        status = bench.robot.set(ONE)

        def watch(**update: Any) -> None:
            seen.append((update["current"], update["target"]))

        status.watch(watch)  # type: ignore[arg-type]
        await status
        assert bench.given == pytest.approx(0.2)
        assert (bench.sent("/runs {"), bench.sent("play")) == (1, 1)
        assert seen[0] < seen[-1] <= (9, 9)
        assert await bench.robot.status.get_value() == "succeeded"

    on_a_bench(story)


def test_trigger_runs_the_lab_s_own_protocol(tmp_path: Path) -> None:
    (tmp_path / "dilute.py").write_text("ul = parameters['ul']", "utf-8")

    def python(text: str, parameters: Any) -> Any:
        return Transfer(parameters.get("ul", 0) / 1000)["commands"]

    async def story(bench: Bench) -> None:
        assert isinstance(bench.robot, Reconcilable)
        mark = await bench.robot.mark("trigger", None)
        await bench.robot.trigger()
        assert bench.given == pytest.approx(0.07)
        found = await bench.robot.reconcile("trigger", None, mark)
        assert found.verdict is Verdict.DONE
        await bench.robot.set({"protocol": "dilute.py", "parameters": {"ul": 30}})
        assert bench.given == pytest.approx(0.1)

    own = {"protocol": "dilute.py", "parameters": {"ul": 70}, "folder": str(tmp_path)}
    on_a_bench(story, simulated={"python": python}, **own)


def test_a_protocol_of_the_robot_is_found_by_its_name() -> None:
    async def story(bench: Bench) -> None:
        await bench.robot.set(ONE)
        await bench.robot.set("transfer")
        assert bench.given == pytest.approx(0.4)
        with pytest.raises(RefusedError, match=r"none of that name, but sdl-.*, transfer"):
            await bench.robot.set("titrate")
        assert bench.given == pytest.approx(0.4)

    on_a_bench(story)


def test_a_protocol_that_cannot_run_is_refused_in_the_robot_s_words() -> None:
    wrong = {**ONE, "commands": [each for each in ONE["commands"] if "Tip" not in str(each)]}

    async def story(bench: Bench) -> None:
        with pytest.raises(RefusedError, match=r"TipNotAttachedError \[3005\]: Pipette should"):
            await bench.robot.set(wrong)
        assert bench.deck.moves == bench.sent("play") == 0

    on_a_bench(story)


@pytest.mark.parametrize("kind", ["lost request", "lost reply", "late reply", "garbled reply"])
@pytest.mark.parametrize("at", range(1, 9))
def test_whatever_goes_wrong_at_any_exchange_a_run_happens_once(kind: str, at: int) -> None:
    async def story(bench: Bench) -> None:
        robot = bench.robot
        bench.faulty.plan(Fault(kind, at, seconds=1.4))
        mark = await robot.mark("set", ONE)
        done = False
        with contextlib.suppress(InstrumentError):
            await robot.set(ONE)
            done = True
        found = await robot.reconcile("set", ONE, mark)
        assert found.verdict is (Verdict.DONE if done or bench.given else Verdict.NOT_DONE), found
        if found.verdict is Verdict.NOT_DONE:  # the engine's second attempt
            await robot.mark("set", ONE)
            await robot.set(ONE)
        await asyncio.sleep(600)
        assert bench.given == pytest.approx(0.2)
        assert bench.sent('"play"') <= 2

    on_a_bench(story)


def test_a_run_whose_beginning_was_confirmed_too_late_goes_on() -> None:
    async def story(bench: Bench) -> None:
        await bench.robot.mark("set", ONE)
        bench.faulty.plan(Fault("lost reply", 1))
        await bench.robot.set(ONE)
        assert bench.faulty.happened
        assert (bench.given, bench.sent('"play"')) == (pytest.approx(0.2), 1)

    on_a_bench(story)


def test_a_run_whose_beginning_got_lost_is_not_asked_to_begin_again() -> None:
    async def story(bench: Bench) -> None:
        await bench.robot.mark("set", ONE)
        bench.faulty.plan(Fault("lost request", 1))
        with pytest.raises(NoReplyError, match="has not begun"):
            await bench.robot.set(ONE)
        assert (bench.given, bench.sent('"play"')) == (0, 1)
        await bench.robot.halt()  # after that a late request begins nothing
        assert await bench.robot.status.get_value() == "no run"

    on_a_bench(story)


@pytest.mark.parametrize("seconds", [0.0, 2.0, 9.0, 12.0, 40.0])
def test_after_a_crash_another_process_tells_what_became_of_it(seconds: float) -> None:
    async def story(bench: Bench) -> None:
        mark = await bench.robot.mark("set", ONE)
        run = bench.robot.set(ONE)
        await asyncio.sleep(seconds)
        died = bench.given
        bench.robot._robot.stop = _nothing  # type: ignore[method-assign]  # a dead process
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        robot = await bench.after_a_crash()
        found = await robot.reconcile("set", ONE, mark)
        assert found == await robot.reconcile("set", ONE, mark)
        assert found.verdict is (Verdict.DONE if bench.given else Verdict.NOT_DONE)
        assert bench.given in (0, pytest.approx(0.2))
        assert died <= bench.given
        await asyncio.sleep(600)
        assert (bench.given > 0) is (found.verdict is Verdict.DONE)

    on_a_bench(story)


def test_a_late_request_cannot_start_what_was_said_not_to_have_happened() -> None:
    async def story(bench: Bench) -> None:
        mark = await bench.robot.mark("set", ONE)
        found = await bench.robot.reconcile("set", ONE, mark)
        assert found.verdict is Verdict.NOT_DONE
        action = {"data": {"actionType": "play"}}
        path, version = f"/runs/{mark['run']}/actions", {"Opentrons-Version": "3"}
        with pytest.raises(RefusedError, match="not the current run"):
            await bench.wire.ask("POST", path, data=action, headers=version)
        await asyncio.sleep(600)
        assert bench.given == 0

    on_a_bench(story)


def test_a_stopped_run_is_a_fault_and_its_wells_must_be_looked_at() -> None:
    async def story(bench: Bench) -> None:
        mark = await bench.robot.mark("set", ONE)
        run = asyncio.ensure_future(bench.robot.set(ONE).task)
        await asyncio.sleep(10.0)  # it dispenses
        await bench.robot.halt()
        assert await bench.robot.status.get_value() == "stopped"
        with pytest.raises(FaultError, match="was stopped"):
            await run
        assert 0 <= bench.given < 0.2
        found = await bench.robot.reconcile("set", ONE, mark)
        assert found.verdict is Verdict.UNKNOWN
        assert "of 9 commands" in found.evidence

    on_a_bench(story)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(3.0, Verdict.UNKNOWN), (12.0, Verdict.UNKNOWN), (30.0, Verdict.DONE)],
)
def test_a_loss_of_power_is_never_taken_for_nothing(seconds: float, verdict: Verdict) -> None:
    async def story(bench: Bench) -> None:
        mark = await bench.robot.mark("set", ONE)
        run = asyncio.ensure_future(bench.robot.set(ONE).task)
        await asyncio.sleep(seconds)
        given = bench.given
        bench.faulty.device.power_cycle()
        with contextlib.suppress(InstrumentError):
            await run
        with pytest.raises(NoReplyError):
            await bench.robot.reconcile("set", ONE, mark)
        await asyncio.sleep(60)
        assert (await bench.robot.reconcile("set", ONE, mark)).verdict is verdict
        assert bench.given == given

    on_a_bench(story)


def test_a_run_is_paused_and_goes_on() -> None:
    async def story(bench: Bench) -> None:
        run = asyncio.ensure_future(bench.robot.set(ONE).task)
        await asyncio.sleep(4.0)
        await bench.robot.pause()
        await asyncio.sleep(300)
        assert await bench.robot.status.get_value() == "paused"
        assert bench.given == 0
        await bench.robot.resume()
        await run
        assert bench.given == pytest.approx(0.2)

    on_a_bench(story)


def test_an_open_door_is_waited_for() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.robot.door.get_value() == "closed"
        bench.deck.door_open = True
        run = asyncio.ensure_future(bench.robot.set(flex(0.1)).task)
        await asyncio.sleep(30)
        assert await bench.robot.status.get_value() == "blocked-by-open-door"
        with pytest.raises(RefusedError, match="Front door or top window is currently open"):
            await bench.robot.resume()
        bench.deck.door_open = False
        await bench.robot.resume()
        await run
        assert bench.given == pytest.approx(0.1)

    on_a_bench(story, kind="flex")


def test_a_pressed_estop_is_a_fault() -> None:
    async def story(bench: Bench) -> None:
        run = asyncio.ensure_future(bench.robot.set(flex(0.1)).task)
        await asyncio.sleep(5.0)
        bench.deck.estop = "physicallyEngaged"
        with pytest.raises(FaultError, match=r"EStopActivatedError \[3008\]"):
            await run
        assert await bench.robot.estop.get_value() == "physicallyEngaged"
        with pytest.raises(FaultError, match="An Estop is physically engaged"):
            await bench.robot.set(flex(0.1))
        await bench.robot.make_safe()
        assert bench.given == 0

    on_a_bench(story, kind="flex")


def test_somebody_else_s_run_is_refused_and_made_safe() -> None:
    async def story(bench: Bench) -> None:
        bench.faulty.device.begin("busy")
        for doing in (bench.robot.set(ONE), bench.robot.home()):
            with pytest.raises(RefusedError, match="Run A"):
                await doing
        assert await bench.robot.status.get_value() == "running"
        await bench.robot.make_safe()
        assert await bench.robot.status.get_value() == "stopped"
        assert bench.deck.moves == 1  # it homed

    on_a_bench(story)


def test_a_run_that_is_cancelled_is_stopped() -> None:
    async def story(bench: Bench) -> None:
        run = bench.robot.set(ONE)
        await asyncio.sleep(4.0)
        run.task.cancel()
        began = monotonic()
        await asyncio.gather(run.task, return_exceptions=True)
        assert monotonic() - began < 10
        assert await bench.robot.status.get_value() == "stopped"

    on_a_bench(story)


def test_another_model_is_a_mistake_in_the_lab_file() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="OT-2 Standard; robot: allowed is ot2"):
            await bench.after_a_crash(robot="flex")

    on_a_bench(story)


@pytest.mark.parametrize(
    "options",
    [
        {"robot": "ot3"},
        {"folder": "/nowhere/at/all"},
        {"longest_run": 0},
        {"parameters": {"volume": 1}},
    ],
)
def test_a_wrong_option_is_said_to_be(options: dict[str, Any]) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(ConfigError, match="Opentrons"):
            Opentrons(bench.wire, **options)

    on_a_bench(story)


PARSERS = [
    replies.parse_health, replies.parse_run, replies.parse_newest_run, replies.parse_progress,
    replies.parse_protocol, replies.parse_protocols, replies.parse_analysis_errors,
    replies.parse_command, replies.parse_lights, replies.parse_door, replies.parse_estop,
    replies.parse_modules,
]  # fmt: skip
KEYS = ["data", "id", "status", "actions", "current", "errors", "meta", "totalLength", "cursor",
        "metadata", "files", "analysisSummaries", "actionType", "commandType", "error"]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["idle", "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(VALUES, st.integers(0, 50), st.binary(max_size=4))
def test_what_is_no_answer_is_garbled(value: Any, at: int, rubbish: bytes) -> None:
    body = replies.json.dumps(value).encode()
    for parse in PARSERS:
        for said in (body, body[:at] + rubbish + body[at:], rubbish):
            with contextlib.suppress(GarbledError):
                parse(said)


async def _nothing() -> None: ...
