"""Backends of PyLabRobot as instruments: its own chatterboxes, and some that behave badly."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl.clock import monotonic, new_loop
from sdl.drivers.pylabrobot import PylabrobotPump, PylabrobotScale, PylabrobotTemperature
from sdl.drivers.pylabrobot.plates import PylabrobotHandler, PylabrobotPlateReader, parse_plate
from sdl.errors import (
    ConfigError,
    FaultError,
    GarbledError,
    InstrumentError,
    NoReplyError,
    RefusedError,
    StaleError,
)
from sdl.instrument import Doser

pytestmark = pytest.mark.peer
pytest.importorskip("pylabrobot")

from pylabrobot.liquid_handling.backends import LiquidHandlerChatterboxBackend  # noqa: E402
from pylabrobot.plate_reading import PlateReaderChatterboxBackend  # noqa: E402
from pylabrobot.pumps.backend import PumpBackend  # noqa: E402
from pylabrobot.resources import (  # noqa: E402
    Coordinate,
    Deck,
    cor_96_wellplate_360uL_Fb,
    set_tip_tracking,
)
from pylabrobot.resources.hamilton import STARLetDeck  # noqa: E402
from pylabrobot.scales import ScaleBackend  # noqa: E402
from pylabrobot.temperature_controlling.backend import TemperatureControllerBackend  # noqa: E402

SCALE = "pylabrobot.scales:ScaleChatterboxBackend"


def run(device: Any, story: Callable[[Any], Awaitable[Any]]) -> None:
    async def live() -> None:
        await device.connect()
        try:
            await story(device)
        finally:
            await device.close()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(live())


class Unsteady(ScaleBackend):
    """Does not answer, then raises, then weighs."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.answers: list[Any] = [1.0]

    async def setup(self) -> None:
        self.log.append("setup")

    async def stop(self) -> None:
        self.log.append("stop")

    async def zero(self) -> None:
        self.log.append("zero")

    async def tare(self) -> None:
        self.log.append("tare")

    async def read_weight(self) -> float:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.sleep(1e6)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


class Tube(PumpBackend):
    """Masterflex's way: coroutines, which PyLabRobot's own front end does not await."""

    def __init__(self) -> None:
        super().__init__()
        self.speed, self.turned, self.since = 0.0, 0.0, 0.0

    async def setup(self) -> None: ...

    async def run_revolutions(self, num_revolutions: float) -> None:  # type: ignore[override]
        raise NotImplementedError

    async def run_continuously(self, speed: float) -> None:  # type: ignore[override]
        await self.halt()
        self.speed = speed

    async def halt(self) -> None:  # type: ignore[override]
        self.turned += self.speed * (monotonic() - self.since) / 60
        self.speed, self.since = 0.0, monotonic()


class Plate(TemperatureControllerBackend):
    """Heats at once; or never."""

    def __init__(self, heats: bool = True) -> None:
        super().__init__()
        self.temperature, self.heats, self.on = 20.0, heats, False

    @property
    def supports_active_cooling(self) -> bool:
        return False

    async def setup(self) -> None: ...
    async def stop(self) -> None: ...

    async def set_temperature(self, temperature: float) -> None:
        self.on = True
        self.temperature = temperature if self.heats else self.temperature

    async def get_current_temperature(self) -> float:
        return self.temperature

    async def deactivate(self) -> None:
        self.on = False


def test_a_scale_by_its_name_in_a_lab_file() -> None:
    async def story(scale: PylabrobotScale) -> None:
        assert await scale.weight.get_value() == 12.5
        await scale.tare.trigger()
        assert await scale.identify() == "PyLabRobot ScaleChatterboxBackend"
        assert (await scale.describe())["scale-weight"].get("units") == "g"

    run(PylabrobotScale(SCALE, options={"dummy_weight": 12.5}, name="scale"), story)


def test_a_backend_that_does_not_answer_is_set_up_again_before_it_is_asked_again() -> None:
    backend = Unsteady()

    async def story(scale: PylabrobotScale) -> None:
        backend.answers = [None, OSError("unplugged"), "heavy", 2.0]
        with pytest.raises(NoReplyError, match="scale: read_weight: no answer in 5 s"):
            await scale.weight.get_value()
        with pytest.raises(NoReplyError, match="unplugged"):
            await scale.weight.get_value()
        with pytest.raises(GarbledError, match="'heavy' is not a number"):
            await scale.weight.get_value()
        assert await scale.weight.get_value() == 2.0
        assert backend.log == ["setup", "stop", "setup", "stop", "setup"]

    run(PylabrobotScale(backend, timeout=5.0, name="scale"), story)


def test_a_pump_doses_by_running_for_a_time_and_is_halted() -> None:
    tube = Tube()

    async def story(pump: PylabrobotPump) -> None:
        assert isinstance(pump, Doser)
        await pump.rate.set(12.3)  # 24.6 turns a minute; it knows whole ones
        await pump.set(2.0)
        assert tube.turned * 0.5 == pytest.approx(2.0)
        assert tube.speed == 0.0
        await pump.set(-1.0)
        assert tube.turned * 0.5 == pytest.approx(1.0)
        with pytest.raises(RefusedError, match="301 is outside"):
            await pump.rate.set(301.0)

    run(PylabrobotPump(tube, mL_per_revolution=0.5, name="pump"), story)


def test_a_stop_ends_a_dose_at_once() -> None:
    tube = Tube()

    async def story(pump: PylabrobotPump) -> None:
        dose = pump.set(60.0)
        await asyncio.sleep(5.0)
        await pump.stop()
        assert tube.speed == 0.0
        with pytest.raises(InstrumentError, match="pump 60 mL: stopped"):
            await dose
        assert 0 < tube.turned * 0.5 < 60.0

    run(PylabrobotPump(tube, mL_per_revolution=0.5, name="pump"), story)


def test_a_temperature_controller_is_waited_for_and_switched_off() -> None:
    plate = Plate()

    async def story(heater: PylabrobotTemperature) -> None:
        await heater.set(60.0)
        assert await heater.temperature.get_value() == 60.0
        await heater.make_safe()
        assert not plate.on
        with pytest.raises(RefusedError, match="200 is outside 4 to 110 degC"):
            await heater.set(200.0)
        plate.heats = False
        with pytest.raises(FaultError, match="set 80 degC: at 60 degC"):
            await heater.set(80.0)

    run(PylabrobotTemperature(plate, name="heater"), story)


def test_a_plate_is_read_well_by_well() -> None:
    backend = PlateReaderChatterboxBackend()
    backend.dummy_absorbance = [[10.0 * row + column for column in range(12)] for row in range(8)]

    async def story(reader: PylabrobotPlateReader) -> None:
        with pytest.raises(StaleError, match="no plate has been read"):
            await reader.values.get_value()
        await reader.trigger()
        values = await reader.values.get_value()
        assert values.shape == (96,)
        assert values[12 + 3] == 13.0

    run(PylabrobotPlateReader(backend, name="reader"), story)


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        [{}],
        [{"data": [[1.0]]}],
        [{"data": [["a", 1.0], [1.0, 2.0]]}],
        [{"data": [[1], []]}],
    ],
)
def test_what_is_no_reading_of_the_plate_is_none(found: Any) -> None:
    with pytest.raises(GarbledError):
        parse_plate(found, 2, 2, "reader")


def test_a_well_that_was_not_read_is_not_a_number() -> None:
    values = parse_plate([{"data": [[1, None], [3, 4]]}], 2, 2, "reader")
    assert np.isnan(values[1])
    assert list(values[[0, 2, 3]]) == [1, 3, 4]


class Hands(LiquidHandlerChatterboxBackend):
    """Writes down what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    async def pick_up_tips(self, ops: Any, use_channels: Any, **_: Any) -> None:
        self.log.append(f"tip {ops[0].resource.name}")

    async def drop_tips(self, ops: Any, use_channels: Any, **_: Any) -> None:
        self.log.append("drop")

    async def aspirate(self, ops: Any, use_channels: Any, **_: Any) -> None:
        self.log.append(f"aspirate {ops[0].volume:g} {ops[0].resource.name}")
        await asyncio.sleep(2.0)

    async def dispense(self, ops: Any, use_channels: Any, **_: Any) -> None:
        self.log.append(f"dispense {ops[0].volume:g} {ops[0].resource.name}")


def a_deck() -> Any:
    from pylabrobot.resources import TIP_CAR_480_A00
    from pylabrobot.resources.hamilton import hamilton_96_tiprack_300uL

    deck = STARLetDeck()
    carrier = TIP_CAR_480_A00(name="carrier")
    carrier[0] = hamilton_96_tiprack_300uL(name="tips")
    deck.assign_child_resource(carrier, rails=3)
    plate = cor_96_wellplate_360uL_Fb(name="plate")
    deck.assign_child_resource(plate, location=Coordinate(500, 100, 100))
    return deck


ONE = {"source": "plate/A1", "target": "plate/B1", "volume": 0.05, "tip": "tips/A1"}


@pytest.fixture
def tracked() -> Iterator[None]:
    """PyLabRobot keeps its record of tips for the whole process."""
    set_tip_tracking(True)
    yield
    set_tip_tracking(False)


@pytest.mark.usefixtures("tracked")
def test_a_liquid_handler_does_a_transfer() -> None:
    hands = Hands()

    async def story(handler: PylabrobotHandler) -> None:
        await handler.set(ONE)  # type: ignore[arg-type]
        assert [line.split()[0] for line in hands.log] == ["tip", "aspirate", "dispense", "drop"]
        assert hands.log[1].startswith("aspirate 50 ")
        with pytest.raises(RefusedError, match="there is no plate/Z9 on the deck"):
            await handler.set({**ONE, "target": "plate/Z9"})  # type: ignore[arg-type]
        with pytest.raises(RefusedError, match="pick_up_tips: NoTipError"):
            await handler.set(ONE)  # type: ignore[arg-type]  # the tip has been used
        with pytest.raises(RefusedError, match="a volume is above 0 mL"):
            await handler.set({**ONE, "volume": -1.0})  # type: ignore[arg-type]
        assert len(hands.log) == 4

    run(PylabrobotHandler(hands, deck=a_deck(), name="handler"), story)


def test_a_transfer_is_stopped_between_two_commands() -> None:
    hands = Hands()

    async def story(handler: PylabrobotHandler) -> None:
        transfer = handler.set(ONE)  # type: ignore[arg-type]
        await asyncio.sleep(1.0)
        await handler.make_safe()
        with pytest.raises(InstrumentError, match="stopped before it was done"):
            await transfer
        assert [line.split()[0] for line in hands.log] == ["tip", "aspirate", "drop"]

    run(PylabrobotHandler(hands, deck=a_deck(), name="handler"), story)


def test_a_deck_comes_from_the_file_that_pylabrobot_saved(tmp_path: Path) -> None:
    a_deck().save(str(tmp_path / "deck.json"))
    hands = Hands()

    async def story(handler: PylabrobotHandler) -> None:
        assert isinstance(handler._deck, Deck)
        await handler.set(ONE)  # type: ignore[arg-type]
        assert len(hands.log) == 4

    run(PylabrobotHandler(hands, deck=str(tmp_path / "deck.json"), name="handler"), story)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("os:system", r"allowed is pylabrobot\.MODULE:NAME"),
        ("pylabrobot.scales:Nothing", "has no attribute 'Nothing'"),
        ("pylabrobot.nothing:Scale", r"does not import .*sdl\[pylabrobot\]"),
        ("pylabrobot.pumps.chatterbox:PumpChatterboxBackend", "is not a ScaleBackend"),
    ],
)
def test_what_is_no_backend_is_named(backend: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PylabrobotScale(backend)
