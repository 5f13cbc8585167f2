"""The bath of a circulator, and the vessel with a jacket that its pump feeds."""

from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper
from sdl.simulators.physics.thermal import TwoNodes

Control = Callable[[float, float, float], float]  # (dt in s, bath, vessel in degC) -> -1..1
FIVE_LITRES = TwoNodes(
    block_capacity=20_000.0, medium_capacity=4_000.0, coupling=60.0, loss=3.0, max_power=2_000.0
)
"""5 L of water that circulates through the jacket of a vessel of 1 L"""
STAGES = 4


class Bath(Acting):
    """A fluid that is heated and cooled, and pumped through a vessel's jacket.

    Its actions: `setpoint` (`celsius`: what its controller aims at), `circulating` (`stage`) when
    these change.
    """

    def __init__(
        self,
        world: Timekeeper,
        *,
        model: TwoNodes = FIVE_LITRES,
        temperature: float = 22.0,
        cooling: float = 0.5,
    ) -> None:
        """:param model: the bath is its block, the vessel its medium; coupled so at full stage.
        :param cooling: part of the heating power that it can cool with at most.
        """
        self._world, self._model, self._cooling = world, model, cooling
        self._bath = self._vessel = temperature
        self._power, self._stage = 0.0, 0
        self._control: Control | None = None
        self._aim: float | None = None

    @property
    def temperature(self) -> float:
        """Of the bath, degC."""
        self._world.advance()
        return self._bath

    @property
    def vessel(self) -> float:
        """Of what is in the vessel, degC."""
        self._world.advance()
        return self._vessel

    @property
    def power(self) -> float:
        """Part of the full power: 1 heats, -1 would cool as much."""
        self._world.advance()
        return self._power

    @property
    def stage(self) -> int:
        """Of the pump, 1 to 4; 0: nothing circulates."""
        return self._stage

    @property
    def aimed(self) -> float | None:
        """What its controller aims at, degC."""
        return self._aim

    def aim(self, celsius: float) -> None:
        """Hear from the controller what it aims at."""
        if celsius != self._aim:
            self._aim = celsius
            self._act(self._world.now, "setpoint", celsius=celsius)

    def circulate(self, stage: int) -> None:
        """Let the pump run at a stage from now on; 0: stop, and neither heat nor cool."""
        self._world.advance()
        if stage == 0:
            self._power = 0.0
        if stage != self._stage:
            self._stage = stage
            self._act(self._world.now, "circulating", stage=stage)

    def attach_controller(self, control: Control) -> None:
        """Let `control` set the power in every step of at most 1 s, with the pump off too."""
        self._world.advance()
        self._control = control

    def place(self, bath: float, vessel: float | None = None) -> None:
        """Have the bath and the vessel at these temperatures, degC."""
        self._world.advance()
        self._bath, self._vessel = bath, bath if vessel is None else vessel

    def step(self, dt: float, air: float, stream: float = 0.0) -> float:
        """Advance by `dt` s (the world calls it); return the vessel's temperature in degC.

        :param stream: W/K: heat capacity flow of what enters the vessel at the air's temperature.
        """
        if self._control is not None:
            wanted = self._control(dt, self._bath, self._vessel)
            self._power = min(max(wanted, -self._cooling), 1.0)
        model = self._model
        flowing = TwoNodes(
            block_capacity=model.block_capacity,
            medium_capacity=model.medium_capacity,
            coupling=model.coupling * self._stage / STAGES,
            loss=model.loss,
        )
        self._bath, self._vessel = flowing.step(
            self._bath,
            self._vessel,
            power=self._power * model.max_power,
            air=air,
            dt=dt,
            stream=stream,
        )
        return self._vessel
