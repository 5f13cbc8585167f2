"""The journal: the durable record of campaigns, trials, steps and documents.

    with Journal.open("journal.db") as journal, journal.own("bench-1", time=now()):
        journal.add_campaign("screen", spec, lab="bench-1", twin=False, versions={}, time=now())
        point = {"temperature": 60.0}, {"generator": "sobol", "seed": 3}
        (trial,) = journal.suggest("screen", [point], time=now())
        trial = journal.move(trial, TrialState.APPROVED, time=now(), who="autonomy")

Everything here blocks (a commit takes milliseconds) and reads no clock: each write is told the
lab's time, so two runs on a virtual clock give equal journals. Why a table of our own and not a
durable-execution library: docs/decisions/0003-journal.md.
"""

from sdl.journal.comparing import dump
from sdl.journal.journal import Journal
from sdl.journal.ownership import Ownership
from sdl.journal.records import (
    Activity,
    AuditEntry,
    AuditHead,
    Booking,
    CampaignRecord,
    Claim,
    LedgerLine,
    Level,
    Note,
    Owner,
    Reading,
    Request,
    RunRecord,
    Step,
    StoredDocument,
    Transition,
    Trial,
    Verification,
)
from sdl.journal.states import ALLOWED, ENDED, TrialState

__all__ = [
    "ALLOWED",
    "ENDED",
    "Activity",
    "AuditEntry",
    "AuditHead",
    "Booking",
    "CampaignRecord",
    "Claim",
    "Journal",
    "LedgerLine",
    "Level",
    "Note",
    "Owner",
    "Ownership",
    "Reading",
    "Request",
    "RunRecord",
    "Step",
    "StoredDocument",
    "Transition",
    "Trial",
    "TrialState",
    "Verification",
    "dump",
]
