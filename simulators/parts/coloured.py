"""A coloured liquid before a lamp: what a spectrometer and a camera see of it."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdl.simulators.parts.acting import Acting, Timekeeper
from sdl.simulators.physics.colour import VISIBLE, rgb

Array = NDArray[np.float64]
Absorbance = Callable[[Array], Array]
"""(w,) nm → (w,) absorbances per cm, of the liquid as it is now"""


class LightPath(Acting):
    """A path through the liquid, 380 to 780 nm: a `DetectorPart`.

    Its actions: `exposure` (`seconds`).
    """

    axis_name = "wavelength"
    axis_units = "nm"
    quantity: Literal["transmittance", "impedance"] = "transmittance"

    def __init__(self, world: Timekeeper, liquid: Absorbance, *, path: float = 1.0) -> None:
        """:param liquid: asked when the world is at now; `path`: cm."""
        self._world, self._liquid, self._path = world, liquid, path
        self.axis: Array = VISIBLE.copy()

    def sample(self, integration_s: float) -> Array:
        """Return (w,) transmittance of what is in the path, however long was integrated."""
        self._world.advance()
        self._act(self._world.now, "exposure", seconds=integration_s)
        return 10.0 ** -(self._path * self._liquid(self.axis))


class Backlit(Acting):
    """A glass before an even white panel, as a camera sees it; the panel is white: 1, 1, 1.

    The glass is the middle half of the picture's width; the liquid in it stands as high as it is
    full. Its actions: `exposure` (`seconds`).
    """

    def __init__(
        self,
        world: Timekeeper,
        liquid: Absorbance,
        filled: Callable[[], float],
        *,
        path: float = 1.0,
        size: tuple[int, int] = (48, 64),
    ) -> None:
        """:param liquid: asked, as `filled` is, when the world is at now.
        :param filled: part of the glass that is full, 0..1.
        :param path: cm through the glass; `size`: (height, width) of the picture.
        """
        self._world, self._liquid, self._filled = world, liquid, filled
        self._path, self._size = path, size

    @property
    def colour(self) -> Array:
        """(3,) linear RGB, 0..1, of the light that comes through the liquid."""
        self._world.advance()
        return rgb(10.0 ** -(self._path * self._liquid(VISIBLE)))

    def image(self, exposure_s: float) -> Array:
        """Return (h, w, 3) linear RGB, 0..1, however long was exposed."""
        colour = self.colour
        self._act(self._world.now, "exposure", seconds=exposure_s)
        height, width = self._size
        picture = np.ones((height, width, 3))
        surface = height - round(height * min(max(self._filled(), 0.0), 1.0))
        picture[surface:, width // 4 : width - width // 4] = colour
        return picture
