"""A plan's arguments, for one trial on one station, and those of the recovery plan."""

from pathlib import Path
from typing import Any

import pytest
from bluesky.protocols import Movable, Readable
from bluesky.utils import Msg, MsgGenerator

from sdl import Campaign, Lab, binding
from sdl.bench import Bench
from sdl.errors import ConfigError
from sdl.provenance import specification
from sdl.space import Point

DRIVER = """\
from ophyd_async.core import AsyncStatus, Device, StandardReadable, soft_signal_r_and_setter

class axis(StandardReadable):
    def __init__(self, name: str = "") -> None:
        with self.add_children_as_readables():
            self.readback, self._put = soft_signal_r_and_setter(float)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self._put(value)

class Shelf(Device):
    pass
"""

LAB = """\
lab: two-stations
instruments:
  pump_a: {driver: axis}
  pump_b: {driver: axis}
  bath_a: {driver: axis}
  bath_b: {driver: axis}
  balance: {driver: axis}
  shelf: {driver: "axis:Shelf"}
"""

CAMPAIGN = """\
campaign: mixing
plan: mix
recovery: rinse
instruments:
  pump: [pump_a, pump_b]
  bath: [bath_a, bath_b.readback]
  balance: balance
fixed: {hold: 2}
parameters: {volume: {low: 1, high: 2}}
objectives: {y: {direction: maximize}}
optimizer: sobol
budget: {trials: 3}
parallel: 2
"""

PLAN = """\
from bluesky.protocols import Movable, Readable
from bluesky.utils import Msg

def mix(pump: Movable, bath: Readable, balance: Readable, *, volume: float, hold: int = 1):
    yield Msg("null")
    return {"y": 1.0}

def rinse(pump: Movable, *, hold: int, times: int = 3):
    yield Msg("null")

def no_plan(pump: Movable):
    return None

def greedy(pump: Movable, *, acid: float):
    yield Msg("null")

def picky(balance: Movable, *, volume: int, bath: Movable):
    yield Msg("null")

def loose(pump, bath, balance, *, volume, hold):
    yield Msg("null")

def optional(
    pump: Movable, bath: "Readable | None" = None, balance: Movable | None = None,
    *, volume: float, hold: int | None = None,
):
    yield Msg("null")

def swallows(pump: Movable, **others: object):
    yield Msg("null")
"""
STATIONS = [
    {"pump": "pump_a", "bath": "bath_a", "balance": "balance"},
    {"pump": "pump_b", "bath": "bath_b.readback", "balance": "balance"},
]


def load(folder: Path, old: str = "", new: str = "") -> tuple[Campaign, Lab]:
    assert old in CAMPAIGN
    for room in ("drivers", "plans"):
        (folder / room).mkdir(exist_ok=True)
    (folder / "drivers" / "axis.py").write_text(DRIVER)
    for name in ("mix", "rinse"):
        (folder / "plans" / f"{name}.py").write_text(PLAN)
    (folder / "lab.yaml").write_text(LAB)
    (folder / "campaign.yaml").write_text(CAMPAIGN.replace(old, new, 1))
    return Campaign.load(folder / "campaign.yaml"), Lab.load(folder / "lab.yaml")


def said(folder: Path, old: str, new: str) -> str:
    """All that is wrong with the campaign, changed so."""
    try:
        campaign, lab = load(folder, old, new)
    except ConfigError as error:
        return str(error)
    return "\n".join(map(str, campaign.problems(lab)))


class Axis:
    def __init__(self, name: str) -> None:
        self.name = name
        self.readback = f"{name}'s readback"


@pytest.fixture
def bench() -> Bench:
    names = ("pump_a", "pump_b", "bath_a", "bath_b", "balance")
    return Bench("two-stations", {}, {name: Axis(name) for name in names})


def test_the_kth_entries_of_all_lists_are_one_station_and_single_names_are_in_all(tmp_path: Path):
    campaign, lab = load(tmp_path)
    assert campaign.stations == STATIONS
    assert campaign.problems(lab) == []


def test_single_names_are_one_station(tmp_path: Path):
    campaign, _ = load(tmp_path, "[bath_a, bath_b.readback]", "bath_a")
    campaign = campaign.model_copy(update={"instruments": {"pump": "pump_a"}})
    assert campaign.stations == [{"pump": "pump_a"}]


def test_a_campaign_without_instruments_has_one_station():
    campaign = Campaign.model_validate(
        {
            "campaign": "sums",
            "plan": "add",
            "parameters": {"x": {"low": 0, "high": 1}},
            "objectives": {"y": {"direction": "maximize"}},
            "budget": {"trials": 1},
        }
    )
    assert campaign.stations == [{}]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[bath_a, bath_b.readback]", "[bath_a]", ":4: instruments: each list has one entry"),
        ("[bath_a, bath_b.readback]", "[bath_a]", "pump 2, bath 1"),
        ("[pump_a, pump_b]", "[]", ":4: instruments: pump is an empty list"),
        ("[pump_a, pump_b]", "[pump_a, 2b]", ":5: instruments.pump.1: should be an instrument"),
        ("[pump_a, pump_b]", "[pump_a, 7]", ":5: instruments.pump.1: should be a valid string"),
        ("[pump_a, pump_b]", "{a: pump_a}", ":5: instruments.pump: should be a valid string"),
        ("[pump_a, pump_b]", "[pump_a, pump_c]", ":5: instruments.pump.1: the lab has no instr"),
        ("[pump_a, pump_b]", "[pump_a, pump_b.speed]", "pump_b has no signal 'speed'"),
        ("[pump_a, pump_b]", "[pump_a, shelf]", ":5: instruments.pump.1: the plan wants a Movable"),
    ],
)
def test_a_mistake_in_any_station_is_named(tmp_path: Path, old: str, new: str, words: str):
    found = said(tmp_path, old, new)
    assert f"campaign.yaml{words}" in found if words.startswith(":") else words in found
    assert len(found.splitlines()) == 1


def test_a_plan_may_leave_it_open_whether_it_has_an_instrument(tmp_path: Path):
    campaign, lab = load(tmp_path, "plan: mix", "plan: mix:optional")
    assert campaign.problems(lab) == []
    without_bath = {k: v for k, v in campaign.instruments.items() if k != "bath"}
    assert campaign.model_copy(update={"instruments": without_bath}).problems(lab) == []
    given = {**campaign.fixed, "bath": 3}
    wrong = campaign.model_copy(update={"instruments": without_bath, "fixed": given})
    assert "wants an instrument here" in str(wrong.problems(lab)[0])
    shelf = {**campaign.instruments, "balance": "shelf"}
    (problem,) = campaign.model_copy(update={"instruments": shelf}).problems(lab)
    assert "the plan wants a Movable, but shelf (Shelf) has no set" in str(problem)


def test_two_stations_of_the_same_instruments_are_a_mistake(tmp_path: Path):
    new = "pump: [pump_a, pump_a]\n  bath: bath_a"
    found = said(tmp_path, "pump: [pump_a, pump_b]\n  bath: [bath_a, bath_b.readback]", new)
    assert "stations 1 and 2 are the same: pump_a, bath_a, balance" in found


@pytest.mark.parametrize("number", [0, 1])
def test_a_trial_gets_the_instruments_of_its_station(tmp_path: Path, bench: Bench, number: int):
    campaign, _ = load(tmp_path)
    got = binding.arguments(campaign, bench, {"volume": 1.5}, campaign.stations[number])
    bath = bench.find(("bath_a", "bath_b.readback")[number])
    pump = bench.instruments[("pump_a", "pump_b")[number]]
    shared = {"balance": bench.instruments["balance"], "volume": 1.5, "hold": 2}
    assert got == {"pump": pump, "bath": bath, **shared}


def test_without_a_station_a_trial_gets_the_first(tmp_path: Path, bench: Bench):
    campaign, _ = load(tmp_path)
    first = binding.arguments(campaign, bench, {"volume": 1.5}, campaign.stations[0])
    assert binding.arguments(campaign, bench, {"volume": 1.5}) == first


def test_an_argument_without_an_annotation_may_be_any_instrument_or_value(tmp_path: Path):
    campaign, lab = load(tmp_path, "plan: mix", "plan: mix:loose")
    assert campaign.problems(lab) == []


def test_recovery_gets_those_of_the_trial_s_arguments_that_it_has(tmp_path: Path, bench: Bench):
    campaign, lab = load(tmp_path)
    recovery = binding.load_recovery(campaign, lab)
    point: Point = {"volume": 1.5}
    station = campaign.stations[1]
    got = binding.recovery_arguments(campaign, recovery, bench, point, station)
    assert got == {"pump": bench.instruments["pump_b"], "hold": 2}


def test_recovery_that_takes_anything_gets_everything(tmp_path: Path, bench: Bench):
    campaign, lab = load(tmp_path, "recovery: rinse", "recovery: rinse:swallows")
    assert campaign.problems(lab) == []
    recovery = binding.load_recovery(campaign, lab)
    got = binding.recovery_arguments(campaign, recovery, bench, {"volume": 1.5})
    assert got == binding.arguments(campaign, bench, {"volume": 1.5})


def test_a_campaign_needs_no_recovery(tmp_path: Path):
    campaign, lab = load(tmp_path, "recovery: rinse\n", "")
    assert campaign.problems(lab) == []
    assert campaign.recovery_name is None
    assert binding.load_recovery(campaign, lab) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rinze", ["there is no plan 'rinze'; known are: "]),
        ("rinse:no_plan", ["rinse:no_plan is not a plan: a plan is a generator function"]),
        (
            "rinse:greedy",
            ["needs 'acid', which no trial has; trials have: pump, bath, balance, vo"],
        ),
        ("rinse:picky", ["parameters.volume: does not fit rinse:picky", "instruments.bath.1: the"]),
    ],
)
def test_a_recovery_that_does_not_fit_is_a_mistake_of_its_line(
    tmp_path: Path, name: str, words: list[str]
):
    found = said(tmp_path, "recovery: rinse", f"recovery: {name}").splitlines()
    assert len(found) == len(words)
    for line, expected in zip(sorted(found), sorted(words), strict=True):
        assert "campaign.yaml:3: recovery: " in line
        assert expected in line


def test_a_recovery_plan_may_be_a_function_and_is_known_by_its_name(tmp_path: Path):
    def drain(pump: Movable[Any], balance: Readable[Any]) -> MsgGenerator[None]:
        yield Msg("null")

    campaign, lab = load(tmp_path)
    campaign = campaign.model_copy(update={"recovery": drain})
    assert binding.load_recovery(campaign, lab) is drain
    assert specification(campaign)["recovery"] == campaign.recovery_name == drain.__qualname__
