# pyright: basic, reportMissingImports=false

"""PyLabRobot 0.2.2 weighs on a pseudo-terminal: their_pylabrobot_scale.py /dev/pts/N."""

import asyncio
import sys

from pylabrobot.scales.mettler_toledo_backend import (
    MettlerToledoError,
)
from pylabrobot.scales.mettler_toledo_backend import (
    MettlerToledoWXS205SDUBackend as Scale,
)


async def main() -> None:
    scale = Scale(port=sys.argv[1])
    await scale.setup()
    print("serial", scale.serial_number)
    print("stable", await scale.read_stable_weight())
    print("now", await scale.read_weight_value_immediately())
    print("within 0.2 s", await scale.read_dynamic_weight(0.2))
    print("tare", await scale.tare_stable())
    print("tare weight", await scale.request_tare_weight())
    print("net", await scale.read_stable_weight())
    await scale.clear_tare()
    print("gross", await scale.read_stable_weight())
    await scale.tare_timeout(0.5)
    await scale.tare_immediately()
    print("display", await scale.set_display_text("HELLO"), await scale.set_weight_display())
    try:
        await scale.zero_stable()
    except MettlerToledoError as error:
        print("zero", error)
    await scale.stop()


asyncio.run(main())
