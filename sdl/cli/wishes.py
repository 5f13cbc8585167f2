"""`sdl pause`, `resume`, `abort` and `stop --after-step`: wishes, for the runtime to answer.

They are written to the journal and taken from there by the runtime. One that nobody answers is
withdrawn: the next runtime must not find it.
"""

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from sdl.errors import ConflictError
from sdl.journal import Journal, TrialState

if TYPE_CHECKING:
    from sdl.cli.desk import Desk

PATIENCE = 3.0
"""s that a runtime has to answer; it looks for wishes many times a second."""

PERIOD = 0.05  # s between two looks for the answer

NOBODY = f"nobody answered in {PATIENCE:g} s"


def run(options: Namespace) -> int:
    """Make the wish `options.wish`; 0 if it was granted."""
    from sdl.cli import desk, trials, words

    with desk.at(options) as here:
        target = ""
        if options.wish == "abort":
            trial = trials.find(here.journal, here.record, options.trial)
            if trial.state is not TrialState.RUNNING:
                print(f"trial {trial.id} is not running: it is {words.state(trial.state)}")
                return 1
            target = str(trial.number)
        wish = here.journal.request(
            here.lab, options.wish, target, who=here.who, why=options.why or "", time=here.now
        )
        try:
            answered = _answered(here.journal, wish)
        except KeyboardInterrupt:
            _withdraw(here, wish)
            raise
        if not answered and _withdraw(here, wish):
            print(f"{options.wish}: {NOBODY}; the wish was withdrawn")
            print(f"  {_who_should_have(here.runtime, options.wish)}")
            return 1
        found = here.journal.request_answer(wish)  # the runtime may have been faster after all
        ok, text = bool(found.ok), found.answer or ""
    print(f"{options.wish}: {text}")
    return 0 if ok else 1


def _answered(journal: Journal, wish: int) -> bool:
    """Wait for an answer; whether it came in time."""
    ends = time.monotonic() + PATIENCE
    while journal.request_answer(wish).ok is None:
        if time.monotonic() > ends:
            return False
        time.sleep(PERIOD)
    return True


def _withdraw(here: "Desk", wish: int) -> bool:
    """Answer it ourselves; False if the runtime was faster after all."""
    try:
        here.journal.answer_request(wish, False, f"withdrawn by {here.who}", time=here.now)
    except ConflictError:
        return False
    return True


def _who_should_have(runtime: str, wish: str) -> str:
    if not runtime:
        return "no runtime seems to be at work here: nothing is running that could " + wish
    return f"{runtime} should have: it hangs or is busy; `sdl stop` works without it"
