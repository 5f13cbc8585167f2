"""Packets of Runze's binary protocol, and a conversation in them. Source: see `runze`.

`CC address function low high DD sum-low sum-high`; in a reply the third byte is a status. Nothing
in a reply says what it answers.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sdl.errors import FaultError, GarbledError, NoReplyError, RefusedError
from sdl.wires import StreamWire, Sync, exactly
from sdl.wires.frames import answering

BEGIN, END, LENGTH = 0xCC, 0xDD, 8
PASSWORD = b"\xff\xee\xbb\xaa"
GET_ADDRESS = 0x20

OK, DAMAGED, BUSY, UNKNOWN_POSITION, ACCEPTED = 0x00, 0x01, 0x04, 0x06, 0xFE
STATUSES = {
    OK: "ready",
    DAMAGED: "the request arrived damaged",
    0x02: "a parameter is not allowed",
    0x03: "its optocoupler has failed",
    BUSY: "moving",
    0x05: "the motor has stalled",
    UNKNOWN_POSITION: "it does not know its position",
    0x07: "command rejected",
    0x08: "it stands where it must not",
    ACCEPTED: "carrying out an order",
    0xFF: "unknown error",
}
MOVING = (BUSY, ACCEPTED)
UNHEARD_OF = (0x02, 0x07, 0xFF)  # what may answer a question that it does not know
REFUSALS = (DAMAGED, 0x02, BUSY, 0x07)  # nothing was done

TRIES = 2  # of what may be repeated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    address: int
    status: int
    value: int
    """0 to 65535"""


def request(address: int, function: int, value: int = 0) -> bytes:
    """Return a packet; `value` is 0 to 65535."""
    return _summed(bytes([BEGIN, address, function]) + value.to_bytes(2, "little") + bytes([END]))


def factory_request(address: int, function: int, value: int) -> bytes:
    """Return a packet that changes what the instrument keeps for ever."""
    begin = bytes([BEGIN, address, function]) + PASSWORD
    return _summed(begin + value.to_bytes(4, "little") + bytes([END]))


def parse(packet: bytes) -> Reply:
    """Return what a reply says.

    :raises GarbledError: it is none, or damaged.
    """
    if len(packet) != LENGTH or packet[0] != BEGIN or packet != _summed(packet[:6]):
        raise GarbledError("", f"{packet.hex(' ')} is no packet")
    if packet[5] != END or packet[2] not in STATUSES:
        raise GarbledError("", f"{packet.hex(' ')} is no reply")
    return Reply(packet[1], packet[2], int.from_bytes(packet[3:5], "little"))


def _summed(packet: bytes) -> bytes:
    return packet + (sum(packet) & 0xFFFF).to_bytes(2, "little")


class Conversation:
    """Asks one instrument on a wire that it may share, and believes nobody else's replies."""

    def __init__(self, wire: StreamWire, address: int, who: Callable[[], str]) -> None:
        """:param who: what the instrument is called in messages, now."""
        self._wire, self.address, self.who = wire, address, who

    async def ask(
        self,
        function: int,
        value: int = 0,
        *,
        fits: Callable[[Reply], bool] = lambda _: True,
        urgent: bool = False,
    ) -> Reply:
        """Send what may be sent again; return the reply, whatever its status.

        :param fits: whether a reply can be one to this.
        :raises NoReplyError: nothing came that could be believed.
        """
        for _ in range(TRIES - 1):
            try:
                reply = await self.once(function, value, fits=fits, urgent=urgent)
                if reply.status != DAMAGED:
                    return reply
            except NoReplyError as error:
                log.info("asked again: %s", error)
        return await self.once(function, value, fits=fits, urgent=urgent)

    async def once(
        self,
        function: int,
        value: int = 0,
        *,
        fits: Callable[[Reply], bool] = lambda _: True,
        urgent: bool = False,
    ) -> Reply:
        """Send a packet, once. Parameters and errors: see `ask`."""
        packet = request(self.address, function, value)
        return await self.exchange(packet, fits=fits, urgent=urgent)

    async def exchange(
        self,
        packet: bytes,
        *,
        fits: Callable[[Reply], bool] = lambda _: True,
        urgent: bool = False,
    ) -> Reply:
        def accept(received: bytes) -> bool:
            reply = parse(received)
            return reply.address == self.address and fits(reply)

        frame = answering(exactly(LENGTH), accept)
        try:
            return parse(await self._wire.ask(packet, frame, sync=self._sync(), urgent=urgent))
        except NoReplyError as error:
            raise type(error)(self.who(), str(error)) from error

    def judge(self, what: str, reply: Reply) -> None:
        """Look whether a reply is a refusal or tells of a fault; `MOVING` is neither here.

        :raises RefusedError: it said no; nothing has changed.
        :raises FaultError: it is out of order.
        """
        if reply.status in (OK, ACCEPTED):
            return
        kind = RefusedError if reply.status in REFUSALS else FaultError
        raise kind(self.who(), f"{what}: status {reply.status:02X}: {STATUSES[reply.status]}")

    def _sync(self) -> Sync:
        """Return a question for the address, of which only the second answer is believed.

        The first may be a late reply to another question, since none says what it answers: with
        the address 0, and a motor at rest, they are the same bytes.
        """
        doubted = False

        def accept(packet: bytes) -> bool:
            nonlocal doubted
            try:
                reply = parse(packet)
            except GarbledError:
                return False
            right = reply == Reply(self.address, OK, self.address)
            right |= reply.address == self.address and reply.status in UNHEARD_OF
            believed, doubted = doubted, doubted or right
            return right and believed

        who = ("runze", self.address)
        return Sync(request(self.address, GET_ADDRESS), exactly(LENGTH), accept, who)
