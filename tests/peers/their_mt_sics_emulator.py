# pyright: basic, reportMissingImports=false

"""mt-sics-emulator 0.1.1 on a TCP port, until stdin is closed: their_mt_sics_emulator.py."""

import asyncio
import sys

from mtsics.core.state import ScaleState
from mtsics.profiles import load
from mtsics.protocol.engine import MTSICSEngine
from mtsics.transport.tcp import TCPConfig, TCPTransport


async def main() -> None:
    state = ScaleState(config=load("mt-xs204"))
    state.set_weight(52.1873)
    server = TCPTransport(MTSICSEngine(state), cfg=TCPConfig(host="127.0.0.1", port=0))
    _, port = await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


asyncio.run(main())
