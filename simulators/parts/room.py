"""Air that one sets: what sensors hang in where nothing else in the world warms or wets it."""

from sdl.simulators.parts.acting import Timekeeper


class Room:
    """Air that stays as it is until somebody changes it."""

    def __init__(
        self,
        world: Timekeeper,
        *,
        temperature: float = 22.0,
        humidity: float = 45.0,
        pressure: float = 1.01325,
    ) -> None:
        """:param temperature: degC.
        :param humidity: relative, %.
        :param pressure: bar.
        """
        self._world = world
        self.temperature, self.humidity, self.pressure = temperature, humidity, pressure
