"""Whether an optimizer may be trusted with a campaign: measured, recorded, and decided by a person.

    suite = Suite()
    made = evaluate(Case.of(campaign, folder, trials), suite, place)
    record(made, place)
    faults = gate(made, promoted_evaluation)

Scores: task regret on benchmark tasks, calibration (leave-one-out), safety (how often proposals
break constraints and limits), bias (what of the space, and of molecules, is visited), latency. All
of them with intervals; each evaluation is a file in `evaluations/`, beside the campaign.
"""

from sdl.evaluation.evaluating import Case, evaluate
from sdl.evaluation.gate import gate
from sdl.evaluation.registry import last_promoted, place_of, promote, record
from sdl.evaluation.scores import Evaluation, Score
from sdl.evaluation.suite import Suite

__all__ = [
    "Case",
    "Evaluation",
    "Score",
    "Suite",
    "evaluate",
    "gate",
    "last_promoted",
    "place_of",
    "promote",
    "record",
]
