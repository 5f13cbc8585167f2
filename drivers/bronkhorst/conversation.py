"""Questions and answers of one Bronkhorst instrument on a line that it may share with others."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from sdl.drivers.bronkhorst.packets import (
    ERRORS,
    STATUS,
    STATUSES,
    Message,
    Parameter,
    Value,
    pack,
    parse_message,
    parse_status,
    parse_values,
    reading,
    whole,
    writing,
)
from sdl.errors import GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire, Sync
from sdl.wires.frames import answering

T = TypeVar("T")

LOCAL = 0x80  # the node that the line ends at, whatever its number
TRIES = 3  # of whatever is asked: everything here may be asked again
ROUGHLY = 0.002  # of the range: how far two copies of a number may differ if they always do
NODE = Parameter(0, 1, "byte")
log = logging.getLogger(__name__)


class Conversation:
    """Every message has a number, so that no answer is taken for another's.

    But no message has a checksum. So each parameter is asked for twice in one message, and the
    two copies must be the same: at once, or, when the question is asked again. Of numbers that
    differ each time, because the instrument measures between the two, the last are taken if they
    agree to 0.2 % of the range.
    """

    def __init__(
        self,
        wire: StreamWire,
        node: int,
        parameters: Sequence[Parameter],
        *,
        who: Callable[[], str],
    ) -> None:
        """:param parameters: what `poll` reads.
        :param who: what the instrument is called in messages, now.
        """
        self._wire, self._node, self._who = wire, node, who
        self._parameters, self._sequence = tuple(parameters), 0
        self.span = 0.0
        """The range of what it measures, in its unit."""
        self._polling, self._polls = asyncio.Lock(), 0
        self._newest: tuple[int, dict[Parameter, Value]] | None = None

    async def poll(self) -> dict[Parameter, Value]:
        """Read all parameters, after now; those who wait together share one answer."""
        asked = self._polls
        async with self._polling:
            if self._newest is not None and self._newest[0] > asked:
                return self._newest[1]
            await asyncio.sleep(0)  # who comes at the same time is counted before it begins
            self._polls += 1
            number = self._polls
            values = await self.read(*self._parameters)
            self._newest = number, dict(zip(self._parameters, values, strict=True))
            return self._newest[1]

    async def read(self, *parameters: Parameter) -> list[Value]:
        """Ask for parameters.

        :raises RefusedError: it has not all of them.
        :raises GarbledError: the copies in its answers never agreed.
        """
        twice = [parameter for parameter in parameters for _ in range(2)]
        for left in reversed(range(TRIES)):
            values = await self._ask(reading(twice), lambda data: parse_values(data, twice))
            pairs = list(zip(parameters, values[::2], values[1::2], strict=True))
            if all(_same(a, b) for _, a, b in pairs):
                return values[::2]
            if not left and all(_near(*pair, self.span) for pair in pairs):
                return values[::2]
            log.info("%s: asked again: two copies differ in %s", self._who(), pairs)
        raise GarbledError(self._who(), f"two copies in one answer never agree: {pairs}")

    async def write(self, parameter: Parameter, value: Value, *, urgent: bool = False) -> None:
        """Set a parameter.

        :param urgent: send it once, even if no answer could be believed.
        :raises RefusedError: it said no; nothing has changed.
        """
        await self._ask(writing(parameter, value), _nothing, urgent=urgent)

    async def _ask(self, data: bytes, parse: Callable[[bytes], T], *, urgent: bool = False) -> T:
        for left in reversed(range(1 if urgent else TRIES)):
            try:
                message = await self._exchange(data, parse, urgent=urgent)
                break
            except NoReplyError as error:
                if not left:
                    raise type(error)(self._who(), f"{data.hex(' ')}: {error}") from error
                log.info("asked again: %s", error)
        if message.data[0] == STATUS and (status := parse_status(message.data)):
            asked = f"{data.hex(' ')}: status {status}: {STATUSES[status]}"
            raise RefusedError(self._who(), asked)
        return parse(message.data)

    async def _exchange(
        self, data: bytes, parse: Callable[[bytes], object], *, urgent: bool
    ) -> Message:
        number, sync = self._number(), self._sync()

        def fits(frame: bytes) -> bool:
            try:
                message = self._mine(frame, number)
                if message.error is None:
                    refused = message.data[0] == STATUS and parse_status(message.data) != 0
                    refused or parse(message.data)
            except GarbledError:
                return False
            return True

        request, frame = pack(number, self._node, data), answering(whole, fits)
        message = parse_message(await self._wire.ask(request, frame, sync=sync, urgent=urgent))
        if message.error is not None:
            raise NoReplyError("", f"error {message.error}: {ERRORS[message.error]}")
        return message

    def _mine(self, frame: bytes, number: int) -> Message:
        message = parse_message(frame)
        if message.sequence != number or self._node not in (LOCAL, message.node):
            raise GarbledError("", f"{frame!r} answers something else")
        return message

    def _sync(self) -> Sync:
        """A question with a number that was never used."""
        number = self._number()

        def accept(frame: bytes) -> bool:
            try:
                message = self._mine(frame, number)
                if message.error is None and message.data[0] == STATUS:
                    return parse_status(message.data) != 0  # it does not tell its node, but answers
                parse_values(message.data, [NODE])
            except GarbledError:
                return False
            return True

        return Sync(pack(number, self._node, reading([NODE])), whole, accept, who=self._node)

    def _number(self) -> int:
        self._sequence = (self._sequence + 1) % 256
        return self._sequence


def _nothing(data: bytes) -> None:
    if parse_status(data):
        raise GarbledError("", f"{data!r} is no confirmation")


def _same(first: Value, second: Value) -> bool:
    """Whether both are equal, and numbers."""
    return first == second and (not isinstance(first, float) or math.isfinite(first))


def _near(parameter: Parameter, first: Value, second: Value, span: float) -> bool:
    if parameter.kind not in ("float", "long"):
        return first == second
    assert not isinstance(first, str)
    assert not isinstance(second, str)  # its kind says so
    return math.isclose(first, second, rel_tol=ROUGHLY, abs_tol=ROUGHLY * span)
