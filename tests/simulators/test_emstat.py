"""The simulated EmStat runs MethodSCRIPT by the manual's rules, whatever is said to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.emstat import SimulatedEmStat
from sdl.simulators.emstat.script import COMMANDS, ScriptError, encoded, parse
from sdl.simulators.parts.electrochemical import RandlesCell
from sdl.testing import StillWorld

LONG = "e\nvar p\nvar c\nset_pgstat_mode 2\ncell_on\nmeas_loop_ca p c 500m 100m 60\npck_start\n"
LONG += 'pck_add c\npck_end\nendloop\nsend_string "behind"\non_finished:\ncell_off\n\n'


class Host:
    def __init__(self) -> None:
        self.cell = RandlesCell(StillWorld())
        self.stat = SimulatedEmStat(self.cell, rng=np.random.default_rng(1), noise=False)
        self.cable, self.heard = Cable([self.stat]), bytearray()
        self.cable.to_host = self.heard.extend

    async def ask(self, text: str, seconds: float = 0.2) -> list[str]:
        self.heard.clear()
        self.cable.from_host(text.encode("latin-1"))
        await asyncio.sleep(seconds)
        return self.heard.decode().split("\n")[:-1]


def with_a_stat(talk: Callable[[Host], Awaitable[None]]) -> None:
    async def run() -> None:
        host = Host()
        await host.cable.plug_in()
        await talk(host)
        await host.cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_an_abort_goes_on_at_on_finished() -> None:
    async def talk(host: Host) -> None:
        lines = await host.ask(LONG, 1.05)
        assert lines[:2] == ["e", "M0007"]
        assert len(lines) == 12
        assert host.cell.is_on
        assert (await host.ask("i\n"))[0] == "i!0006"
        assert (await host.ask("Z\n"))[-3:] == ["Z", "*", ""]
        assert not host.cell.is_on

    with_a_stat(talk)


def test_y_ends_the_loop_and_goes_on_behind_it() -> None:
    async def talk(host: Host) -> None:
        await host.ask(LONG, 1.0)
        assert (await host.ask("Y\n"))[-3:] == ["*", "Tbehind", ""]

    with_a_stat(talk)


def test_it_can_be_halted_and_resumed() -> None:
    async def talk(host: Host) -> None:
        await host.ask(LONG, 1.0)
        assert (await host.ask("h\n", 5.0))[0] == "h"
        assert (await host.ask("", 5.0)) == []
        assert len(await host.ask("H\n", 1.0)) > 5
        assert host.cell.is_on

    with_a_stat(talk)


def test_a_runtime_error_leaves_the_cell_as_it_is() -> None:
    async def talk(host: Host) -> None:
        said = await host.ask("e\nset_pgstat_mode 2\ncell_on\nset_e 5\non_finished:\ncell_off\n\n")
        assert said == ["e", "!000F: Line 3", ""]
        assert host.cell.is_on

    with_a_stat(talk)


def test_after_an_error_it_is_deaf_for_a_moment() -> None:
    async def talk(host: Host) -> None:
        for wrong in (b"Z\n", b"e\nnonsense\n\n", b"e\ncell_on\n\n"):
            host.cable.from_host(wrong)
            await asyncio.sleep(0.01)
            assert await host.ask("i\n", 0.02) == []
            await asyncio.sleep(0.05)
        assert await host.ask("i\n") == ["iESP1A2B3C4D"]

    with_a_stat(talk)


def test_conditions_loops_and_arithmetic() -> None:
    script = """e
var a
store_var a 10i ja
loop a > 0i
sub_var a 3i
if a == 4i
send_string "four"
elseif a < 2i
breakloop
else
send_string "other"
endif
endloop
pck_start
pck_add a
pck_end

"""

    async def talk(host: Host) -> None:
        said = await host.ask(script)
        assert said == ["e", "L", "Tother", "Tfour", "+", "Pja8000001i", ""]

    with_a_stat(talk)


def test_a_script_can_be_loaded_kept_and_run() -> None:
    async def talk(host: Host) -> None:
        assert await host.ask("r\n") == ["r!000C"]
        assert await host.ask('l\nsend_string "kept"\n\n') == ["l"]
        assert await host.ask("r\n") == ["r", "Tkept", ""]
        assert await host.ask("Fmscr\n") == ["F"]
        host.stat.begin("power cycle")
        assert await host.ask("r\n") == ["r!000C"]
        assert await host.ask("Lmscr\n") == ["L"]
        assert await host.ask("r\n") == ["r", "Tkept", ""]

    with_a_stat(talk)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "8989680n"), (0.0, "8000000 "), (-0.01, "7676980n")],
)
def test_values_have_the_finest_prefix_that_fits(value: float, text: str) -> None:
    assert encoded(value) == text


WORDS = st.sampled_from([*COMMANDS, "p", "c", "10m", "1i", "<", "ba", "nscans(2)", "on_finished:"])
LINES = st.lists(st.lists(WORDS, max_size=7).map(" ".join), max_size=12)


@settings(max_examples=200)
@given(LINES)
def test_every_script_is_read_or_refused(lines: list[str]) -> None:
    with suppress(ScriptError):
        program = parse(["var p", "var c", *lines])
        assert len(program.statements) >= 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(st.characters(max_codepoint=255), max_size=12), LINES.map("\n".join)),
        max_size=5,
    )
)
def test_nothing_that_is_said_to_it_kills_it(said: list[str]) -> None:
    async def talk(host: Host) -> None:
        for text in said:
            await host.ask(f"e\nvar p\nvar c\nset_pgstat_mode 2\ncell_on\n{text}\n\n", 0.1)
        for _ in range(3):
            await host.ask("\n\nZ\n", 1.0)
        assert (await host.ask("i\n"))[-1:] == ["iESP1A2B3C4D"]

    with_a_stat(talk)


def test_a_cell_comes_to_rest_as_its_closed_form_says() -> None:
    cell: Any = None

    async def run() -> None:
        nonlocal cell
        cell = RandlesCell(StillWorld(), capacitance=1e-4)
        for _ in range(1000):
            cell.current(0.7, 0.01)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())
        assert cell.current(0.7, 1e-9) == pytest.approx(0.5 / 10_100, rel=1e-6)
        before = cell.polarisation
        assert cell.rest(1.0) - 0.2 == pytest.approx(before * np.exp(-1.0), rel=1e-9)
