"""A plan made durable: its messages numbered, its devices replaced by stand-ins, its end orderly.

Tried on an unmodified RunEngine (docs/decisions/0004-durable-steps.md). What passes here:

- a message that touches the world becomes a step (`sdl.steps`), answered or performed;
- a plan that was interrupted earlier is entered again and must say the same again;
- a plan that is frozen (a stop, a doubt, a disk that is full) is closed without its clean-up, once
  no dose is under way, and is gone on with another time.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from bluesky import Msg
from bluesky.utils import FailedStatus, RequestAbort

from sdl import values
from sdl.errors import explain
from sdl.recording import Recording
from sdl.standin import ACTED, ASKED, stand_in
from sdl.step import Call
from sdl.steps import Steps

Plan = Generator[Msg, Any, Any]

STEPS = frozenset({*ACTED, *ASKED, "collect", "stop"})


def durable(
    plan: Plan, steps: Steps, recording: Recording, *, pause: Callable[[str], None]
) -> Plan:
    """Run a plan through the steps of its trial.

    :param pause: told of a plan that asks for a pause, and why.
    """
    yield Msg("checkpoint")  # from here on a RunEngine can rewind: no step is done twice
    advance: Callable[[], Msg] = lambda: next(plan)  # noqa: E731 (what to do next, as a value)
    while True:
        try:
            message = advance()
        except StopIteration as end:
            steps.check_repeated("the plan's end")
            yield from _rest(steps)
            steps.ended = True
            return end.value
        except Exception as error:
            if steps.interruption.frozen is None:
                steps.check_repeated(explain(error))
            steps.ended = True
            raise
        try:
            answer = yield from _passed(message, steps, recording, pause)
        except GeneratorExit:
            plan.close()
            raise
        except BaseException as error:  # noqa: BLE001 (the plan decides what an error means)
            if steps.interruption.frozen is not None:
                yield from _left_as_it_is(plan, steps)
            steps.delivered(error)
            advance = _throw(plan, error)
        else:
            if steps.interruption.frozen is not None:
                yield from _left_as_it_is(plan, steps)
            advance = _send(plan, answer)


def _left_as_it_is(plan: Plan, steps: Steps) -> Plan:
    """Close the plan as a crash would, without its clean-up: it is gone on with later."""
    plan.close()
    yield from _rest(steps)
    steps.ended = True
    raise RequestAbort(str(steps.interruption.frozen))


def _rest(steps: Steps) -> Plan:
    """Wait for the doses that nobody waits for."""
    while steps.interruption.busy:
        yield Msg("wait_for", None, [steps.interruption.until_idle])


def _passed(
    message: Msg, steps: Steps, recording: Recording, pause: Callable[[str], None]
) -> Generator[Msg, Any, Any]:
    """Hand one message of the plan to the RunEngine, in the form that is right for it."""
    command = message.command
    if command in STEPS or command in ("sleep", "wait", "configure"):
        while steps.interruption.paused:
            yield Msg("wait_for", None, [steps.interruption.until_resumed])
    if command in STEPS:
        handed, calls = _with_stand_ins(message, steps)
        try:
            answer = yield handed
        except Exception as error:
            if command in ASKED and not isinstance(error, FailedStatus):  # that is another's
                steps.failed(calls)
            raise
        if answer is not None or command not in ASKED:
            return answer
        answers = yield from _asked(calls, steps)
        return answers if len(calls) > 1 or not message.kwargs.get("squeeze", True) else answers[0]
    if command == "sleep":
        return (yield from _slept(message, steps))
    if command == "wait":
        return (yield from _waited(message, steps))
    if command == "configure":
        call = steps.next(command, message.obj, message.args, message.kwargs)
        answer = yield message
        if steps.recorded(call) is None:
            steps.note(call)
        return answer
    if command == "pause":
        pause("the plan asks for it")
        return None
    if command == "null" and message.kwargs.get("sdl") == "may_wait":
        steps.interruption.may_wait = message.kwargs.get("seconds")
    elif command == "create":
        steps.bundle = []
    elif command == "save":
        taken = [at for at in steps.bundle if at is not None]
        recording.event_time = max(taken) if len(taken) == len(steps.bundle) > 0 else None
    answer = yield message
    return recording.public_name(answer) if command == "open_run" else answer


def _asked(calls: Sequence[Call], steps: Steps) -> Generator[Msg, Any, list[Any]]:
    """What devices answered: a RunEngine that was paused while it asked has forgotten it."""
    answers = []
    for call in calls:
        task = steps.answer(call)
        while not task.done():
            yield Msg("wait_for", None, [lambda task=task: task])
        answers.append(task.result())
    return answers


def _with_stand_ins(message: Msg, steps: Steps) -> tuple[Msg, list[Call]]:
    """Number the step; a message to many devices at once has a step for each."""
    kwargs = {k: v for k, v in message.kwargs.items() if k not in ("group", "wait")}
    many = message.command in ("locate", "collect")
    own = ((), {}) if many else (message.args, kwargs)
    calls = [steps.next(message.command, message.obj, *own)]
    args: Sequence[Any] = message.args
    if many:  # a `collect`'s other words are the RunEngine's
        calls += [steps.next(message.command, obj, (), {}) for obj in message.args]
        args = [stand_in(call, steps) for call in calls[1:]]
    if steps.recorded(calls[0]) is None:
        steps.show(calls[0])
    if "group" in message.kwargs:
        steps.join(message.kwargs["group"], calls[0])
    handed = message._replace(
        obj=stand_in(calls[0], steps), args=tuple(args), kwargs=dict(message.kwargs)
    )
    return handed, calls


def _slept(message: Msg, steps: Steps) -> Generator[Msg, Any, None]:
    call = steps.next("sleep", None, message.args, {})
    if steps.recorded(call) is None:
        steps.show(call)
    task = steps.sleep(call)
    while not task.done():
        yield Msg("wait_for", None, [lambda: task])
    task.result()


def _waited(message: Msg, steps: Steps) -> Generator[Msg, Any, Any]:
    """Wait for a group; what is remembered is only that it was in vain.

    A RunEngine that is paused in a wait forgets the group, if a checkpoint lies between it and what
    it waits for; so what was begun for the group is looked at once more afterwards.
    """
    call = steps.next("wait", None, (), {})
    was = steps.recorded(call)
    if was is not None and was.error is not None:
        raise values.error_again(was.error_type, was.error)
    if was is not None:
        return values.from_json(was.result)
    group = message.args[0] if message.args else message.kwargs.get("group")
    stuck = steps.watch_wait(group)
    try:
        answer = yield message
    except TimeoutError as error:
        if steps.interruption.frozen is None:
            steps.note(call, error=error)
        raise
    finally:
        if stuck is not None:
            stuck.cancel()
    if answer is False:
        steps.note(call, result=False)
        return answer
    for task in steps.leave(group):
        while not task.done():
            yield Msg("wait_for", None, [lambda task=task: task])
        task.result()
    return answer


def _throw(plan: Plan, error: BaseException) -> Callable[[], Msg]:
    return lambda: plan.throw(error)


def _send(plan: Plan, answer: Any) -> Callable[[], Msg]:
    return lambda: plan.send(answer)
