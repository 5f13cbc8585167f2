# pyright: basic, reportMissingImports=false

"""The JULABO emulator of lewis 1.4.0, until stdin ends: their_lewis_julabo.py PORT."""

import sys
import threading

from lewis.core.simulation import SimulationFactory

factory = SimulationFactory("lewis.devices")
simulation = factory.create(
    "julabo",
    protocols={"julabo-version-1": {"bind_address": "127.0.0.1", "port": int(sys.argv[1])}},
)
simulation.cycle_delay = 0.01
threading.Thread(target=lambda: (sys.stdin.read(), simulation.stop()), daemon=True).start()
print("ready", flush=True)
simulation.start()
