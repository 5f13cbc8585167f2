"""The simulated controller: its control loop on a real part, its registers, what befalls it."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdl.endpoints.modbus import ModbusRefusal
from sdl.simulators.eurotherm3216 import SimulatedEurotherm3216
from sdl.simulators.world import HeatedBlock, World


class Still:
    """A heater whose temperature does not change of itself."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def attach_controller(self, control: Callable[[float, float], float]) -> None:
        self.step = control


class Bench(World):
    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(seed=1, clock=lambda: self.time)
        self.block = HeatedBlock(self, temperature=25.0)
        self.parts = {"block": self.block}

    def step(self, t: float, dt: float) -> None:
        self.block.step(dt, 22.0)


def controller(part: Any, **options: Any) -> SimulatedEurotherm3216:
    return SimulatedEurotherm3216(part, rng=np.random.default_rng(1), **options)


class Panel:
    """Reads and writes registers, as a person with a Modbus tool."""

    def __init__(self, instrument: SimulatedEurotherm3216) -> None:
        self._instrument = instrument

    def __getitem__(self, address: int) -> int:
        return self.read(address, 1)[0]

    def read(self, address: int, count: int) -> list[int]:
        words = asyncio.run(self._instrument.read("holding", address, count))
        return [word - 0x10000 if word & 0x8000 else word for word in words]

    def __setitem__(self, address: int, value: int) -> None:
        asyncio.run(self._instrument.write("holding", address, [value & 0xFFFF]))

    def refuses(self, address: int, value: int | None = None) -> int:
        instrument = self._instrument
        asking = (
            instrument.read("holding", address, 1)
            if value is None
            else instrument.write("holding", address, [value & 0xFFFF])
        )
        with pytest.raises(ModbusRefusal) as refusal:
            asyncio.run(asking)
        return refusal.value.code


@pytest.mark.parametrize(("start", "target"), [(25.0, 80.0), (25.0, 120.0), (110.0, 60.0)])
def test_it_settles_within_minutes_and_with_little_overshoot(start: float, target: float) -> None:
    bench = Bench()
    panel = Panel(controller(bench.block, setpoint=start))
    bench.time = 1200.0
    panel[2] = round(10 * target)
    course = []
    for _ in range(1200):
        bench.time += 1.0
        course.append(bench.block.temperature)
    beyond = max(course) - target if target > start else target - min(course)
    away = np.flatnonzero(np.abs(np.array(course) - target) > 0.5)
    assert beyond < 0.5
    assert 60 < away[-1] < 600
    assert np.std(course[-300:]) < 0.1


def test_noise_is_that_of_the_instrument_and_does_not_depend_on_how_often_one_looks() -> None:
    def course(looks: int) -> list[int]:
        bench = Bench()
        panel = Panel(controller(bench.block))
        seen = []
        for bench.time in range(1, 50):
            seen.append([panel[1] for _ in range(looks)][-1])
        return seen

    assert course(1) == course(3)
    assert len(set(course(1))) > 1


def test_the_setpoint_follows_its_rate_limit() -> None:
    heater = Still(25.0)
    panel = Panel(controller(heater, noise=0.0, setpoint=20.0))
    panel[35] = 60  # 6.0 degC/min
    panel[2] = 800
    for _ in range(60):
        heater.step(1.0, 25.0)
    assert [panel[2], panel[5]] == [800, 260]


def test_manual_mode_gives_the_manual_output_and_goes_back_without_a_bump() -> None:
    heater = Still(80.0)
    panel = Panel(controller(heater, noise=0.0, setpoint=80.0))
    panel[3], panel[273] = 425, 1
    assert heater.step(1.0, 80.0) == pytest.approx(0.425)
    assert panel[75] & 1 << 4
    panel[273] = 0
    assert heater.step(1.0, 80.0) == pytest.approx(0.425)


def test_the_integral_does_not_wind_up() -> None:
    heater = Still(25.0)
    panel = Panel(controller(heater, noise=0.0))
    panel[2] = 1200
    for _ in range(3600):
        assert heater.step(1.0, 25.0) == 1.0
    assert [heater.step(1.0, 120.5) for _ in range(3)][-1] == 0.0


def test_standby_and_a_broken_sensor_switch_the_output_off() -> None:
    heater = Still(25.0)
    instrument = controller(heater, setpoint=100.0)
    panel = Panel(instrument)
    assert heater.step(1.0, 25.0) == 1.0
    panel[199] = 1
    assert heater.step(1.0, 25.0) == 0.0
    panel[199] = 0
    instrument.sensor_broken = True
    assert heater.step(1.0, 25.0) == 0.0
    assert panel[75] & 1 << 5
    assert panel[1] > panel[12]


def test_alarms_have_a_hysteresis() -> None:
    heater = Still(25.0)
    panel = Panel(controller(heater, noise=0.0))
    panel[13] = 500
    states = []
    for temperature in (49.0, 50.5, 49.5, 48.5):
        heater.step(1.0, temperature)
        states.append(panel[75] & 1)
    assert states == [0, 1, 1, 0]


def test_the_remote_setpoint_falls_back_when_nobody_repeats_it() -> None:
    heater = Still(25.0)
    panel = Panel(controller(heater, setpoint=30.0, remote_timeout=60.0))
    panel[26], panel[276] = 900, 1
    for _ in range(59):
        heater.step(1.0, 25.0)
    assert (panel[5], panel[75] & 1 << 14) == (900, 0)
    for _ in range(2):
        heater.step(1.0, 25.0)
    assert panel[5] == 300
    assert panel[75] & 1 << 14
    panel[26] = 900
    heater.step(1.0, 25.0)
    assert (panel[5], panel[75] & 1 << 14) == (900, 0)


def test_only_the_writes_that_wear_the_eeprom_are_counted() -> None:
    instrument = controller(Still(25.0))
    panel = Panel(instrument)
    for address in (2, 24, 24, 25, 26, 26, 26, 3):
        panel[address] = 500
    assert instrument.eeprom_writes == {2: 1, 24: 2, 25: 1}


def test_the_target_is_the_selected_setpoint() -> None:
    panel = Panel(controller(Still(25.0)))
    panel[15] = 1
    panel[2] = 700
    assert [panel[24], panel[25]] == [200, 700]


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_floats_stand_beside_the_integers(decimals: int) -> None:
    instrument = controller(Still(25.0), decimals=decimals, setpoint=42.25, noise=0.0)
    words = asyncio.run(instrument.read("holding", 0x8000 + 2 * 2, 2))
    assert struct.unpack(">f", struct.pack(">2H", *words)) == (42.25,)
    assert Panel(instrument)[2] == round(42.25 * 10**decimals)
    words = list(struct.unpack(">2H", struct.pack(">f", 61.5)))
    asyncio.run(instrument.write("holding", 0x8000 + 2 * 2, words))
    assert Panel(instrument)[2] == round(61.5 * 10**decimals)


def test_what_it_does_not_have_it_refuses_and_takes_all_or_nothing() -> None:
    instrument = controller(Still(25.0), setpoint=20.0)
    panel = Panel(instrument)
    assert panel.refuses(10) == 2  # not mapped
    assert panel.refuses(0x8001) == 2  # half a float
    assert panel.refuses(1, 0) == 2  # read only
    assert panel.refuses(2, 2001) == 3  # above the range
    assert panel.refuses(2, -1) == 3
    with pytest.raises(ModbusRefusal):
        asyncio.run(instrument.write("holding", 24, [500, 3000]))
    assert panel[24] == 200


def test_a_stuck_heater_gets_no_power_whatever_the_output_says() -> None:
    heater = Still(25.0)
    instrument = controller(heater, setpoint=100.0)
    instrument.begin("stuck")
    assert heater.step(1.0, 25.0) == 0.0
    assert Panel(instrument)[4] == 1000
    instrument.end("stuck")
    assert heater.step(1.0, 25.0) == 1.0


def test_somebody_at_its_front_panel_leaves_it_in_manual_mode_for_a_while() -> None:
    heater = Still(25.0)
    instrument = controller(heater, setpoint=100.0)
    heater.step(1.0, 25.0)
    instrument.begin("local mode")
    assert Panel(instrument)[75] & 1 << 4
    assert heater.step(1.0, 150.0) == 1.0  # with the output that it had
    instrument.end("local mode")
    assert heater.step(1.0, 150.0) == 0.0


def test_a_power_cycle_loses_the_remote_setpoint_and_keeps_the_others() -> None:
    instrument = controller(Still(25.0), setpoint=30.0)
    panel = Panel(instrument)
    panel[25], panel[26], panel[276] = 400, 900, 1
    instrument.begin("power cycle")
    assert (panel[24], panel[25], panel[276]) == (300, 400, 0)


def test_a_sensor_that_is_off_shifts_what_is_controlled() -> None:
    heater = Still(25.0)
    instrument = controller(heater, noise=0.0)
    instrument.begin("drift", 5.0)
    heater.step(1.0, 25.0)
    assert Panel(instrument)[1] == 350
