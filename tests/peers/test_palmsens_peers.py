"""PalmSens' own code, and labmcp-palmsens, with our EmStat in both directions."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from sdl.drivers.emstat import EmStat
from sdl.drivers.emstat.methods import MODELS, TECHNIQUES, parse_method
from sdl.endpoints import pty
from sdl.errors import RefusedError
from sdl.simulators.emstat import SimulatedEmStat
from sdl.simulators.parts.electrochemical import RandlesCell
from sdl.testing import StillWorld
from sdl.wires.tcp import wire as tcp_wire
from tests.peers.environment import Environment, environment

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals"),
]
METHODS = {
    "lsv": "lsv begin=0 end=0.1 equilibration=1",
    "cv": "cv begin=0 vertex1=0.5 vertex2=-0.2 scans=3",
    "dpv": "dpv begin=0 end=0.1",
    "swv": "swv begin=0 end=0.1",
    "ca": "ca potential=0.3333333 duration=2",
    "ocp": "ocp duration=2",
    "eis": "eis",
}


def drive(peer: Environment, script: str, what: str) -> dict:
    async def session() -> str:
        cell = RandlesCell(StillWorld())
        stat = SimulatedEmStat(cell, rng=np.random.default_rng(1))
        async with pty.serve(EmStat.delivered, [stat]) as url:
            said = await peer.run(script, what, urlsplit(url).path)
        assert not cell.is_on
        return said

    return json.loads(asyncio.run(session()))


def test_the_example_of_palmsens_measures_and_aborts() -> None:
    said = drive(environment("palmsens"), "their_palmsens.py", "instrument")
    assert said["type"] == "EmStat Pico"
    assert said["firmware"].startswith("espico1600#")
    assert said["serial"] == said["serial again"] == "ESP1A2B3C4D"
    ((_, potential, current),) = said["lsv"]
    assert potential == pytest.approx(np.arange(0, 0.101, 0.01), abs=1e-6)
    assert current[-1] == pytest.approx((0.1 - 0.2) / 10_100, rel=0.05)
    assert len(said["cv"]) == 2  # it asks for one sweep less than it is told
    ((time, _, _),) = said["ca"]
    assert time == pytest.approx(np.arange(0.05, 0.51, 0.05), abs=0.01)
    ((_, resting),) = said["ocp"]
    assert resting == pytest.approx([0.2] * 5, abs=0.01)


def test_labmcp_measures_meets_errors_and_aborts() -> None:
    said = drive(environment("labmcp"), "their_labmcp.py", "drive-emstat")
    assert said["identity"]["model"] == "EmStat Pico"
    assert [row[0] for row in said["lsv"]] == pytest.approx(np.arange(0, 0.101, 0.01), abs=1e-6)
    assert said["scans"] == [0, 1]
    assert [kind for kind, _ in said["ca"][0]] == ["eb", "da", "ba"]
    assert len(said["ca"]) == 10
    assert "line 2" in said["parse error"]
    assert "0x4027 at script line 3" in said["runtime error"]
    assert said["abort"]["stopped"]
    assert said["aborted"]
    assert 2 <= said["until then"] <= 12


def test_the_grammar_of_pypalmsens_takes_all_our_scripts() -> None:
    assert set(METHODS) == set(TECHNIQUES)
    scripts = [
        "\n".join([*parse_method(text, model).script(model, "17"), ""])
        for text in METHODS.values()
        for model in MODELS.values()
    ]
    peer = environment("palmsens")

    async def session() -> str:
        return await peer.run("their_palmsens.py", "grammar", *scripts, "meas_loop_cv p c\n")

    (wrong,) = json.loads(asyncio.run(session()))
    assert wrong.startswith("meas_loop_cv p c")  # which shows that it looks


def test_our_driver_measures_with_the_simulator_of_labmcp() -> None:
    """It knows LSV, CV, DPV and CA; its time runs ten times as fast."""
    peer = environment("labmcp")

    async def session() -> None:
        async with their_side(peer, "their_labmcp.py", "serve-emstat") as port:
            wire = tcp_wire(f"tcp://127.0.0.1:{port}", timeout=1.0)
            stat = EmStat(wire, name="stat")
            assert await stat.identify() == "PalmSens espico, firmware 1600 (Sep 30 2025 12:00:00)"
            await stat.make_safe()
            for method, count in (
                ("lsv begin=0 end=0.4 step=0.01 rate=0.1", 41),
                ("ca potential=0.5 duration=2 every=0.1", 20),
            ):
                await stat.method.set(method)
                await stat.trigger()
                current = await stat.current.get_value()
                assert len(current) == count
                assert max(current) > 5e-7  # of a 3 mm disk in 1 mM of a reversible couple
            await stat.method.set("ocp duration=1")
            with pytest.raises(RefusedError, match="4001 in line 9"):
                await stat.trigger()
            await wire.close()

    asyncio.run(session())


@asynccontextmanager
async def their_side(peer: Environment, script: str, *arguments: str) -> AsyncIterator[str]:
    """Run a script of theirs until the block ends; yield the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(str(peer.python), str(Path(__file__).with_name(script)), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
