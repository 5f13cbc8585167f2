"""The simulated detector service against its protocol page, and its physics."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdl.clock import new_loop
from sdl.simulators.spectrometer import FULL_SCALE, SimulatedSpectrometer

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "detector.yaml"
Ask = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


class Cuvette:
    axis_name, axis_units, quantity = "wavelength", "nm", "transmittance"

    def __init__(self, axis: Any, transmittance: Any) -> None:
        self.axis = np.asarray(axis, dtype=float)
        self.transmittance = np.broadcast_to(
            np.asarray(transmittance, dtype=float), self.axis.shape
        )

    def sample(self, integration_s: float) -> np.ndarray:
        return self.transmittance


class Electrodes:
    axis_name, axis_units, quantity = "frequency", "Hz", "impedance"
    axis = np.logspace(0, 5, 200)

    def sample(self, integration_s: float) -> np.ndarray:
        return np.stack([np.full(200, 100.0), np.full(200, -50.0)])


def detector(part: Any, seed: int = 1) -> SimulatedSpectrometer:
    return SimulatedSpectrometer(part, rng=np.random.default_rng(seed))


def with_detector(device: SimulatedSpectrometer, client: Callable[[Ask], Awaitable[None]]) -> None:
    """Run on a virtual clock; `ask(command, **arguments)` returns the reply, `array` put in."""

    async def ask(command: str, **arguments: Any) -> dict[str, Any]:
        header, frames = await device.request({"protocol": 1, "command": command, **arguments}, [])
        if "dtype" in header:
            header["array"] = np.frombuffer(frames[0], header["dtype"]).reshape(header["shape"])
        return header

    async def main() -> None:
        await device.start(lambda *_: None)
        try:
            await client(ask)
        finally:
            await device.stop()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


async def acquired(ask: Ask, key: str = "k", **settings: Any) -> dict[str, Any]:
    await ask("configure", **settings)
    await ask("arm")
    begun = await ask("trigger", key=key)
    await asyncio.sleep(begun["remaining"])
    return await ask("read", acquisition=begun["acquisition"], wait=1.0)


def code(reply: dict[str, Any]) -> str:
    return reply["error"]["code"] if reply["status"] == "error" else "ok"


def test_the_golden_exchanges() -> None:
    device = detector(Cuvette([400, 500, 600], [0, 0.5, 0.25]))
    known = {"$key": "k-1"}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return known.get(value, value) if isinstance(value, str) else value

    async def main() -> None:
        await device.start(lambda *_: None)
        for exchange in yaml.safe_load(TRANSCRIPT.read_text()):
            request = {"protocol": 1, **filled(exchange["request"])}
            header, frames = await device.request(request, [])
            header = copy.deepcopy(header)
            known["$session"] = header.pop("session")
            assert isinstance(header.pop("t"), float)
            expected = {"protocol": 1, **exchange["reply"]}
            if expected.get("acquired") == "$t":
                expected["acquired"] = pytest.approx(header["acquired"])
            expected.pop("stream", None)  # the endpoint's to say
            assert header == expected, request
            raw = [bytes.fromhex(exchange["raw"])] if "raw" in exchange else []
            if exchange.get("noisy"):
                assert [len(frame) for frame in frames] == [len(frame) for frame in raw]
            else:
                assert frames == raw
        await device.stop()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(main())


def test_a_blank_and_a_sample_give_back_the_transmittance() -> None:
    part = Cuvette(np.arange(250, 601, 2), 1.0)

    async def client(ask: Ask) -> None:
        blank = (await acquired(ask, "blank", averages=50))["array"]
        part.transmittance = np.full(part.axis.shape, 0.4)
        sample = (await acquired(ask, "sample", averages=50))["array"]
        ratio = sample / blank
        assert np.abs(ratio - 0.4).max() < 0.01
        assert ratio.mean() == pytest.approx(0.4, abs=5e-4)
        assert 10_000 < blank.min() < blank.max() < 0.8 * FULL_SCALE

    with_detector(detector(part), client)


def test_the_dark_is_subtracted_and_stray_light_is_left() -> None:
    axis = np.arange(250, 601, 2)
    half = np.where(axis < 400, 0.0, 1.0)
    black, bright = Cuvette(axis, 0.0), Cuvette(axis, half)

    async def dark(ask: Ask) -> None:
        for key, seconds in (("short", 0.1), ("long", 20.0)):
            reply = await acquired(ask, key, integration_time=seconds, averages=20)
            assert abs(reply["array"].mean()) < 2.0, key

    async def stray(ask: Ask) -> None:
        counts = (await acquired(ask, averages=50))["array"]
        assert counts[axis < 400].mean() == pytest.approx(1e-3 * counts.mean(), rel=0.25)

    with_detector(detector(black), dark)
    with_detector(detector(bright), stray)


def test_noise_is_shot_noise_and_falls_with_averaging() -> None:
    part = Cuvette(np.linspace(500, 500.01, 2000), 1.0)

    async def client(ask: Ask) -> None:
        once = (await acquired(ask, "once", averages=1))["array"]
        often = (await acquired(ask, "often", averages=25))["array"]
        shot = np.sqrt(0.5 * once.mean())  # counts: half a count for each electron
        assert once.std() == pytest.approx(shot, rel=0.1)
        assert often.std() == pytest.approx(shot / 5, rel=0.1)

    with_detector(detector(part), client)


def test_saturated_pixels_are_counted_and_clipped() -> None:
    part = Cuvette(np.arange(250, 601, 2), np.where(np.arange(250, 601, 2) < 300, 0.01, 1.0))

    async def client(ask: Ask) -> None:
        reply = await acquired(ask, integration_time=1.0)
        assert reply["saturated"] == (part.axis >= 300).sum()
        assert reply["array"].max() < FULL_SCALE
        assert (await acquired(ask, "again", integration_time=0.05))["saturated"] == 0

    with_detector(detector(part), client)


def test_impedance_has_a_relative_noise_of_a_thousandth() -> None:
    async def client(ask: Ask) -> None:
        assert (await ask("describe"))["data"] == {
            "name": "impedance",
            "units": "ohm",
            "shape": [2, 200],
        }
        reply = await acquired(ask)
        real, imaginary = reply["array"]
        assert real.std() == pytest.approx(0.1, rel=0.3)
        assert imaginary.mean() == pytest.approx(-50.0, rel=1e-3)
        assert reply["saturated"] == 0

    with_detector(detector(Electrodes()), client)


def test_the_same_seed_measures_the_same() -> None:
    found: list[np.ndarray] = []

    async def client(ask: Ask) -> None:
        found.append((await acquired(ask))["array"])

    for seed in (3, 3, 4):
        with_detector(detector(Cuvette(np.arange(250, 601, 2), 0.5), seed), client)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_repeated_key_acquires_nothing_whatever_else_is_wrong() -> None:
    async def client(ask: Ask) -> None:
        await acquired(ask, "a")
        assert (await ask("trigger", key="a"))["repeated"] is True
        await ask("configure", averages=3)  # disarmed now
        again = await ask("trigger", key="a", configuration={"averages": 99})
        assert (again["acquisition"], again["repeated"], again["remaining"]) == (1, True, 0.0)
        assert (await ask("status"))["acquisition"] == 1

    with_detector(detector(Electrodes()), client)


def test_an_acquisition_takes_its_time_and_read_waits_for_it() -> None:
    async def client(ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        await ask("configure", integration_time=2.0, averages=3)
        await ask("arm")
        began = loop.time()
        assert (await ask("trigger", key="a"))["remaining"] == pytest.approx(6.0)
        early = await ask("read", acquisition=1, wait=2.0)
        assert code(early) == "not_ready"
        assert early["error"]["remaining"] == pytest.approx(4.0)
        assert (await ask("status"))["state"] == "acquiring"
        for command in ("configure", "arm"):
            assert code(await ask(command)) == "busy"
        assert code(await ask("read", acquisition=1, wait=10.0)) == "ok"
        assert loop.time() - began == pytest.approx(6.0)
        assert (await ask("status"))["state"] == "armed"

    with_detector(detector(Electrodes()), client)


@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_abort_ends_the_acquisition_and_who_waits_for_it_hears(pause: float) -> None:
    async def client(ask: Ask) -> None:
        await ask("configure", integration_time=5.0)
        await ask("arm")
        await ask("trigger", key="a")
        waiting = asyncio.create_task(ask("read", acquisition=1, wait=10.0))
        await asyncio.sleep(pause)
        assert (await ask("abort"))["aborted"] == 1
        assert code(await waiting) == "aborted"
        assert asyncio.get_running_loop().time() < 5.0
        assert (await ask("status"))["state"] == "idle"
        assert code(await ask("trigger", key="b")) == "not_armed"
        assert (await ask("abort"))["aborted"] is None

    with_detector(detector(Electrodes()), client)


def test_old_data_are_gone_and_the_newest_sixteen_are_kept() -> None:
    async def client(ask: Ask) -> None:
        for n in range(1, 18):
            await acquired(ask, f"{n}")
        assert code(await ask("read", acquisition=1)) == "gone"
        assert (await ask("read", acquisition=2))["seq"] == 2
        assert code(await ask("read", acquisition=18)) == "unknown_acquisition"

    with_detector(detector(Electrodes()), client)


@pytest.mark.parametrize(
    ("command", "arguments", "refused"),
    [
        ("explode", {}, "unknown_command"),
        ("_end", {}, "unknown_command"),
        ("hello", {"who": 1}, "bad_argument"),
        ("status", {"session": "another"}, "session"),
        ("configure", {"integration_time": 0}, "bad_argument"),
        ("configure", {"integration_time": 1e999}, "bad_argument"),
        ("configure", {"integration_time": True}, "bad_argument"),
        ("configure", {"integration_time": 10**400}, "bad_argument"),
        ("configure", {"averages": 1.5}, "bad_argument"),
        ("configure", {"averages": 2, "integration_time": "1"}, "bad_argument"),
        ("trigger", {}, "bad_argument"),
        ("trigger", {"key": ""}, "bad_argument"),
        ("trigger", {"key": "k" * 65}, "bad_argument"),
        ("trigger", {"key": "k", "configuration": {"averages": 9}}, "configuration"),
        ("read", {}, "bad_argument"),
        ("read", {"acquisition": [1]}, "bad_argument"),
        ("read", {"acquisition": 0}, "unknown_acquisition"),
        ("read", {"acquisition": 1, "wait": 11}, "bad_argument"),
    ],
)
def test_what_is_refused_changes_nothing(command: str, arguments: Any, refused: str) -> None:
    async def client(ask: Ask) -> None:
        await ask("arm")
        before = await ask("status")
        assert code(await ask(command, **arguments)) == refused
        assert await ask("status") == before

    with_detector(detector(Electrodes()), client)


def test_a_restart_is_a_new_session_that_knows_nothing() -> None:
    device = detector(Electrodes())

    async def client(ask: Ask) -> None:
        first = await acquired(ask, integration_time=1.0)
        await device.stop()
        await device.start(lambda *_: None)
        status = await ask("status")
        assert status["session"] != first["session"]
        assert (status["state"], status["acquisition"]) == ("idle", None)
        assert status["configuration"]["integration_time"] == 0.1
        assert code(await ask("arm", session=first["session"])) == "session"

    with_detector(device, client)


def test_a_sample_that_cannot_be_measured_is_not_hidden() -> None:
    class Broken(Electrodes):
        def sample(self, integration_s: float) -> np.ndarray:
            raise ZeroDivisionError("the world ended")

    async def client(ask: Ask) -> None:
        assert code(await acquired(ask)) == "aborted"

    with pytest.raises(ZeroDivisionError, match="the world ended"):
        with_detector(detector(Broken()), client)
