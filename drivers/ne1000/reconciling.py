"""What an NE-1000's counters tell of a dose of which nobody heard the end.

Source: user manual, publication 1200-01, sections 10.2 to 10.4 (pp. 33-35): `DIS`, alarm `A?R`.

The counters are taken for what they are on a pump at rest: they go up by what was moved, and are
lost with the power. A loss of power shows in one of three ways: by the alarm, to the first who
asks; by counters that went down; and, where both were at 0 before the dose, by the note that the
first who asked has left in the pump (`RESET_NOTE`). What stays undetected: both counters were at 0
before the dose, the power was lost after it, and whoever asked first never heard the alarm (the
reply was lost, too) or was killed before its next packet, which is that note. And: counters at 0
before and cleared again by a person at the pump.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sdl.drivers.ne1000.conversation import Conversation
from sdl.drivers.ne1000.packets import ALARMS, PROMPTS
from sdl.drivers.ne1000.plunger import SLACK, Dose, Look, Plunger
from sdl.instrument import Finding, Verdict

COUNTABLE = 10  # digits of the counter that a dose must have to be told from none
AT_REST = "SP"  # a paused pump goes on only if it is told to
EXACT = 1e-9  # mL; what floats differ by


@dataclass(frozen=True)
class Mark:
    """What the pump said before a dose, in mL; of which syringe, and to whom."""

    infused: float
    withdrawn: float
    resolution: float
    unit: str
    volume: float
    diameter: float
    session: str
    alarms: int
    """How many that session had heard."""


async def mark(pump: Conversation, plunger: Plunger, dose: Dose) -> dict[str, Any]:
    """Make the pump ready for a dose; return a `Mark` as JSON. Errors are `make_ready`'s."""
    look = await plunger.make_ready(dose)
    said = Mark(
        infused=look.infused.value,
        withdrawn=look.withdrawn.value,
        resolution=max(look.infused.resolution, look.withdrawn.resolution),
        unit=look.infused.unit,
        volume=dose.volume.value,
        diameter=plunger.diameter,
        session=pump.session,
        alarms=len(pump.alarms),
    )
    return asdict(said)


async def reconcile(
    pump: Conversation, plunger: Plunger, dose: Dose, marked: Mapping[str, Any]
) -> Finding:
    """Wait until the pump rests, and compare; nothing that moves it, or stops it, is sent.

    :raises NoReplyError: it cannot be asked now.
    :raises FaultError: it runs and counts nothing.
    """
    try:
        before = Mark(**marked)
    except TypeError:
        return Finding(Verdict.UNKNOWN, f"{dose}: the mark is none of this driver: {dict(marked)}")
    heard = before.alarms if before.session == pump.session else 0
    look = await plunger.rest(dose, before.infused if dose.infuse else before.withdrawn)
    volume = await plunger.patiently(plunger.volume)
    since = list(dict.fromkeys(pump.alarms[heard:]))
    finding = judge(
        dose,
        before,
        look,
        power_lost="R" in since,
        unchanged=abs(volume - before.volume) <= 1e-3 * before.volume,
        diameter=plunger.diameter,
    )
    said = [finding.evidence, *(f"alarm {alarm!r}: {ALARMS[alarm]}" for alarm in since)]
    return Finding(finding.verdict, "; ".join(said), finding.rest)


def judge(
    dose: Dose, before: Mark, look: Look, *, power_lost: bool, unchanged: bool, diameter: float
) -> Finding:
    """Say what became of a dose.

    :param power_lost: whether the pump said so after the mark.
    :param unchanged: whether it is still programmed with the dose's volume.
    :param diameter: mm, of the syringe that this process knows.
    """
    size, infused, withdrawn = dose.volume.value, look.infused, look.withdrawn
    resolution = max(infused.resolution, withdrawn.resolution, before.resolution)
    gone = (infused.value - before.infused, withdrawn.value - before.withdrawn)
    own, other = gone if dose.infuse else reversed(gone)
    counted = (
        f"{dose}: infused {before.infused:g} -> {infused.value:g} mL, "
        f"withdrawn {before.withdrawn:g} -> {withdrawn.value:g} mL; {PROMPTS[look.prompt]}"
    )
    at_zero = max(before.infused, before.withdrawn, infused.value, withdrawn.value) <= EXACT
    doubts = {
        "it is not at rest": look.prompt not in AT_REST,
        "its power was lost, and the counters with it": power_lost,
        f"the syringe is another: {before.diameter:g} mm then": diameter != before.diameter,
        "the counters went back: its power was lost, or somebody cleared them": min(gone) < -EXACT,
        "it was reset or programmed otherwise in the meantime": at_zero and not unchanged,
        "it moved the other way": other > EXACT,
        "it moved more than that": own > size + SLACK * resolution + EXACT,
        f"too little for a counter of {resolution:g} mL to tell": size < COUNTABLE * resolution,
    }
    if why := [reason for reason, holds in doubts.items() if holds]:
        return Finding(Verdict.UNKNOWN, f"{counted}; {'; '.join(why)}")
    if own <= EXACT:
        return Finding(Verdict.NOT_DONE, f"{counted}; nothing has moved")
    if own >= size - SLACK * resolution - EXACT:
        return Finding(Verdict.DONE, f"{counted}; as asked")
    rest = round(size - own, 9) * (1 if dose.infuse else -1)
    return Finding(Verdict.PARTLY, f"{counted}; {abs(rest):g} mL are missing", rest)
