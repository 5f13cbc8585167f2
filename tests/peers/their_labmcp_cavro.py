"""labmcp-cavro 0.1.3 drives a Cavro pump at a port; prints what it read."""
# pyright: basic, reportMissingImports=false

import json
import sys

import without_fastmcp  # noqa: F401 (before labmcp)
from labmcp import open_transport
from labmcp_cavro.driver import CavroError, CavroPump

transport = open_transport(
    f"serial://{sys.argv[1]}",
    baudrate=9600,
    read_termination="\x03\r\n",
    write_termination="\r",
    timeout=2.0,
)
pump = CavroPump(transport, syringe_ul=1000, model="xlp6000", resolution_mode=1)
pump.initialize()
read = [pump.firmware(), pump.mode(), pump.valve_position()]
drawn = pump.move_plunger("P", 4800, 6000, timeout=5)
read += [drawn.position_steps, pump.move_valve("O")]
given = pump.move_plunger("D", 1200, 3000, timeout=5)
read += [given.position_steps, pump.top_speed()]
try:
    pump.move_plunger("D", 40000, 3000, timeout=5)
except CavroError as error:
    read.append(error.code)
pump.terminate()
sys.stdout.write(json.dumps(read))
