"""Stand-ins: to a RunEngine they are the device, and one step of it."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import protocols
from ophyd.sim import SynAxis
from ophyd_async.core import AsyncStatus, Device, StandardReadable, soft_signal_rw

from sdl.standin import stand_in
from sdl.step import Call
from sdl.steps import Steps
from tests import crashing
from tests.crashing import KINDS, Flyer, Heater, Life, Plan, Pump, Story

PROTOCOLS = [
    *(protocols.Readable, protocols.Movable, protocols.Triggerable, protocols.Stageable),
    *(protocols.Flyable, protocols.EventCollectable, protocols.Locatable, protocols.Stoppable),
    *(protocols.Configurable, protocols.HasHints, protocols.Pausable, protocols.Preparable),
]


class Bath(StandardReadable):
    def __init__(self, name: str = "") -> None:
        with self.add_children_as_readables():
            self.temperature = soft_signal_rw(float, 20.0)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        await self.temperature.set(value)


def steps() -> Steps:
    return cast("Steps", SimpleNamespace(ended=False))


def a_step(device: Any, n: int = 1, command: str = "set") -> Any:
    return stand_in(Call(n, command, device), steps())


def methods(protocol: Any) -> set[str]:
    """What a runtime-checkable protocol asks for."""
    found = set[str]()
    for base in protocol.__mro__:
        if getattr(base, "_is_protocol", False) and base is not Protocol:
            found |= {n for n in vars(base) if not n.startswith("_")}
            found |= {n for n in getattr(base, "__annotations__", {}) if not n.startswith("_")}
    return found


def holds(obj: Any, protocol: Any) -> bool:
    """As Python 3.12 checks it: attributes that `__getattr__` would find do not count."""
    missing = object()
    return all(
        inspect.getattr_static(obj, name, missing) is not missing for name in methods(protocol)
    )


def devices() -> Iterator[Any]:
    yield Bath("bath")
    yield soft_signal_rw(float, name="signal")
    yield SynAxis(name="axis")
    life = cast("Life", SimpleNamespace(world=None))
    yield from (kind(name, life) for name, kind in KINDS.items())


@pytest.mark.parametrize("device", list(devices()), ids=lambda d: d.name)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.__name__)
def test_a_stand_in_keeps_the_protocols_of_its_device(device: Any, protocol: Any):
    step = a_step(device)
    assert holds(step, protocol) is holds(device, protocol)
    assert isinstance(step, protocol) is isinstance(device, protocol)


def test_a_stand_in_is_equal_to_its_device_and_to_its_other_steps():
    bath, other = Bath("bath"), Bath("bath")
    first, second = a_step(bath, 1), a_step(bath, 2, "read")
    assert first == bath
    assert bath == first
    assert first == second
    assert hash(first) == hash(second) == hash(bath)
    assert first != other
    assert first != a_step(other)
    assert {bath: "seen"}[first] == "seen"
    assert len({first, second, bath, other}) == 2


def test_a_stand_in_says_which_step_it_is():
    assert repr(a_step(Bath("bath"), 17)) == "<step 17 of bath>"


def test_what_the_step_is_not_goes_to_the_device():
    bath = Bath("bath")
    step = a_step(bath, command="set")
    assert step.name == "bath"
    assert step.parent is None
    assert step.hints == bath.hints
    assert step.temperature is bath.temperature
    with pytest.raises(AttributeError):
        _ = step.nothing_of_the_kind


class Halting(Device):
    def __init__(self, name: str = "") -> None:
        self.stops: list[bool] = []
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None: ...

    async def stop(self, success: bool = True) -> None:
        self.stops.append(success)


def test_a_run_engine_stops_what_it_moved_only_when_the_plan_is_over():
    device, its_steps = Halting("h"), SimpleNamespace(ended=False)
    step: Any = stand_in(Call(1, "set", device), cast("Steps", its_steps))
    with pytest.raises(StopIteration):
        step.stop(success=True).send(None)
    assert device.stops == []
    its_steps.ended = True
    with pytest.raises(StopIteration):
        step.stop(success=True).send(None)
    assert device.stops == [True]


# -- on a RunEngine, as steps of a trial ----------------------------------------------------------


class AsyncBath(Bath):
    def __init__(self, name: str, life: Life) -> None:
        super().__init__(name)
        self._life = life

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        self._life.world.log.append(("set", self.name, value))
        await self.temperature.set(value)


class ClassicAxis(SynAxis):
    def __init__(self, name: str, life: Life) -> None:
        self._life = life
        super().__init__(name=name)

    def set(self, value: float) -> Any:
        self._life.world.log.append(("set", self.name, value))
        return super().set(value)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"bath": AsyncBath, "axis": ClassicAxis, "detector": crashing.Detector, "pump": Pump}
    monkeypatch.setattr(crashing, "KINDS", kinds)


@pytest.mark.slow
@pytest.mark.usefixtures("bench")
def test_foreign_devices_are_steps_like_any_other(tmp_path: Path):
    def plan(bath: Any, axis: Any, detector: Any, pump: Any):
        found: dict[str, Any] = {}

        @bpp.stage_decorator([bath, axis, detector])
        @bpp.run_decorator()
        def inner() -> Plan:
            yield from bps.wait_for([bath.connect])
            yield from bps.mv(bath, 40.0, axis, 2.0)
            yield from bps.mv(pump, 1.0)
            found.update((yield from bps.trigger_and_read([bath, axis, detector])))

        yield from inner()
        return {"y": found["bath-temperature"]["value"] + found["axis"]["value"]}

    calm = _told(tmp_path, "calm", plan)
    ended = calm.live()
    assert ended.outcomes == {"y": 42.0}
    for k in range(1, len(ended.boundaries) + 1, 2):
        one = _told(tmp_path, f"{k}", plan)
        assert one.live(count=k).killed
        again = one.live()
        assert again.outcomes == {"y": 42.0}, (ended.boundaries[k - 1], again.cause)
        assert one.world.doses() == [("pump", 1.0)]
        one.close()
    calm.close()


def _told(folder: Path, name: str, plan: Any) -> Story:
    (folder / name).mkdir()
    return Story(folder / name, plan)


def test_the_world_of_these_tests_has_what_a_run_engine_asks_for():
    life = cast("Life", SimpleNamespace(world=None))
    assert isinstance(Heater("h", life), protocols.Locatable)
    assert isinstance(Flyer("f", life), protocols.EventCollectable)
