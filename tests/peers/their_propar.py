# pyright: basic, reportMissingImports=false

"""The maker's own library drives a controller: `their_propar.py PORT`; prints JSON."""

import json
import sys
import time

import propar

NAMES = {21: "capacity", 129: "unit", 25: "fluid", 91: "model", 92: "serial", 12: "mode"}


def drive(port: str) -> dict:
    mfc = propar.instrument(port)
    said = {"nodes": mfc.master.get_nodes(), "id": mfc.id}
    said |= {name: mfc.readParameter(number) for number, name in NAMES.items()}
    mfc.setpoint = 16000
    time.sleep(0.4)
    said["measure"], said["setpoint"] = mfc.measure, mfc.setpoint
    said["written"] = mfc.writeParameter(206, 125.0)
    time.sleep(0.4)
    said["fmeasure"] = mfc.readParameter(205)
    said["read-only"] = mfc.writeParameter(205, 1.0)
    said["too much"] = mfc.writeParameter(9, 40000)
    said["secured"] = mfc.writeParameter(21, 100.0)
    said["wink"] = mfc.wink(5)
    chain = mfc.db.get_parameters([92, 115, 8, 21, 129, 25])
    said["chain"] = [each["data"] for each in mfc.read_parameters(chain)]
    mfc.master.propar.mode = propar.PP_MODE_ASCII
    said["ascii"] = [mfc.readParameter(206), mfc.readParameter(25), mfc.writeParameter(206, 0.0)]
    mfc.master.propar.mode = propar.PP_MODE_BINARY
    said["closed"] = [mfc.writeParameter(12, 3), mfc.readParameter(12)]
    said["counter"] = mfc.readParameter(122)
    other = propar.instrument(port, address=9)
    said["nobody"] = other.readParameter(9)
    return said


print(json.dumps(drive(sys.argv[1])))
