"""An instrument: an ophyd-async device on a wire, with a safe state and a declared stop policy."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ophyd_async.core import Device, StandardReadable, StandardReadableFormat

from sdl.instrument.effects import Effect, StopPolicy
from sdl.wires import Wire


class Instrument(StandardReadable):
    """What our drivers derive from; any other Ophyd device is as welcome in a lab.

    A driver adds its signals in `__init__` (uncached reads: `StandardReadableFormat.
    HINTED_UNCACHED_SIGNAL`), declares `effect` if it can be `set` itself, and says what its safe
    state is.
    """

    title: ClassVar[str] = ""
    """Maker, model and kind, as `sdl instruments --catalogue` shows it."""

    delivered: ClassVar[str] = ""
    """The URL of the wire as the instrument is delivered, with a typical path or address."""

    unverified: ClassVar[tuple[str, ...]] = ()
    """What no second source and no real instrument has confirmed, each in a few words."""

    effect: ClassVar[Effect | None] = None
    """What setting the instrument itself does; None if it cannot be set."""

    effects: ClassVar[Mapping[str, Effect]] = {}
    """What repeating its other commands does, if it is not the usual: see `effect_of_command`."""

    stop_policy: ClassVar[StopPolicy] = StopPolicy.STOP

    def __init__(self, wire: Wire, name: str = "") -> None:
        self.wire = wire
        super().__init__(name=name)

    def add_readables(
        self,
        devices: Sequence[Device],
        format: StandardReadableFormat = StandardReadableFormat.CHILD,  # noqa: A002
    ) -> None:
        # ophyd-async hands its children over in the order of a set, which no two processes share;
        # they are asked in the order in which they are declared
        declared = [id(child) for _, child in self.children()]
        place = {child: n for n, child in enumerate(declared)}
        in_order = sorted(devices, key=lambda device: place.get(id(device), len(place)))
        super().add_readables(in_order, format)

    @abstractmethod
    async def identify(self) -> str:
        """Ask the instrument who it is: model and firmware as it gives them.

        :raises NoReplyError: nobody answered.
        """

    @abstractmethod
    async def make_safe(self) -> None:
        """Put the instrument into its safe state and return when it has confirmed."""

    async def halt(self) -> None:
        """Stop what is moving, keep what is held. Instruments that move override it."""

    async def stop(self, success: bool = False) -> None:
        """Stop, as Bluesky asks: `success=True` is a plan's end, where a held setpoint stays."""
        if not success or self.stop_policy is StopPolicy.STOP:
            await self.halt()
