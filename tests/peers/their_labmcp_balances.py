# pyright: basic, reportMissingImports=false
"""LabMCP's drivers over TCP, or their simulators on a TCP port until stdin is closed.

    their_labmcp_balances.py drive mettler|sartorius|ezo 127.0.0.1:PORT
    their_labmcp_balances.py simulate mettler|sartorius|pH|EC|DO|RTD

Their simulators answer lines in memory; here they hear them from a socket. Their EZO simulator says
the readings of its continuous mode only when it is asked something.
"""

import asyncio
import sys

import without_fastmcp  # noqa: F401 (before labmcp)
from labmcp.transports.tcp import TCPTransport


def drive(what: str, address: str) -> None:
    host, port = address.split(":")
    end = "\r" if what == "ezo" else "\r\n"
    line = TCPTransport(host, int(port), read_termination=end, write_termination=end, timeout=2)
    if what == "mettler":
        from labmcp_mettler_toledo.driver import MTSICSBalance

        balance = MTSICSBalance(line)
        print(balance.identify())
        print(balance.weight(), balance.weight(stable=False))
        print(balance.tare(), balance.tare_value(), balance.preset_tare(1.5, "g"))
        balance.clear_tare()
        balance.display_text("a 'b'")
        balance.set_door(1)
        print(balance.door_position(), balance.temperature_c(), balance.reset())
    elif what == "sartorius":
        from labmcp_sartorius.driver import SBIBalance

        scale = SBIBalance(line)
        print(scale.identify())
        print(scale.weight())
        scale.tare()
        scale.set_ambient_filter("very_stable")
        print(scale.weight())
    else:
        from labmcp_atlas_ezo.driver import EZOCircuit

        probe = EZOCircuit(line)
        probe.initialise()
        print(probe.identify(), probe.read().values, probe.status())
        print(probe.set_temperature_compensation(30.0), probe.calibration_points(), probe.slope())
        probe.calibrate("mid", 7.0)
        print(probe.calibration_points(), probe.read().values)
    line.close()


async def simulate(what: str) -> None:
    if what == "mettler":
        from labmcp_mettler_toledo.simulator import MTSICSSimulator

        device = MTSICSSimulator()
    elif what == "sartorius":
        from labmcp_sartorius.simulator import SBISimulator

        device = SBISimulator()
    else:
        from labmcp_atlas_ezo.simulator import EZOSimulator

        device = EZOSimulator(what)
    end = b"\r\n" if what in ("mettler", "sartorius") else b"\r"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                heard = await reader.readuntil(end)
            except asyncio.IncompleteReadError:
                break
            said = device.handle(heard[: -len(end)].decode())
            for reply in [said] if isinstance(said, str) else said or []:
                writer.write(reply.encode() + end)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if sys.argv[1] == "drive":
    drive(*sys.argv[2:])
else:
    asyncio.run(simulate(sys.argv[2]))
