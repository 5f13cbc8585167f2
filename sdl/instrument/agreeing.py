"""For replies whose numbers have no redundancy: asked until two in a row agree.

In `24.85` neither a length nor a checksum shows that a digit is missing. A loss does not happen
twice in the same place: a reading is asked for twice, and again where the two do not go together.
The newer one is returned: an older one may have been the late answer to an earlier question.
"""

from collections.abc import Awaitable, Callable

from sdl.errors import GarbledError

READINGS = 5  # at most
SHARE, UNITS = 0.2, 3.0  # by how much two readings of what is slow may differ; noise too
FAST_SHARE, FAST_UNITS = 0.4, 24.0  # of what is on its way, such as a motor
AROUND_ZERO = 1.0  # within which a sign may change


async def agreed(ask: Callable[[], Awaitable[str]], alike: Callable[[str, str], bool]) -> str:
    """Ask until two answers in a row are `alike`; return the newer.

    :raises GarbledError: no two were.
    """
    answers = [await ask()]
    while len(answers) < READINGS:
        answers.append(await ask())
        if alike(*answers[-2:]):
            return answers[-1]
    raise GarbledError("", f"no two answers in a row agree: {', '.join(answers)}")


def near(one: str, other: str, *, share: float = SHARE, units: float = UNITS) -> bool:
    """Whether two numbers can be readings of one thing: as many decimals, one sign, about as much.

    A digit lost before the point changes a number by 9 or more, and by half or more.
    """
    a, b = float(one), float(other)
    if len(one.partition(".")[2]) != len(other.partition(".")[2]):
        return False
    most = AROUND_ZERO if a * b < 0 else units + share * max(abs(a), abs(b))
    return abs(a - b) <= most


def roughly(one: str, other: str) -> bool:
    """Whether two numbers can be readings of something that changes fast; below 45 it is unsafe."""
    return near(one, other, share=FAST_SHARE, units=FAST_UNITS)


def same(one: str, other: str) -> bool:
    """Whether two answers are one: for what changes only when it is set."""
    return one == other
