"""A bench of instruments that have nothing to do with each other: one part for each, as listed.

    world:
      use: workbench
      parts:
        feed: {kind: syringe, capacity_mL: 20, filled_mL: 10}
        selector: selector
        oven: block

For trying an instrument, or a stranger's driver, without a laboratory around it. Worlds whose
instruments share vessels, flows and heat stand beside this file.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdl.errors import ConfigError
from sdl.signature import check
from sdl.simulators.parts.bath import Bath
from sdl.simulators.parts.carriage import Carriage
from sdl.simulators.parts.deck import Deck
from sdl.simulators.parts.electrochemical import RandlesCell
from sdl.simulators.parts.flow_pump import FlowPump
from sdl.simulators.parts.gantry import Gantry
from sdl.simulators.parts.gas_line import GasLine
from sdl.simulators.parts.hot_plate import HotPlate
from sdl.simulators.parts.load import Diode, Load
from sdl.simulators.parts.outlet import Outlet
from sdl.simulators.parts.robot_arm import RobotArm
from sdl.simulators.parts.room import Room
from sdl.simulators.parts.seen import Immersed, Pan
from sdl.simulators.parts.selector import Selector
from sdl.simulators.parts.switches import Switches
from sdl.simulators.parts.syringe_module import SyringeModule
from sdl.simulators.parts.view import Scene
from sdl.simulators.world import BenchAir, HeatedBlock, PumpHead, World


def pan(world: World, *, mass: float = 0.0) -> Pan:
    """What lies on a balance: always `mass` g."""
    return Pan(world, lambda: mass)


def liquid(world: World, *, value: float = 7.0, temperature: float = 25.0) -> Immersed:
    """A liquid that never changes, as a probe finds it."""
    return Immersed(world, lambda: value, lambda: temperature)


def arm(world: World, *, programs: Mapping[str, float] = {}) -> RobotArm:
    """A robot arm; the programs that it has, and the s that each takes."""
    return RobotArm(world, programs=programs or {"pick.urp": 10.0})


class FilterGlass:
    """What a spectrometer looks through: a glass that shuts out all below 500 nm."""

    axis_name, axis_units, quantity = "wavelength", "nm", "transmittance"

    def __init__(self, world: World) -> None:
        self.axis = np.linspace(350.0, 1000.0, 256)

    def sample(self, integration_s: float) -> NDArray[np.float64]:
        """Return its transmittance, which never changes."""
        return 0.9 / (1.0 + np.exp(-(self.axis - 500.0) / 10.0))


KINDS: Mapping[str, Callable[..., Any]] = {
    "arm": arm,
    "bath": Bath,
    "block": HeatedBlock,
    "carriage": Carriage,
    "cell": RandlesCell,
    "deck": Deck,
    "diode": Diode,
    "filter_glass": FilterGlass,
    "flow_pump": FlowPump,
    "gantry": Gantry,
    "gas_line": GasLine,
    "hot_plate": HotPlate,
    "liquid": liquid,
    "load": Load,
    "outlet": Outlet,
    "pan": pan,
    "room": Room,
    "scene": Scene,
    "selector": Selector,
    "switches": Switches,
    "syringe": PumpHead,
    "syringe_module": SyringeModule,
}


class Workbench(World):
    """Parts: as listed, and `air`, in which they all stand."""

    def __init__(
        self,
        *,
        seed: int,
        clock: Callable[[], float],
        parts: Mapping[str, str | Mapping[str, Any]],
    ) -> None:
        """Lay out a bench.

        :param parts: by name, the kind of part; or a mapping of `kind` and its options.
        :raises ConfigError: a kind is unknown, or an option is wrong.
        """
        super().__init__(seed=seed, clock=clock)
        self._air = BenchAir(self, self.rng("air"))
        made = {name: self._made(name, given) for name, given in parts.items()}
        self.parts = {"air": self._air, **made}
        self._slow = [part for part in made.values() if hasattr(part, "step")]

    def step(self, t: float, dt: float) -> None:
        air = self._air.temperature_at(t)
        for part in self._slow:
            part.step(dt, air)

    def _made(self, name: str, given: str | Mapping[str, Any]) -> Any:
        options = {"kind": given} if isinstance(given, str) else dict(given)
        kind = str(options.pop("kind", ""))
        if kind not in KINDS:
            message = f"part {name!r}: there is no kind {kind!r}; known are: {', '.join(KINDS)}"
            raise ConfigError(message)
        right, wrong = check(KINDS[kind], options, given=("world",))
        if wrong:
            raise ConfigError(*(f"part {name!r}: {key} {message}" for key, message in wrong))
        return KINDS[kind](self, **right)
