"""What else befalls a runtime on real wires: a full disk, a wrong clock, a second runtime."""

import time
from collections.abc import Sequence

from sdl.journal import Journal
from tests.torture.bench import CAMPAIGN_NAME
from tests.torture.kills import LONGEST_LIFE, Boundary, Hung, Torment

SPOILED = "the clock was set back"
HOUR = 3600.0
SECOND = 20.0  # s that a second runtime may take to say that the lab is taken


def full_disk(torment: Torment, boundaries: Sequence[Boundary]) -> None:
    """At each of these the disk is full for some seconds; that life ends, the next goes on."""
    torment.place.budget(10_000)
    for boundary in boundaries:
        began = time.monotonic()
        code = torment.wait(torment.place.live(fill=[boundary]), LONGEST_LIFE)
        n, where, filled = torment.last_boundary()
        if not filled or code == 0:
            raise Hung(f"a full disk at {boundary} did not end the runtime ({code})")
        torment.after(f"disk full at {n}, {where}: ended with {code}", began)


def clock_back(torment: Torment, boundaries: Sequence[Boundary]) -> None:
    """A life is killed at each of these; the clock of the next one is an hour behind."""
    torment.place.budget(10_000)
    for boundary in boundaries:
        began = time.monotonic()
        torment.wait(torment.place.live([boundary]), LONGEST_LIFE)
        number = torment.newest()
        life = torment.place.live([(1, "done")], clock=-HOUR)  # of the next trial, at the latest
        torment.wait(life, LONGEST_LIFE)
        torment.after(f"clock set back after {boundary} of trial {number}", began)


def two_runtimes(torment: Torment, times: int) -> None:
    """While a runtime is at work a second one is started: it ends at once and touches nothing."""
    torment.place.budget(10_000)
    for k in range(times):
        began, before = time.monotonic(), torment.owners()
        first = torment.place.live()
        try:
            while torment.owners() == before:
                time.sleep(0.1)
            time.sleep(1.0 + k)
            code = torment.wait(torment.place.live(), SECOND)
            if code == 0 or first.poll() is not None:
                raise Hung(f"two runtimes: the second ended with {code}, {first.poll()}")
        finally:
            first.kill()
            first.wait()
        torment.after("a second runtime was sent away", began)


def causes(torment: Torment) -> dict[int, str]:
    """Of the trials that failed."""
    with Journal.open(str(torment.place.journal), readonly=True) as journal:
        trials = journal.trials(CAMPAIGN_NAME)
    return {t.number: str(t.cause) for t in trials if t.state.value == "failed"}
