"""The detector driver through its simulator, and through services that fail in every way."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
import yaml
from bluesky.protocols import Readable, Triggerable
from bluesky.run_engine import RunEngine
from ophyd_async.core import NotConnectedError

from sdl.clock import new_loop
from sdl.drivers.spectrometer import MARGIN, MAX_AGE, Spectrometer
from sdl.endpoints.zmq import FrameDevice, memory_wire, serve
from sdl.errors import GarbledError, NoReplyError, RefusedError, StaleError
from sdl.instrument import Effect, Finding, Reconcilable, Verdict, effect_of
from sdl.simulators.spectrometer import SimulatedSpectrometer
from sdl.wires.zmq import wire

URL = "zmq+tcp://10.0.0.9:5555"
TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "detector.yaml"
EPOCH = 946_684_800.0  # where a virtual clock begins
Header = dict[str, Any]


class Cuvette:
    axis, axis_name, axis_units = np.arange(400.0, 600.0, 2.0), "wavelength", "nm"
    quantity = "transmittance"
    transmittance = 1.0

    def sample(self, integration_s: float) -> np.ndarray:
        return np.full(100, self.transmittance)


class Electrodes:
    axis, axis_name, axis_units = np.logspace(2, 5, 31), "frequency", "Hz"
    quantity = "impedance"

    def sample(self, integration_s: float) -> np.ndarray:
        return np.stack([np.full(31, 100.0), np.full(31, -50.0)])


class Service(SimulatedSpectrometer):
    """The simulator behind a `disturb(header)` that may wait, raise, or give a reply of its own."""

    def __init__(self, part: Any = None) -> None:
        super().__init__(part or Cuvette(), rng=np.random.default_rng(1))
        self.heard: list[str] = []
        self.disturb: Callable[[Header], Awaitable[Any]] | None = None
        self.after: Callable[[Header, Header], Awaitable[None]] | None = None

    async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
        self.heard.append(header["command"])
        if self.disturb is not None and (reply := await self.disturb(header)) is not None:
            return reply
        answer, raw = await super().request(header, frames)
        if self.after is not None:
            await self.after(header, answer)
        return answer, raw

    async def restart(self) -> None:
        await self.stop()
        await self.start(lambda *_: None)


def with_driver(
    service: FrameDevice, use: Callable[[Spectrometer], Awaitable[None]], **options: Any
) -> None:
    async def main() -> None:
        async with memory_wire(URL, [service]) as link:
            device = Spectrometer(link, name="uv", **options)
            await device.connect()
            await use(device)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


async def measured(device: Spectrometer) -> np.ndarray:
    await device.trigger()
    return (await device.read())["uv-intensity"]["value"]


def now() -> float:
    return asyncio.get_running_loop().time()


async def forever(*_: Any) -> None:
    await asyncio.Event().wait()


def test_the_golden_exchanges() -> None:
    exchanges = yaml.safe_load(TRANSCRIPT.read_text())
    expected = [e for e in exchanges if e.get("driver", True)]

    class Scripted:
        """Knows the transcript only."""

        used: list[Any] = []

        async def start(self, publish: Any) -> None: ...

        async def stop(self) -> None: ...

        async def request(self, header: Header, frames: list[bytes]) -> tuple[Header, list[bytes]]:
            known = {"session": "$session", "key": "$key"}
            asked = {k: known.get(k, v) for k, v in header.items() if k != "protocol"}
            exchange = next(e for e in expected if e["request"] == asked)
            self.used.append(exchange)
            times = {"acquired": 5.0} if "acquired" in exchange["reply"] else {}
            reply = {**exchange["reply"], **times, "protocol": 1, "session": "S", "t": 7.0}
            return reply, [bytes.fromhex(exchange["raw"])] if "raw" in exchange else []

    service = Scripted()

    async def use(device: Spectrometer) -> None:
        assert await device.identify() == "SDL-UV16, serial SIM0001, firmware 1.0"
        assert (await device.describe())["uv-intensity"]["shape"] == [3]
        await device.trigger()
        readings = await device.read()
        assert readings["uv-axis"]["value"].tolist() == [400.0, 500.0, 600.0]
        assert readings["uv-intensity"]["value"].tolist() == [1.0, 12568.0, 9880.0]
        assert readings["uv-intensity"]["timestamp"] == pytest.approx(EPOCH + now() - 2.0)
        await device.make_safe()

    with_driver(service, use, integration_time=0.125, averages=2)
    assert all(exchange in service.used for exchange in expected)


def test_a_spectrum_has_its_axis_units_and_time() -> None:
    async def use(device: Spectrometer) -> None:
        assert isinstance(device, Readable)
        assert isinstance(device, Triggerable)
        assert effect_of(device) is Effect.MEASURE
        await device.trigger()
        assert now() == pytest.approx(0.2)
        await asyncio.sleep(5.0)
        readings, keys = await device.read(), await device.describe()
        assert readings["uv-intensity"]["value"].shape == (100,)
        assert readings["uv-intensity"]["value"].dtype == np.float64
        assert readings["uv-intensity"]["timestamp"] == pytest.approx(EPOCH + 0.2)
        assert readings["uv-axis"]["value"].tolist() == Cuvette.axis.tolist()
        assert readings["uv-saturated"]["value"] == 0
        for name, units in (("uv-intensity", "counts"), ("uv-axis", "nm")):
            assert (keys[name].get("units"), keys[name]["shape"]) == (units, [100])

    with_driver(Service(), use, integration_time=0.05, averages=4)


def test_impedance_is_two_rows_in_ohm() -> None:
    async def use(device: Spectrometer) -> None:
        real, imaginary = await measured(device)
        assert real == pytest.approx(100.0, rel=0.01)
        assert imaginary == pytest.approx(-50.0, rel=0.01)
        key = (await device.describe())["uv-intensity"]
        assert (key.get("units"), key["shape"]) == ("ohm", [2, 31])

    with_driver(Service(Electrodes()), use)


def test_a_blank_and_a_sample_give_the_absorbance() -> None:
    part = Cuvette()

    async def use(device: Spectrometer) -> None:
        blank = await measured(device)
        part.transmittance = 0.1
        absorbance = -np.log10(await measured(device) / blank)
        assert absorbance.mean() == pytest.approx(1.0, abs=0.01)

    with_driver(Service(part), use, averages=10)


def test_settings_are_configuration_with_the_limits_of_the_service() -> None:
    async def use(device: Spectrometer) -> None:
        await device.integration_time.set(0.05)
        await device.averages.set(3)
        settings = await device.read_configuration()
        assert settings["uv-integration_time"]["value"] == 0.05
        assert settings["uv-averages"]["value"] == 3
        key = (await device.describe_configuration())["uv-integration_time"]
        assert key.get("units") == "s"
        assert key.get("limits", {}).get("control") == {"low": 0.001, "high": 60.0}
        began = now()
        await device.trigger()
        assert now() - began == pytest.approx(0.15)

    with_driver(Service(), use)


@pytest.mark.parametrize("value", [0.0, 61.0, float("nan"), float("inf")])
def test_a_setting_outside_the_limits_is_refused_and_nothing_is_sent(value: float) -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        sent = len(service.heard)
        with pytest.raises(RefusedError, match="nothing was sent"):
            await device.integration_time.set(value)
        assert len(service.heard) == sent

    with_driver(service, use)


def test_saturated_pixels_are_told() -> None:
    async def use(device: Spectrometer) -> None:
        await device.trigger()
        assert (await device.saturated.read())["uv-saturated"]["value"] == 100

    with_driver(Service(), use, integration_time=1.0)


def test_what_was_not_acquired_is_no_reading() -> None:
    async def stale(device: Spectrometer) -> None:
        with pytest.raises(StaleError, match=r"trigger\(\) acquires anew"):
            await device.read()

    async def use(device: Spectrometer) -> None:
        await stale(device)
        await device.trigger()
        await device.read()
        await device.integration_time.set(0.2)  # it was not acquired with this
        await stale(device)
        await device.trigger()
        await device.stage()
        await stale(device)
        await device.unstage()
        await device.trigger()
        await asyncio.sleep(MAX_AGE + 1.0)
        await stale(device)

    with_driver(Service(), use)


def test_a_failed_trigger_leaves_no_old_reading() -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        await device.trigger()
        service.disturb = forever
        with pytest.raises(NoReplyError):
            await device.trigger()
        with pytest.raises(StaleError):
            await device.read()

    with_driver(service, use)


def test_the_services_clock_need_not_be_ours() -> None:
    service = Service()

    async def shift(header: Header, answer: Header) -> None:
        answer["t"] += 5000.0
        if header["command"] == "read":
            answer["acquired"] += 5000.0

    async def use(device: Spectrometer) -> None:
        await device.trigger()
        reading = await device.intensity.read()
        assert reading["uv-intensity"]["timestamp"] == pytest.approx(EPOCH + 0.1)

    service.after = shift
    with_driver(service, use)


def test_a_lost_reply_to_a_trigger_does_not_acquire_twice() -> None:
    service = Service()

    async def lose_first(header: Header, answer: Header) -> None:
        if header["command"] == "trigger" and service.heard.count("trigger") < 3:
            await forever()

    async def use(device: Spectrometer) -> None:
        service.after = lose_first
        await device.trigger()
        assert service.heard.count("trigger") == 3
        status, _ = await service.request({"protocol": 1, "command": "status"}, [])
        assert status["acquisition"] == 1

    with_driver(service, use)


def test_a_lost_reply_to_a_read_is_asked_for_again() -> None:
    service = Service()

    async def lose_first(header: Header, answer: Header) -> None:
        if header["command"] == "read" and service.heard.count("read") == 1:
            await forever()

    async def use(device: Spectrometer) -> None:
        service.after = lose_first
        assert (await measured(device)).shape == (100,)
        assert service.heard.count("trigger") == 1

    with_driver(service, use)


def test_a_restarted_service_is_configured_again() -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        await service.restart()
        assert await device.averages.get_value() == 4
        await service.restart()
        began = now()
        await device.trigger()
        assert now() - began == pytest.approx(2.0, abs=2 * 0.1 + 0.01)
        await service.restart()
        await device.integration_time.set(0.25)
        settings = await device.read_configuration()
        assert settings["uv-integration_time"]["value"] == 0.25
        assert settings["uv-averages"]["value"] == 4

    with_driver(service, use, integration_time=0.5, averages=4)


def test_a_restart_during_an_acquisition_is_one_more_acquisition() -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        status = device.trigger()
        await asyncio.sleep(1.0)
        await service.restart()
        await status
        assert service.heard.count("trigger") >= 2
        assert (await device.read())["uv-intensity"]["timestamp"] == pytest.approx(EPOCH + 4.0)

    with_driver(service, use, integration_time=2.0)


def test_what_another_client_configured_is_not_measured_with() -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        other = {"protocol": 1, "command": "configure", "integration_time": 10.0}
        await service.request(other, [])
        await service.request({"protocol": 1, "command": "arm"}, [])
        began = now()
        await device.trigger()
        assert now() - began < 1.0

    with_driver(service, use, integration_time=0.1)


def test_another_clients_acquisition_is_waited_for() -> None:
    service = Service()

    async def use(device: Spectrometer) -> None:
        other = {"protocol": 1, "command": "trigger", "key": "another's"}
        await service.request(other, [])
        await device.trigger()
        assert now() == pytest.approx(4.0, abs=0.2)

    with_driver(service, use, integration_time=2.0)


def test_an_aborted_acquisition_is_an_error_not_a_reading() -> None:
    async def use(device: Spectrometer) -> None:
        status = device.trigger()
        await asyncio.sleep(1.0)
        await device.make_safe()
        assert now() == pytest.approx(1.0)
        with pytest.raises(RefusedError, match="aborted"):
            await status
        assert (await measured(device)).shape == (100,)

    with_driver(Service(), use, integration_time=5.0)


def test_a_service_that_never_finishes_is_given_up() -> None:
    service = Service()

    async def never(header: Header) -> Any:
        if header["command"] == "read":
            await asyncio.sleep(header["wait"])
            error = {"code": "not_ready", "message": "soon", "remaining": 1.0}
            common = {"protocol": 1, "session": "s", "t": 0.0}
            return {**common, "status": "error", "error": error}, []
        return None

    async def use(device: Spectrometer) -> None:
        service.disturb = never
        with pytest.raises(NoReplyError, match=r"uv: acquisition 1 was not finished in 12 s"):
            await device.trigger()
        assert 2.0 + MARGIN <= now() <= 2.0 + MARGIN + 2.0

    with_driver(service, use, integration_time=2.0)


@pytest.mark.parametrize("command", ["hello", "describe", "configure", "status"])
def test_a_reply_without_what_was_asked_for_is_garbled(command: str) -> None:
    service = Service()

    async def empty(header: Header) -> Any:
        if header["command"] == command and "connected" in service.heard:
            return {"protocol": 1, "status": "ok", "session": "s", "t": 0.0}, []
        return None

    async def main() -> None:
        async with memory_wire(URL, [service]) as link:
            await link.connect()
            service.heard.append("connected")
            with pytest.raises(
                (GarbledError, NotConnectedError), match=f"uv: the reply to '{command}'"
            ):
                await Spectrometer(link, name="uv").connect()

    service.disturb = empty
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


def test_data_of_another_shape_than_described_are_garbled() -> None:
    service = Service()

    async def short(header: Header) -> Any:
        if header["command"] != "read":
            return None
        common = {"protocol": 1, "status": "ok", "session": "s", "t": 0.0, "acquisition": 1}
        data = {"acquired": 0.0, "saturated": 0, "dtype": "<f8", "shape": [1]}
        return {**common, **data}, [bytes(8)]

    async def use(device: Spectrometer) -> None:
        service.disturb = short
        with pytest.raises(GarbledError, match="shape"):
            await device.trigger()

    with_driver(service, use)


def test_a_mock_touches_no_service() -> None:
    service = Service()

    async def main() -> None:
        async with memory_wire(URL, [service]) as link:
            device = Spectrometer(link, name="uv")
            await device.connect(mock=True)
            await device.trigger()
            await device.integration_time.set(0.5)
            await device.read()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())
    assert service.heard == []


def test_bluesky_counts() -> None:
    documents: list[tuple[str, Any]] = []
    loop = new_loop("virtual")
    engine = RunEngine(loop=loop, context_managers=[])

    def call(work: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10.0)  # type: ignore[arg-type]

    opened = memory_wire(URL, [Service()])
    try:
        device = Spectrometer(call(opened.__aenter__()), averages=5, name="uv")
        call(device.connect())
        engine(bp.count([device], 2), lambda name, document: documents.append((name, document)))
        engine(bps.mv(device.integration_time, 0.2))
        call(opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        next(t for t in threading.enumerate() if t is engine._th).join(10.0)
        loop.close()
    names = [name for name, _ in documents]
    assert names == ["start", "descriptor", "event", "event", "stop"]
    descriptor, first, second, stop = (document for _, document in documents[1:])
    assert stop["exit_status"] == "success"
    assert set(descriptor["data_keys"]) == {"uv-intensity", "uv-axis", "uv-saturated"}
    assert descriptor["data_keys"]["uv-intensity"]["units"] == "counts"
    assert descriptor["configuration"]["uv"]["data"] == {
        "uv-integration_time": 0.1,
        "uv-averages": 5,
    }
    assert np.shape(first["data"]["uv-intensity"]) == (100,)
    assert not np.array_equal(first["data"]["uv-intensity"], second["data"]["uv-intensity"])
    times = [event["timestamps"]["uv-intensity"] for event in (first, second)]
    assert times[1] - times[0] == pytest.approx(0.5, abs=0.05)


def test_over_a_real_socket_it_is_the_same() -> None:
    async def main() -> None:
        async with serve(URL, [Service()]) as url:
            link = wire(url)
            device = Spectrometer(link, integration_time=0.02, averages=2, name="uv")
            await device.connect()
            assert (await measured(device)).shape == (100,)
            await device.stop()
            await link.close()

    asyncio.run(main())


# After a crash: a fresh driver asks for what an earlier one triggered


def after_a_crash(
    first: Callable[[Spectrometer, Service], Awaitable[Any]],
    second: Callable[[Spectrometer, Service, Finding], Awaitable[None]],
    service: Service | None = None,
) -> None:
    """Mark, do what `first` does, and let a new driver say what became of it."""
    service = service or Service()

    async def main() -> None:
        async with memory_wire(URL, [service]) as link:
            device = Spectrometer(link, name="uv", integration_time=2.0)
            await device.connect()
            mark = await device.mark("trigger", None)
            await first(device, service)
            again = Spectrometer(link, name="uv", integration_time=2.0)
            heard = service.heard.count("trigger")
            finding = await again.reconcile("trigger", None, mark)
            assert service._begun <= heard
            await second(again, service, finding)

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


def test_what_an_earlier_process_acquired_is_fetched_and_not_acquired_again() -> None:
    times: list[float] = []

    async def first(device: Spectrometer, service: Service) -> None:
        assert isinstance(device, Reconcilable)
        await device.trigger()
        times.append((await device.read())["uv-intensity"]["timestamp"])
        await asyncio.sleep(100)

    async def second(device: Spectrometer, service: Service, finding: Finding) -> None:
        assert finding.verdict is Verdict.DONE
        assert (await device.read())["uv-intensity"]["timestamp"] == pytest.approx(times[0])
        assert service._begun == 1

    after_a_crash(first, second)


def test_an_acquisition_still_under_way_is_waited_for() -> None:
    async def first(device: Spectrometer, service: Service) -> None:
        status = device.trigger()
        await asyncio.sleep(0.5)
        status.task.cancel()
        await asyncio.wait([status.task])

    async def second(device: Spectrometer, service: Service, finding: Finding) -> None:
        assert finding.verdict is Verdict.DONE
        assert (await device.read())["uv-intensity"]["value"].shape == (100,)

    after_a_crash(first, second)


def test_what_was_never_triggered_is_not_done_and_asking_acquires_nothing() -> None:
    async def first(device: Spectrometer, service: Service) -> None: ...

    async def second(device: Spectrometer, service: Service, finding: Finding) -> None:
        assert finding.verdict is Verdict.NOT_DONE
        assert service._begun == 0
        await device.trigger()
        assert service._begun == 1

    after_a_crash(first, second)


@pytest.mark.parametrize("lost", ["restart", "abort"])
def test_an_acquisition_whose_data_are_lost_is_unknown(lost: str) -> None:
    async def first(device: Spectrometer, service: Service) -> None:
        status = device.trigger()
        await asyncio.sleep(0.5)
        status.task.cancel()
        await asyncio.wait([status.task])
        await (service.restart() if lost == "restart" else device.make_safe())

    async def second(device: Spectrometer, service: Service, finding: Finding) -> None:
        assert finding.verdict is Verdict.UNKNOWN
        with pytest.raises(StaleError):
            await device.read()

    after_a_crash(first, second)
