"""matterlab-pumps 1.2.1 drives a Cavro pump at a port; prints what it read.

Worked around: `TecanXLPPump.connect` reads `top_speed` and others that its base class has renamed;
a command's answer is left in the line, and taken for gone after 50 ms, which on a machine with much
to do is not so; `report_firmware_version` of all three lacks the question mark.
"""
# pyright: basic, reportMissingImports=false

import json
import sys

from matterlab_pumps import RunzePump, TecanXCPump, TecanXLPPump

kind, port = sys.argv[1:]
made = {"xlp6000": TecanXLPPump, "xcalibur": TecanXCPump, "sy01b": RunzePump}[kind]
if kind == "xlp6000":
    made.top_speed, made.start_speed, made.stop_speed, made.speed_slope = 1000, 800, 800, 14
their_write = made.write


def write(pump, command):
    their_write(pump, command)
    if command.endswith("R\r"):
        pump.device.read_until(b"\n")


made.write = write
pump = made(
    com_port=port,
    address=0,
    syringe_volume=1e-3,
    num_valve_port=6,
    init_valve=1,
    out_valve=2,
    wait_time=10,
)
pump._top_speed_def = 3000
read = [pump.port, pump.volume]
pump.draw(0.2, valve_port=3, speed=0.5)
read += [pump.port, pump.volume]
pump.dispense(0.05, valve_port=4)
read += [pump.port, pump.volume]
pump.report_plunger_move_counting()
sys.stdout.write(json.dumps(read))
