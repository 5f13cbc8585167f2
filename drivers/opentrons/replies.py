"""What an Opentrons robot answers: JSON, read into values, or refused as no answer.

Source: the robot's HTTP API (`/openapi.json` of the robot), version 3: robot-server's request and
response models; its run states are `EngineStatus` of the package opentrons 8.5.1.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from sdl.errors import FaultError, GarbledError, RefusedError
from sdl.wires.http import HttpRefusedError

T = TypeVar("T")

OVER = {"stopped": "was stopped", "failed": "failed", "succeeded": "is done"}
WAITING = {
    "paused": "is paused",
    "blocked-by-open-door": "waits: the door is open; close it and resume the run",
}
RECOVERING = {
    "awaiting-recovery": "failed at a step and waits for a person",
    "awaiting-recovery-paused": "failed at a step, is paused, and waits for a person",
    "awaiting-recovery-blocked-by-open-door": "failed at a step and waits for a person; door open",
}
MOVING = ("running", "finishing", "stop-requested")
STATES = frozenset({"idle", *OVER, *WAITING, *RECOVERING, *MOVING})

ESTOPS = {
    "notPresent": "no E-stop is attached",
    "physicallyEngaged": "the E-stop is pressed",
    "logicallyEngaged": "the E-stop was pressed and released; acknowledge it",
    "disengaged": "",
}
NEEDS_A_PERSON = ("EstopEngaged", "EstopNotAcknowledged", "EstopNotAttached")


@dataclass(frozen=True)
class Health:
    name: str
    model: str
    """OT-2 Standard or OT-3 Standard (a Flex)"""
    software: str
    firmware: str
    system: str


@dataclass(frozen=True)
class Run:
    id: str
    status: str
    current: bool
    actions: tuple[str, ...]
    """What was asked of it, in its order: play, pause, stop, ..."""
    errors: str
    """What the robot says of its failure; empty if nothing."""

    @property
    def was_begun(self) -> bool:
        """Whether it has moved anything, or may have.

        Actions are kept through a loss of power, of which the status tells nothing but "stopped".
        """
        return "play" in self.actions or self.status not in ("idle", "stopped")


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    doing: str
    """The command that is running, or comes next; empty if there is none."""


@dataclass(frozen=True)
class Protocol:
    id: str
    names: frozenset[str]
    """Its name in its metadata, and that of its file."""
    analysis: str
    """pending, completed, or empty: never analysed"""
    analysis_id: str
    result: str
    """ok, not-ok, parameter-value-required; empty while there is none"""


@dataclass(frozen=True)
class Module:
    id: str
    kind: str
    values: dict[str, Any]


def parse_health(body: bytes) -> Health:
    said = _object(body)
    keys = ("name", "robot_model", "api_version", "fw_version", "system_version")
    return Health(*(_text(said, key) for key in keys))


def parse_run(body: bytes) -> Run:
    """Read the answer of `/runs/{id}`."""
    return _run(_data(body, dict))


def parse_newest_run(body: bytes) -> Run | None:
    """Read the answer of `/runs?pageLength=1`: the run that has the robot now, if any has."""
    runs = [_run(each) for each in _data(body, list)]
    return next((run for run in runs if run.current), None)


def parse_progress(body: bytes) -> Progress:
    """Read the answer of `/runs/{id}/commands?pageLength=1`."""
    meta, commands = _inner(_object(body), "meta"), _data(body, list)
    total, at = meta.get("totalLength"), meta.get("cursor")
    if type(total) is not int or type(at) is not int or not 0 <= at <= total:
        raise GarbledError("", f"no number of commands: {_short(body)}")
    if not commands:
        return Progress(0, total, "")
    newest = _dict(commands[-1])
    done = at + (newest.get("status") == "succeeded")
    under_way = newest.get("status") in ("queued", "running")
    return Progress(min(done, total), total, _text(newest, "commandType") if under_way else "")


def parse_protocol(body: bytes) -> Protocol:
    """Read the answer of `/protocols/{id}`, or of an upload."""
    return _protocol(_data(body, dict))


def parse_protocols(body: bytes) -> list[Protocol]:
    """Read the answer of `/protocols`: oldest first."""
    return [_protocol(each) for each in _data(body, list)]


def parse_analysis_errors(body: bytes) -> str:
    """Read the answer of `/protocols/{id}/analyses/{id}`: what was found wrong."""
    return _errors(_data(body, dict).get("errors", []))


def parse_command(body: bytes) -> tuple[str, str, str]:
    """Read the answer of `/commands/{id}`: its id, its status, and what went wrong with it."""
    said = _data(body, dict)
    status = _text(said, "status")
    if status not in ("queued", "running", "succeeded", "failed"):
        raise GarbledError("", f"a command cannot be {status!r}: {_short(body)}")
    return _text(said, "id"), status, _errors([said["error"]] if said.get("error") else [])


def parse_lights(body: bytes) -> bool:
    on = _object(body).get("on")
    if not isinstance(on, bool):
        raise GarbledError("", f"lights are on or not: {_short(body)}")
    return on


def parse_door(body: bytes) -> str:
    status = _text(_data(body, dict), "status")
    if status not in ("open", "closed"):
        raise GarbledError("", f"a door is open or closed: {_short(body)}")
    return status


def parse_estop(body: bytes) -> str:
    status = _text(_data(body, dict), "status")
    if status not in ESTOPS:
        raise GarbledError("", f"no state of an E-stop: {_short(body)}")
    return status


def parse_modules(body: bytes) -> list[Module]:
    return [
        Module(_text(each, "id"), _text(each, "moduleType"), _inner(each, "data"))
        for each in map(_dict, _data(body, list))
    ]


def number(module: Module, key: str) -> float:
    """Return a reading of a module."""
    value = module.values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GarbledError("", f"{module.kind}: {key} is no number: {value!r}")
    return float(value)


def meaning(name: str, error: HttpRefusedError) -> RefusedError | FaultError:
    """Return what a refusal means, in the robot's words."""
    try:
        said = json.loads(error.body)
        errors = said["errors"]
        text = _errors(errors) or str(error)
        needs_a_person = any(each.get("id") in NEEDS_A_PERSON for each in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return RefusedError(name, str(error))
    asked = str(error).removeprefix(f"{error.instrument}: ").partition(f": {error.status}")[0]
    kind = FaultError if needs_a_person else RefusedError
    return kind(name, f"{asked}: {text} (status {error.status}); nothing has changed")


def _run(data: Any) -> Run:
    said = _dict(data)
    status, actions = _text(said, "status"), said.get("actions")
    if status not in STATES:
        raise GarbledError("", f"no state of a run: {status!r}")
    if not isinstance(said.get("current"), bool) or not isinstance(actions, list):
        raise GarbledError("", f"a run without current and actions: {str(said)[:200]}")
    asked = tuple(_text(_dict(action), "actionType") for action in actions)
    wrong = _errors(said.get("errors") or [])
    return Run(_text(said, "id"), status, said["current"], asked, wrong)


def _protocol(data: Any) -> Protocol:
    said = _dict(data)
    files, analyses = said.get("files", []), said.get("analysisSummaries", [])
    if not isinstance(files, list) or not isinstance(analyses, list):
        raise GarbledError("", f"files and analyses are lists: {str(said)[:200]}")
    main = [_text(_dict(file), "name") for file in files if _dict(file).get("role") == "main"]
    given = _inner(said, "metadata").get("protocolName") if "metadata" in said else None
    newest = _dict(analyses[-1]) if analyses else {}
    return Protocol(
        _text(said, "id"),
        frozenset([*main, *([given] if isinstance(given, str) else [])]),
        str(newest.get("status", "")),
        str(newest.get("id", "")),
        str(newest.get("result") or ""),
    )


def _errors(errors: Any) -> str:
    """The robot's own words: `title: detail`, of run and command errors `errorType: detail`."""
    if not isinstance(errors, list):
        raise GarbledError("", f"errors are no list: {str(errors)[:200]}")
    told = []
    for error in map(_dict, errors):
        kind = error.get("title") or error.get("errorType") or error.get("id") or "error"
        code = f" [{error['errorCode']}]" if error.get("errorCode") else ""
        told.append(f"{kind}{code}: {error.get('detail', '')}".rstrip(": "))
    return "; ".join(told)


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise GarbledError("", f"no JSON ({error}): {_short(body)}") from error
    return _dict(said)


def _data(body: bytes, kind: type[T]) -> T:
    data = _object(body).get("data")
    if not isinstance(data, kind):
        raise GarbledError("", f"data is no {kind.__name__}: {_short(body)}")
    return data


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GarbledError("", f"no JSON object: {str(value)[:200]}")
    return value


def _inner(said: dict[str, Any], key: str) -> dict[str, Any]:
    return _dict(said.get(key))


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value:
        raise GarbledError("", f"no {key} in {str(said)[:200]}")
    return value


def _short(body: bytes) -> str:
    return repr(body[:200])


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
