# pyright: basic, reportMissingImports=false

"""sartorius 0.7.1 (numat) weighs over TCP: their_sartorius.py 127.0.0.1:PORT.

Worked around: `zero` waits for an answer that SBI does not have, which costs its time-out of 1 s.
"""

import asyncio
import sys

import sartorius


async def main() -> None:
    async with sartorius.Scale(sys.argv[1], timeout=0.5) as scale:
        print("info", await scale.get_info())
        print("weight", await scale.get())
        await scale.zero()
        print("zeroed", await scale.get())


asyncio.run(main())
