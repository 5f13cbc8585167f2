"""A SiLA 2 server, written with `sila2` and run in its own process, as an instrument."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdl.clock import new_loop
from sdl.drivers.served.words import Command, Reading, Setting
from sdl.drivers.sila2_feature import Sila2Feature
from sdl.errors import ConfigError, FaultError, NoReplyError, RefusedError, StaleError
from tests.foreign.serving import free_port, serving

pytestmark = pytest.mark.peer
pytest.importorskip("sila2")

READINGS = {
    "temperature": Reading(of="Temperature", offset=-273.15, units="degC", precision=1),
    "shaking": Reading(of="Incubator.ShakingSpeed", kind="whole", units="rpm"),
    "absorbance": Reading(result="Absorbance"),
}


def incubator(port: int, **options: Any) -> Sila2Feature:
    described: dict[str, Any] = {
        "readings": READINGS,
        "setting": Setting(
            call="SetTemperature", parameter="Target", reading="temperature", high=60.0
        ),
        "measuring": Command(call="Incubate", given={"Seconds": 2.0}, timeout=10.0),
        "safe": Command(call="Rest", timeout=5.0),
    }
    url = f"sila2://127.0.0.1:{port}"
    return Sila2Feature(
        url, "Incubator", insecure=True, timeout=3.0, name="incubator", **{**described, **options}
    )


def run(story: Callable[[Sila2Feature], Awaitable[Any]], port: int = 0, **options: Any) -> None:
    async def live() -> None:
        device = incubator(port, **options)
        await device.connect()
        try:
            await story(device)
        finally:
            await device.close()

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())


@pytest.fixture(scope="module")
def port() -> Any:
    port = free_port()
    with serving("sila_incubator.py", str(port)):
        yield port


def test_properties_are_signals_and_commands_set_and_measure(port: int) -> None:
    async def story(device: Sila2Feature) -> None:
        assert await device.identify() == "Incubator that is not there (ExampleIncubator 1.2)"
        await device.set(37.0)
        await device.trigger()
        read = {key: each["value"] for key, each in (await device.read()).items()}
        assert read == {
            "incubator-temperature": pytest.approx(37.0),
            "incubator-shaking": 0,
            "incubator-absorbance": pytest.approx(1.0),
        }
        described = await device.describe()
        assert described["incubator-temperature"].get("units") == "degC"

    run(story, port)


def test_what_was_not_measured_yet_is_not_read(port: int) -> None:
    async def story(device: Sila2Feature) -> None:
        with pytest.raises(StaleError, match="Absorbance: measured was nothing"):
            await device.read()

    run(story, port)


def test_what_the_server_does_not_accept_is_refused(port: int) -> None:
    async def story(device: Sila2Feature) -> None:
        with pytest.raises(RefusedError, match="70 is outside -inf to 60"):
            await device.set(70.0)  # by the lab file
        with pytest.raises(RefusedError, match=r"Constraint violated: MaximalInclusive\(80"):
            await device.call("SetTemperature", Target=90.0)  # by the server
        with pytest.raises(RefusedError, match="Missing arguments"):
            await device.call("SetTemperature", Temperature=30.0)
        with pytest.raises(RefusedError, match=r"Incubator\.Explode is not served"):
            await device.call("Explode")

    run(story, port)


def test_make_safe_overtakes_a_command_that_goes_on(port: int) -> None:
    async def story(device: Sila2Feature) -> None:
        measuring = asyncio.ensure_future(device.call("Incubate", Seconds=100.0))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await device.make_safe()
        with pytest.raises(FaultError, match="it was told to rest"):
            await measuring
        assert time.monotonic() - began < 2.0

    run(story, port)


def test_make_safe_overtakes_a_command_that_does_not_answer(port: int) -> None:
    async def story(device: Sila2Feature) -> None:
        shaking = asyncio.ensure_future(device.call("Shake", timeout=10.0))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await device.make_safe()
        await shaking
        assert time.monotonic() - began < 2.0

    run(story, port)


def test_an_error_that_the_feature_defines_is_a_fault() -> None:
    port = free_port()

    async def story(device: Sila2Feature) -> None:
        await device.call("OpenLid")
        with pytest.raises(FaultError, match="SetTemperature: LidOpen: close the lid first"):
            await device.set(30.0)
        with pytest.raises(FaultError, match="LidOpen"):
            await device.trigger()

    with serving("sila_incubator.py", str(port)):
        run(story, port)


def test_a_server_that_dies_is_noticed_and_one_that_comes_back_is_used() -> None:
    port = free_port()

    async def live() -> None:
        device = incubator(port)
        with serving("sila_incubator.py", str(port)) as process:
            await device.connect()
            measuring = asyncio.ensure_future(device.call("Incubate", Seconds=400.0))
            await asyncio.sleep(0.3)
            process.kill()
            with pytest.raises(NoReplyError, match="UNAVAILABLE"):
                await measuring
        with pytest.raises(NoReplyError):
            await device.set(30.0)
        with serving("sila_incubator.py", str(port)):
            assert await device.temperature.get_value() == pytest.approx(20.0)  # type: ignore[attr-defined]
        await device.close()

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())


def test_on_a_twin_it_reaches_for_nobody() -> None:
    async def live() -> None:
        device = incubator(1)
        await device.connect(mock=True)
        await device.set(30.0)
        await device.trigger()
        await device.make_safe()
        assert len(await device.read()) == 3

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(live())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"safe": None}, "somebody must say what is safe"),
        ({"measuring": None}, "absorbance: nothing measures"),
        ({"setting": Setting(call="SetTemperature", reading="heat")}, "there is no reading 'heat'"),
        ({"readings": {**READINGS, "set": Reading(of="Temperature")}}, "cannot be the name"),
    ],
)
def test_what_cannot_be_described_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        incubator(1, **options)
