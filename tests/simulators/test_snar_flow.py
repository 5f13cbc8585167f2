import time

import numpy as np
import pytest
from scipy.optimize import fsolve

from sdl.simulators.physics import chemistry
from sdl.simulators.snar_flow import CELL_ML, MIXER_ML, REACTOR_ML, VESSELS, SnArFlow
from sdl.simulators.world import BenchAir, DetectorPart, HeatedBlock, PumpHead


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    return SnArFlow(seed=7, clock=clock)


def pump(world, name) -> PumpHead:
    return world.parts[name]


def hold(world, celsius):
    world.parts["reactor"].attach_controller(lambda dt, t: 0.5 * (celsius - t) + 0.4)


def push(world, clock, rates, minutes):
    """Fill the syringes, then push all at once; return the concentrations at the end."""
    for name, rate in rates.items():
        pump(world, name).start(-100.0, rate * minutes)
    clock.now += 60.0
    for name, rate in rates.items():
        pump(world, name).start(rate, rate * minutes)
    clock.now += 60.0 * minutes
    return world.concentrations()


RATES = {"substrate": 0.45, "amine": 0.55, "solvent": 2.0}


def test_the_world_has_the_parts_that_instruments_attach_to(world):
    assert {"substrate", "amine", "solvent"} <= world.parts.keys()
    assert isinstance(world.parts["reactor"], HeatedBlock)
    assert isinstance(world.parts["outlet"], DetectorPart)
    assert isinstance(world.parts["bench"], BenchAir)


def test_an_infusion_ends_at_its_volume_exactly_and_at_its_time(world, clock):
    head = pump(world, "solvent")
    head.start(1.7, 1.0)
    clock.now += 10.0
    assert head.moved == pytest.approx(1.7 / 6, rel=1e-12)
    assert head.time_left == pytest.approx(60 / 1.7 - 10)
    clock.now += head.time_left
    assert (head.running, head.moved, head.stalled) == (False, 1.0, False)
    assert head.syringe == pytest.approx(1.0)


def test_drawing_fills_the_syringe_and_pushes_nothing_into_the_reactor(world, clock):
    head = pump(world, "substrate")
    head.start(-6.0, 3.0)
    clock.now += 60.0
    assert (head.moved, head.syringe) == (-3.0, 5.0)
    assert not world.concentrations().any()
    assert head.totals(world.now)[0] == 0.0


def test_an_empty_syringe_stalls(world, clock):
    head = pump(world, "amine")
    head.start(2.0, 5.0)
    clock.now += 59.0
    assert (head.running, head.stalled) == (True, False)
    clock.now += 1.0
    assert (head.running, head.stalled, head.moved, head.syringe) == (False, True, 2.0, 0.0)


def test_a_full_syringe_stalls(world, clock):
    head = pump(world, "amine")
    head.start(-60.0, 80.0)
    clock.now += 300.0
    assert (head.stalled, head.moved, head.syringe) == (True, -58.0, 60.0)


def test_a_blocked_line_stalls_the_pump_where_it_is(world, clock):
    head = pump(world, "amine")
    head.start(1.0, 2.0)
    clock.now += 30.0
    head.blocked = True
    clock.now += 30.0
    assert (head.running, head.stalled, head.moved) == (False, True, pytest.approx(0.5))
    head.start(1.0, 1.0)
    assert (head.running, head.stalled) == (False, True)
    head.blocked = False
    head.start(1.0, 1.0)
    assert (head.running, head.stalled) == (True, False)


def test_a_stopped_pump_keeps_what_it_moved_until_it_starts_again(world, clock):
    head = pump(world, "amine")
    head.start(1.0, 2.0)
    clock.now += 30.0
    head.stop()
    clock.now += 30.0
    assert (head.running, head.stalled, head.moved) == (False, False, pytest.approx(0.5))
    assert head.syringe == pytest.approx(1.5)
    head.start(-1.0)
    assert head.moved == 0.0


def test_two_worlds_with_one_seed_are_alike_however_often_they_are_asked():
    seen = []
    for wait in (0.13, 7.0, 1e9):
        clock = Clock()
        world = SnArFlow(seed=3, clock=clock)
        hold(world, 80.0)
        for name, rate in RATES.items():
            pump(world, name).start(rate, 1.0)
        end = clock.now + 100.0
        while clock.now < end:
            clock.now = min(clock.now + wait, end)
            assert pump(world, "amine").moved >= 0
            assert world.parts["outlet"].sample(0.1).shape == world.parts["outlet"].axis.shape
        seen.append((world.concentrations().tolist(), world.parts["reactor"].temperature))
    assert seen[0] == seen[1] == seen[2]


def test_another_seed_is_another_laboratory(clock):
    x = np.array([300.0, 420.0])
    a, b = (SnArFlow(seed=s, clock=clock).absorptivities(x)[2] for s in (1, 2))
    assert a != pytest.approx(b, rel=1e-6)
    assert a == pytest.approx(b, rel=0.15)


def test_a_generator_does_not_depend_on_who_asked_before(clock):
    one, two = SnArFlow(seed=1, clock=clock), SnArFlow(seed=1, clock=clock)
    one.rng("pump").random(5)
    assert one.rng("detector").random() == two.rng("detector").random()
    assert one.rng("pump") is one.rng("pump")


def test_the_steady_state_is_that_of_the_true_feeds_and_temperatures(world, clock):
    hold(world, 60.0)
    clock.now += 1200.0
    found = push(world, clock, RATES, 6.0)
    flows = np.array([RATES[n] * pump(world, n).scale for n in RATES]) / 60.0
    upstream = flows @ world._feeds / flows.sum()
    for i, volume in enumerate([MIXER_ML, *[REACTOR_ML / VESSELS] * VESSELS, CELL_ML]):
        outside = i in (0, VESSELS + 1)
        celsius = world.air.temperature if outside else world.parts["reactor"].medium
        k = chemistry.rate_constants(np.array([celsius]))

        def balance(c, u=upstream, v=volume, k=k):
            return flows.sum() / v * (u - c) + chemistry.rates(c[:, None], k)[:, 0]

        upstream = fsolve(balance, upstream)
    assert found == pytest.approx(upstream, rel=2e-3, abs=1e-5)


def test_three_reactor_volumes_are_enough_for_the_steady_state_and_to_wash_it_out(world, clock):
    hold(world, 70.0)
    clock.now += 1200.0
    total = sum(RATES.values())
    three = push(world, clock, RATES, 3 * REACTOR_ML / total)
    more = push(world, clock, RATES, 5 * REACTOR_ML / total)
    assert three[chemistry.O] == pytest.approx(more[chemistry.O], rel=0.01)
    washed = push(world, clock, {"solvent": 6.0}, 3 * REACTOR_ML / 6.0)
    assert washed.max() < 1e-3 * more.max()


def test_contents_that_stand_still_react_on(world, clock):
    push(world, clock, RATES, 2.0)
    before = world._tube.concentrations.copy()
    clock.now += 3600.0
    world.advance()
    after = world._tube.concentrations
    assert (after[chemistry.A] < before[chemistry.A]).all()
    rings = [chemistry.A, chemistry.O, chemistry.P, chemistry.D]
    assert after[rings].sum(axis=0) == pytest.approx(before[rings].sum(axis=0))


def test_the_cell_shows_the_products_and_nothing_of_the_solvent(world, clock):
    cell = world.parts["outlet"]
    assert cell.sample(0.1) == pytest.approx(np.ones(len(cell.axis)))
    hold(world, 70.0)
    clock.now += 1200.0
    c = push(world, clock, RATES, 4.0)
    x = np.array([420.0, 539.0])
    expected = 0.0005 * c @ world.absorptivities(x)
    assert cell.absorbance(x) == pytest.approx(expected)
    assert cell.sample(0.1).min() == pytest.approx(10 ** -cell.absorbance(cell.axis).max())
    assert expected[0] > 0.3
    assert expected[1] < 0.01


def test_a_controller_is_asked_once_a_second_and_heats_in_minutes(world, clock):
    block, calls = world.parts["reactor"], []

    def control(dt, measured):
        calls.append((dt, measured))
        assert block.temperature == measured  # it may ask back from within a step
        return 9.0 if measured < 120.0 else 0.0

    block.attach_controller(control)
    start = clock.now
    while block.temperature < 120.0:
        clock.now += 1.0
    assert 120.0 < clock.now - start < 360.0
    assert len(calls) == clock.now - start
    assert {dt for dt, _ in calls} == {1.0}
    assert block.power == 1.0  # what is more than everything is everything
    block.attach_controller(None)
    block.power = -1.0
    assert block.power == 0.0
    clock.now += 600.0
    assert block.temperature < 35.0


def test_the_bench_stays_a_room(world, clock):
    air, seen = world.parts["bench"], []
    for _ in range(24 * 14):
        clock.now += 3600.0
        seen.append((air.temperature, air.humidity))
    t, h = np.array(seen).T
    assert t.min() > 19.0
    assert t.max() < 25.0
    assert np.ptp(t) > 1.0
    assert h.min() > 20.0
    assert h.max() < 65.0


def test_an_hour_of_flow_costs_less_than_a_second(world, clock):
    hold(world, 90.0)
    pump(world, "solvent").capacity_mL = 1000.0
    pump(world, "solvent").start(-1e4, 400.0)
    clock.now += 10.0
    began = time.process_time()
    pump(world, "solvent").start(5.0)
    pump(world, "substrate").start(0.02)
    pump(world, "amine").start(0.02)
    clock.now += 3600.0
    world.advance()
    assert time.process_time() - began < 1.0
