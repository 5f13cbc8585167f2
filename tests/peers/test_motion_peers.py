"""Other people's software drives our Grbl, our robot arm and our interlock, over ports."""

import asyncio
import json
import re
import shutil
import sys
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from pyModbusTCP.client import ModbusClient

from sdl.endpoints import modbus, pty, tcp
from sdl.simulators.grbl import SimulatedGrbl
from sdl.simulators.parts.gantry import Gantry
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.parts.switches import Switches
from sdl.simulators.plc_interlock import SimulatedPlcInterlock
from sdl.simulators.ur_dashboard import SimulatedUrDashboard
from sdl.testing import StillWorld
from tests.peers.environment import environment

pytestmark = pytest.mark.peer
no_terminals = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")

GRBL = "serial:///dev/ttyUSB0?baudrate=115200"
FAST = {25: 9000, 24: 6000, 110: 9000, 111: 9000, 112: 9000, 120: 3000, 121: 3000, 122: 3000}


Point = tuple[float, float, float]


def drive_grbl(whose: str, *, locked: bool = True) -> tuple[Any, Point, float]:
    """Return what they say, where the carriage ended, and the speed of the spindle."""

    async def session() -> tuple[Any, Point, float]:
        gantry = Gantry(StillWorld(), position=(-2.0, -3.0, -4.0))
        grbl = SimulatedGrbl(gantry, rng=np.random.default_rng(1), settings=FAST)
        if not locked:
            grbl.at(gantry.position)
        theirs = environment("grbl")
        async with pty.serve(GRBL, [grbl]) as url:
            said = await theirs.run("their_grbl.py", whose, urlsplit(url).path)
            return json.loads(said.splitlines()[-1]), gantry.position, grbl.spindle

    return asyncio.run(session())


@no_terminals
def test_grbl_streamer_streams_a_program_through_our_grbl() -> None:
    said, at, _ = drive_grbl("grbl_streamer")
    assert said == {
        "at": ["Idle", [-29.5, -20.0, -3.0]],
        "moved": True,
        "offsets": [0.0, 0.0, 0.0],
        "errors": ["error:2"],
    }
    # unlocked and not homed: it counts from where it stood
    assert at == pytest.approx((-2.0 - 29.5, -3.0 - 20.0, -4.0 - 3.0), abs=0.005)


@no_terminals
def test_pygrbl_streamer_homes_streams_stops_and_recovers_our_grbl() -> None:
    said, at, _ = drive_grbl("pygrbl_streamer")
    assert said.pop("at").startswith("<Idle|MPos:-1.000,-1.000,-1.000|FS:0,0")
    assert said == {
        **{"homed": True, "streamed": True, "refused": False, "state": "IDLE"},
        **{"recovered": True, "end": "Idle"},
    }
    assert -200.0 < at[0] < -19.75  # stopped on its way
    assert at[1] == pytest.approx(-12.0, abs=0.005)


@no_terminals
def test_gantrix_homes_moves_and_switches_the_tool_of_our_grbl() -> None:
    said, at, spindle = drive_grbl("gantrix", locked=False)  # it says M5 before it unlocks
    assert said == [True, True, True, "no response to 'G1 X' (error:2)"]
    assert at == pytest.approx((-20.0, -10.0, -1.0), abs=0.005)
    assert spindle == 0


def drive_arm(whose: str, **options: Any) -> tuple[Any, RobotArm, SimulatedUrDashboard]:
    async def session() -> tuple[Any, RobotArm, SimulatedUrDashboard]:
        arm = RobotArm(StillWorld(), programs={"pick.urp": 60.0})
        robot = SimulatedUrDashboard(arm, rng=np.random.default_rng(1), **options)
        theirs = environment("universal_robots")
        async with tcp.serve("tcp://10.0.0.5:29999", [robot]) as url:
            port = url.rpartition(":")[2]
            said = await theirs.run("their_universal_robots.py", whose, port)
            assert not arm.playing
        return json.loads(said.splitlines()[-1]), arm, robot

    return asyncio.run(session())


def test_ur_rtde_powers_loads_plays_and_stops_our_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdl.simulators.ur_dashboard.POWERING", 0.2)
    monkeypatch.setattr("sdl.simulators.ur_dashboard.RELEASING", 0.1)
    said, arm, robot = drive_arm("ur_rtde")
    assert said == [
        *(True, "5.12.0.1101319", "UR5", "20195500001", True, "Robotmode: POWER_OFF"),
        *("Loaded program: /programs/pick.urp", "STOPPED pick.urp"),
        False,  # isProgramSaved: it knows only a bare "true"
        *(True, "PLAYING pick.urp", "Safetystatus: NORMAL", "PAUSED pick.urp"),
        *(False, "Safetymode: NORMAL", "File not found: nothing.urp"),
        *("Failed to execute: stop", "Robotmode: POWER_OFF"),
    ]
    assert arm.begun == ["pick.urp"]
    assert robot.log == ["seen"]


def test_universal_robots_clients_plays_and_stops_our_arm() -> None:
    said, arm, _ = drive_arm("universal_robots_clients", powered=True)
    assert said == [
        *("Robotmode: RUNNING", "Starting program", "PLAYING pick.urp"),
        *("Pausing program", "Stopped", "could not understand: 'dance'"),
    ]
    assert arm.begun == ["pick.urp"]


INTERLOCK = "modbus+tcp://10.0.0.8:502"


def interlock() -> SimulatedPlcInterlock:
    switches = Switches(StillWorld())
    return SimulatedPlcInterlock(switches, rng=np.random.default_rng(1), noise=0.0)


def test_modbus_tk_and_umodbus_use_our_interlock() -> None:
    async def session() -> Any:
        theirs = environment("modbus")
        async with modbus.serve(INTERLOCK, [interlock()]) as url:
            return json.loads(await theirs.run("their_modbus.py", url.rpartition(":")[2]))

    said = asyncio.run(session())
    assert said["modbus_tk"] == [
        *([1, 1, 1, 1, 1, 0], [0, 50, 0]),
        *([0, 0xFF00], [1, 0, 0, 0, 0], [0, 3], [0, 1, 0, 0, 0]),
        *([0, 2], [7, 1000, 100], 3, 2),
    ]
    assert said["umodbus"] == [
        *([1, 1, 1, 1, 1, 0], 1, [0, 1, 0, 0, 1], 0, [0], "illegal address"),
    ]


def test_pymodbustcp_uses_our_interlock() -> None:
    def use(port: int) -> list[Any]:
        client = ModbusClient("127.0.0.1", port, unit_id=1, timeout=5.0)
        try:
            return [
                client.read_discrete_inputs(0, 6),
                client.write_multiple_coils(0, [True, True, True]),
                client.read_coils(0, 5),
                client.write_single_register(1, 50),
                client.last_except,
                client.read_input_registers(1, 2),
            ]
        finally:
            client.close()

    async def session() -> list[Any]:
        async with modbus.serve(INTERLOCK, [interlock()]) as url:
            return await asyncio.to_thread(use, int(url.rpartition(":")[2]))

    assert asyncio.run(session()) == [
        *([True] * 5 + [False], True, [True] * 3 + [False] * 2),
        *(False, 3, [50, 0]),
    ]


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll (Debian) is not installed")
def test_mbpoll_reads_and_switches_our_interlock() -> None:
    async def mbpoll(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("mbpoll", "-m", "tcp", "-1", "-0", "-a", "1", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        return output.decode()

    async def session() -> list[str]:
        async with modbus.serve(INTERLOCK, [interlock()]) as url:
            at = ("-p", url.rpartition(":")[2])
            return [
                await mbpoll(*at, "-t", "1", "-r", "0", "-c", "6", "127.0.0.1"),
                await mbpoll(*at, "-t", "0", "-r", "1", "127.0.0.1", "1"),
                await mbpoll(*at, "-t", "0", "-r", "0", "-c", "5", "127.0.0.1"),
                await mbpoll(*at, "-t", "3", "-r", "0", "-c", "3", "127.0.0.1"),
                await mbpoll(*at, "-t", "4", "-r", "3", "127.0.0.1"),
            ]

    inputs, written, coils, registers, unmapped = asyncio.run(session())

    def found(text: str) -> list[str]:
        return re.findall(r"\[\d+\]:\s+(\d+)", text)

    assert found(inputs) == ["1", "1", "1", "1", "1", "0"]
    assert "Written 1 references." in written
    assert found(coils) == ["0", "1", "0", "0", "0"]
    assert found(registers) == ["0", "50", "0"]
    assert "Illegal data address" in unmapped
