import numpy as np
import pytest

from sdl.simulators.electrolyte import LEADS_OHM, OPEN_OHM, Electrolyte
from sdl.simulators.world import DetectorPart


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    return Electrolyte(seed=5, clock=clock)


def dose(world, clock, **volumes):
    for name, volume in volumes.items():
        world.parts[name].start(np.sign(volume) * 30.0, abs(volume))
    clock.now += 61.0


def fill(world, clock, salt, solvent):
    dose(world, clock, salt=-salt, solvent=-solvent)
    dose(world, clock, salt=salt, solvent=solvent)


def test_the_cell_is_a_detector_part_of_two_rows(world):
    cell = world.parts["cell"]
    assert isinstance(cell, DetectorPart)
    assert cell.sample(0.1).shape == (2, len(cell.axis))


def test_stock_and_solvent_mix_in_proportion(world, clock):
    fill(world, clock, 4.0, 6.0)
    assert world.volume == pytest.approx(10.0, rel=0.02)
    assert world.concentration == pytest.approx(0.8, rel=0.04)


def test_one_molar_at_25_degc_conducts_what_the_literature_says(world, clock):
    world.parts["cell_heater"].attach_controller(lambda dt, t: 0.5 * (25.0 - t) + 0.03)
    fill(world, clock, 5.0, 5.0)
    clock.now += 600.0
    assert world.conductivity() == pytest.approx(9.13, rel=0.02)
    cell = world.parts["cell"]
    real, _ = cell.sample(0.1)
    # at 100 kHz the electrodes add little to leads and electrolyte
    assert real[-1] == pytest.approx(1000.0 / 9.13 + LEADS_OHM, rel=0.04)


def test_a_warmer_cell_conducts_better(world, clock):
    fill(world, clock, 5.0, 5.0)
    cold = world.conductivity()
    world.parts["cell_heater"].attach_controller(lambda dt, t: 0.5 * (50.0 - t))
    clock.now += 600.0
    assert world.conductivity() > 1.4 * cold


def test_an_empty_cell_is_an_open_circuit(world, clock):
    cell = world.parts["cell"]
    assert np.hypot(*cell.sample(0.1)).min() >= OPEN_OHM
    fill(world, clock, 1.0, 1.0)  # the electrodes stay dry
    assert np.hypot(*cell.sample(0.1)).min() >= OPEN_OHM


def test_waste_takes_all_but_the_film_and_dilution_leaves_little_of_the_last_sample(world, clock):
    fill(world, clock, 10.0, 0.0)
    dose(world, clock, waste=-15.0)
    assert world.volume == pytest.approx(0.05)
    dose(world, clock, waste=15.0)
    fill(world, clock, 0.0, 10.0)
    assert 0 < world.concentration < 0.02


def test_what_does_not_fit_runs_over_and_changes_no_concentration(world, clock):
    fill(world, clock, 10.0, 0.0)
    fill(world, clock, 10.0, 0.0)
    assert world.volume == 15.0
    assert world.concentration == pytest.approx(2.0, rel=0.03)


def test_volumes_and_salt_balance(world, clock):
    fill(world, clock, 3.0, 4.0)
    infused = [world.parts[n].totals(world.now)[0] for n in ("salt", "solvent")]
    assert world.volume == pytest.approx(sum(infused))
    assert world.concentration * world.volume == pytest.approx(infused[0] * world._stock)
