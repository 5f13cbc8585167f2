"""What a Cavro pump tells of a dose of which nobody heard the end.

Source: manual 734237-C, reports `?`, `?2`, `?15`, `?16` and `Q`. The plunger's position is the
evidence. It is worth nothing when the power was lost in between: the pump then is not initialized
(`Q`), moves with another speed than it was told (`?2`, which no power-up sets to what we tell), or,
if somebody has initialized it and told it that speed again, has counted an initialization more
(`?15`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sdl.drivers.cavro.conversation import Conversation, Seen
from sdl.drivers.cavro.packets import PLACELESS, meaning
from sdl.drivers.cavro.plunger import Dose, Plunger
from sdl.instrument import Finding, Verdict


@dataclass(frozen=True)
class Mark:
    """What the pump said before a dose."""

    position: int
    speed: int
    steps: int
    """of a full stroke"""
    initializations: int
    moves: int
    """of the plunger; like the one before 0 where the pump does not count them"""


async def counters(pump: Conversation, *, counts: bool) -> tuple[int, int]:
    """Return initializations and moves of the plunger, if the pump counts them."""
    if not counts:
        return 0, 0
    return (await pump.patiently("?15")).number, (await pump.patiently("?16")).number


async def mark(pump: Conversation, plunger: Plunger, dose: Dose, *, counts: bool) -> dict[str, Any]:
    """Tell the pump the rate; return a `Mark` as JSON. Errors are `Plunger.ready_for`'s."""
    position, speed = await plunger.ready_for(dose)
    initializations, moves = await counters(pump, counts=counts)
    return asdict(Mark(position, speed, plunger.stroke.steps, initializations, moves))


async def reconcile(
    pump: Conversation, plunger: Plunger, dose: Dose, marked: Mapping[str, Any], *, counts: bool
) -> Finding:
    """Wait until the pump rests, and compare; nothing that moves it, or stops it, is sent.

    :raises NoReplyError: it cannot be asked now.
    :raises FaultError: it is busy, and nothing moves.
    """
    try:
        before = Mark(**marked)
    except TypeError:
        return Finding(Verdict.UNKNOWN, f"{dose}: the mark is none of this driver: {dict(marked)}")
    seen = await plunger.rest(dose)
    speed = (await pump.patiently("?2")).number
    initializations, moves = await counters(pump, counts=counts)
    now = Mark(seen.number, speed, plunger.stroke.steps, initializations, moves)
    return judge(dose, before, now, seen, plunger, counts=counts)


def judge(
    dose: Dose, before: Mark, now: Mark, seen: Seen, plunger: Plunger, *, counts: bool
) -> Finding:
    """Say what became of a dose."""
    volume, sign = plunger.stroke.volume, 1 if dose.steps > 0 else -1
    done, moved = before.position - now.position, now.moves - before.moves
    found = f"{dose}: {volume(before.position):g} -> {volume(now.position):g} mL in the syringe"
    doubts = {
        meaning(seen.error): seen.error in PLACELESS,
        "its power was lost, or somebody changed its speed": now.speed != before.speed,
        "it was initialized since": now.initializations != before.initializations,
        "it counts in another resolution": now.steps != before.steps,
        f"the plunger was moved {moved} times": counts and moved not in (0, 1),
        "the plunger was moved, and not counted": counts and moved == 0 and done != 0,
        "it moved the other way": done * sign < 0,
        "it moved more than that": done * sign > abs(dose.steps),
    }
    if why := [reason for reason, holds in doubts.items() if holds]:
        return Finding(Verdict.UNKNOWN, f"{found}; {'; '.join(why)}")
    if done == 0:
        return Finding(Verdict.NOT_DONE, f"{found}; nothing has moved")
    if done == dose.steps:
        return Finding(Verdict.DONE, f"{found}; as asked")
    rest = round(volume(dose.steps - done), 9)
    return Finding(Verdict.PARTLY, f"{found}; {abs(rest):g} mL are missing", rest)
