"""flowchem 1.1.6 drives a Knauer Azura Compact pump at a port; prints what it read.

Worked around: its port is a class attribute; `get_maximum_pressure` multiplies a text by a unit and
fails. `read_pressure` returns a tenth of the pressure: 0.1 MPa are 1 bar.
"""
# pyright: basic, reportMissingImports=false

import asyncio
import json
import sys

from flowchem import ureg
from flowchem.devices.knauer.azura_compact import AzuraCompact


async def drive():
    pump = AzuraCompact(ip_address="127.0.0.1", name="pump", max_pressure="200 bar")
    await pump.initialize()
    head = await pump.get_headtype()
    await pump.components[0].infuse(rate="1.5 ml/min")
    await asyncio.sleep(0.3)
    pressure = await pump.read_pressure()
    read = [head.value, await pump.get_flow_rate(), pressure.m_as("bar")]
    read += [await pump.read_motor_current() > 0, await pump.read_errors()]
    read += [await pump.is_autostart_enabled(), await pump.get_adjusting_factor()]
    await pump.set_flow_rate(ureg.Quantity("2 ml/min"))
    await pump.stop()
    return read


AzuraCompact.TCP_PORT = int(sys.argv[1])
sys.stdout.write(json.dumps(asyncio.run(drive())))
