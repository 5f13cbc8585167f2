"""A record made by hand, of a bench that is not there: what the commands of an operator read."""

from pathlib import Path

import pytest

from sdl.journal import Booking, Journal, Trial, TrialState

SPEC = {
    "parameters": {"temperature": {"type": "continuous", "low": 0, "high": 99, "units": "degC"}},
    "objectives": {"y": {"direction": "maximize", "units": "kg"}},
    "budget": {"trials": 5},
    "parallel": 1,
}
LAB = """\
lab: bench
inventory:
  substrate: {amount: 250, units: mL, taken_by: {pump: negative}, low: 20}
  waste: {amount: 0, capacity: 5000, units: mL, filled_by: {pump: positive}}
"""
BEGAN = 1_700_000_000.0
"""When the record begins; a trial takes an hour."""

UNKNOWN = {"verdict": "unknown", "evidence": "the counter was reset", "who": "pump"}
READING = {
    "heater-temperature": {"value": 59.98765, "timestamp": BEGAN},
    "camera-image": {
        "value": {"__array__": "uint8", "shape": [480, 640], "data": []},
        "timestamp": BEGAN,
    },
}


def begun(journal: Journal, time: float) -> Trial:
    """One more trial, running."""
    (trial,) = journal.suggest("snar", [({"temperature": 60.0}, {"generator": "sobol"})], time=time)
    trial = journal.move(trial, TrialState.APPROVED, time=time, who="autonomy")
    return journal.move(trial, TrialState.RUNNING, time=time, who="runtime")


def completed(journal: Journal) -> None:
    """A trial with steps of every kind, once interrupted."""
    trial, at = begun(journal, BEGAN), BEGAN
    journal.add_document(trial, "r1", "start", {"uid": "r1"}, time=at)
    journal.begin_step(trial, 1, "stage", "heater", None, time=at)
    journal.end_step(trial, 1, None, None, time=at)
    journal.begin_step(trial, 2, "set", "heater", 60.0, time=at + 1)
    journal.end_step(trial, 2, None, None, time=at + 301)
    for n in range(3, 9):
        command, argument = ("sleep", 60.0) if n % 2 else ("read", None)
        journal.begin_step(trial, n, command, "heater", argument, time=at + 300 + n)
        journal.end_step(trial, n, None if n % 2 else READING, None, time=at + 300 + n)
    journal.begin_step(
        trial, 9, "set", "pump", -5.25, time=at + 400, bookings=[Booking("substrate", -5.25)]
    )
    stop = {"run_start": "r1", "exit_status": "abort", "reason": "the runtime was killed"}
    journal.add_document(trial, "r1", "stop", stop, time=at + 500)
    journal.add_document(trial, "r2", "start", {"uid": "r2", "continues": "r1"}, time=at + 501)
    journal.begin_step(trial, 2, "set", "heater", 60.0, time=at + 502, again=True)
    journal.end_step(trial, 2, None, None, time=at + 503)
    finding = {"verdict": "done", "evidence": "dispensed 0.000 -> 5.250 mL", "who": "pump"}
    journal.end_step(trial, 9, None, None, time=at + 504, finding=finding)
    journal.begin_step(trial, 10, "trigger", "balance", None, time=at + 505)
    journal.end_step(trial, 10, None, "balance: it is not stable", time=at + 515)
    journal.begin_step(trial, 10, "trigger", "balance", None, time=at + 516, again=True)
    journal.end_step(trial, 10, None, None, time=at + 520)
    journal.add_document(trial, "r2", "stop", {"exit_status": "success"}, time=at + 521)
    journal.move(
        trial, TrialState.COMPLETED, time=at + 3600, who="runtime", outcomes={"y": 12.3456}
    )


def in_doubt(journal: Journal) -> None:
    """A trial whose second dose nobody can tell of; a setpoint was under way too."""
    trial, at = begun(journal, BEGAN + 3600), BEGAN + 3600
    journal.claim("bench", ["heater", "pump"], trial, time=at)
    journal.add_document(trial, "r3", "start", {"uid": "r3"}, time=at)
    journal.begin_step(trial, 1, "set", "heater", 60.0, time=at + 1)
    journal.begin_step(
        trial,
        2,
        "set",
        "pump",
        -5.25,
        time=at + 2,
        mark={"withdrawn": 5.25},
        bookings=[Booking("substrate", -5.25)],
    )
    journal.note_finding(trial, 2, UNKNOWN, time=at + 60)
    journal.move(
        trial, TrialState.IN_DOUBT, time=at + 61, who="runtime", cause="step 2: the pump cannot say"
    )


def interrupted(journal: Journal) -> None:
    """A trial that was running when its runtime was killed."""
    trial, at = begun(journal, BEGAN + 7200), BEGAN + 7200
    journal.claim("bench", ["balance"], trial, time=at)
    journal.add_document(trial, "r4", "start", {"uid": "r4"}, time=at)
    journal.begin_step(trial, 1, "trigger", "balance", None, time=at + 1)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A lab's folder: trial 1 completed, 2 in doubt, 3 interrupted; `valve` in quarantine."""
    (tmp_path / "lab.yaml").write_text(LAB)
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.add_campaign("snar", SPEC, lab="bench", twin=False, versions={}, time=BEGAN)
        for item, amount in (("substrate", 250.0), ("waste", 0.0)):
            journal.open_item("bench", item, amount, time=BEGAN)
        journal.put_readings({"heater-temperature": (60.0, "degC", BEGAN)})
        completed(journal)
        in_doubt(journal)
        interrupted(journal)
        journal.quarantine("bench", "valve", "it did not turn", time=BEGAN, who="runtime")
    return tmp_path
