"""flowchem 1.1.6 drives a Runze valve or pump or a VICI valve at a port; prints what it read."""
# pyright: basic, reportMissingImports=false

import asyncio
import json
import sys

from flowchem.devices.runze._common import RunzeSerialIO
from flowchem.devices.runze.runze_syringe_pump import RunzeSyringePump
from flowchem.devices.runze.runze_valve import RunzeValve
from flowchem.devices.vicivalco.vici_valve import ViciValcoValveIO, ViciValve


async def runze_valve(port):
    valve = RunzeValve(RunzeSerialIO.from_config({"port": port}), name="valve", address=0)
    heads = await valve.get_valve_type()
    await valve.set_raw_position("2")
    return [heads.value, await valve.get_raw_position(), await valve.get_status()]


async def runze_pump(port):
    io = RunzeSerialIO.from_config({"port": port})
    pump = RunzeSyringePump(io, name="pump", address=3, syringe_volume="5 mL")
    await pump.home()
    await pump.aspirate_steps(4800)
    drawn = await pump.read_position()
    await pump.set_raw_position("4")
    await pump.dispense_steps(1200)
    return [drawn, await pump.read_position(), await pump.stop(), await pump.is_moving()]


async def vici(port):
    valve = ViciValve(ViciValcoValveIO.from_config(port), name="valve", address=5)
    await valve.set_raw_position("B")  # it reads no reply, and does not wait
    await asyncio.sleep(0.4)
    return []


kind, port = sys.argv[1:]
sys.stdout.write(json.dumps(asyncio.run(globals()[kind](port))))
