"""The PLC interlock, whatever goes wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdl.drivers.plc_interlock import PlcInterlock
from sdl.simulators.parts.switches import Switches
from sdl.simulators.plc_interlock import SimulatedPlcInterlock
from sdl.testing import Conformance, Rig, Setting, StillWorld, Subject, Truth

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "plc_interlock.yaml"
NAMES = ("emergency stop", "door", "fume hood flow", "overtemperature", "leak", "gas alarm")
CONTACTS = ("estop", "door", "hood", "heat", "leak", "gas")


@dataclass
class Bench:
    """The switches of a bench, and the PLC that watches them."""

    switches: Switches
    plc: SimulatedPlcInterlock

    @property
    def opened(self) -> str:
        """A contact that is open, of one at most."""
        return "".join(name for name in CONTACTS if not self.switches.healthy(name))

    @opened.setter
    def opened(self, name: str) -> None:
        self.switches.open(name)

    @property
    def enabled(self) -> str:
        """What has power."""
        return "".join(name for name in ("heaters", "pumps") if self.switches.powered(name))

    def trip_anew(self, n: int) -> None:
        """Let the n-th contact trip it, and it alone."""
        for name in CONTACTS:
            self.switches.close(name)
        self.plc.reset()
        self.switches.hood_flow = 40.0 + n % 50
        if n % 7:
            self.switches.open(CONTACTS[n % 7 - 1])

    @property
    def causes(self) -> str:
        return ", ".join(name for bit, name in enumerate(NAMES) if self.plc.trips >> bit & 1)

    @property
    def first_out(self) -> str:
        return NAMES[self.plc.first_out - 1] if self.plc.first_out else ""


def rig() -> Rig:
    switches = Switches(StillWorld())
    plc = SimulatedPlcInterlock(switches, rng=np.random.default_rng(1), noise=0.0)
    return Rig(plc, Bench(switches, plc))


def healthy(name: str) -> Truth:
    return Truth(lambda bench: bench.switches.healthy(name))


class TestPlcInterlock(Conformance):
    subject = Subject(
        driver=lambda wire: PlcInterlock(wire, name="interlock"),
        rig=rig,
        url=PlcInterlock.delivered,
        transcript=TRANSCRIPT,
        identity=r"PLC interlock, unit 1, firmware 100",
        truths={
            "tripped": Truth(lambda bench: bench.causes),
            "first_out": Truth(lambda bench: bench.first_out),
            "hood_flow": Truth(lambda bench: bench.switches.hood_flow, within=0.5, units="cm/s"),
            "uptime": Truth(lambda bench: bench.plc.uptime, within=1, units="s"),
            "estop_ok": healthy("estop"),
            "door_closed": healthy("door"),
            "hood_ok": healthy("hood"),
            "overtemp_ok": healthy("heat"),
            "leak_ok": healthy("leak"),
            "gas_alarm": Truth(lambda bench: not bench.switches.healthy("gas")),
            "heaters": Truth(lambda bench: bench.switches.powered("heaters")),
            "pumps": Truth(lambda bench: bench.switches.powered("pumps")),
            "gas": Truth(lambda bench: bench.switches.powered("gas_supply")),
            "buzzer": Truth(lambda bench: bench.switches.powered("buzzer")),
        },
        change=lambda bench, n: bench.trip_anew(n),
        settings=[
            Setting(True, took=lambda b: b.switches.powered("heaters"), signal="heaters"),
            Setting(True, took=lambda b: b.switches.powered("pumps"), signal="pumps"),
            Setting(True, took=lambda b: b.switches.powered("gas_supply"), signal="gas"),
            Setting(True, took=lambda b: b.switches.powered("buzzer"), signal="buzzer"),
        ],
        safe=lambda bench: not bench.enabled,
    )
