"""What the EmStat measures is the whole of it, or an error; its cell is off afterwards."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl import endpoints
from sdl.clock import new_loop
from sdl.drivers.emstat import EmStat
from sdl.drivers.emstat.methods import MODELS, TECHNIQUES, literal, parse_method
from sdl.drivers.emstat.packages import parse_error, parse_firmware, parse_package
from sdl.endpoints.line import Line
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    SdlError,
    StaleError,
)
from sdl.simulators.emstat import SimulatedEmStat
from sdl.simulators.emstat.script import PREFIXES, value_of
from sdl.simulators.parts.electrochemical import RandlesCell
from sdl.testing import StillWorld
from sdl.wires import StreamWire

LSV = "lsv begin=0.2 end=0.24 step=0.01 rate=1"
Harm = Callable[[bytes], list[bytes]]
HARMS: dict[str, Harm] = {
    "lost": lambda line: [],
    "twice": lambda line: [line, line],
    "without an end": lambda line: [line[:-1]],
    "without its first byte": lambda line: [line[1:]],
    "without a byte in its middle": lambda line: [
        line[: len(line) // 2] + line[1 + len(line) // 2 :]
    ],
    "garbled": lambda line: (
        [line[:-2] + bytes([line[-2] ^ 0x80]) + line[-1:]] if len(line) > 1 else [b"\x8a"]
    ),
    "with an alarm before it": lambda line: [b"!0032: Line 9\n", line],
}


class Mishap:
    """Stands in an instrument's place; the line that it says at `number` comes to harm."""

    def __init__(self, device: Any) -> None:
        self.device, self.number, self.harm, self.said = device, 0, HARMS["lost"], 0

    def plan(self, number: int, harm: Harm) -> None:
        self.number, self.harm, self.said = number, harm, 0

    async def serve(self, line: Line) -> None:
        self.line = line
        await self.device.serve(self)

    async def read(self) -> bytes:
        return await self.line.read()

    async def write(self, data: bytes) -> None:
        self.said += 1
        for piece in self.harm(data) if self.said == self.number else [data]:
            await self.line.write(piece)

    def hang_up(self, seconds: float = 0.0) -> None:
        self.line.hang_up(seconds)


class Bench:
    def __init__(self, **options: Any) -> None:
        self.cell = RandlesCell(StillWorld())
        self.simulator = SimulatedEmStat(
            self.cell, rng=np.random.default_rng(1), noise=False, **options
        )
        self.line = Mishap(self.simulator)

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[EmStat]:
        async with endpoints.memory_wire(EmStat.delivered, [self.line]) as wire:
            assert isinstance(wire, StreamWire)
            self.stat = EmStat(wire, name="stat", **options)
            await self.stat.connect()
            yield self.stat

    async def curve(self, name: str) -> Any:
        return await getattr(self.stat, name).get_value()


def on_a_bench(story: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    method = options.pop("method", LSV)
    model = options.get("model", "pico")

    async def run() -> None:
        bench = Bench(**options)
        async with bench.open(method=method, model=model):
            await story(bench)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_a_step_of_potential_gives_the_current_of_the_closed_form() -> None:
    async def story(bench: Bench) -> None:
        await bench.stat.trigger()
        time, current = await bench.curve("time"), await bench.curve("current")
        assert len(time) == 200
        tau = 1e-4 * 10_000 * 100 / 10_100
        steady = 0.5 / 10_100
        expected = steady + (0.5 / 100 - steady) * np.exp(-time / tau)
        assert np.allclose(current, expected, rtol=1e-4)
        assert np.allclose(await bench.curve("potential"), 0.7)
        assert await bench.curve("status") == "ok"
        assert not bench.cell.is_on

    def prepared(bench: Bench) -> Awaitable[None]:
        bench.cell.capacitance = 1e-4
        return story(bench)

    on_a_bench(prepared, method="ca potential=0.7 duration=2 every=0.01 highest_current=0.005")


def test_a_cyclic_voltammogram_goes_through_its_corners_as_often_as_asked() -> None:
    async def story(bench: Bench) -> None:
        await bench.stat.trigger()
        potential = await bench.curve("potential")
        there = np.concatenate(
            [np.arange(0, 0.1, 0.01), np.arange(0.1, -0.1, -0.01), np.arange(-0.1, 0.001, 0.01)]
        )
        assert np.allclose(potential, np.concatenate([there, there]), atol=1e-9)
        assert len(await bench.curve("current")) == len(await bench.curve("time")) == len(potential)
        assert len(await bench.curve("frequency")) == 0

    on_a_bench(story, method="cv begin=0 vertex1=0.1 vertex2=-0.1 step=0.01 rate=1 scans=2")


def test_a_spectrum_is_the_impedance_of_the_cell() -> None:
    async def story(bench: Bench) -> None:
        await bench.stat.trigger()
        frequency = await bench.curve("frequency")
        real, imaginary = (
            await bench.curve("impedance_real"),
            await bench.curve("impedance_imaginary"),
        )
        assert np.allclose(frequency, np.geomspace(1e5, 1, 11), rtol=1e-6)
        expected = np.array([bench.cell.impedance(f) for f in frequency])
        assert np.allclose(real + 1j * imaginary, expected, rtol=1e-5)

    on_a_bench(story, method="eis potential=0.2 first=1e5 last=1 count=11")


@pytest.mark.parametrize(
    "method",
    [
        "dpv begin=0 end=0.1 step=0.01 rate=0.05",
        "swv begin=0 end=0.1 step=0.01",
        "ocp duration=1 every=0.1",
    ],
)
def test_each_technique_is_measured(method: str) -> None:
    async def story(bench: Bench) -> None:
        await bench.stat.trigger()
        assert len(await bench.curve("potential")) in (10, 11)
        assert not bench.cell.is_on

    on_a_bench(story, method=method)


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_happens_to_a_line_the_curve_is_right_or_an_error(harm: str) -> None:
    """The lines: e, T1, M0000, five packages, *, T1., and an empty one."""
    wanted = [0.2, 0.21, 0.22, 0.23, 0.24]

    async def story(bench: Bench) -> None:
        outcomes = []
        for number in range(1, 12):
            bench.line.plan(number, HARMS[harm])
            try:
                await bench.stat.trigger()
            except SdlError as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("")
                potential = await bench.curve("potential")
                one_less = harm == "lost" and number in (4, 8)  # its first or last: one may be
                allowed = [wanted[1:], wanted[:-1]] if one_less else [wanted]
                assert potential.tolist() in [pytest.approx(each) for each in allowed]
            assert not bench.cell.is_on, f"line {number}"
            bench.line.plan(0, HARMS[harm])
        await bench.stat.trigger()
        assert (await bench.curve("potential")).tolist() == pytest.approx(wanted)
        if harm == "with an alarm before it":
            assert outcomes.count("FaultError") >= 7
        elif harm == "garbled":
            assert outcomes[3:8] == ["GarbledError"] * 5

    on_a_bench(story)


def test_the_late_output_of_an_earlier_script_is_passed_over() -> None:
    late = "e\nT7777\nM0000\nPebDF5E100n;da8989680n;ba80F4240p,10,288\n*\nT7777.\n\n"

    async def story(bench: Bench) -> None:
        bench.line.plan(1, lambda line: [late.encode(), line])
        await bench.stat.trigger()
        potential = await bench.curve("potential")
        assert potential.tolist() == pytest.approx([0.2, 0.21, 0.22, 0.23, 0.24])

    on_a_bench(story)


def test_a_stop_ends_the_measurement_with_the_cell_off() -> None:
    async def story(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        measuring = asyncio.ensure_future(_ended(bench.stat.trigger()))
        await asyncio.sleep(5)
        assert bench.cell.is_on
        began = loop.time()
        await bench.stat.stop(success=False)
        assert loop.time() - began < 2
        assert not bench.cell.is_on
        with pytest.raises(InstrumentError, match="stopped"):
            await measuring
        with pytest.raises(StaleError, match="trigger"):
            await bench.curve("current")

    on_a_bench(story, method="ca potential=0.5 duration=3600 every=1")


def test_a_measurement_that_is_cancelled_leaves_the_cell_off() -> None:
    async def story(bench: Bench) -> None:
        measuring = asyncio.ensure_future(_ended(bench.stat.trigger()))
        await asyncio.sleep(5)
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
        assert not bench.cell.is_on

    on_a_bench(story, method="ca potential=0.5 duration=3600 every=1")


def test_two_measurements_at_once_are_refused() -> None:
    async def story(bench: Bench) -> None:
        measuring = asyncio.ensure_future(_ended(bench.stat.trigger()))
        await asyncio.sleep(0.5)
        with pytest.raises(RefusedError, match="under way"):
            await bench.stat.trigger()
        await measuring

    on_a_bench(story, method="ca potential=0.5 duration=2 every=0.1")


def test_an_overload_is_no_current() -> None:
    async def story(bench: Bench) -> None:
        await bench.stat.trigger()
        assert np.isnan((await bench.curve("current"))[0])
        assert "5 x overload" in await bench.curve("status")

    def prepared(bench: Bench) -> Awaitable[None]:
        bench.cell.transfer, bench.cell.equilibrium = 10.0, -1.0
        return story(bench)

    on_a_bench(prepared, method=LSV + " highest_current=1e-6")


def test_a_power_cut_is_an_error_and_the_next_measurement_is_whole() -> None:
    async def story(bench: Bench) -> None:
        measuring = asyncio.ensure_future(_ended(bench.stat.trigger()))
        await asyncio.sleep(1)
        bench.simulator.begin("power cycle")
        with pytest.raises(NoReplyError):
            await measuring
        await bench.stat.trigger()
        assert len(await bench.curve("current")) == 20

    on_a_bench(story, method="ca potential=0.5 duration=2 every=0.1")


def test_a_script_that_is_refused_has_applied_nothing() -> None:
    async def story(bench: Bench) -> None:
        bench.simulator.begin("busy")
        with pytest.raises((RefusedError, NoReplyError)):
            await bench.stat.trigger()
        assert not bench.cell.is_on

    on_a_bench(story)


def test_another_model_is_a_mistake_in_the_lab_file() -> None:
    async def run() -> None:
        bench = Bench(model="es4_hr")
        with pytest.raises(ConfigError, match="es4_hr"):
            async with bench.open(model="pico"):
                pass

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


@given(st.sampled_from(sorted(TECHNIQUES)), st.data())
def test_a_method_and_its_text_are_one(technique: str, data: st.DataObject) -> None:
    kind = TECHNIQUES[technique]
    told = {
        f.name: data.draw(st.integers(1, 50)) / (1 if f.type in (int, "int") else 100)
        for f in fields(kind)
    }
    whole = {f.name: f.type in (int, "int") for f in fields(kind)}
    method = kind(**{name: int(v) if whole[name] else v for name, v in told.items()})
    if not method.check(MODELS["pico"]):
        assert parse_method(method.text, MODELS["pico"]) == method


@given(st.floats(-1e5, 1e5).filter(lambda value: abs(value) > 1e-6))
def test_a_literal_is_the_number_to_six_digits(value: float) -> None:
    read, _ = value_of(literal(value))
    assert math.isclose(read, value, rel_tol=1e-6, abs_tol=1e-12)


@given(st.text(alphabet="PTabdeh0189ABCDEFnum ,;!:\n*", max_size=60))
def test_no_text_is_taken_for_a_package_that_it_is_not(text: str) -> None:
    parse_error(text)
    try:
        package = parse_package(text)
    except GarbledError:
        return
    written = ";".join(part.partition(",")[0] for part in text[1:].split(";"))
    again = "".join(f"{variable.kind}" for variable in package)
    assert again == "".join(part[:2] for part in written.split(";"))


@given(st.lists(st.text(max_size=40), max_size=3))
def test_no_lines_are_taken_for_a_firmware_that_they_are_not(lines: list[str]) -> None:
    with pytest.raises(GarbledError):
        parse_firmware(["x", *lines])


def test_a_package_of_the_manual_is_read() -> None:
    (variable,) = parse_package("Pda8989680n")
    assert variable.kind == "da"
    assert variable.value == pytest.approx(0.01)
    assert math.isnan(parse_package("Pba     nan,12,201,40")[0].value)
    assert set(PREFIXES) - {""} == set("afpnum kMGTPEi")


def test_a_runtime_error_is_told_with_its_meaning() -> None:
    async def story(bench: Bench) -> None:
        bench.line.plan(4, HARMS["with an alarm before it"])
        with pytest.raises(FaultError, match="0032 in line 9: critical overload"):
            await bench.stat.trigger()

    on_a_bench(story)


async def _ended(status: Any) -> None:
    await status
