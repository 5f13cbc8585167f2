# pyright: basic, reportMissingImports=false
"""Driver and simulator of labmcp-alicat 0.1.2.

    their_labmcp_alicat.py drive ADDRESS      what it read, as JSON
    their_labmcp_alicat.py serve              a TCP port with their simulator, until it is killed

FastMCP is not wanted here: where it is not installed, its names are stood in for.
"""

import json
import socket
import sys
import time

import without_fastmcp  # noqa: F401 (before labmcp)
from labmcp.transports import open_transport
from labmcp_alicat.driver import AlicatDevice
from labmcp_alicat.simulator import AlicatSimulator


def drive(address: str) -> dict:
    transport = open_transport(address, read_termination="\r", write_termination="\r", timeout=1.0)
    device = AlicatDevice(transport)
    device.initialise()
    said = {"identity": device.identify(), "full scale": device.full_scale(5)}
    said["source"] = device.setpoint_source()
    said["set"] = vars(device.set_setpoint(80.0))
    time.sleep(0.5)
    frame = device.poll()
    said["flow"], said["codes"] = frame.number("mass_flow"), frame.status_codes
    said["layout"] = frame.layout_source
    said["gas"] = device.set_gas(1)
    said["gases"] = device.gases()[:3]
    said["closed"] = device.hold_closed().status_codes
    time.sleep(0.5)
    device.tare_flow()
    said["control"] = device.cancel_hold().status_codes
    return said


def serve() -> None:
    simulator = AlicatSimulator(zero_offset=0.0)
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    client, _ = server.accept()
    heard = b""
    while data := client.recv(4096):
        heard += data
        while b"\r" in heard:
            line, _, heard = heard.partition(b"\r")
            reply = simulator.handle(line.decode())
            for each in [reply] if isinstance(reply, str) else reply or ():
                client.sendall(each.encode() + b"\r")


if sys.argv[1] == "drive":
    print(json.dumps(drive(sys.argv[2])))
else:
    serve()
