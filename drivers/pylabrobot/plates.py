"""PyLabRobot's plate readers and liquid handlers as instruments. Source: PyLabRobot 0.2.2,
`plate_reading.backend` and `liquid_handling.liquid_handler`: volumes there in uL, here in mL.

Plates, tips and where they stand are a deck as PyLabRobot saves one (`deck.save("deck.json")`).
PyLabRobot refuses what its own record of tips and volumes does not allow if that is switched on
(`set_tip_tracking`, `set_volume_tracking`). Simple commands only: pick up, aspirate, dispense and
drop with one channel.
"""

import asyncio
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np
from ophyd_async.core import Array1D, AsyncStatus, StandardReadableFormat

from sdl.drivers.pylabrobot.backend import EXTRA, PylabrobotBackend, named
from sdl.errors import ConfigError, GarbledError, InstrumentError, RefusedError, StaleError
from sdl.instrument import Effect, StopPolicy, poll_r
from sdl.instrument.unwired import Unwired

READING = 600.0  # s for a plate
MOVING = 120.0  # s for one command of a liquid handler
REFUSALS = ("HasTipError", "NoTipError", "TooLittleLiquidError", "TooLittleVolumeError")


class PylabrobotPlateReader(Unwired):
    """`trigger` reads the whole plate; `values` has it row by row, NaN where nothing was read."""

    title: ClassVar[str] = "PyLabRobot, any plate reader"
    stop_policy: ClassVar[StopPolicy] = StopPolicy.HOLD

    def __init__(
        self,
        backend: Any,
        *,
        plate: str = "pylabrobot.resources:cor_96_wellplate_360uL_Fb",
        mode: Literal["absorbance", "luminescence"] = "absorbance",
        wavelength: int = 600,
        focal_height: float = 13.0,
        options: dict[str, Any] | None = None,
        timeout: float = READING,
        name: str = "",
    ) -> None:
        """Options: see `PylabrobotBackend`.

        :param plate: what makes the plate that is in it.
        :param wavelength: nm, of an absorbance.
        :param focal_height: mm, of a luminescence.
        """
        wanted = "pylabrobot.plate_reading.backend:PlateReaderBackend"
        self._asked = PylabrobotBackend(backend, options or {}, wanted, name, timeout=timeout)
        self._plate = named(plate)(name="plate")
        self._how = (
            ("read_absorbance", {"wavelength": wavelength})
            if mode == "absorbance"
            else ("read_luminescence", {"focal_height": focal_height})
        )
        self._values: np.ndarray[Any, Any] | None = None
        self._temperature = float("nan")
        self._stops = 0
        source = f"pylabrobot://{type(self._asked.backend).__name__}"
        with self.add_children_as_readables(StandardReadableFormat.HINTED_UNCACHED_SIGNAL):
            self.values = poll_r(Array1D[np.float64], self._read, source=source)
        super().__init__(name=name)

    async def _open(self) -> None:
        await self._asked.open()

    async def _close(self) -> None:
        await self._asked.close()

    async def connect(self, *args: Any, **how: Any) -> None:
        self._values = np.full(self._plate.num_items, np.nan)  # so that its shape is known
        await super().connect(*args, **how)
        self._values = None

    async def identify(self) -> str:
        await self._asked.open()
        return f"PyLabRobot {type(self._asked.backend).__name__}"

    async def _read(self) -> np.ndarray[Any, Any]:
        if self._values is None:
            raise StaleError(self.name, "no plate has been read; trigger it")
        return self._values

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Read the plate.

        :raises GarbledError: what came back has not the plate's shape.
        :raises InstrumentError: it was stopped meanwhile; what was read does not count.
        """
        if self.mocked:
            return
        self._values, stops = None, self._stops
        what, how = self._how
        plate = self._plate
        found = await self._asked.ask(what, plate=plate, wells=plate.get_all_items(), **how)
        values = parse_plate(found, plate.num_items_y, plate.num_items_x, self.name)
        if stops != self._stops:
            raise InstrumentError(self.name, f"{what}: stopped before it was done")
        self._values = values

    async def halt(self) -> None:
        """What is being read does not count; a backend cannot be interrupted."""
        self._stops += 1

    async def make_safe(self) -> None:
        """Nothing moves but its drawer: it is safe as it stands."""
        await self.halt()


def parse_plate(found: Any, rows: int, columns: int, name: str) -> np.ndarray[Any, Any]:
    """Return one reading of a plate, row by row.

    :raises GarbledError: it is not one reading of `rows` times `columns` numbers or blanks.
    """
    try:
        (one,) = found
        data = [[np.nan if v is None else float(v) for v in row] for row in one["data"]]
        values = np.asarray(data, dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise GarbledError(name, f"the plate's reading is none: {error!r}") from error
    if values.shape != (rows, columns):
        raise GarbledError(name, f"{values.shape} wells were read; the plate has {rows, columns}")
    return values.ravel()


class Transfer(TypedDict):
    """One transfer: wells and tips as PLATE/WELL, mL."""

    source: str
    target: str
    volume: float
    tip: str


class PylabrobotHandler(Unwired):
    """`set({"source": "plate/A1", "target": "plate/B1", "volume": 0.05, "tip": "tips/A1"})` picks
    up a tip, moves a volume (mL) and drops the tip into the waste.

    It is relative: what a handler did before its answer was lost nobody can ask it.
    """

    title: ClassVar[str] = "PyLabRobot, any liquid handler"
    effect: ClassVar[Effect | None] = Effect.RELATIVE

    def __init__(
        self,
        backend: Any,
        *,
        deck: Any,
        options: dict[str, Any] | None = None,
        timeout: float = MOVING,
        name: str = "",
    ) -> None:
        """Options: see `PylabrobotBackend`.

        :param deck: a file that PyLabRobot saved, or the deck itself.
        :raises ConfigError: there is no such deck.
        """
        self._deck = _deck(deck) if isinstance(deck, str | Path) else deck
        wanted = "pylabrobot.liquid_handling.backends:LiquidHandlerBackend"
        inner = PylabrobotBackend(backend, options or {}, wanted, name, timeout=timeout).backend
        handler = named("pylabrobot.liquid_handling:LiquidHandler")(backend=inner, deck=self._deck)
        kind, errors = "pylabrobot.machines:Machine", "pylabrobot.resources.errors"
        self._refusals = tuple(named(f"{errors}:{each}") for each in REFUSALS)
        self._asked = PylabrobotBackend(
            handler, {}, kind, name, timeout=timeout, faults=self._refusals
        )
        self._stops, self._busy = 0, asyncio.Lock()
        super().__init__(name=name)

    async def _open(self) -> None:
        await self._asked.open()

    async def _close(self) -> None:
        await self._asked.close()

    async def identify(self) -> str:
        await self._asked.open()
        backend = self._asked.backend.backend
        return f"PyLabRobot {type(backend).__name__}, {backend.num_channels} channels"

    async def check_value(self, value: Transfer) -> None:
        """:raises RefusedError: it names what is not on the deck; nothing was sent."""
        self._places(value)

    @AsyncStatus.wrap
    async def set(self, value: Transfer) -> None:
        """Do one transfer; it is stopped between its four commands at the earliest. After an error
        a tip stays where it is, for a person to look at.

        :raises RefusedError: it names what is not on the deck, or PyLabRobot's own record of tips
            and volumes says no before anything has moved.
        :raises FaultError: it said no after something had moved.
        """
        source, target, tip = self._places(value)
        volume = 1000 * value["volume"]  # uL
        if self.mocked:
            return
        async with self._busy:
            stops = self._stops
            await self._first("pick_up_tips", [tip])
            if stops == self._stops:
                await self._asked.ask("aspirate", [source], vols=[volume])
            if stops == self._stops:
                await self._asked.ask("dispense", [target], vols=[volume])
            done = stops == self._stops
            await self._asked.ask("discard_tips")
            if not done:
                raise InstrumentError(self.name, f"{value}: stopped before it was done")

    async def _first(self, what: str, *args: Any) -> None:
        try:
            await self._asked.ask(what, *args)
        except InstrumentError as error:
            if isinstance(error.__cause__, self._refusals):
                raise RefusedError(self.name, f"{what}: {error.__cause__!r}") from error
            raise

    def _places(self, value: Transfer) -> tuple[Any, Any, Any]:
        try:
            if not 0 < value["volume"] < np.inf:
                raise RefusedError(self.name, f"{value}: a volume is above 0 mL")
            source, target = self._place(value["source"]), self._place(value["target"])
            return source, target, self._place(value["tip"])
        except (KeyError, TypeError, AttributeError) as error:
            wanted = ", ".join(Transfer.__annotations__)
            raise RefusedError(self.name, f"{value}: a transfer has {wanted}") from error

    def _place(self, path: str) -> Any:
        holder, _, item = path.partition("/")
        try:
            return self._deck.get_resource(holder).get_item(item)
        except Exception as error:
            raise RefusedError(self.name, f"there is no {path} on the deck: {error}") from error

    async def halt(self) -> None:
        """No further command of a transfer is sent; the one under way ends."""
        self._stops += 1

    async def make_safe(self) -> None:
        """As `halt`, and wait until the command under way has ended."""
        await self.halt()
        async with self._busy:
            return


def _deck(file: str | Path) -> Any:
    try:
        return named("pylabrobot.resources:Deck").load_from_json_file(str(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"deck: {file}: {error!r}; save one with PyLabRobot ({EXTRA})") from error
