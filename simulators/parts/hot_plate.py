"""A hotplate with a magnetic stirrer, and a vessel with a medium on it."""

from sdl.simulators.parts.acting import Timekeeper
from sdl.simulators.parts.heat import HeatedBlock
from sdl.simulators.physics.thermal import TwoNodes

PLATE = TwoNodes(
    block_capacity=900.0, medium_capacity=420.0, coupling=4.0, loss=1.5, max_power=600.0
)
"""An aluminium plate with 100 mL of water; no fan: it cools slowly."""


class HotPlate(HeatedBlock):
    """A `HeatedBlock` whose medium is stirred. More actions: `stir` (`rpm`), when that changes."""

    def __init__(
        self,
        world: Timekeeper,
        *,
        model: TwoNodes = PLATE,
        temperature: float = 22.0,
        acceleration: float = 400.0,
        viscosity: float = 0.0,
    ) -> None:
        """:param acceleration: rpm in a second.
        :param viscosity: by how much the medium is stiffer than it was, %.
        """
        super().__init__(world, model=model, temperature=temperature)
        self._acceleration, self.viscosity = acceleration, viscosity
        self._target = self._from = self._since = 0.0

    @property
    def aimed(self) -> float | None:
        """What its controller aims at, degC."""
        return self._aim

    @property
    def stirring(self) -> float:
        """What the motor is to turn at, rpm."""
        return self._target

    @property
    def speed(self) -> float:
        """What it turns at now, rpm: it takes its time to change."""
        most = self._acceleration * (self._world.now - self._since)
        return self._from + min(max(self._target - self._from, -most), most)

    def stir(self, rpm: float) -> None:
        """Turn at `rpm` from now on; 0: run down."""
        if rpm == self._target:
            return
        self._from, self._since = self.speed, self._world.now
        self._target = rpm
        self._act(self._world.now, "stir", rpm=rpm)

    def place(self, plate: float, medium: float | None = None) -> None:
        """Put a plate of that temperature there, degC, with what is on it."""
        self._world.advance()
        self._block, self._medium = plate, plate if medium is None else medium
