"""What the routes of a simulated Opentrons robot have in common: bodies, answers, refusals."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sdl.simulators.opentrons.engine import Command, Run
from sdl.simulators.opentrons.steps import JSON

VERSION, OLDEST = 3, 2
PAGE = 20  # commands


class ApiError(Exception):
    """What the robot answers where it does not do what it was asked."""

    def __init__(self, status: int, kind: str, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        error = {"id": kind, "title": title, "detail": detail, "errorCode": "4000", **more}
        self.status, self.content = status, {"errors": [error]}


async def _say(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.content, error.status)


async def _say_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = ApiError(error.status_code, "BadRequest", "Bad Request", str(error.detail))
    return JSONResponse(said.content, said.status)


HANDLERS: Any = {ApiError: _say, HTTPException: _say_framework}


def one(data: JSON, status: int = 200) -> Response:
    return JSONResponse({"data": data}, status)


def many(data: list[JSON]) -> Response:
    return JSONResponse({"data": data, "meta": {"cursor": 0, "totalLength": len(data)}})


def invalid(where: str, why: str) -> ApiError:
    meta = {"validationErrors": {where: why}}
    return ApiError(422, "BadRequest", "Bad Request", "Invalid request parameters", meta=meta)


def files_invalid(detail: str) -> ApiError:
    return ApiError(422, "ProtocolFilesInvalid", "Protocol File(s) Invalid", detail)


def version(asked: str | None) -> int:
    if asked == "*":
        return VERSION
    if asked is None or not (asked.isascii() and asked.isdigit()) or len(asked) > 9:
        raise invalid("header.opentrons-version", "field required")
    if int(asked) < OLDEST:
        detail = f"The requested API version '{asked}' is not supported: at least '{OLDEST}'."
        title = "Requested HTTP API version no longer supported"
        raise ApiError(400, "OutdatedAPIVersion", title, detail)
    return min(VERSION, int(asked))


async def body(request: Request, *, optional: bool = False) -> JSON:
    raw = await request.body()
    if optional and not raw:
        return {}
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise invalid("body", "JSON decode error") from error
    if not isinstance(said, dict):
        raise invalid("body", "value is not a valid dict")
    return said


async def upload(request: Request) -> tuple[str, bytes, str | None, Mapping[str, Any]]:
    """Return the first file's name, what is in it, the client's key, and parameters."""
    try:
        async with request.form() as form:
            files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
            if not files:
                raise invalid("body.files", "field required")
            name, content, key = files[0].filename, await files[0].read(), form.get("key")
            parameters = _parameters(form.get("runTimeParameterValues"))
    except (MultiPartException, HTTPException) as error:
        raise invalid("body.files", "field required") from error
    return name or "protocol.json", content, key if isinstance(key, str) else None, parameters


def _parameters(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, str):
        return {}
    try:
        values = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise invalid("body.runTimeParameterValues", "JSON decode error") from error
    if not isinstance(values, dict):
        raise invalid("body.runTimeParameterValues", "value is not a valid dict")
    return values


def whole_number(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise invalid(f"query.{name}", "value is not a valid integer")
    return int(text)


def command_of(body: JSON) -> Command:
    data = body.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("commandType"), str):
        raise invalid("body.data.commandType", "field required")
    params, intent = data.get("params", {}), data.get("intent")
    if not isinstance(params, dict) or intent not in (None, "setup", "protocol", "fixit"):
        raise invalid("body.data.params", "value is not a valid dict")
    return Command(data["commandType"], params, intent, str(data.get("key") or ""))


async def patience(request: Request, run: Run, command: Command) -> None:
    wait = request.query_params.get("waitUntilComplete", "false").lower()
    milliseconds = whole_number(request, "timeout", None)
    if wait in ("true", "1", "yes", "on"):
        await run.finished(command, None if milliseconds is None else milliseconds / 1000)


def command_in(run: Run, request: Request) -> Command:
    ident = request.path_params["command"]
    for command in run.commands:
        if command.id == ident:
            return command
    raise ApiError(404, "CommandNotFound", "Run Command Not Found", f"Command {ident} not found.")


def page_of(request: Request, run: Run, path: str) -> Response:
    total = len(run.commands)
    length = whole_number(request, "pageLength", PAGE) or 0
    begun = [i for i, each in enumerate(run.commands) if each.status != "queued"]
    waiting = [i for i, each in enumerate(run.commands) if each.status in ("queued", "running")]
    at = waiting[0] if waiting and run.status not in ("stopped", "failed") else (begun or [0])[-1]
    cursor = whole_number(request, "cursor", None)
    cursor = at - length // 2 if cursor is None else cursor
    cursor = max(min(cursor, total - length), 0)
    links = {}
    if total:
        now = run.commands[at]
        meta = {"commandId": now.id, "index": at, "key": now.key or now.id, "runId": run.id}
        meta |= {"createdAt": now.created}
        links = {"current": {"href": f"{path}/{now.id}", "meta": meta}}
    said = [each.as_json(summary=True) for each in run.commands[cursor : cursor + length]]
    meta = {"cursor": cursor, "totalLength": total}
    return JSONResponse({"data": said, "meta": meta, "links": links})


def heating(plate: Any) -> str:
    if plate.target is None:
        return "idle"
    if abs(plate.temperature - plate.target) < 0.5:
        return "holding at target"
    return "heating" if plate.temperature < plate.target else "cooling"


def module(kind: str, model: str, data: JSON) -> JSON:
    return {
        "id": f"sdl-{kind}",
        "serialNumber": f"SDL{kind[:4].upper()}01",
        "firmwareVersion": "v2.1.0",
        "hardwareRevision": "temp_deck_v20" if kind == "temperature" else "",
        "hasAvailableUpdate": False,
        "moduleType": f"{kind}ModuleType",
        "moduleModel": model,
        "compatibleWithRobot": True,
        "data": {key: value for key, value in data.items() if value is not None},
        "usbPort": {"port": 1, "portGroup": "main", "hub": False, "hubPort": None, "path": ""},
    }
