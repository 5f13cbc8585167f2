"""Stand-ins: what the RunEngine is given in place of a device, one for each step.

`Msg("set", pump, 1.0)` becomes `Msg("set", StandIn(pump, step 17), 1.0)`. A stand-in is equal to
every other one of the same device and to the device, so that the RunEngine's tables of what it has
read, staged and moved stay right. It offers those methods of Bluesky's protocols that the device
has, as attributes of its class: protocols are checked statically from Python 3.12 on.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from sdl.step import Call
from sdl.steps import Steps

ACTED = ("set", "trigger", "kickoff", "complete", "prepare", "stage", "unstage")
ASKED = ("read", "locate")
DESCRIBING = ("describe", "read_configuration", "describe_configuration", "describe_collect")
COLLECTED = ("collect", "collect_pages")
FORWARDED = (
    *("name", "parent", "hints", "collect_asset_docs", "get_index", "configure", "pause", "resume"),
    *("check_value", "subscribe", "subscribe_reading", "clear_sub", "position"),
)


class StandIn:
    """One step of one device."""

    def __init__(self, call: Call, steps: Steps) -> None:
        self._call, self._steps, self._device = call, steps, call.device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def __eq__(self, other: object) -> bool:
        return self._device is (other._device if isinstance(other, StandIn) else other)

    def __hash__(self) -> int:
        return hash(self._device)

    def __repr__(self) -> str:
        return f"<step {self._call.n} of {self._call.instrument or repr(self._device)}>"


def stand_in(call: Call, steps: Steps) -> StandIn:
    """Return what the RunEngine is given for one step."""
    device = call.device
    known = (*ACTED, *ASKED, *COLLECTED, *DESCRIBING, *FORWARDED, "stop")
    has = frozenset(name for name in known if hasattr(type(device), name) or name in vars(device))
    return _class(has)(call, steps)


@cache
def _class(names: frozenset[str]) -> type[StandIn]:
    return type("StandIn", (StandIn,), {name: _attribute(name) for name in names})


def _attribute(name: str) -> Any:
    if name in ACTED:
        return _routed(name, lambda self: self._steps.act(self._call))
    if name in ASKED:
        return _routed(name, lambda self: self._steps.ask(self._call))
    if name in COLLECTED:
        return _collected(name)
    if name in DESCRIBING:
        return _describing(name)
    if name == "stop":
        return _stop
    return property(lambda self: getattr(self._device, name))


def _routed(name: str, perform: Callable[[Any], Any]) -> Any:
    """The step itself goes through `Steps`; what the RunEngine asks beside it, to the device."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._call.command == name:
            return perform(self)
        return getattr(self._device, name)(*args, **kwargs)

    method.__name__ = name
    return method


def _collected(name: str) -> Any:
    def method(self: Any) -> Any:
        async def items() -> Any:
            for item in await self._steps.ask(self._call):
                yield item

        if self._call.command == "collect":
            return items()
        return getattr(self._device, name)()

    return method


def _describing(name: str) -> Any:
    """What the RunEngine asks beside the steps: it moves nothing, so a wire may be mended first."""

    async def method(self: Any) -> Any:
        return await self._steps.question(getattr(self._device, name))

    method.__name__ = name
    return method


async def _stop(self: Any, success: bool = True) -> Any:
    """Stop as a step; the RunEngine's own stops reach the device only when the plan is over.

    It stops whatever it has moved at every pause too; but what is under way is finished then.
    """
    if self._call.command == "stop":
        return await self._steps.ask(self._call)
    if not self._steps.ended:
        return None
    answer = self._device.stop(success=success)
    return await answer if hasattr(answer, "__await__") else answer
