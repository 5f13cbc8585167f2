"""Opentrons: other people's clients drive our robot over a real port, and its maker's engine reads
the protocols that our driver runs.
"""

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.opentrons import Opentrons
from sdl.endpoints.http import memory_wire, serve
from sdl.errors import FaultError, RefusedError
from sdl.instrument import Verdict
from sdl.simulators.opentrons import SimulatedOpentrons
from sdl.simulators.opentrons import engine as opentrons_engine
from sdl.simulators.opentrons import steps as opentrons_steps
from sdl.simulators.parts.deck import Deck, HotPlate
from sdl.testing import StillWorld
from sdl.wires.http import wire as http_wire
from tests.conformance.test_opentrons import Transfer
from tests.peers.environment import environment

pytestmark = pytest.mark.peer

HERE = Path(__file__).parent


def rig() -> tuple[SimulatedOpentrons, Deck]:
    world = StillWorld()
    deck = Deck(world, temperature_module=HotPlate(world))
    deck.fill("1", "A1", 10.0)
    return SimulatedOpentrons(deck, rng=np.random.default_rng(1), analysing=0.1), deck


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the robot hurry: real time passes here."""
    for name in ("HOMING", "TIPPING", "MOVING"):
        monkeypatch.setattr(opentrons_steps, name, 0.2)
    monkeypatch.setattr(opentrons_engine, "FINISHING", 0.1)


def served(
    script: str, *arguments: str, packages: str = "opentrons_clients"
) -> tuple[dict[str, Any], Deck]:
    async def session() -> tuple[dict[str, Any], Deck]:
        robot, deck = rig()
        async with serve("http://robot:31950", [robot]) as url:
            order = [arguments[0], url, *arguments[1:]] if packages[0] == "l" else [url, *arguments]
            said = await environment(packages).run(script, *order)
            return json.loads(said.splitlines()[-1]), deck  # one of them prints errors before

    with asyncio.Runner(loop_factory=lambda: new_loop(1)) as runner:
        return runner.run(session())


@pytest.mark.usefixtures("quick")
def test_opentrons_http_api_uploads_runs_and_pauses() -> None:
    transfer = Transfer(0.05)
    said, deck = served("their_opentrons_http_api.py", json.dumps(transfer))
    assert said.pop("again").startswith("409 Client Error")
    assert said == {
        "model": "8.5.1",
        "lights": True,
        "known": [True],
        "paused": "paused",
        "ended": "succeeded",
        "runs": 1,
    }
    assert deck.volume("2", "B1") == pytest.approx(0.05)


@pytest.mark.usefixtures("quick")
def test_ot_api_pipettes_step_by_step() -> None:
    said, deck = served("their_ot_api.py")
    assert said["right"] is None
    assert said["refused"].startswith("Command failed with TipNotAttachedError")
    assert (said["module"], said["runs"]) == ("temperatureModuleV2", ["idle"])
    assert deck.volume("2", "B1") == pytest.approx(0.1)
    assert deck.temperature_module is not None
    assert deck.temperature_module.target == 37.0


@pytest.mark.usefixtures("quick")
def test_labmcp_s_driver_runs_a_protocol() -> None:
    said, deck = served(
        "their_labmcp_opentrons.py",
        "drive",
        json.dumps(Transfer(0.05)),
        packages="labmcp",
    )
    assert said == {
        "who": "OT-2",
        "door": "closed",
        "estop": None,
        "lights": True,
        "pipettes": ["left"],
        "modules": ["temperatureModuleV2"],
        "analysis": "ok",
        "conflict": "409 RunActive",
        "ended": "succeeded",
        "commands": ["succeeded"] * 9,
        "current": True,
    }
    assert deck.volume("2", "B1") == pytest.approx(0.05)


def test_our_driver_runs_a_protocol_on_labmcp_s_simulator() -> None:
    async def session() -> None:
        python = environment("labmcp").python
        script = str(HERE / "their_labmcp_opentrons.py")
        process = await asyncio.create_subprocess_exec(
            str(python), script, "serve", stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        assert process.stdin is not None
        wire = http_wire(f"http://127.0.0.1:{int(await process.stdout.readline())}")
        try:
            async with asyncio.timeout(20):
                await drive(Opentrons(wire, temperature_module=True, name="robot"))
        finally:
            await wire.close()
            process.stdin.close()
            await process.wait()

    async def drive(robot: Opentrons) -> None:
        await robot.connect()
        assert await robot.identify() == (
            "Opentrons OT-2 Standard 'SimOT2', software 8.6.0, system 1.17.0, firmware v1.1.0-sim"
        )
        await robot.lights.set(True)
        assert await robot.lights.get_value() is True
        assert await robot.door.get_value() == "closed"
        assert 20 < await robot.block.get_value() < 25
        mark = await robot.mark("set", Transfer(0.05))
        await robot.set(Transfer(0.05))
        found = await robot.reconcile("set", Transfer(0.05), mark)
        assert found.verdict is Verdict.DONE
        run = asyncio.ensure_future(robot.set(HOURS).task)
        while await robot.status.get_value() != "running":
            await asyncio.sleep(0.1)
        with pytest.raises(RefusedError, match="Run Active"):
            await robot.home()
        await robot.make_safe()
        with pytest.raises(FaultError, match="was stopped"):
            await run
        assert await robot.status.get_value() == "stopped"
        await robot.home()

    with asyncio.Runner(loop_factory=lambda: new_loop(1)) as runner:
        runner.run(session())


HOURS = {**Transfer(0.01), "commands": Transfer(0.01)["commands"] * 1000}


def test_their_engine_and_our_robot_judge_protocols_alike() -> None:
    async def theirs() -> list[dict[str, Any]]:
        return json.loads(await environment("opentrons").run("their_opentrons_engine.py"))

    async def ours(wanted: dict[str, Any]) -> tuple[list[str], str]:
        robot, _ = rig()
        async with memory_wire(Opentrons.delivered, [robot]) as wire:
            driver = Opentrons(wire, name="robot")
            await driver.connect()
            try:
                await driver.set(wanted)
            except RefusedError as error:
                return [], str(error)
            run = (await wire.ask("GET", "/runs", headers={"Opentrons-Version": "3"})).json()
            path = f"/runs/{run['data'][0]['id']}/commands"
            said = await wire.ask("GET", path, headers={"Opentrons-Version": "3"})
            return [each["commandType"] for each in said.json()["data"]], ""

    judged = asyncio.run(theirs())
    assert {each["result"] for each in judged} == {"ok", "not-ok"}
    for each in judged:
        name = each["protocol"]["metadata"]["protocolName"]
        with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
            steps, refusal = runner.run(ours(each["protocol"]))
        if each["result"] == "ok":
            assert steps == [kind for kind, _ in each["steps"]], name
        else:
            assert f"{each['error']['errorType']} [{each['error']['errorCode']}]" in refusal, name
            assert each["error"]["detail"] in refusal, name
