"""What a lab file may say, and the lab itself: the instruments of one bench and their wires.

    lab: flow-bench
    wires:
      pumps: serial:///dev/ttyUSB0?baudrate=19200
    instruments:
      feed: {driver: ne1000, wire: pumps, diameter: 26.59, twin: {part: substrate}}
    world: {use: snar_flow}

`Lab.load` checks everything and touches nothing; `lab.open()` connects to the instruments, or, for
a twin, to simulators that share one simulated world.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from sdl import assembly, files
from sdl.bench import Bench
from sdl.clock import Speed
from sdl.errors import ConfigError, Problem
from sdl.files import Document, Strict
from sdl.instrument import Effect

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
Title = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class Options(Strict):
    """A mapping with a few words of ours; every other key is an option of what it describes."""

    model_config = ConfigDict(extra="allow", frozen=True, arbitrary_types_allowed=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class WireEntry(Strict):
    url: str
    timeout: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """s to wait for a reply."""


class TwinEntry(Options):
    """How the twin stands in for an instrument; other keys are options of its simulator."""

    simulator: str | None = None
    """Default: the simulator called like the driver."""

    part: str | None = None
    """The part of the simulated world that it acts on; default: one called like the instrument."""

    device: Literal["mock", "itself"] = "mock"
    """What a twin makes of a device without a wire of ours: its mock, or, where it is a simulation
    already, the device itself."""


class InstrumentEntry(Options):
    """One instrument; other keys are options of its driver."""

    driver: str | Callable[..., Any]
    wire: str | None = None
    twin: TwinEntry = TwinEntry()
    effect: Effect | None = None
    """What setting it does, for a device that does not say so itself."""


class WorldEntry(Options):
    """What the simulators share; other keys are options of the world."""

    use: str | Callable[..., Any]
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


class Lab(Strict):
    """The instruments of one bench, as a file or a script describes them."""

    lab: Title
    wires: dict[Name, WireEntry] = {}
    instruments: dict[Name, InstrumentEntry] = Field(min_length=1)
    world: WorldEntry | None = None
    journal: str | None = None
    """Where the record is kept: a file (relative to the lab file) or a postgresql:// URL."""

    _document: Document | None = PrivateAttr(None)
    _folder: Path | None = PrivateAttr(None)
    _twin: bool = PrivateAttr(False)
    _speed: Speed = PrivateAttr(1.0)

    @field_validator("wires", mode="before")
    @classmethod
    def _plain_urls(cls, wires: object) -> object:
        if not isinstance(wires, Mapping):
            return wires
        return {k: {"url": v} if isinstance(v, str) else v for k, v in wires.items()}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read and check a lab file; touch nothing.

        :raises ConfigError: everything that is wrong with it.
        """
        lab = cls.read(path)
        problems = lab.problems()
        if problems:
            raise ConfigError(*problems)
        return lab

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a lab file's words; what they lead to is checked by `problems`.

        :raises ConfigError: everything that is wrong with the words.
        """
        document = files.read(Path(path))
        lab = files.parse(document, cls)
        lab._document, lab._folder = document, document.path.resolve().parent
        return lab

    def problems(self) -> Sequence[Problem]:
        """Everything that is wrong with drivers, wires, options and the world. Touches nothing."""
        return assembly.problems(self)

    def twin(self, speed: Speed = "virtual") -> Self:
        """The same lab on simulators: time is virtual, or runs `speed` times as fast."""
        copy = self.model_copy()
        copy._document, copy._folder = self._document, self._folder
        copy._twin, copy._speed = True, speed
        return copy

    @property
    def is_twin(self) -> bool:
        return self._twin

    @property
    def speed(self) -> Speed:
        return self._speed

    @property
    def folder(self) -> Path | None:
        """Where the lab's own `drivers/` and `plans/` stand; None for a lab made in Python."""
        return self._folder

    @property
    def document(self) -> Document:
        """The file this lab was read from, or one made up for messages."""
        return self._document or Document(Path("<lab>"), {}, {})

    @property
    def journal_url(self) -> str:
        """Where this lab's record is kept; a twin's never mixes with the real one."""
        folder = self._folder or Path.cwd()
        if self._twin:
            return str(folder / "twin.db")
        if self.journal is None:
            return str(folder / "journal.db")
        return self.journal if "://" in self.journal else str(folder / self.journal)

    @asynccontextmanager
    async def open(self, *, connect: bool = True) -> AsyncIterator[Bench]:
        """Connect to all instruments, in parallel, on the running loop.

        :raises InstrumentError: which did not connect, and why. Nothing has moved.
        """
        async with AsyncExitStack() as stack:
            wires = await assembly.wires(self, stack)
            instruments = assembly.instruments(self, wires)
            bench = Bench(self.lab, wires, instruments, mocked=assembly.mocked(self))
            stack.push_async_callback(bench.close)
            if connect:
                await bench.connect()
            yield bench
