"""matterlab-valves 1.2.1 and vicivalve 0.1.0 drive valves at a port; print what they read."""
# pyright: basic, reportMissingImports=false

import json
import sys

import serial
from matterlab_valves.runze_valve import RunzeSelectionValve
from matterlab_valves.valco_selection_valve import ValcoSelectionValve
from vicivalve import VICI


class Impatient(serial.Serial):
    """vicivalve waits 5 s for a reply to IFM1, which has none."""

    def __setattr__(self, name, value):
        super().__setattr__(name, min(value, 0.3) if name == "timeout" and value else value)


def runze(port):
    # it waits for an end of line that there is not: each exchange takes the whole time-out
    valve = RunzeSelectionValve(port, address=0, num_port=6, timeout=0.15, share_port=False)
    valve.port = 2
    turned = valve.port
    valve.set_current_port(3, direction_CW=False)
    return [turned, valve.port, valve.check_motor()]


def valco(port):
    valve = ValcoSelectionValve(port, num_port=8, timeout=0.5)
    valve.set_current_port(4)
    return [valve.num_port, valve.port]


def vici(port):
    valve = VICI(Impatient(port, 9600), positions=2, address=7)
    learnt = valve.learn()
    switched = valve.switch_valve("B")
    toggled = valve.toggle()
    return [learnt, switched, toggled, valve.home(), valve.current_position()]


kind, port = sys.argv[1:]
sys.stdout.write(json.dumps(globals()[kind](port)))
