"""labmcp-opentrons 0.1.3: its driver, and its simulator behind a port.

    their_labmcp_opentrons.py drive URL PROTOCOL     what it read and did, as JSON
    their_labmcp_opentrons.py serve                  prints its port; ends with its standard input

Their simulator knows no `PATCH /runs/{id}`, and no command that sets a module's temperature.
"""

# pyright: basic, reportMissingImports=false

import email
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import without_fastmcp  # noqa: F401 (before labmcp)
from labmcp_opentrons.driver import HttpxBackend, OpentronsRobot, RobotHTTPError
from labmcp_opentrons.simulator import FakeOpentronsRobot


def drive(url, protocol):
    robot = OpentronsRobot(HttpxBackend(url), poll_interval_s=0.05)
    said = {"who": robot.identify()["model"], "door": robot.door_status()["status"]}
    said["estop"] = robot.estop_status()
    said["lights"] = robot.set_lights(True) and robot.lights_on()
    said["pipettes"] = [each["mount"] for each in robot.instruments()]
    said["modules"] = [each["moduleModel"] for each in robot.modules()]
    robot.home()
    uploaded = robot.upload_protocol([("transfer.json", protocol.encode())])
    uploaded, analysis = robot.wait_for_analysis(uploaded["id"], 10)
    said["analysis"] = analysis["result"]
    run = robot.create_run(uploaded["id"])["id"]
    robot.run_action(run, "play")
    try:
        robot.home()
        said["conflict"] = ""
    except RobotHTTPError as error:
        said["conflict"] = f"{error.status} {error.error_id}"
    until = time.monotonic() + 20
    while robot.run(run)["status"] not in ("succeeded", "failed", "stopped"):
        assert time.monotonic() < until, robot.run(run)
        time.sleep(0.05)
    said["ended"] = robot.run(run)["status"]
    commands = robot.run_commands(run)
    said["commands"] = [each["status"] for each in commands["data"]]
    said["current"] = robot.runs()[1] == run
    print(json.dumps(said))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    robot = FakeOpentronsRobot("ot2", command_duration_s=0.02, analysis_duration_s=0.1)

    def answer(self):
        where = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = self.headers.get("content-type", "")
        files, data = None, None
        if kind.startswith("multipart/"):
            whole = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            files = [
                ("files", (part.get_filename(), part.get_payload(decode=True), ""))
                for part in whole.walk()
                if part.get_filename()
            ]
        elif body:
            data = json.loads(body)
        query = dict(parse_qsl(where.query))
        said = self.robot.request(self.command, where.path, params=query, json=data, files=files)
        answer = json.dumps(said.body).encode()
        self.send_response(said.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 (their names)

    def log_message(self, format, *args):  # noqa: A002
        pass


if sys.argv[1] == "drive":
    drive(*sys.argv[2:])
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
