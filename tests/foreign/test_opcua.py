"""An OPC UA server, written with `asyncua` and run in its own process, as an instrument."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdl.clock import new_loop
from sdl.drivers.lads import Lads
from sdl.drivers.opcua import OpcUa
from sdl.drivers.served.words import Command, Reading, Setting
from sdl.errors import ConfigError, FaultError, InstrumentError, NoReplyError, RefusedError
from tests.foreign.serving import free_port, serving

pytestmark = pytest.mark.peer
pytest.importorskip("asyncua")

UNIT = "DeviceSet/Oven/FunctionalUnitSet/Heating"
CONTROL = f"{UNIT}/FunctionSet/Temperature"


@pytest.fixture(scope="module")
def port() -> Any:
    port = free_port()
    with serving("lads_oven.py", str(port)):
        yield port


def lads(port: int, **options: Any) -> Lads:
    described: dict[str, Any] = {
        "control": "Temperature",
        "units": "degC",
        "limits": (0.0, 1000.0),
        "sensors": {"Pressure": "bar"},
        "run": True,
        "timeout": 20.0,
    }
    url = f"opc.tcp://127.0.0.1:{port}/oven"
    return Lads(url, "Oven", "Heating", name="oven", **{**described, **options})


def nodes(port: int) -> OpcUa:
    return OpcUa(
        f"opc.tcp://127.0.0.1:{port}/oven",
        readings={
            "temperature": Reading(of=f"{CONTROL}/CurrentValue", factor=1.0, offset=273.15),
            "state": Reading(of=f"{UNIT}/FunctionalUnitState/CurrentState", kind="text"),
        },
        setting=Setting(write=f"{CONTROL}/TargetValue", low=0, high=100),
        stopping=Command(call=f"{CONTROL}/ControlFunctionState/Stop"),
        name="oven",
    )


def run(device: Any, story: Callable[[Any], Awaitable[Any]]) -> None:
    async def live() -> None:
        await device.connect()
        try:
            await story(device)
        finally:
            await device.close()

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())


def test_a_lads_unit_heats_runs_and_stops(port: int) -> None:
    async def story(oven: Lads) -> None:
        assert (await oven.identify()).endswith("Heating is Stopped")
        await oven.set(60.0)
        read = {key: each["value"] for key, each in (await oven.read()).items()}
        assert read["oven-current"] == pytest.approx(60.0, abs=0.5)
        assert read["oven-target"] == 60.0
        assert read["oven-pressure"] == pytest.approx(1.013)
        assert (await oven.describe())["oven-current"].get("units") == "degC"
        await oven.trigger()
        assert await oven.state.get_value() == "Stopped"

    run(lads(port), story)


def test_its_safe_state_stops_the_control_function_too(port: int) -> None:
    async def story(oven: Lads) -> None:
        setting = oven.set(290.0)
        await asyncio.sleep(0.5)
        await oven.make_safe()
        with pytest.raises(InstrumentError, match="set 290: stopped before it was done"):
            await setting
        before = await oven.current.get_value()
        await asyncio.sleep(0.3)
        assert await oven.current.get_value() == before < 290.0

    run(lads(port), story)


def test_what_the_device_does_not_accept_is_refused(port: int) -> None:
    async def story(oven: Lads) -> None:
        target = await oven.target.get_value()
        with pytest.raises(RefusedError, match="BadOutOfRange"):
            await oven.set(900.0)
        with pytest.raises(RefusedError, match="2000 is outside 0 to 1000 degC"):
            await oven.set(2000.0)
        assert await oven.target.get_value() == target

    run(lads(port), story)


def test_a_unit_that_was_aborted_needs_a_person(port: int) -> None:
    async def story(oven: Lads) -> None:
        setting = oven.set(290.0)
        await asyncio.sleep(0.3)
        await oven._call("Abort")
        with pytest.raises(FaultError, match="is Aborted"):
            await setting
        await oven.make_safe()
        assert await oven.state.get_value() == "Aborted"
        await oven.clear()
        assert await oven.state.get_value() == "Stopped"

    run(lads(port), story)


def test_any_node_is_read_and_written_by_its_path(port: int) -> None:
    async def story(oven: OpcUa) -> None:
        await oven.set(42)  # a whole number, for a node that is a Double
        assert await oven._link.value(f"{CONTROL}/TargetValue") == 42.0
        read = await oven.read()
        assert read["oven-temperature"]["value"] > 273.15
        assert read["oven-state"]["value"] == "Stopped"
        await oven.halt()
        with pytest.raises(RefusedError, match="'Kiln' is there 0 times among"):
            await oven.call("DeviceSet/Kiln/Start")
        with pytest.raises(RefusedError, match="given Value; it takes TargetValue"):
            await oven.call(f"{CONTROL}/ControlFunctionState/StartWithTargetValue", Value=3.0)
        with pytest.raises(RefusedError, match=r"BadNotWritable|BadUserAccessDenied"):
            await oven._link.write(f"{CONTROL}/CurrentValue", 3.0)

    run(nodes(port), story)


def test_a_server_that_dies_is_noticed_and_one_that_comes_back_is_used() -> None:
    port = free_port()

    async def live() -> None:
        oven = nodes(port)
        with serving("lads_oven.py", str(port)):
            await oven.connect()
        with pytest.raises(NoReplyError):
            await oven.set(30.0)
        with serving("lads_oven.py", str(port)):
            assert await oven.state.get_value() == "Stopped"  # type: ignore[attr-defined]
        await oven.close()

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())


def test_a_server_that_hangs_is_given_up() -> None:
    async def live() -> None:
        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # until the client has gone
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            oven = OpcUa(f"opc.tcp://127.0.0.1:{port}/", timeout=0.3, name="oven")
            with pytest.raises(NoReplyError, match=r"no answer in 0\.3 s"):
                await oven.connect()
            await asyncio.sleep(0.1)

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        runner.run(live())


def test_the_loops_end_closes_a_session_that_nobody_closed(port: int) -> None:
    async def live() -> Lads:
        oven = lads(port)
        await oven.connect()
        return oven

    with asyncio.Runner(loop_factory=lambda: new_loop()) as runner:
        oven = runner.run(live())
    assert oven._link._client is None


def test_on_a_twin_it_reaches_for_nobody() -> None:
    async def live() -> None:
        oven = lads(1)
        await oven.connect(mock=True)
        await oven.set(30.0)
        await oven.trigger()
        await oven.make_safe()
        assert "oven-current" in await oven.read()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(live())


def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"allowed is opc\.tcp://"):
        OpcUa("http://localhost")
