"""The Opentrons driver and its simulator, each against the same golden requests and answers."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sdl.clock import new_loop
from sdl.drivers.opentrons import Opentrons
from sdl.endpoints.http import Answering, App, MemoryTransport, Receive, Scope, Send, memory_wire
from sdl.simulators.opentrons import SimulatedOpentrons
from sdl.simulators.parts.deck import Deck
from sdl.testing import Exchange, StillWorld, Transcript, TranscriptSession

TRANSCRIPT = Transcript.load(Path(__file__).parents[1] / "transcripts" / "opentrons.yaml")
SESSIONS = TRANSCRIPT.sessions


class Player:
    """Hears what the transcript says, in its order, and answers so."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.left = list(exchanges)

    @property
    def app(self) -> App:
        return self._answer

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope, (await receive())["body"])
        exchange = self.left.pop(0)
        assert asked == exchange.ask.decode()
        status, body = _reply(exchange)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def _asked(scope: Scope, body: bytes) -> str:
    query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    return f"{scope['method']} {scope['path']}{query} {body.decode()}".rstrip()


def _reply(exchange: Exchange) -> tuple[int, Any]:
    status, body = exchange.reply.decode().split(" ", 1)
    return int(status), json.loads(body)


def _shape(value: Any) -> Any:
    """Keys and types, and the texts that are words of the protocol."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value[:1]]
    return "number" if type(value) in (int, float) else type(value).__name__


def _has(said: Any, golden: Any) -> bool:
    """Whether all that is in the golden shape is in the other."""
    if isinstance(golden, dict):
        return isinstance(said, dict) and all(
            key in said and _has(said[key], inner) for key, inner in golden.items()
        )
    return said == golden


@pytest.mark.parametrize("session", SESSIONS, ids=[each.name for each in SESSIONS])
def test_the_simulator_answers_as_the_transcript_says(session: TranscriptSession) -> None:
    async def story() -> None:
        deck = Deck(StillWorld())
        robot = SimulatedOpentrons(deck, rng=np.random.default_rng(1))
        for name, value in session.state.items():
            if name == "busy":
                robot.begin("busy")
            else:
                setattr(deck, name, value)
        answering = Answering(robot)
        transport = MemoryTransport(answering)
        async with httpx.AsyncClient(transport=transport, base_url="http://robot") as client:
            for exchange in (*TRANSCRIPT.connect, *session.exchanges):
                method, path, *body = exchange.ask.decode().split(" ", 2)
                status, golden = _reply(exchange)
                if path.startswith("/runs?") and session.state.get("busy"):
                    continue
                answer = await client.request(
                    method, path, content="".join(body), headers={"Opentrons-Version": "3"}
                )
                assert answer.status_code == status, answer.text
                assert _has(_shape(answer.json()), _shape(golden)), answer.text
                if "errors" in golden:
                    (said,), (error,) = answer.json()["errors"], golden["errors"]
                    assert (said["id"], said["title"]) == (error["id"], error["title"])
        await answering.end()

    _virtually(story())


@pytest.mark.parametrize(
    "session", [each for each in SESSIONS if each.do], ids=[s.name for s in SESSIONS if s.do]
)
def test_the_driver_speaks_as_the_transcript_says(session: TranscriptSession) -> None:
    async def story() -> None:
        player = Player([*TRANSCRIPT.connect, *session.exchanges])
        async with memory_wire(Opentrons.delivered, [player]) as wire:
            robot = Opentrons(wire, name="robot")
            await robot.connect()
            await session.check_driver(robot)
        assert player.left == []

    _virtually(story())


def _virtually(story: Any) -> None:
    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(story)
