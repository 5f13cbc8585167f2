"""What a camera looks at: a vessel with coloured liquid before a white ground."""

import numpy as np

from sdl.simulators.parts.acting import Timekeeper

Colour = tuple[float, float, float]


class Scene:
    """A disc of one colour on white, in even light; a camera sees (h, w, 3) linear RGB."""

    def __init__(
        self,
        world: Timekeeper,
        *,
        colour: Colour = (0.5, 0.5, 0.5),
        height: int = 48,
        width: int = 64,
        light: float = 1.0,
    ) -> None:
        """Fill the vessel.

        :param colour: of the liquid, linear RGB, each 0 to 1.
        :param height: pixels.
        :param width: pixels; the disc is in the middle, half as high as the picture.
        :param light: 1 is as bright as white should be; 0 is night.
        """
        self._world = world
        self.colour, self.light = colour, light
        """what can be changed at any time"""
        row, column = np.ogrid[:height, :width]
        away = np.hypot(row - (height - 1) / 2, column - (width - 1) / 2)
        self._in_disc = away <= height / 4

    def image(self, exposure_s: float) -> np.ndarray:
        """Return (h, w, 3) linear RGB, 0 to 1, of an exposure that ends now."""
        self._world.advance()
        ground = np.ones((*self._in_disc.shape, 3))
        ground[self._in_disc] = self.colour
        return ground * self.light
