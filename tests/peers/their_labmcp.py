# pyright: basic, reportMissingImports=false

"""Drivers and simulators of labmcp-keithley-smu and labmcp-palmsens.

    their_labmcp.py drive-2400|drive-2450|drive-emstat ADDRESS     what it read, as JSON
    their_labmcp.py serve-2400|serve-2450|serve-emstat             a port, until stdin ends

FastMCP is not wanted here: only its error class is used, and it brings seventy packages.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import socket
import sys
import threading
import types


class _Nothing(types.ModuleType):
    """Stands for a module of FastMCP: whatever is asked of it is a class."""

    __path__: list = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(
            name, (Exception,), {"__init__": lambda self, *a, **k: Exception.__init__(self, *a)}
        )
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in ("fastmcp", "mcp", "pydantic"):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Nothing(spec.name)

    def exec_module(self, module):
        pass


if importlib.util.find_spec("fastmcp") is None:
    sys.meta_path.insert(0, _Finder())

from labmcp.transports import open_transport  # noqa: E402


def drive_keithley(address, dialect):
    from labmcp_keithley_smu import driver

    end = "\r" if dialect == "2400" else "\n"
    transport = open_transport(
        address, read_termination=end, write_termination=end, baudrate=115200, timeout=3.0
    )
    kind = driver.Keithley2400 if dialect == "2400" else driver.Keithley2450
    meter = kind(transport, transport.query("*IDN?"))
    said = {"identity": meter.identify()}
    meter.configure("voltage", 0.5, 0.01)
    said["before"] = meter.status().output_on
    meter.set_output(True)
    reading = meter.read("voltage")
    said["reading"] = [reading.voltage_v, reading.current_a, reading.in_compliance]
    sweep = meter.sweep("voltage", [0.2, 0.4, 20.0])
    said["sweep"] = [[r.voltage_v, r.current_a, r.in_compliance] for r in sweep.readings]
    said["after"] = meter.output_state()
    meter.close()
    return said


def drive_emstat(address):
    from labmcp_palmsens import driver

    transport = open_transport(
        address, read_termination="\n", write_termination="\n", baudrate=230400, timeout=3.0
    )
    pico = driver.MethodScriptDevice(transport)
    said = {"identity": pico.identify()}

    def script(line, begin, low, high, **options):
        return driver.build_script(
            line, begin_potential_v=begin, e_min=low, e_max=high, pgstat_mode=2,
            bandwidth_hz=100.0, current_range_a=1e-3, autorange=True, equilibration_s=0.0,
            **options,
        )  # fmt: skip

    lsv = pico.execute(script("meas_loop_lsv p c 0 100m 10m 1", 0.0, 0.0, 0.1), 20.0)
    said["lsv"] = [[v.value for v in variables] for _, variables in lsv.packets]
    cv = pico.execute(script("meas_loop_cv p c 0 50m -50m 10m 1 nscans(2)", 0.0, -0.05, 0.05), 20.0)
    said["scans"] = sorted({scan for scan, _ in cv.packets})
    ca = pico.execute(script("meas_loop_ca p c 100m 50m 500m", 0.1, 0.1, 0.1, with_timer=True), 20)
    said["ca"] = [[(v.type, v.value) for v in variables] for _, variables in ca.packets]
    try:
        pico.execute(["var p", "nonsense p"], 5.0)
    except Exception as error:  # noqa: BLE001 (FastMCP is not there: its class is a stand-in)
        said["parse error"] = str(error)
    wrong = pico.execute(["var p", "var c", "meas_loop_ca p c 0 1 1", "endloop"], 5.0)
    said["runtime error"] = wrong.error
    running = threading.Timer(0.5, lambda: said.update(abort=pico.abort()))
    running.start()
    long = pico.execute(script("meas_loop_ca p c 100m 100m 60", 0.1, 0.1, 0.1), 30.0)
    running.join()
    said["aborted"], said["until then"] = long.aborted, len(long.packets)
    pico.close()
    return said


def serve(handle, poll, end):
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    threading.Thread(target=lambda: sys.stdin.read() or os._exit(0), daemon=True).start()
    client, _ = server.accept()
    client.settimeout(0.01)
    heard = b""

    def say(lines):
        for line in [lines] if isinstance(lines, str) else lines or ():
            client.sendall(line.encode() + end)

    while True:
        try:
            data = client.recv(4096)
            if not data:
                return
            heard += data
        except TimeoutError:
            pass
        except OSError:
            return
        while end in heard:
            line, _, heard = heard.partition(end)
            say(handle(line.decode()))
        say(poll())


def serve_keithley(dialect):
    from labmcp_keithley_smu.simulator import make_simulator

    simulator = make_simulator(dialect)
    serve(simulator.handle, lambda: None, b"\n" if dialect == "2450" else b"\r")


def serve_emstat():
    from labmcp_palmsens.simulator import MethodScriptSimulator

    simulator = MethodScriptSimulator(speed=10.0)
    serve(simulator.handle, simulator.poll, b"\n")


work, _, what = sys.argv[1].partition("-")
if work == "serve":
    serve_emstat() if what == "emstat" else serve_keithley(what)
elif what == "emstat":
    print(json.dumps(drive_emstat(sys.argv[2])))
else:
    print(json.dumps(drive_keithley(sys.argv[2], what)))
