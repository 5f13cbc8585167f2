"""Campaigns whose trials are done by hand: what is proposed, and what came of it.

    notebook = Notebook.load(Path("campaign.yaml"))
    with notebook.open() as journal:
        proposal = propose(notebook, journal, 4, context={})
    ...
    filled = read(spreadsheet.read(Path("results.csv")), notebook.campaign)
    found = compare(filled, notebook.campaign, notebook.trials())
    with notebook.open() as journal:
        list(enter(notebook, journal, found.changes, "results.csv"))

A campaign by hand needs no lab and no plan, only a journal. One that has them can be done by hand
as well; its journal is the lab's.
"""

from sdl.byhand.budget import Budget, budget
from sdl.byhand.comparing import Change, Comparison, compare
from sdl.byhand.entering import enter
from sdl.byhand.filled import Filled, Result, read
from sdl.byhand.notebook import Notebook
from sdl.byhand.proposing import Proposal, propose, read_context
from sdl.byhand.sheet import STATE, STATES, columns, rows

__all__ = [
    "STATE",
    "STATES",
    "Budget",
    "Change",
    "Comparison",
    "Filled",
    "Notebook",
    "Proposal",
    "Result",
    "budget",
    "columns",
    "compare",
    "enter",
    "propose",
    "read",
    "read_context",
    "rows",
]
