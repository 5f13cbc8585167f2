"""The source-measure units survive whatever is said to them, and keep the rules of SCPI."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.line import Cable
from sdl.simulators.keithley import Simulated2400, Simulated2450
from sdl.simulators.parts.load import Diode, Load
from sdl.testing import StillWorld

HEADERS = [
    *(":SOUR:VOLT", ":SOUR:FUNC", ":SENS:CURR:PROT", ":OUTP", ":READ", ":FORM:ELEM", "*ESE"),
    *(":TRIG:COUN", ":SOUR:VOLT:MODE", ":SOUR:SWE:POIN", ":TRAC:DATA", "*RST", ":SYST:ERR"),
    *(":SENS:FUNC", ":SOUR:SWE:VOLT:LIN", ":TRAC:MAKE", ":SOUR:CURR:RANG", ":CALC3:DATA", ":INIT"),
]
UNITS = st.builds(
    lambda header, mark, rest: f"{header}{mark} {rest}",
    st.sampled_from(HEADERS),
    st.sampled_from(["", "?"]),
    st.sampled_from(["", "1", "-1E3", "ON", "MAX", '"VOLT"', "'", "1,2,3", "SWE", "1E999", ";"]),
)


def inside(work: Any) -> Any:
    async def run() -> Any:
        return work()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        return runner.run(run())


@pytest.fixture(params=[Simulated2400, Simulated2450])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def made(kind: Any, **options: Any) -> Any:
    return kind(Load(StillWorld()), rng=np.random.default_rng(1), noise=False, **options)


@settings(max_examples=200)
@given(st.lists(st.one_of(UNITS, st.text(max_size=20)), max_size=6))
def test_nothing_that_is_said_to_them_kills_them(said: list[str]) -> None:
    def work() -> None:
        for kind in (Simulated2400, Simulated2450):
            simulator = made(kind)
            simulator.obey(";".join(said))
            assert simulator.obey("*CLS;*IDN?")[0].startswith("KEITHLEY")

    inside(work)


def test_bytes_without_an_end_are_not_kept_for_ever(kind: Any) -> None:
    async def run() -> None:
        simulator = made(kind)
        cable, heard = Cable([simulator]), bytearray()
        cable.to_host = heard.extend
        await cable.plug_in()
        for _ in range(10):
            cable.from_host(b"x" * 1000)
        cable.from_host(b"\n*IDN?\n")
        await asyncio.sleep(1)
        assert heard.startswith(b"KEITHLEY")
        await cable.pull_out()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_above_21_volts_there_is_a_tenth_of_the_current(kind: Any) -> None:
    def work() -> None:
        simulator = made(kind)
        limit = ":SENS:CURR:PROT" if kind is Simulated2400 else ":SOUR:VOLT:ILIM"
        assert simulator.obey(f"{limit} 1;:SOUR:VOLT 30;:SOUR:VOLT?") == []
        assert "power limit" in simulator.obey(":SYST:ERR?")[0]
        assert float(simulator.obey(":SOUR:VOLT 21;:SOUR:VOLT?")[0]) == 21.0

    inside(work)


def test_changing_the_source_or_the_terminals_switches_the_output_off(kind: Any) -> None:
    def work() -> None:
        simulator = made(kind)
        assert simulator.obey(":OUTP ON;:SOUR:FUNC CURR;:OUTP?") == ["0"]
        assert simulator.obey(":OUTP ON;:ROUT:TERM REAR;:OUTP?") == ["0"]
        assert simulator.obey(":OUTP ON;:SOUR:FUNC CURR;:OUTP?") == ["1"]

    inside(work)


def test_a_range_that_is_set_bounds_the_level_and_the_reading(kind: Any) -> None:
    def work() -> None:
        simulator = made(kind)
        simulator.obey(":SOUR:VOLT:RANG 2;:SOUR:VOLT 5")
        assert simulator.obey(":SYST:ERR?")[0].startswith("-222")
        limit = ":SENS:CURR:PROT" if kind is Simulated2400 else ":SOUR:VOLT:ILIM"
        simulator.obey(f"{limit} 0.01;:SENS:CURR:RANG 1E-4;:SOUR:VOLT 1;:OUTP ON")
        assert "E+37" in simulator.obey(":READ?")[0]

    inside(work)


def test_a_staircase_of_a_2400_steps_through_its_levels() -> None:
    def work() -> None:
        simulator = Simulated2400(Diode(StillWorld()), rng=np.random.default_rng(1), noise=False)
        simulator.obey(
            ":SENS:CURR:PROT 0.1;:FORM:ELEM VOLT,CURR;:SOUR:VOLT:STAR 0;STOP 0.6;STEP 0.2"
        )
        simulator.obey(":SOUR:VOLT:MODE SWE;:TRIG:COUN 4;:OUTP ON")
        (said,) = simulator.obey(":READ?")
        values = [float(each) for each in said.split(",")]
        assert values[::2] == pytest.approx([0.0, 0.2, 0.4, 0.6])
        assert values[1::2] == sorted(values[1::2])

    inside(work)


def test_a_2450_with_an_open_interlock_gives_no_more_than_42_volts() -> None:
    def work() -> None:
        simulator = made(Simulated2450, interlock=False)
        assert simulator.obey(":SOUR:VOLT 40;:OUTP ON;:OUTP?") == ["1"]
        assert simulator.obey(":SOUR:VOLT 100;:OUTP?") == ["0"]
        assert simulator.obey(":SYST:ERR:CODE?") == ["5074"]

    inside(work)


def test_the_2400_tells_how_many_errors_there_are_and_all_of_them_at_once() -> None:
    def story() -> None:
        meter = made(Simulated2400)
        for wrong in (":NOT:KNOWN", ":SOUR:VOLT 500"):
            meter.obey(wrong)
        assert meter.obey(":SYST:ERR:COUN?") == ["2"]
        both = '-113,"Undefined header",-222,"Parameter data out of range"'
        assert meter.obey(":SYST:ERR:ALL?") == [both]
        assert meter.obey(":SYST:ERR:CODE?;*OPT?") == ["0", "0"]

    inside(story)
