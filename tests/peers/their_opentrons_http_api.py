"""opentrons-http-api 1.5.0 (RobotClient): uploads a protocol, runs it, pauses it, and looks on.

Its port is a constant of its class, set here to the simulator's. Its data classes know the fields
of a robot of 2023 only, so that anything newer in an answer ends it: what it gets is cut to those.
"""

# pyright: basic, reportMissingImports=false

import dataclasses
import io
import json
import sys
import time
from urllib.parse import urlsplit

from opentrons_http_api import robot_client
from opentrons_http_api.api import API
from opentrons_http_api.defs.enums import Action

for kind in ("RunInfo", "ProtocolInfo", "HealthInfo"):
    theirs = getattr(robot_client, kind)
    known = {field.name for field in dataclasses.fields(theirs)}

    def cut(known=known, theirs=theirs, **said):
        needed = dict.fromkeys(known)
        return theirs(**{**needed, **{k: v for k, v in said.items() if k in known}})

    setattr(robot_client, kind, cut)

where = urlsplit(sys.argv[1])
API._PORT = where.port
robot = robot_client.RobotClient(where.hostname)
robot.identify(1)
robot.set_lights(True)
protocol = io.BytesIO(sys.argv[2].encode())
protocol.name = "transfer.json"
uploaded = robot.upload_protocol(protocol)
run = robot.create_run(uploaded.id)
robot.action_run(run.id, Action.PLAY)
robot.action_run(run.id, Action.PAUSE)
paused = robot.run(run.id).status
robot.action_run(run.id, Action.PLAY)
until = time.monotonic() + 20
while robot.run(run.id).status not in ("succeeded", "failed", "stopped"):
    assert time.monotonic() < until, robot.run(run.id)
    time.sleep(0.05)
try:
    robot.action_run(run.id, Action.PLAY)
    again = "played again"
except Exception as error:  # noqa: BLE001 - whatever they raise
    again = str(error)
sys.stdout.write(
    json.dumps(
        {
            "model": robot.health().api_version,
            "lights": robot.lights(),
            "known": [each.id == uploaded.id for each in robot.protocols()],
            "paused": paused,
            "ended": robot.run(run.id).status,
            "runs": len(robot.runs()),
            "again": again,
        }
    )
)
