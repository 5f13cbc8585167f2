"""The simulated XLP 6000 of labmcp-cavro 0.1.3 behind a socket, ten times as fast as a real one.

It prints its port, and ends with its standard input. It takes one client.
"""
# pyright: basic, reportMissingImports=false

import socket
import sys
import threading

import without_fastmcp  # noqa: F401 (before labmcp)
from labmcp_cavro.simulator import CavroSimulator


def serve(server):
    client, _ = server.accept()
    pump, heard = CavroSimulator(speed=10.0), b""
    while data := client.recv(1024):
        *requests, heard = (heard + data).split(b"\r")
        for request in requests:
            reply = pump.handle(request.decode())
            if reply is not None:
                client.sendall(reply.encode() + b"\x03\r\n")


with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(listening,), daemon=True).start()
    sys.stdin.read()
