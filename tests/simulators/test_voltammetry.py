"""A redox couple at an electrode, against closed forms and a table; its cell; its plan."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sdl import Campaign, Lab
from sdl.errors import ConfigError, PlanError
from sdl.plans.cyclic_voltammetry import cyclic_voltammetry, peaks
from sdl.simulators.physics.electrochemistry import (
    FARADAY,
    THERMAL,
    Couple,
    Electrode,
    kcl_conductivity,
)
from sdl.simulators.voltammetry import OPEN_OHM, RADIUS, ThreeElectrodes, Voltammetry

EXAMPLE = Path(__file__).parents[2] / "examples" / "voltammetry"
Array = NDArray[np.float64]

AREA, MOLAR, RATE = 0.07, 1e-3, 0.1
FAST = 1e3  # cm/s: reversible at any rate of a sweep
# psi, mV (Nicholson, Anal. Chem. 37 (1965) 1351, table I), turned 141 mV behind the half wave
NICHOLSON = (
    *((20.0, 61), (7.0, 63), (6.0, 64), (5.0, 65), (4.0, 66), (3.0, 68), (2.0, 72), (1.0, 84)),
    *((0.75, 92), (0.5, 105), (0.35, 121), (0.25, 141), (0.1, 212)),
)


def randles_sevcik(couple: Couple, *, area: float, molar: float, rate: float) -> float:
    """A at the peak of a linear sweep of `rate` V/s, of a reversible couple."""
    speed = math.sqrt(rate * couple.diffusion / THERMAL)
    return 0.4463 * FARADAY * area * molar / 1000.0 * speed


def cottrell(couple: Couple, *, area: float, molar: float, time: float) -> float:
    """A at `time` s after a step from where nothing reacts to where all does."""
    speed = math.sqrt(couple.diffusion / (math.pi * time))
    return FARADAY * area * molar / 1000.0 * speed


def swept(
    *, k0: float = FAST, rate: float = RATE, step: float = 5e-4, turn: float = 0.3, **more: Any
) -> tuple[Array, Array, Electrode]:
    """Return potentials and currents of a cyclic voltammogram of a reduced form, E0' at 0 V."""
    resistance = more.pop("resistance", 0.0)
    electrode = Electrode(Couple(0.0, k0=k0), area=AREA, potential=-0.35, **more)
    electrode.fill(reduced=MOLAR, oxidised=0.0)
    up = -0.35 + step * np.arange(round((turn + 0.35) / step) + 1)
    potentials = np.concatenate([up, up[-2::-1]])
    dt = step / rate
    currents = [electrode.ramp(float(e), dt, resistance=resistance) for e in potentials]
    return potentials.astype(np.float64), np.array(currents), electrode


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_the_peak_is_that_of_randles_and_sevcik(rate: float):
    potentials, currents, electrode = swept(rate=rate)
    (_, oxidation), _ = peaks(potentials, currents)
    theory = randles_sevcik(electrode.couple, area=AREA, molar=MOLAR, rate=rate)
    assert oxidation == pytest.approx(theory, rel=0.01)


def test_the_peaks_of_a_reversible_couple_are_59_mv_apart_around_its_potential():
    (upper, _), (lower, _) = peaks(*swept(turn=0.25)[:2])
    assert 1000 * (upper - lower) == pytest.approx(58.5, abs=1.0)
    assert (upper + lower) / 2 == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize(("psi", "millivolts"), NICHOLSON)
def test_slow_kinetics_parts_the_peaks_as_nicholson_found(psi: float, millivolts: float):
    k0 = psi * math.sqrt(math.pi * 7.6e-6 * RATE / THERMAL)
    (upper, _), (lower, _) = peaks(*swept(k0=k0, turn=0.141)[:2])
    assert 1000 * (upper - lower) == pytest.approx(millivolts, abs=1.5)


def test_the_current_after_a_step_is_cottrells():
    electrode = Electrode(Couple(0.0), area=AREA, potential=-0.4)
    electrode.fill(reduced=MOLAR, oxidised=0.0)
    for n in range(1, 51):
        found = electrode.hold(0.5, 0.1)
        theory = cottrell(electrode.couple, area=AREA, molar=MOLAR, time=0.1 * n)
        assert found == pytest.approx(theory, rel=0.01)


def test_the_charge_that_has_flowed_is_what_was_oxidised():
    _, currents, electrode = swept(k0=0.005)
    flowed = float(np.sum(currents)) * 5e-4 / RATE
    lengths = 1e-5 * 1.12 ** np.arange(len(electrode.reduced))
    oxidised = float(np.sum((electrode.total - electrode.reduced) * lengths))
    assert flowed == pytest.approx(FARADAY * AREA * oxidised, rel=1e-6)
    assert 0 <= electrode.reduced.min() <= electrode.reduced.max() <= electrode.total * (1 + 1e-9)


def test_a_couple_that_is_not_there_leaves_a_capacitor_behind_a_resistor():
    electrode = Electrode(Couple(0.0), area=AREA, capacitance=1e-5)
    first = electrode.hold(0.1, 1e-3, resistance=200.0)
    second = electrode.hold(0.1, 1e-3, resistance=200.0)
    tau = 1e-5 * 200.0
    assert first == pytest.approx(0.1 / 200 * math.exp(-1e-3 / tau), rel=0.01)
    assert second == pytest.approx(0.1 / 200 * math.exp(-2e-3 / tau), rel=0.02)


def test_the_ohmic_drop_parts_the_peaks_by_itself_and_what_it_broadens_them():
    (plain_up, _), (plain_low, _) = peaks(*swept()[:2])
    (upper, oxidation), (lower, reduction) = peaks(*swept(resistance=500.0)[:2])
    drop = 500.0 * (oxidation - reduction)
    assert drop < (upper - lower) - (plain_up - plain_low) < 1.5 * drop


def test_the_stairs_of_a_potentiostat_give_a_lower_peak_the_same_however_finely_they_are_solved():
    coarse, fine = (Electrode(Couple(0.0, k0=FAST), area=AREA, potential=-0.3) for _ in range(2))
    for electrode in (coarse, fine):
        electrode.fill(reduced=MOLAR, oxidised=0.0)
    stairs = -0.3 + 1e-3 * np.arange(500)
    once = [coarse.hold(float(e), 0.01) for e in stairs]
    parts = [[fine.hold(float(e), 0.01 / 8) for _ in range(8)][-1] for e in stairs]
    assert max(once) == pytest.approx(max(parts), rel=0.005)
    theory = randles_sevcik(coarse.couple, area=AREA, molar=MOLAR, rate=RATE)
    assert max(once) == pytest.approx(0.933 * theory, rel=0.005)


def test_at_rest_it_comes_to_the_potential_of_nernst():
    electrode = Electrode(Couple(0.2, k0=0.02), area=AREA, capacitance=1e-6)
    electrode.fill(reduced=1e-3, oxidised=1e-4)
    assert electrode.rest(30.0) == pytest.approx(0.2 + THERMAL * math.log(0.1), abs=1e-3)


def test_the_impedance_is_that_of_randles_and_warburg():
    electrode = Electrode(Couple(0.0, k0=0.01), area=AREA, capacitance=1e-6)
    electrode.fill(reduced=MOLAR, oxidised=MOLAR)
    transfer = THERMAL / (FARADAY * AREA * 0.01 * MOLAR / 1000)
    sigma = THERMAL / (FARADAY * AREA * math.sqrt(2 * 7.6e-6)) * 2 / (MOLAR / 1000)
    for frequency in (1e5, 1e3, 10.0, 0.1):
        omega = 2 * math.pi * frequency
        faradaic = transfer + sigma / math.sqrt(omega) * (1 - 1j)
        theory = 50.0 + 1 / (1 / faradaic + 1j * omega * 1e-6)
        assert electrode.impedance(frequency, resistance=50.0) == pytest.approx(theory, rel=1e-6)


def test_a_voltammogram_of_1000_points_takes_less_than_50_ms():
    swept(step=1.3e-3)  # compiles nothing, but fills what is kept between sweeps
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        swept(step=1.3e-3, resistance=50.0, capacitance=1e-6)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05


def test_potassium_chloride_conducts_as_its_standards_and_dilute_in_proportion():
    assert kcl_conductivity(0.1) == pytest.approx(12.85e-3, rel=1e-3)
    assert kcl_conductivity(1.0) == pytest.approx(111.3e-3, rel=1e-3)
    assert kcl_conductivity(0.001) == pytest.approx(kcl_conductivity(0.01) / 10)


# The cell


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> Voltammetry:
    return Voltammetry(seed=3, clock=clock)


def dose(world: Voltammetry, clock: Clock, **volumes: float) -> None:
    for name, volume in volumes.items():
        for sign in (-1, 1):
            world.parts[name].start(sign * 60.0, volume)
            clock.now += 60.0
            world.advance()


def electrodes(world: Voltammetry) -> ThreeElectrodes:
    part = world.parts["electrodes"]
    assert isinstance(part, ThreeElectrodes)
    return part


def test_what_the_pumps_give_is_what_is_in_the_cell(world: Voltammetry, clock: Clock):
    dose(world, clock, redox=1.0, salt=2.0, water=7.0)
    assert world.cell.volume == pytest.approx(10.0, rel=0.01)
    both = world.cell.molar("ferrocyanide") + world.cell.molar("ferricyanide")
    assert both == pytest.approx(2.0e-3, rel=0.03)
    assert world.cell.molar("kcl") == pytest.approx(0.4, rel=0.02)


def test_salt_makes_the_resistance_that_of_a_disk_in_its_solution(world: Voltammetry, clock: Clock):
    dose(world, clock, salt=0.5, water=9.5)  # 0.1 M
    assert world.resistance() == pytest.approx(1 / (4 * 12.85e-3 * RADIUS), rel=0.02)


@pytest.mark.parametrize("milliliters", [0.0, 3.0])
def test_electrodes_that_are_not_covered_conduct_nothing(
    world: Voltammetry, clock: Clock, milliliters: float
):
    dose(world, clock, salt=milliliters)
    part = electrodes(world)
    part.switch(True)
    assert part.current(0.5, 0.1) == 0.0
    assert abs(part.impedance(1000.0)) == OPEN_OHM


def test_what_a_measurement_leaves_behind_is_gone_after_a_minute_or_with_fresh_liquid(
    world: Voltammetry, clock: Clock
):
    dose(world, clock, redox=1.0, salt=2.0, water=7.0)
    part = electrodes(world)

    def step() -> float:
        part.switch(True)
        clock.now += 1.0
        found = part.current(0.5, 1.0)
        clock.now += 2.0
        part.current(0.5, 2.0)
        part.switch(False)
        return found

    first = step()
    assert step() < 0.8 * first
    clock.now += 61.0
    assert step() == pytest.approx(first, rel=0.01)
    world.parts["redox"].start(-60.0, 1.0)
    clock.now += 60.0
    step()
    world.parts["redox"].start(60.0, 1.0)
    clock.now += 3.0
    assert step() > 1.5 * first


def test_a_rate_constant_must_be_positive():
    with pytest.raises(ConfigError, match=r"k0=-1: allowed is a rate in cm/s"):
        Voltammetry(seed=1, clock=Clock(), k0=-1)


# The plan


def campaign(folder: Path, **fixed: float) -> dict[str, Any]:
    """Run one trial on the twin of the example; return its row."""
    chosen = Campaign.load(EXAMPLE / "campaign.yaml")
    sobol = chosen.optimizer.model_copy(update={"use": "sobol"})
    budget = chosen.budget.model_copy(update={"trials": 1})
    chosen = chosen.model_copy(update={"optimizer": sobol, "budget": budget, "fixed": fixed})
    lab = Lab.load(EXAMPLE / "lab.yaml").twin()
    chosen.check(lab)
    (row,) = chosen.run_blocking(lab, journal=str(folder / "twin.db")).rows
    return row


def test_a_trial_measures_what_randles_sevcik_says_less_what_stairs_kinetics_and_drop_take(
    tmp_path: Path,
):
    row = campaign(tmp_path)
    assert row["state"] == "completed", row["cause"]
    area, molar = math.pi * RADIUS**2, row["concentration"] / 1000
    theory = randles_sevcik(Couple(0.23), area=area, molar=molar, rate=row["scan_rate"])
    assert 0.82 * theory < row["peak_current"] * 1e-6 < 0.97 * theory
    assert 60 < row["separation"] < 130
    assert row["half_wave"] == pytest.approx(0.23, abs=0.003)


def test_a_sweep_that_turns_too_early_is_told_as_such(tmp_path: Path):
    row = campaign(tmp_path, vertex=0.2)
    assert row["state"] == "failed"
    assert "no peak of oxidation" in row["cause"]


def test_more_than_the_stocks_have_is_refused_before_anything_moves():
    conditions = {"concentration": 15.0, "salt_concentration": 1.0, "scan_rate": 0.1}
    nothing: Any = object()
    with pytest.raises(ConfigError, match=r"15\.0 mM, 1\.0 M salt"):
        next(iter(cyclic_voltammetry(*[nothing] * 6, **conditions)))


def test_a_current_that_was_too_large_is_no_curve():
    potentials, currents, _ = swept()
    currents[500] = math.nan
    with pytest.raises(PlanError, match="1 currents were too large"):
        peaks(potentials, currents)


def test_a_flat_curve_has_no_peaks():
    potentials, currents, _ = swept()
    noise = np.random.default_rng(1).standard_normal(len(currents))
    with pytest.raises(PlanError, match="no peak"):
        peaks(potentials, 1e-9 * noise)
