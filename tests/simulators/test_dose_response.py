"""Compounds diluted into plates: the logistic function, the deck, the table, the plan."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl import Campaign, Lab
from sdl.clock import new_loop
from sdl.errors import ConfigError, PlanError
from sdl.plans.dilution_series import Series, library_place, number, protocol
from sdl.plans.dose_response import dose_response, evaluated, fitted
from sdl.simulators import molecules
from sdl.simulators.dose_response import BLANK, DoseResponse, names, place
from sdl.simulators.opentrons.steps import Steps
from sdl.simulators.parts.mixing_deck import MixingDeck
from sdl.simulators.physics.potency import Potency, plate_pattern
from sdl.simulators.plate_reader import SimulatedPlateReader
from sdl.simulators.vessels import Liquid

EXAMPLE = Path(__file__).parents[2] / "examples" / "dose_response"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Still:
    """A world in which nothing happens by itself."""

    now = 0.0

    def advance(self) -> None: ...


class Instantly:
    """A run of a robot in which nothing takes time."""

    async def part(self, seconds: float) -> float:
        return 1.0

    async def hold(self) -> None: ...


def pipette(deck: MixingDeck, series: Series, molecule: int, seed: int = 1) -> None:
    """Execute the plan's protocol on a deck."""

    async def execute() -> None:
        steps = Steps(deck, Instantly())
        for command in protocol(series, molecule, seed)["commands"]:
            await steps.do(command["commandType"], command["params"])

    asyncio.run(execute())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> Callable[..., DoseResponse]:
    pytest.importorskip("rdkit")

    def build(**options: Any) -> DoseResponse:
        return DoseResponse(seed=4, clock=clock, **options)

    return build


def carry(world: DoseResponse, clock: Clock, program: str) -> None:
    world.parts["arm"].start(program)
    clock.now += 60.0


# Logistic function, plate


def test_half_of_the_activity_is_left_at_the_ic50():
    compound = Potency(pic50=7.2, hill=1.3, bottom=0.1)
    assert compound.activity(compound.ic50) == pytest.approx(0.55)
    assert compound.activity(0.0) == 1.0
    assert compound.activity(1.0) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("hill", [0.7, 1.0, 1.6])
def test_the_activity_is_the_logistic_function_of_four_parameters(hill: float):
    compound = Potency(pic50=6.0, hill=hill, bottom=0.05)
    for molar in np.logspace(-10, -3, 15):
        theory = 0.05 + 0.95 / (1 + (molar / 1e-6) ** hill)
        assert compound.activity(float(molar)) == pytest.approx(theory, rel=1e-9)


def test_a_plate_is_brighter_at_its_edges_and_tilted():
    flat = plate_pattern(8, 12, edge=0.1)
    assert flat[0] == pytest.approx(1.1)
    assert flat[1, 1] == pytest.approx(1.02)
    assert flat[3, 5] < 1.001
    tilted = plate_pattern(8, 12, edge=0.0, tilt=(0.0, 0.04))
    assert tilted[:, -1] - tilted[:, 0] == pytest.approx(0.04)


# Deck


def deck(spread: float = 0.0) -> MixingDeck:
    return MixingDeck(Still(), np.random.default_rng(1), spread=spread)


def test_what_is_carried_is_what_was_drawn_up():
    robot = deck()
    robot.put("1", "A1", Liquid({"x": 0.010}), 0.1, capacity=0.2)
    robot.put("1", "A2", Liquid({}), 0.09, capacity=0.2)
    assert robot.aspirate("1", "A1", 0.01) == pytest.approx(0.01)
    robot.dispense("1", "A2", 0.01)
    assert robot.vessel("1", "A2").molar("x") == pytest.approx(0.001)
    assert robot.volume("1", "A1") == pytest.approx(0.09)
    assert robot.volume("1", "A2") == pytest.approx(0.10)


def test_several_portions_share_what_the_tip_has():
    robot = deck(spread=0.05)
    robot.put("1", "A1", Liquid({"x": 0.010}), 0.3, capacity=0.3)
    robot.aspirate("1", "A1", 0.09)
    for well in ("B1", "B2", "B3"):
        robot.dispense("1", well, 0.03)
    given = [robot.volume("1", well) for well in ("B1", "B2", "B3")]
    assert given == pytest.approx([given[0]] * 3)
    assert sum(given) + robot.volume("1", "A1") == pytest.approx(0.3)
    assert sum(given) != pytest.approx(0.09, rel=1e-3)


def test_a_tip_that_is_dropped_leaves_nothing_to_the_next():
    robot = deck()
    robot.put("1", "A1", Liquid({"x": 0.010}), 0.1, capacity=0.2)
    robot.aspirate("1", "A1", 0.05)
    robot.move("no tip", slot="12", well="A1")
    robot.dispense("1", "A2", 0.05)
    assert robot.volume("1", "A2") == 0.0


def test_an_empty_well_gives_air():
    assert deck().aspirate("1", "A1", 0.05) == 0.0


def test_the_plans_protocol_makes_exactly_the_series_on_an_exact_robot():
    robot, series = deck(), Series(top=50e-6, factor=3.0, points=8)
    robot.put("5", "B2", Liquid({"x": 0.010}), 0.06, capacity=0.112)
    robot.put("3", "A1", Liquid({}), 20.0, capacity=20.0)
    robot.put("3", "A2", Liquid({"reference": 50e-6}), 20.0, capacity=20.0)
    for well in names(8, 12):
        robot.put("1", well, Liquid({"enzyme": 1.0}), 0.08, capacity=0.36)
    pipette(robot, series, 384 + 16 + 2)
    wells = series.layout(1)
    for k, molar in enumerate(series.concentrations):
        for well in wells[str(k)]:
            assert robot.vessel("1", well).molar("x") == pytest.approx(molar)
            assert robot.volume("1", well) == pytest.approx(0.1)
    for well in wells["low"]:
        assert robot.vessel("1", well).molar("reference") == pytest.approx(10e-6)
    for well in wells["high"]:
        assert robot.vessel("1", well).molar("x") == 0
    touched = {well for some in wells.values() for well in some}
    assert all(robot.volume("1", w) == 0.08 for w in names(8, 12) if w not in touched)


def test_plan_and_world_agree_where_each_molecule_is():
    assert all(library_place(n) == place(n) for n in (1, 2, 16, 17, 384, 385, 1017))


# Table


def test_the_table_has_1017_molecules_that_rdkit_can_read():
    chem = pytest.importorskip("rdkit.Chem")
    table = molecules.library()
    potencies = np.array([molecule.pic50 for molecule in table])
    assert len({molecule.smiles for molecule in table}) == 1017
    assert (potencies.min(), potencies.max()) == (4.27, 9.22)
    assert potencies.mean() == pytest.approx(6.55, abs=0.005)
    assert all(chem.MolFromSmiles(molecule.smiles) for molecule in table)


def test_its_order_does_not_tell_the_potency():
    pytest.importorskip("rdkit")
    potencies = [molecule.pic50 for molecule in molecules.library()]
    correlation = np.corrcoef(np.arange(len(potencies)), potencies)[0, 1]
    assert abs(correlation) < 0.4


def test_without_rdkit_the_world_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    molecules.library.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ConfigError, match=r"pip install 'sdl\[molecules\]'"):
        DoseResponse(seed=1, clock=Clock())


# World


def test_the_light_is_that_of_the_enzyme_that_the_compound_leaves(world: Any, clock: Clock):
    here = world(spread=0.0, wells=0.0)
    series = Series(top=100e-6)
    pipette(here.deck, series, 77)
    compound = here.potencies["molecule 77"]
    low, high = BLANK, here.light(here.deck.vessel("1", series.layout(1)["high"][0]))
    for k, molar in enumerate(series.concentrations):
        for well in series.layout(1)[str(k)]:
            light = here.light(here.deck.vessel("1", well))
            assert (light - low) / (high - low) == pytest.approx(compound.activity(molar))


def test_the_reader_sees_the_plate_that_the_arm_has_brought(world: Any, clock: Clock):
    here = world()
    reader = here.parts["reader"]
    assert not reader.light().any()
    carry(here, clock, "plate_to_reader.urp")
    assert (reader.light() > 0.8 * 300_000).all()  # enzyme, and nothing that inhibits it
    assert here.deck.volume("1", "A1") == 0
    carry(here, clock, "plate_to_reader.urp")  # there is none any more
    assert (reader.light() > 0.8 * 300_000).all()
    carry(here, clock, "fresh_plates.urp")
    assert not reader.light().any()
    assert here.deck.volume("1", "A1") == pytest.approx(0.08)


def test_a_program_that_was_stopped_has_carried_nothing(world: Any, clock: Clock):
    here = world()
    arm = here.parts["arm"]
    arm.start("plate_to_reader.urp")
    clock.now += 5.0
    arm.stop()
    clock.now += 60.0
    assert not here.parts["reader"].light().any()
    assert here.deck.volume("1", "A1") == pytest.approx(0.08)


def measured(world: DoseResponse, clock: Clock, molecule: int) -> Mapping[str, float]:
    """One plate, without instruments: what the plan makes of it."""
    series = Series(top=100e-6)
    carry(world, clock, "fresh_plates.urp")
    world.advance()
    pipette(world.deck, series, molecule)
    carry(world, clock, "plate_to_reader.urp")
    counts = world.parts["reader"].light() * 0.1
    light = {n + 1: float(count) for n, count in enumerate(counts)}
    return evaluated(series, series.layout(1), light)


MOLECULES: Sequence[int] = (1, 77, 292, 500, 760, 1017)


@pytest.mark.parametrize("molecule", MOLECULES)
def test_without_noise_the_potency_of_the_table_is_found(world: Any, clock: Clock, molecule: int):
    here = world(spread=0.0, wells=0.0)
    found = measured(here, clock, molecule)
    assert found["pic50"] == pytest.approx(here.molecules[molecule - 1].pic50, abs=0.03)
    assert found["hill"] == pytest.approx(here.potencies[f"molecule {molecule}"].hill, abs=0.05)


@pytest.mark.parametrize("molecule", MOLECULES)
def test_with_noise_it_is_found_within_its_error(world: Any, clock: Clock, molecule: int):
    here = world()
    found = measured(here, clock, molecule)
    truth = here.molecules[molecule - 1].pic50
    assert abs(found["pic50"] - truth) < 5 * found["error"] + 0.03
    assert 0.005 < found["error"] < 0.15
    assert found["z_prime"] > 0.6


# Reader


def test_the_readers_counts_have_shot_noise_and_end_at_full_scale():
    class Wells:
        axis = np.arange(1.0, 5.0)

        def light(self) -> np.ndarray:
            return np.array([0.0, 1e4, 3e5, 1e7])

    async def read() -> tuple[np.ndarray, int]:
        reader = SimulatedPlateReader(Wells(), rng=np.random.default_rng(1))
        return await reader.expose({"integration_time": 0.1, "averages": 20})

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        counts, saturated = runner.run(read())
    assert counts == pytest.approx([20, 1020, 30020, 65535], rel=0.01, abs=10)
    assert saturated == 1


# Plan


def trial(folder: Path, **fixed: float) -> dict[str, Any]:
    """Run one trial on the twin of the example; return its row."""
    pytest.importorskip("rdkit")
    chosen = Campaign.load(EXAMPLE / "campaign.yaml")
    sobol = chosen.optimizer.model_copy(update={"use": "sobol"})
    budget = chosen.budget.model_copy(update={"trials": 1})
    chosen = chosen.model_copy(update={"optimizer": sobol, "budget": budget, "fixed": fixed})
    lab = Lab.load(EXAMPLE / "lab.yaml").twin()
    chosen.check(lab)
    (row,) = chosen.run_blocking(lab, journal=str(folder / "twin.db")).rows
    return row


def test_a_trial_finds_the_potency_of_its_molecule(tmp_path: Path):
    row = trial(tmp_path)
    assert row["state"] == "completed", row["cause"]
    truth = molecules.library()[row["molecule"] - 1].pic50
    assert row["pic50"] == pytest.approx(truth, abs=0.2)


def test_a_series_that_cannot_be_pipetted_is_refused_before_anything_moves():
    nothing: Any = object()
    with pytest.raises(ConfigError, match=r"factor 1\.5: allowed is 2 to 7"):
        next(iter(dose_response(*[nothing] * 3, molecule=1, factor=1.5)))
    with pytest.raises(ConfigError, match="molecule 2000"):
        next(iter(dose_response(*[nothing] * 3, molecule=2000)))


@pytest.mark.parametrize("spread", [0.0, 300.0])
def test_controls_that_are_not_apart_are_told(spread: float):
    series, rng = Series(top=100e-6), np.random.default_rng(1)
    dark = {well: 1000.0 + spread * float(rng.standard_normal()) for well in range(1, 97)}
    for well in series.layout(1)["high"]:
        dark[number(well)] += 2 * spread
    with pytest.raises(PlanError, match=r"Z' is .* look at enzyme, plate and reader"):
        evaluated(series, series.layout(1), dark)


def test_a_reader_that_left_out_wells_is_told():
    series = Series(top=100e-6)
    with pytest.raises(PlanError, match="told nothing of"):
        evaluated(series, series.layout(1), {1: 5.0})


def test_a_compound_that_does_nothing_has_no_potency():
    molar = np.repeat([1e-4 / 4**k for k in range(12)], 4)
    rng = np.random.default_rng(1)
    with pytest.raises(PlanError, match="was not measured"):
        fitted(molar, 1.0 + 0.03 * rng.standard_normal(len(molar)))


def test_the_wells_of_a_plate_lie_at_random_and_never_at_its_edge():
    series = Series(top=100e-6)
    one, other = series.layout(1), series.layout(2)
    assert one == series.layout(1)
    assert one != other
    wells = [well for some in one.values() for well in some]
    assert len(set(wells)) == len(wells) == 60
    assert all(13 < number(well) < 84 and number(well) % 12 > 1 for well in wells)
