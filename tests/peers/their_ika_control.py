# pyright: basic, reportMissingImports=false

"""ika-control 0.7.0 drives a plate over TCP: their_ika_control.py 127.0.0.1:PORT.

Over a serial port it sleeps for a second with each question; over TCP it does not.
"""

import asyncio
import json
import sys

from ika import Hotplate


async def main() -> None:
    async with Hotplate(sys.argv[1]) as plate:
        print(json.dumps(await plate.get_info()))
        await plate.set("process", 45.0)
        await plate.set("shaker", 300)
        await plate.control("heater", True)
        await plate.control("motor", True)
        await asyncio.sleep(1.0)
        print(json.dumps(await plate.get()))
        await plate.control("heater", False)
        await plate.control("motor", False)
        print(json.dumps(await plate.get()))


asyncio.run(main())
