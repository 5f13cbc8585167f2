# pyright: basic, reportMissingImports=false

"""Alicat 0.9.0 drives a flow controller: `their_alicat.py PORT`; prints what it read, as JSON."""

import asyncio
import json
import sys

from alicat import FlowController


async def drive(port: str) -> dict:
    said = {}
    async with FlowController(port) as controller:
        said["firmware"] = await controller.get_firmware()
        said["before"] = await controller.get()
        await controller.set_flow_rate(120.0)
        await asyncio.sleep(0.5)
        said["flowing"] = await controller.get()
        await controller.hold()
        said["held"] = await controller._write_and_read("A")  # their `get` chokes on HLD
        await controller.cancel_hold()
        await controller.lock()
        said["locked"] = await controller.is_locked()
        await controller.unlock()
        said["unlocked"] = await controller.is_locked()
        await controller.set_flow_rate(0.0)
        await controller.set_gas("Ar")
        await controller.create_mix(236, "MYMIX", {"N2": 60, "Ar": 40})
        await controller.set_gas(236)
        said["mixed"] = (await controller.get())["gas"]
        await controller.delete_mix(236)
        await asyncio.sleep(0.3)
        await controller.tare_volumetric()
        said["pid"] = await controller.get_pid()
        await controller.set_ramp_config({"up": True, "down": False, "zero": False, "power": False})
        said["ramps"] = await controller.get_ramp_config()
        await controller.set_maxramp(25.0, "s")
        said["max ramp"] = await controller.get_maxramp()
        await controller.set_totalizer_batch(12.5)
        said["batch"] = await controller.get_totalizer_batch()
        await controller.set_pressure(20.0)
        said["control point"] = (await controller.get())["control_point"]
        await controller.reset_totalizer()
        said["after"] = await controller.get()
    return said


print(json.dumps(asyncio.run(drive(sys.argv[1]))))
