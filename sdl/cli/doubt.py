"""What a trial in doubt is in doubt about: steps whose end nobody heard of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdl.cli import words
from sdl.journal import Step

ACTING = frozenset({"set", "trigger", "kickoff", "complete", "collect", "prepare"})


def in_question(steps: Iterable[Step]) -> list[Step]:
    """The newest attempts that a person has to settle, by number.

    Those that began, did not end, and about which their instrument could not tell enough. Where an
    instrument was not even asked: all that act and did not end.
    """
    newest = {step.n: step for step in steps}
    begun = [step for step in newest.values() if step.ended_at is None]
    asked = [step for step in begun if step.findings]
    return asked or [step for step in begun if step.command in ACTING]


def said(step: Step) -> str:
    """`set substrate_pump -5.25`."""
    argument = "" if step.argument is None else short(step.argument)
    return " ".join(word for word in (step.command, step.instrument, argument) if word)


def named(step: Step) -> str:
    """`step 12 (set substrate_pump -5.25)`."""
    return f"step {step.n} ({said(step)})"


def evidence(step: Step) -> str:
    """What was found out about it last, in words; empty if nobody was asked."""
    return found(step.findings[-1]) if step.findings else ""


def found(finding: Mapping[str, Any]) -> str:
    """`unknown: the counter was reset (substrate_pump)`."""
    who = f" ({finding['who']})" if finding.get("who") else ""
    why = f": {finding['evidence']}" if finding.get("evidence") else ""
    return f"{finding.get('verdict', 'unknown')}{why}{who}"


def short(value: Any) -> str:
    """A value in a line: numbers as people read them, arrays as their shape."""
    if isinstance(value, Mapping):
        if "value" in value and "timestamp" in value:  # a reading
            return short(value["value"])
        if "shape" in value:
            return f"[{_by(value['shape'])}]"
        return ", ".join(f"{key} {short(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        if len(value) == 1:
            return short(value[0])
        if len(value) <= 3 and all(isinstance(v, int | float | str) for v in value):
            return f"[{', '.join(map(words.value, value))}]"
        return f"[{_by(_shape(value))}]"
    return " ".join(words.value(value).split())


def _shape(value: Any) -> Sequence[int]:
    shape = []
    while isinstance(value, list | tuple):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _by(shape: Any) -> str:
    sizes = shape if isinstance(shape, list | tuple) else [shape]
    return f"{' x '.join(map(str, sizes))} values"
