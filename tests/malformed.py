"""Lab and campaign files with one mistake each, and what the message about it must say.

Each case changes a right file: `Case(which file, what is replaced, by what, words of the message)`.
"""

from dataclasses import dataclass
from typing import Literal

LAB = """\
lab: bench
wires:
  pumps: serial:///dev/ttyUSB0?baudrate=19200
  heater: {url: "modbus+tcp://127.0.0.1:5020", timeout: 0.5}
instruments:
  feed: {driver: ne1000, wire: pumps, address: 0, diameter: 19.13, twin: {part: substrate}}
  amine: {driver: ne1000, wire: pumps, address: 1, diameter: 26.7}
  reactor: {driver: eurotherm3216, wire: heater}
world: {use: snar_flow, seed: 1}
"""

PLAN = """\
import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from sdl.instrument import Doser


@bpp.run_decorator()
def _inner(pump, heater, temperature, volume):
    yield from bps.mv(heater, temperature, pump, volume)


def heat(
    pump: Doser, heater: Movable, *, temperature: float, volume: float, times: int = 1,
    solvent: str = "water",
) -> MsgGenerator[dict[str, float]]:
    yield from _inner(pump, heater, temperature, volume)
    return {"y": temperature, "z": volume}


def no_plan(pump: Doser, heater: Movable, *, temperature: float, volume: float) -> dict:
    return {}


broken: int = 3
"""

CAMPAIGN = """\
campaign: trial-run
plan: plans_here:heat
instruments: {pump: feed, heater: reactor}
fixed: {times: 2}
parameters:
  temperature: {low: 30, high: 120, units: degC}
  volume: {low: 0.5, high: 2.0, units: mL}
constraints: ["temperature + 2*volume <= 123"]
objectives:
  y: {direction: maximize, threshold: 1}
optimizer: {use: sobol}
budget: {trials: 5}
seed: 1
"""


@dataclass(frozen=True)
class Case:
    file: Literal["lab", "campaign"]
    old: str
    new: str
    says: tuple[str, ...]
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.new.strip() or 'without ' + self.old.strip()}"[:70]


def lab(old: str, new: str, *says: str, line: int | None = None) -> Case:
    return Case("lab", old, new, says, line)


def campaign(old: str, new: str, *says: str, line: int | None = None) -> Case:
    return Case("campaign", old, new, says, line)


WHOLE = ""  # replaces the whole file
WORLD = "world: {use: snar_flow, seed: 1}\n"


def more(text: str, *says: str, line: int | None = 10) -> Case:
    """A lab file with one more line, the tenth."""
    return lab(WORLD, f"{WORLD}{text}\n", *says, line=line)


def limit(text: str, *says: str) -> Case:
    return more(f"safety: {{limits: {{{text}}}}}", *says)


def interlock(text: str, *says: str) -> Case:
    return more(f"safety: {{interlocks: [{text}]}}", *says)


def item(text: str, *says: str) -> Case:
    return more(f"inventory: {{water: {{{text}}}}}", *says)


CASES = [
    # -- no YAML, or not the YAML that is wanted
    lab(WHOLE, "", "empty"),
    lab(WHOLE, "- a\n- b\n", "keys and values", "list"),
    lab(WHOLE, "just words", "keys and values"),
    lab(WHOLE, "lab: [1, 2\n", "not valid YAML", line=2),
    lab(WHOLE, "lab:\n\tbench: 1\n", "not valid YAML", line=2),
    lab(WHOLE, "lab: \x00", "not valid YAML"),
    lab(WHOLE, "lab: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    lab(WHOLE, "lab: &a [*a]\n", "contains itself"),
    lab("lab: bench", "lab: bench\nlab: other", "lab", "twice", line=2),
    campaign(WHOLE, "", "empty"),
    campaign("seed: 1", "seed: 1\nseed: 2", "seed", "twice", line=14),
    campaign("budget: {trials: 5}", "budget: {trials: 5", "not valid YAML"),
    # -- lab: keys and names
    lab("lab: bench\n", "", "lab", "missing"),
    lab("lab: bench", "lab: 7", "lab", "string", line=1),
    lab("lab: bench", "lab: my bench", "lab", line=1),
    lab("world:", "wrold:", "wrold", "not a known key", line=9),
    lab("  amine: {driver", "  2nd pump: {driver", "2nd pump", line=7),
    lab("instruments:", "instruments: {}\nunused:", "instruments"),
    # -- lab: wires
    lab("serial:///dev/ttyUSB0?baudrate=19200", "/dev/ttyUSB0", "wires.pumps", "serial", line=3),
    lab("serial:///dev", "usb:///dev", "usb", "serial", "modbus+tcp", line=3),
    lab("baudrate=19200", "baudrate=fast", "baudrate", "fast", line=3),
    lab("baudrate=19200", "baud=19200", "baud", "baudrate", line=3),
    lab("serial:///dev/ttyUSB0?baudrate=19200", "serial://", "pumps", line=3),
    lab("127.0.0.1:5020", "127.0.0.1:99999", "99999", "65535", line=4),
    lab("modbus+tcp://127.0.0.1:5020", "modbus+tcp://", "heater", "host", line=4),
    lab("timeout: 0.5", "timeout: -1", "timeout", "greater than 0", line=4),
    lab("timeout: 0.5", "timeout: soon", "timeout", "number", line=4),
    lab("timeout: 0.5", "timeout: .nan", "timeout", line=4),
    lab("timeout: 0.5", "timeuot: 0.5", "timeuot", "not a known key", line=4),
    # -- lab: instruments
    lab("driver: eurotherm3216", "driver: eurotherm", "eurotherm", "eurotherm3216", line=8),
    lab("driver: eurotherm3216", "driver: os:system", "os:system", line=8),
    lab("driver: eurotherm3216", "driver: os.path:join", "allowed package", line=8),
    lab("driver: eurotherm3216, ", "", "reactor.driver", "missing", line=8),
    lab("wire: heater", "wire: heatr", "heatr", "pumps, heater", line=8),
    lab(", wire: heater", "", "wire", "missing", line=8),
    lab("wire: heater", "wire: pumps", "ModbusWire", "SerialWire", line=8),
    lab(", diameter: 26.7", "", "diameter", "missing", line=7),
    lab("diameter: 26.7", "diameter: wide", "diameter", "number", line=7),
    lab("diameter: 26.7", "diameter: true", "diameter", "number", line=7),
    lab("diameter: 26.7", "diameter: -3", "amine", "diameter", line=7),
    lab("diameter: 26.7", "diametre: 26.7", "diametre", "diameter", line=7),
    lab("address: 1", "address: 100", "address", "99", line=7),
    lab("address: 1", "address: one", "address", line=7),
    # -- lab: the twin
    lab("use: snar_flow", "use: snow", "world.use", "snow", "snar_flow", line=9),
    lab("seed: 1", "seed: -1", "world.seed", line=9),
    lab("seed: 1", "speed: 1", "world.speed", "not an option", line=9),
    lab("part: substrate", "part: subtsrate", "subtsrate", "substrate", line=6),
    lab("part: substrate", "part: substrate, noise: loud", "noise", line=6),
    # -- lab: limits
    limit("oven: {high: 3}", "oven", "no instrument 'oven'", "feed, amine, reactor"),
    limit("feed.speed: {high: 3}", "no signal 'speed'", "feed.rate"),
    limit("reactor: {low: 90, high: 20}", "low (90) should not be above high (20)"),
    limit("reactor: {}", "limits nothing"),
    limit("reactor: {max: 3}", "max", "not a known key", "max_step"),
    limit("reactor: {high: hot}", "high", "number"),
    limit("reactor: {high: .inf}", "high", "finite"),
    limit("reactor: {max_step: -3}", "max_step", "greater than 0"),
    limit("reactor.temperature: {high: 90}", "reactor.temperature cannot be set"),
    limit("2nd: {high: 90}", "2nd", "instrument.signal"),
    # -- lab: interlocks
    interlock("reactor wants feed.rate < 3", "column 9", "needs"),
    interlock("reactor needs feed.rate <", "column 26", "a number", "found the end"),
    interlock("reactor needs feed.rate = 3", "column 25", "one of <"),
    interlock("oven needs feed.rate < 3", "no instrument 'oven'", "feed, amine, reactor"),
    interlock("reactor needs hood.flow < 3", "no instrument 'hood'"),
    interlock("reactor needs feed.flow < 3", "feed has no signal 'flow'", "feed.rate"),
    interlock("reactor.power needs feed.rate < 3", "reactor has no signal 'power'"),
    interlock("reactor needs feed < 3", "feed is no signal", "feed.rate"),
    interlock("reactor needs feed.rate < 3 L/h", "feed.rate is in mL/min", "3 L/h is in L/h"),
    interlock("reactor needs feed.rate", "feed.rate is a number", "true or false"),
    interlock("reactor needs feed.status < 3", "feed.status is text", "a number"),
    interlock("reactor needs 1 < 2", "asks no signal"),
    interlock("{rule: reactor needs feed.rate < 3, max_age: 0}", "max_age", "greater than 0"),
    interlock("{rule: reactor needs feed.rate < 3, period: 0}", "period", "0.05"),
    interlock("{needs: feed.rate < 3}", "rule", "missing"),
    interlock("3", "interlocks", "10"),
    more("safety: {interlock: []}", "interlock", "not a known key", "interlocks, limits"),
    more("safety: {stop_timeout: 0}", "stop_timeout", "greater than 0"),
    more("safety: rules.yaml", "'rules.yaml' cannot be used", "there is no such file"),
    more("safety: 3", "safety", "SafetyRules"),
    more("safety: plans", "'plans' cannot be used", "is a folder"),
    # -- lab: inventory
    item("amount: 5, units: mL", "nothing takes or fills it"),
    item("units: mL, taken_by: {feed: negative}", "amount", "missing"),
    item("amount: -5, taken_by: {feed: negative}", "amount", "greater than or equal to 0"),
    item("amount: 5, capacity: 4, taken_by: {feed: negative}", "amount (5)", "capacity (4)"),
    item("amount: 3, capacity: 4, low: 5, taken_by: {feed: each}", "low (5)", "capacity (4)"),
    item("amount: 5, taken_by: {fed: negative}", "no instrument 'fed'", "feed, amine"),
    item("amount: 5, taken_by: {feed: down}", "'positive', 'negative' or 'each'", "down"),
    item("amount: 5, taken_by: {reactor: positive}", "absolute, not relative", "each"),
    item("amount: 5, filled_by: {feed.dispensed: positive}", "feed.dispensed cannot be set"),
    # -- lab: notify, watchdog, retries
    more("notify: someone", "notify", "list"),
    more("notify: [3]", "notify", "string"),
    more("watchdog: {timeout: 1, beat: 0.5}", "beat (0.5)", "a third of timeout: 0.333"),
    more("watchdog: {timeout: 61}", "timeout", "60"),
    more("watchdog: {beat: 0}", "beat", "greater than 0"),
    more("watchdog: sometimes", "watchdog"),
    lab("address: 1", "address: 1, retries: {set: 2}", "set is relative here", line=7),
    lab("wire: heater", "wire: heater, retries: {set: 11}", "retries.set", "10", line=8),
    lab("wire: heater", "wire: heater, retries: {read: 1.5}", "retries.read", "integer", line=8),
    lab("wire: heater", "wire: heater, retries: {kickoff: 1}", "retries", "'set'", line=8),
    # -- campaign: keys and values
    campaign("campaign: trial-run\n", "", "campaign", "missing"),
    campaign("campaign: trial-run", "campaign: a/b", "campaign", line=1),
    campaign("plan: plans_here:heat\n", "", "plan", "missing"),
    campaign("plans_here:heat", "heatt", "heatt", "plan", line=2),
    campaign("plans_here:heat", "plans_here:cool", "cool", line=2),
    campaign("plans_here:heat", "plans_here:no_plan", "generator function", line=2),
    campaign("plans_here:heat", "plans_here:broken", "generator function", line=2),
    campaign("seed: 1", "sead: 1", "sead", "not a known key", line=13),
    campaign("seed: 1", "seed: 1.5", "seed", "integer", line=13),
    campaign("seed: 1", "parallel: 0", "parallel", line=13),
    campaign("{trials: 5}", "{}", "budget", "trials, hours, until", line=12),
    campaign("{trials: 5}", "{trials: 0}", "trials", line=12),
    campaign("{trials: 5}", "{trials: many}", "trials", line=12),
    campaign("{trials: 5}", "{hours: .inf}", "hours", line=12),
    campaign("{trials: 5}", "{until: {x: 3}}", "x", "not an objective", line=12),
    campaign("{trials: 5}", "5", "budget", line=12),
    # -- campaign: parameters, constraints, objectives
    campaign("{low: 30, high: 120", "{low: 120, high: 30", "temperature", "below", line=6),
    campaign("{low: 30, high: 120", "{low: cold, high: 30", "temperature.low", line=6),
    campaign("{low: 30, high: 120", "{high: 120", "temperature.low", "missing", line=6),
    campaign("{low: 30, high: 120", "{low: 0, high: 120, scale: log", "log", line=6),
    campaign("{low: 30, high: 120", "{low: 30, high: 120, step: 5", "step", line=6),
    campaign("{low: 30, high: 120, units: degC}", "{choices: [a]}", "at least two", line=6),
    campaign("{low: 30, high: 120, units: degC}", "{choices: [a, b]}", "temperature", line=6),
    campaign("{low: 30, high: 120, units: degC}", "50", "temperature", line=6),
    campaign("{low: 30, high: 120, units: degC}", "{values: [3, 2]}", "increase", line=6),
    campaign("temperature + 2*volume <= 123", "temperature + pressure <= 1", "pressure", line=8),
    campaign("temperature + 2*volume <= 123", "temperature * volume == 1", "constraints", line=8),
    campaign("temperature + 2*volume <= 123", "temperature <= 10", "no point", line=8),
    campaign("temperature + 2*volume <= 123", "__import__('os')", "constraints", line=8),
    campaign("direction: maximize", "direction: up", "direction", "minimize", line=10),
    campaign("direction: maximize, threshold: 1", "threshold: 1", "direction", line=10),
    campaign("threshold: 1", "threshold: high", "threshold", line=10),
    campaign("  y: {direction: maximize, threshold: 1}", "  {}", "objectives", line=9),
    campaign("use: sobol", "use: sobool", "sobool", "sobol", line=11),
    campaign("use: sobol", "use: botorch, initail: 5", "initail", line=11),
    campaign("use: sobol", "use: botorch, initial: lots", "initial", line=11),
    # -- campaign against lab and plan
    campaign("pump: feed", "pump: fed", "fed", "feed, amine, reactor", line=3),
    campaign("pump: feed", "pump: reactor", "Doser", "rate", line=3),
    campaign("heater: reactor", "heater: feed.diameter", "Movable", "set", line=3),
    campaign("heater: reactor", "heater: reactor.temprature", "temprature", line=3),
    campaign("pump: feed, ", "", "pump", "needs", line=3),
    campaign("pump: feed", "pump: feed, hose: feed", "hose", "no such argument", line=3),
    campaign("times: 2", "times: twice", "times", "integer", line=4),
    campaign("times: 2", "tiems: 2", "tiems", "no such argument", line=4),
    campaign("times: 2", "temperature: 50", "temperature", "keep one"),
    campaign("  volume: {low: 0.5", "  volum: {low: 0.5", "volum", line=7),
    campaign("  volume: {low", "  times: {low: 0.5, high: 1}\n  volume: {low", "times", line=7),
    campaign("  volume: {low", "  heater: {low: 0, high: 1}\n  volume: {low", "heater", line=7),
]
