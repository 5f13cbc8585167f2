"""The simulated Opentrons robot, asked as robot-server's own integration tests ask a real server.

Their stages (robot-server/tests/integration/http_api, named at each test) are told here in requests
and answers, and hold for any client.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdl.clock import new_loop
from sdl.endpoints.http import Answering, MemoryTransport
from sdl.simulators.opentrons import SimulatedOpentrons
from sdl.simulators.parts.deck import Deck, HotPlate
from sdl.testing import StillWorld

VERSION = {"Opentrons-Version": "*"}
Client = httpx.AsyncClient


def protocol(*commands: tuple[str, dict[str, Any]], robot: str = "OT-2 Standard") -> bytes:
    said = {
        "schemaVersion": 8,
        "metadata": {"protocolName": "short"},
        "robot": {"model": robot, "deckId": "ot2_standard"},
        "commands": [{"commandType": kind, "params": params} for kind, params in commands],
    }
    return json.dumps(said).encode()


WAIT = protocol(("home", {}), ("waitForDuration", {"seconds": 30}))


def talk(
    story: Callable[[Client, Deck], Awaitable[Any]], headers: Any = VERSION, **options: Any
) -> None:
    async def run() -> None:
        world = StillWorld()
        deck = Deck(world, temperature_module=HotPlate(world), heater_shaker=HotPlate(world))
        robot = SimulatedOpentrons(deck, rng=np.random.default_rng(1), **options)
        answering = Answering(robot)
        living = asyncio.create_task(answering.live())
        transport = MemoryTransport(answering)
        async with Client(transport=transport, base_url="http://robot", headers=headers) as client:
            await story(client, deck)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        await answering.end()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


async def made(client: Client, path: str, **request: Any) -> dict[str, Any]:
    answer = await client.post(path, **request)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def run_of(client: Client, content: bytes) -> str:
    uploaded = await made(client, "/protocols", files={"files": ("p.json", content)})
    run = await made(client, "/runs", json={"data": {"protocolId": uploaded["id"]}})
    assert (run["status"], run["current"], run["actions"]) == ("idle", True, [])
    return run["id"]


async def act(client: Client, run: str, action: str) -> httpx.Response:
    return await client.post(f"/runs/{run}/actions", json={"data": {"actionType": action}})


async def state(client: Client, run: str) -> str:
    return (await client.get(f"/runs/{run}")).json()["data"]["status"]


def errors(answer: httpx.Response) -> tuple[int, str, str]:
    (error,) = answer.json()["errors"]
    return answer.status_code, error["id"], error["detail"]


def test_a_run_that_is_stopped_fails_the_command_it_is_at() -> None:
    """runs/test_play_stop_v6.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        run = await run_of(client, WAIT)
        assert (await act(client, run, "play")).status_code == 201
        await asyncio.sleep(10)
        assert (await act(client, run, "stop")).status_code == 201
        assert await state(client, run) == "stop-requested"
        await asyncio.sleep(10)
        assert await state(client, run) == "stopped"
        commands = (await client.get(f"/runs/{run}/commands")).json()["data"]
        assert [(each["commandType"], each["status"]) for each in commands] == [
            ("home", "succeeded"),
            ("home", "succeeded"),
            ("waitForDuration", "failed"),
        ]
        error = commands[-1]["error"]
        assert (error["errorType"], error["detail"]) == ("RunStoppedError", "Run was cancelled ")

    talk(story)


def test_a_run_that_was_not_started_cannot_be_paused() -> None:
    """runs/test_pause_run_not_started.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        run = await run_of(client, WAIT)
        refused = "RunActionNotAllowed", "Cannot pause a run that is not running."
        assert errors(await act(client, run, "pause")) == (409, *refused)
        assert (await act(client, run, "stop")).status_code == 201

    talk(story)


def test_a_paused_run_ends_the_command_it_is_at_and_may_be_cancelled() -> None:
    """runs/test_pause_then_cancel.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        run = await run_of(client, WAIT)
        await act(client, run, "play")
        await asyncio.sleep(1)
        await act(client, run, "pause")
        await asyncio.sleep(100)
        commands = (await client.get(f"/runs/{run}/commands")).json()["data"]
        assert [each["status"] for each in commands] == ["succeeded", "queued", "queued"]
        assert await state(client, run) == "paused"
        await act(client, run, "stop")
        await asyncio.sleep(10)
        assert await state(client, run) == "stopped"

    talk(story)


def test_a_run_that_is_idle_gives_way_to_the_next() -> None:
    """runs/test_run_status.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        first = (await made(client, "/runs", json={"data": {}}))["id"]
        patched = await client.patch(f"/runs/{first}", json={"data": {"current": False}})
        said = patched.json()["data"]
        assert (patched.status_code, said["status"], said["current"]) == (200, "stopped", False)
        second = (await made(client, "/runs", json={"data": {}}))["id"]
        third = (await made(client, "/runs", json={"data": {}}))["id"]
        assert (await state(client, second), await state(client, third)) == ("stopped", "idle")
        assert errors(await act(client, second, "play"))[:2] == (409, "RunStopped")
        await act(client, third, "stop")
        assert await state(client, third) == "stop-requested"
        await asyncio.sleep(1)
        said = (await client.get(f"/runs/{third}")).json()["data"]
        assert (said["status"], said["current"]) == ("stopped", True)

    talk(story)


def test_a_protocol_is_analysed_and_kept_once() -> None:
    """protocols/test_v8_json_upload_ot2.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        one = await made(client, "/protocols", files={"files": ("p.json", WAIT)})
        assert (one["protocolType"], one["analysisSummaries"][0]["status"]) == ("json", "pending")
        again = await client.post("/protocols", files={"files": ("p.json", WAIT)})
        assert (again.status_code, again.json()["data"]["id"]) == (200, one["id"])
        await asyncio.sleep(2)
        said = (await client.get(f"/protocols/{one['id']}")).json()
        assert said["data"]["files"] == [{"name": "p.json", "role": "main"}]
        assert said["data"]["analysisSummaries"][0]["result"] == "ok"
        assert said["links"] == {"referencingRuns": []}
        flex = protocol(robot="OT-3 Standard")
        refused = await client.post("/protocols", files={"files": ("f.json", flex)})
        assert errors(refused)[:2] == (422, "ProtocolRobotTypeMismatch")
        refused = await client.post("/protocols", files={"files": ("g.json", b"{}")})
        assert errors(refused)[:2] == (422, "ProtocolFilesInvalid")

    talk(story)


def test_single_commands_wait_until_they_are_complete() -> None:
    """commands/test_home.tavern.yaml"""

    async def story(client: Client, deck: Deck) -> None:
        home = {"data": {"commandType": "home", "params": {}}}
        wait = {"waitUntilComplete": "true"}
        done = await made(client, "/commands", params=wait, json=home)
        queued = await made(client, "/commands", json=home)
        hurried = await made(client, "/commands", params={**wait, "timeout": 10}, json=home)
        statuses = [done["status"], queued["status"], hurried["status"]]
        assert statuses == ["succeeded", "queued", "queued"]
        known = (await client.get("/commands")).json()["data"]
        assert [each["id"] for each in known] == [done["id"], queued["id"], hurried["id"]]
        await made(client, "/runs", json={"data": {}})
        await made(client, "/commands", json=home)  # an idle run is no obstacle
        run = await run_of(client, WAIT)
        await act(client, run, "play")
        assert errors(await client.post("/commands", json=home))[:2] == (409, "RunActive")
        assert errors(await client.post("/runs", json={"data": {}}))[:2] == (
            409,
            "RunAlreadyActive",
        )
        assert errors(await client.delete(f"/runs/{run}"))[:2] == (409, "RunNotIdle")

    talk(story)


@pytest.mark.parametrize(
    ("version", "status", "kind"),
    [(None, 422, "BadRequest"), ("x", 422, "BadRequest"), ("1", 400, "OutdatedAPIVersion")],
)
def test_a_client_must_say_which_version_it_speaks(
    version: str | None, status: int, kind: str
) -> None:
    async def story(client: Client, deck: Deck) -> None:
        assert errors(await client.get("/health"))[:2] == (status, kind)

    talk(story, headers={} if version is None else {"Opentrons-Version": version})


def test_an_ot2_has_no_estop() -> None:
    async def story(client: Client, deck: Deck) -> None:
        answer = await client.get("/robot/control/estopStatus")
        assert errors(answer)[:2] == (403, "NotSupportedOnOT2")

    talk(story)


def test_an_estop_is_acknowledged_when_it_is_released() -> None:
    async def story(client: Client, deck: Deck) -> None:
        deck.estop = "physicallyEngaged"
        assert errors(await client.post("/runs"))[:2] == (403, "EstopEngaged")
        path = "/robot/control/acknowledgeEstopDisengage"
        assert (await client.put(path)).json()["data"]["status"] == "physicallyEngaged"
        deck.estop = "logicallyEngaged"
        assert errors(await client.post("/runs"))[:2] == (403, "EstopNotAcknowledged")
        assert (await client.put(path)).json()["data"]["status"] == "disengaged"
        await made(client, "/runs")

    talk(story, robot="flex")


def test_liquid_is_moved_and_air_where_there_is_none() -> None:
    async def story(client: Client, deck: Deck) -> None:
        deck.fill("1", "A1", 0.05)
        where = {"pipetteId": "p", "labwareId": "plate", "volume": 100.0, "flowRate": 50.0}
        commands = [
            ("loadPipette", {"mount": "left", "pipetteId": "p"}),
            ("loadLabware", {"labwareId": "plate", "location": {"slotName": "1"}}),
            ("pickUpTip", {**where, "wellName": "H1"}),
            ("aspirate", {**where, "wellName": "A1"}),
            ("dispense", {**where, "wellName": "B1"}),
            ("setRailLights", {"on": True}),
        ]
        run = await run_of(client, protocol(*commands))
        await act(client, run, "play")
        await asyncio.sleep(30)
        assert await state(client, run) == "succeeded"
        assert (deck.volume("1", "A1"), deck.volume("1", "B1")) == (0.0, pytest.approx(0.05))
        assert deck.lights

    talk(story)


def test_while_it_boots_it_says_so() -> None:
    async def story(client: Client, deck: Deck) -> None:
        robot = client._transport._answering._device  # type: ignore[attr-defined]
        run = await run_of(client, WAIT)
        await act(client, run, "play")
        robot.power_cycle()
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/health")
        await asyncio.sleep(3)
        assert errors(await client.get("/health"))[:2] == (503, "HardwareNotYetInitialized")
        await asyncio.sleep(20)
        said = (await client.get(f"/runs/{run}")).json()["data"]
        assert (said["status"], said["current"], "startedAt" in said) == ("stopped", False, False)
        assert [each["actionType"] for each in said["actions"]] == ["play"]

    talk(story)


PATHS = [
    "/health", "/robot/lights", "/robot/home", "/protocols", "/runs", "/commands", "/modules",
    "/runs/{run}", "/runs/{run}/actions", "/runs/{run}/commands", "/protocols/{run}/analyses",
    "/runs/{run}/commands/x", "/runs/{run}/labware_definitions", "/nothing", "/runs/../%00",
]  # fmt: skip
WORDS = ["data", "protocolId", "actionType", "play", "stop", "pause", "commandType", "params", "on",
         "aspirate", "home", "volume", "pipetteId", "current", "labwareId", "waitForDuration",
         "seconds", "intent", "setup", "heaterShaker/setTargetTemperature", "celsius"]  # fmt: skip
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=8,
)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
    st.sampled_from(PATHS),
    BODIES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20),
    st.sampled_from([{}, {"pageLength": "0"}, {"cursor": "9"}, {"waitUntilComplete": "true"}]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(REQUESTS, max_size=15))
def test_no_request_is_answered_with_a_mistake_of_its_own(requests: list[Any]) -> None:
    async def story(client: Client, deck: Deck) -> None:
        run = (await made(client, "/runs", json={"data": {}}))["id"]
        for method, path, body, query in requests:
            url = path.replace("{run}", run)
            answer = await client.request(method, url, content=body, params=query)
            assert answer.status_code < 500, (method, url, body, answer.text)
            assert answer.json() is not None

    talk(story)
