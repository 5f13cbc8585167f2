"""What a lab file may say, and the lab itself: the instruments of one bench and their wires.

    lab: flow-bench
    wires:
      pumps: serial:///dev/ttyUSB0?baudrate=19200
    instruments:
      feed: {driver: ne1000, wire: pumps, diameter: 26.59, twin: {part: substrate}}
    world: {use: snar_flow}
    safety:
      limits: {feed: {low: -20, high: 20}}
    inventory:
      substrate: {amount: 250, units: mL, taken_by: {feed: negative}}

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
from sdl.disturbing import Disturbance
from sdl.errors import ConfigError, Problem
from sdl.files import Document, Key, Strict
from sdl.instrument import Effect
from sdl.safety import checking
from sdl.safety.checking import Instruments
from sdl.safety.rules import Item, SafetyRules, Watchdog

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
RetriedCommand = Literal["set", "read", "trigger", "stage", "prepare", "collect", "configure"]
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

    retries: dict[RetriedCommand, Annotated[int, Field(ge=0, le=10, strict=True)]] = {}
    """How often a command that failed is tried again; never one whose effect is relative. Default:
    2 where no answer came, 0 where the instrument refused."""


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

    safety: SafetyRules = SafetyRules()
    """Limits and interlocks, see below; or the name of a file beside this one that has them."""

    inventory: dict[Name, Item] = {}
    """Reagents, vials and waste, by name; see below."""

    notify: list[Annotated[str, Field(min_length=1)]] = []
    """Whom to tell: Apprise URLs, or `env:NAME` for one in an environment variable."""

    watchdog: Watchdog | None = Watchdog()
    """When a runtime that says nothing counts as dead, see below; or `off`."""

    _safety: tuple[Document, Key] | None = PrivateAttr(None)
    _document: Document | None = PrivateAttr(None)
    _folder: Path | None = PrivateAttr(None)
    _twin: bool = PrivateAttr(False)
    _speed: Speed = PrivateAttr(1.0)
    _disturbance: Disturbance | None = PrivateAttr(None)

    @field_validator("wires", mode="before")
    @classmethod
    def _plain_urls(cls, wires: object) -> object:
        if not isinstance(wires, Mapping):
            return wires
        return {k: {"url": v} if isinstance(v, str) else v for k, v in wires.items()}

    @field_validator("watchdog", mode="before")
    @classmethod
    def _on_or_off(cls, watchdog: object) -> object:
        words: dict[object, object] = {False: None, "off": None, True: {}, "on": {}}  # YAML's off
        return words.get(watchdog, watchdog) if isinstance(watchdog, bool | str) else watchdog

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
        words, rules, found = document, (document, ("safety",)), []
        if isinstance(name := document.data.get("safety"), str):
            words, rules, found = _with_rules(document, name)
        try:
            lab = files.parse(words, cls)
        except ConfigError as error:
            raise ConfigError(*error.problems, *found) from error
        if found:
            raise ConfigError(*found)
        lab._document, lab._folder = document, document.path.resolve().parent
        lab._safety = rules
        lab.safety.stand(*rules)
        for name, item in lab.inventory.items():
            item.stands(document, ("inventory", name))
        return lab

    def problems(self) -> Sequence[Problem]:
        """Everything that is wrong with drivers, wires, options and the world. Touches nothing."""
        found = {*assembly.problems(self)}
        effects = {name: entry.effect for name, entry in self.instruments.items()}
        fitting = Instruments(self.instruments, assembly.devices(self), effects)
        rules, under = self._safety or (self.document, ("safety",))
        for key, said in checking.of_rules(self.safety, fitting):
            found.add(rules.problem((*under, *key), said))
        for key, said in checking.of_inventory(self.inventory, fitting):
            found.add(self.document.problem(("inventory", *key), said))
        return sorted(found, key=lambda p: (p.file, p.line or 0, p.key))

    def twin(self, speed: Speed = "virtual") -> Self:
        """The same lab on simulators: time is virtual, or runs `speed` times as fast."""
        copy = self.model_copy()
        copy._document, copy._folder = self._document, self._folder
        copy._twin, copy._speed = True, speed
        return copy

    def with_faults(self, disturbance: Disturbance) -> Self:
        """The same lab, whose simulators have faults; real instruments are left alone.

        :raises ConfigError: a fault names no instrument of this lab, or cannot happen to it.
        """
        disturbance.script.check(self)
        copy = self.model_copy()
        copy._disturbance = disturbance
        return copy

    @property
    def disturbance(self) -> Disturbance | None:
        """What happens to this lab's simulators beside what plans want."""
        return self._disturbance

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


def _with_rules(
    document: Document, name: str
) -> tuple[Document, tuple[Document, Key], list[Problem | str]]:
    """Read the safety rules from their own file, and put them where the lab's model wants them.

    :returns: the lab's words with them, where they stand, and what is wrong with their file.
    """
    try:
        own = files.read(document.path.parent / name)
        rules, wrong = files.parse(own, SafetyRules), []
    except ConfigError as error:
        missing = document.problem(("safety",), f"the file {name!r} cannot be used")
        own, rules, wrong = document, SafetyRules(), [missing, *error.problems]
    return (
        Document(document.path, {**document.data, "safety": rules}, document.lines),
        (own, ()),
        wrong,
    )
