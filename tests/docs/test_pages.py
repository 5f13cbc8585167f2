"""Every page that can be followed is followed."""

import asyncio
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdl.endpoints import serve
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.simulators.snar_flow import SnArFlow
from tests.docs.blocks import read
from tests.docs.running import Reader

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOW_TO = [
    "compare-optimizers",
    "experiments-by-hand",
    "learn-from-earlier-campaigns",
    "check-the-record",
    "connect-a-lab",
    "register-a-callback",
    "stop-and-continue",
    "try-faults",
    "use-any-ophyd-device",
    "use-sila2-opcua-pylabrobot",
    "wrap-a-blocking-sdk",
    "write-a-plan",
]


@contextmanager
def heater_on_a_port() -> Iterator[str]:
    """A simulated heater at a port of this machine, on a loop of its own; yield host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    ready, end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def live() -> None:
        world = SnArFlow(seed=1, clock=loop.time)
        heater = SimulatedEurotherm3216(world.parts["reactor"], rng=world.rng("heater"))
        async with serve(f"modbus+tcp://{place}", [heater]):
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    try:
        assert ready.wait(20)
        yield place
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)
        loop.close()


@pytest.mark.slow
def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    with heater_on_a_port() as place:
        Reader(tmp_path, {"127.0.0.1:5020": place}).follow(ROOT / "README.md")


def test_each_room_alone_takes_at_most_twelve_lines() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    alone = text.partition("## Each room on its own")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", alone, re.DOTALL)
    assert len(examples) == 3
    assert all(len(example.split("\n\n\n")[0].strip().splitlines()) <= 12 for example in examples)


@pytest.mark.slow
def test_tutorial_1_the_first_campaign(tmp_path: Path) -> None:
    Reader(tmp_path).follow(DOCS / "tutorials" / "1-first-campaign.md")


@pytest.mark.slow
def test_tutorial_2_the_flow_chemistry(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "flow_chemistry", tmp_path / "lab")
    Reader(tmp_path / "lab").follow(DOCS / "tutorials" / "2-flow-chemistry.md")


def test_tutorial_3_from_python(tmp_path: Path) -> None:
    Reader(tmp_path).follow(DOCS / "tutorials" / "3-from-python.md")


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO)
def test_how_to(page: str, tmp_path: Path) -> None:
    Reader(tmp_path).follow(DOCS / "how-to" / f"{page}.md")


def test_how_to_write_a_simulator_and_then_its_driver(tmp_path: Path) -> None:
    Reader(tmp_path).follow(DOCS / "how-to" / "write-a-simulator.md")
    Reader(tmp_path).follow(DOCS / "how-to" / "write-a-driver.md")


def test_how_to_run_on_real_wires(tmp_path: Path) -> None:
    Reader(tmp_path).follow(DOCS / "how-to" / "run-on-real-wires.md")


def test_no_page_with_commands_is_left_out() -> None:
    """A page whose blocks nobody runs is one that may lie."""
    followed = {*HOW_TO, "write-a-simulator", "write-a-driver", "run-on-real-wires"}
    followed |= {"other-optimizers"}  # needs packages of other people
    followed |= {"send-data-to-tiled"}  # needs a server: what it says is in tests/data
    runnable = {
        page.stem
        for page in (DOCS / "how-to").glob("*.md")
        if any(block.language in ("console", "python") for block in read(page))
    }
    assert runnable - followed == set()
    assert len(list((DOCS / "tutorials").glob("*.md"))) == 3
