"""What is special about the simulated Dashboard Server."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np

from sdl.clock import new_loop
from sdl.endpoints import tcp
from sdl.endpoints.line import Cable
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.ur_dashboard import SimulatedUrDashboard
from sdl.testing import StillWorld

Ask = Callable[[str], Awaitable[str]]
WORDS = (
    *("load", "play", "stop", "pause", "power on", "power off", "brake release", "popup", "quit"),
    *("pick.urp", "set operational mode", "automatic", "safetystatus", "unlock protective stop"),
)


def run(story: Callable[[SimulatedUrDashboard, RobotArm, Ask], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        arm = RobotArm(StillWorld(), programs={"pick.urp": 10.0})
        robot = SimulatedUrDashboard(arm, rng=np.random.default_rng(1))
        heard = bytearray()
        cable = Cable([robot])
        cable.to_host = heard.extend
        await cable.plug_in()

        async def ask(text: str) -> str:
            heard.clear()
            cable.from_host(f"{text}\n".encode("latin-1"))
            await asyncio.sleep(0.01)
            return heard.decode("latin-1")

        await story(robot, arm, ask)
        await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(whole())


def test_brakes_are_released_after_the_power_has_come() -> None:
    async def story(_: SimulatedUrDashboard, __: RobotArm, ask: Ask) -> None:
        assert await ask("brake release") == "Brake releasing\n"
        assert await ask("robotmode") == "Robotmode: POWER_ON\n"
        await asyncio.sleep(3.0)
        assert await ask("robotmode") == "Robotmode: IDLE\n"
        await asyncio.sleep(1.5)
        assert await ask("robotmode") == "Robotmode: RUNNING\n"

    run(story)


def test_a_program_that_was_paused_goes_on_where_it_was() -> None:
    async def story(_: SimulatedUrDashboard, arm: RobotArm, ask: Ask) -> None:
        await ask("brake release")
        await asyncio.sleep(5.0)
        await ask("load pick.urp")
        assert await ask("play") == "Starting program\n"
        await asyncio.sleep(4.0)
        await ask("pause")
        await asyncio.sleep(100.0)
        assert await ask("play") == "Starting program\n"
        await asyncio.sleep(5.9)
        assert await ask("running") == "Program running: true\n"
        await asyncio.sleep(0.2)
        assert await ask("programState") == "STOPPED pick.urp\n"
        assert (arm.begun, arm.done) == (["pick.urp"], ["pick.urp"])

    run(story)


def test_who_connects_is_greeted_and_who_quits_is_hung_up_on() -> None:
    async def session() -> tuple[bytes, bytes]:
        arm = RobotArm(StillWorld(), programs={})
        robot = SimulatedUrDashboard(arm, rng=np.random.default_rng(1))
        async with tcp.serve("tcp://10.0.0.5:29999", [robot]) as url:
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            greeting = await asyncio.wait_for(reader.readline(), 5.0)
            writer.write(b"quit\n")
            rest = await asyncio.wait_for(reader.read(), 5.0)
            writer.close()
        return greeting, rest

    greeting, rest = asyncio.run(session())
    assert greeting == b"Connected: Universal Robots Dashboard Server\n"
    assert rest == b"Disconnected\n"


def test_whatever_it_hears_it_lives_on() -> None:
    async def story(robot: SimulatedUrDashboard, arm: RobotArm, ask: Ask) -> None:
        rng = np.random.default_rng(4)
        for _ in range(1000):
            picked = [WORDS[at] for at in rng.integers(0, len(WORDS), size=rng.integers(1, 4))]
            await ask(" ".join(picked) + rng.bytes(int(rng.integers(3))).decode("latin-1"))
        assert (await ask("robotmode")).startswith("Robotmode: ")

    run(story)
