"""What is heated: a block with a medium in it."""

from collections.abc import Callable

from sdl.simulators.parts.acting import Acting, Timekeeper
from sdl.simulators.physics.thermal import TwoNodes

Control = Callable[[float, float], float]  # (dt in s, measured degC) -> power, 0..1


class HeatedBlock(Acting):
    """An electrically heated block with a fan, and the medium in it (`TwoNodes`).

    Its actions: `setpoint` (`celsius`: what its controller aims at) when that changes; `heating`
    and `not heating` when the power comes on and goes off.
    """

    def __init__(
        self, world: Timekeeper, *, model: TwoNodes | None = None, temperature: float = 22.0
    ) -> None:
        self._world, self._model = world, model or TwoNodes()
        self._block = self._medium = temperature
        self._power = 0.0
        self._control: Control | None = None
        self._aim: float | None = None

    def aim(self, celsius: float) -> None:
        """Hear from the controller what it aims at: only the record of actions needs it."""
        if celsius != self._aim:
            self._aim = celsius
            self._act(self._world.now, "setpoint", celsius=celsius)

    def _heat(self, fraction: float) -> None:
        before, self._power = self._power, min(max(fraction, 0.0), 1.0)
        if (self._power > 0) is not (before > 0):
            self._act(self._world.now, "heating" if self._power > 0 else "not heating")

    @property
    def temperature(self) -> float:
        """Of the block, where the sensor sits, degC."""
        self._world.advance()
        return self._block

    @property
    def medium(self) -> float:
        """Of what is heated, degC; it lags, and stays behind while cold feed flows in."""
        self._world.advance()
        return self._medium

    @property
    def power(self) -> float:
        """Part of the heater's full power, 0..1; what is set is clipped to that."""
        self._world.advance()
        return self._power

    @power.setter
    def power(self, fraction: float) -> None:
        self._world.advance()
        self._heat(fraction)

    @property
    def controlled(self) -> bool:
        return self._control is not None

    def attach_controller(self, control: Control | None) -> None:
        """Let `control(dt, measured)` set the power in every step of at most 1 s; None detaches."""
        self._world.advance()
        self._control = control

    def step(self, dt: float, air: float, stream: float = 0.0) -> float:
        """Advance by `dt` s (the world calls it); return the medium's temperature in degC."""
        if self._control is not None:
            self._heat(self._control(dt, self._block))
        self._block, self._medium = self._model.step(
            self._block,
            self._medium,
            power=self._power * self._model.max_power,
            air=air,
            dt=dt,
            stream=stream,
        )
        return self._medium
