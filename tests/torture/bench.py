"""A flow bench on simulators that live on while runtimes come and are killed.

The simulators are a process of their own (`sdl simulate --actions`), on real ports; what they write
down of the physical world is the truth that a record is judged by. Syringes are wide and times are
short: a trial takes some 10 s of real time at `SPEED`, a dose 0.4 s at least.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIFE = Path(__file__).with_name("life.py")
ROOT = Path(__file__).parents[2]
CLI = "import sys; from sdl.cli import main; sys.exit(main(sys.argv[1:]))"
SPEED = 40.0
CAMPAIGN_NAME = "torture"
PUMPS = ("substrate_pump", "amine_pump", "solvent_pump")

LAB = """\
lab: torture-bench
wires:
  pumps: {url: "serial:///dev/pumps?baudrate=19200", timeout: 0.5}
  heater: modbus+rtu:///dev/heater?baudrate=9600
  detector: zmq+tcp://192.168.0.11:5555   # so a free port is chosen
instruments:
  substrate_pump:
    {driver: ne1000, wire: pumps, address: 0, diameter: 50, twin: {part: substrate}}
  amine_pump: {driver: ne1000, wire: pumps, address: 1, diameter: 50, twin: {part: amine}}
  solvent_pump: {driver: ne1000, wire: pumps, address: 2, diameter: 50, twin: {part: solvent}}
  heater:
    driver: eurotherm3216
    wire: heater
    settle: 0.0              # waited for in real time, by each life anew
    tolerance: 2.0
    safe_temperature: 55.0   # or each life would have to heat it from the cold
    twin: {part: reactor}
  spectrometer:
    {driver: spectrometer, wire: detector, integration_time: 0.1, averages: 2, twin: {part: outlet}}
world: {use: snar_flow, seed: 1}
"""

CAMPAIGN = f"""\
campaign: {CAMPAIGN_NAME}
plan: flow_reaction
instruments:
  substrate: substrate_pump
  amine: amine_pump
  solvent: solvent_pump
  reactor: heater
  spectrometer: spectrometer
fixed: {{draw_rate: 60.0, flush_rate: 60.0, longest_wait: 1000.0}}
parameters:
  temperature: {{low: 60, high: 70, units: degC}}
  residence_time: {{low: 0.25, high: 0.4, units: min}}
  equivalents: {{low: 1.5, high: 3.0}}
  concentration: {{low: 0.2, high: 0.5, units: mol/L}}
objectives:
  space_time_yield: {{direction: maximize, units: kg/m3/h, threshold: 0}}
  e_factor: {{direction: minimize, threshold: 1000}}
optimizer: {{use: sobol}}
seed: 1
failures_in_a_row: 1000
"""


@dataclass(frozen=True)
class Place:
    """The folder of one bench."""

    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "sim.db"

    @property
    def actions(self) -> Path:
        return self.folder / "actions.jsonl"

    @property
    def boundaries(self) -> Path:
        """What each life went through: a line per boundary, `life N` before."""
        return self.folder / "boundaries.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def budget(self, trials: int) -> None:
        text = f"{CAMPAIGN}budget: {{trials: {trials}}}\n"
        (self.folder / "campaign.yaml").write_text(text)

    def live(
        self,
        targets: Collection[tuple[int, str]] = (),
        *,
        fill: Collection[tuple[int, str]] = (),
        clock: float = 0.0,
    ) -> "subprocess.Popen[bytes]":
        """Start a runtime.

        :param targets: it kills itself at the first of these boundaries that it reaches.
        :param fill: at the first of these its disk is full, for some seconds.
        :param clock: s by which its clock is wrong.
        """
        orders = {"kill": sorted(targets), "fill": sorted(fill), "clock": clock}
        (self.folder / "targets.json").write_text(json.dumps(orders))
        with self.output.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", str(LIFE), str(self.folder)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )

    def moves(self, pump: str) -> int:
        """How often a pump has begun to move."""
        lines = self.actions.read_text().splitlines() if self.actions.exists() else []
        begun = ((a["instrument"], a["action"]) for a in map(json.loads, lines))
        return sum(action == (pump, "move") for action in begun)

    def abandon(self, trial: int) -> None:
        """Give a trial in doubt up, as an operator does."""
        words = ["resolve", str(trial), "--abandon", "--note", "torture", "--lab", "sim.yaml"]
        command = [sys.executable, "-c", CLI, *words]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=60)


@contextmanager
def bench(folder: Path, *, watchdog: bool, speed: float = SPEED) -> Iterator[Place]:
    """A lab's folder with its simulators at work.

    :param watchdog: whether a watchdog process stops the pumps when a runtime is dead.
    """
    place = Place(folder)
    guarded = "watchdog: {timeout: 1.0}\n" if watchdog else "watchdog: off\n"
    (folder / "lab.yaml").write_text(LAB + guarded)
    place.budget(1)
    words = ["simulate", "lab.yaml", "--write", "sim.yaml", "--speed", str(speed)]
    command = [sys.executable, "-c", CLI, *words, "--actions", str(place.actions)]
    with (folder / "simulators.txt").open("w") as log:
        simulators = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder
        )
    assert simulators.stdout is not None
    try:
        if not any(line.startswith("ready") for line in simulators.stdout):
            raise RuntimeError((folder / "simulators.txt").read_text())
        yield place
    finally:
        simulators.terminate()
        simulators.wait(20)
        simulators.stdout.close()
