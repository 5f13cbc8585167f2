"""What a campaign file may say, and the campaign itself.

    campaign: snar-flow
    plan: flow_reaction
    recovery: flush_and_cool
    instruments: {substrate: substrate_pump, reactor: heater, …}
    parameters: {temperature: {low: 30, high: 120, units: degC}, …}
    objectives: {space_time_yield: {direction: maximize, units: kg/m3/h}}
    budget: {trials: 30}

`Campaign.load` checks the file's words; `campaign.problems(lab)` checks them against the lab and
the plan's signature; `await campaign.run(lab)` or `campaign.run_blocking(lab)` makes it real.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from sdl import binding, files, modelversion, session
from sdl.candidates import Candidates
from sdl.errors import ConfigError, Problem
from sdl.files import Document, Strict
from sdl.lab import Lab, Name, Options, Title
from sdl.library import Library
from sdl.mixture import Mixture
from sdl.results import Results
from sdl.space import Constraint, Objective, Parameter, Space
from sdl.stoprule import StopRule
from sdl.task import Costs, Fidelity, OutcomeConstraint, Task

if TYPE_CHECKING:
    from sdl.session import DocumentCallback

Path_ = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
Paths = Annotated[
    Annotated[Path_, Tag("one")] | Annotated[tuple[Path_, ...], Tag("many")],
    Discriminator(lambda given: "many" if isinstance(given, list | tuple) else "one"),
]
"""An instrument that all stations share, or one for each of them; mistakes are said once."""

BY_HAND = "by hand"
"""Stands in the record where a campaign has no plan, or no lab."""

NO_PLAN = (
    "is missing: name one to have a lab do the trials; to do them by hand, `sdl suggest` and "
    "`sdl ingest` need none"
)

Station = dict[str, str]
"""Which instrument, or signal of one, each instrument argument of the plan is."""


class OptimizerEntry(Options):
    """Which optimizer proposes; other keys are its options."""

    use: str = "adaptive"
    promoted: bool = False
    """Only the version that was promoted by `sdl evaluate --promote` may be used."""

    @model_serializer(mode="wrap")
    def _sparing(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """What is not asked for is not written: campaigns of an older sdl stay the same."""
        words = dump(self)
        return words if self.promoted else {k: v for k, v in words.items() if k != "promoted"}


class ContextEntry(Strict):
    """A signal that is read when a trial is suggested, and the parameter that it is."""

    signal: str | None = None
    """A signal of the lab, such as `bench_air.humidity`; none: whoever suggests says its value."""

    parameter: Parameter

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: object) -> object:
        if not isinstance(given, Mapping) or "parameter" in given:
            return given
        rest = {key: value for key, value in given.items() if key != "signal"}
        return {"signal": given.get("signal"), "parameter": rest}


class Budget(Strict):
    """When the campaign is over: at the first of these."""

    trials: Annotated[int, Field(gt=0, strict=True)] | None = None
    """Trials that were run, failed ones included."""

    hours: Annotated[float, Field(gt=0)] | None = None
    """On the lab's clock, from the campaign's first start."""

    until: dict[Name, float] = {}
    """Values of objectives that one trial must reach together."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.trials is None and self.hours is None and not self.until:
            raise ValueError("needs at least one of trials, hours, until: or it never ends")
        return self


class Campaign(Strict):
    """Space, objectives, plan, optimizer and budget: everything but the lab."""

    campaign: Title
    plan: str | Callable[..., Any] | None = None
    """A plan by name: an entry point, or a file of `plans/` beside the lab file or this one (in
    Python also the function). Without one, trials are done by hand: `sdl suggest`, `sdl ingest`."""

    recovery: str | Callable[..., Any] | None = None
    """A plan by name, run after a trial failed (flush, cool, discard), with the trial's arguments
    that it has too."""

    instruments: dict[Name, Paths] = {}
    """The plan's instrument arguments: names of the lab's instruments, or of their signals; a list
    has one for each station."""

    fixed: dict[Name, Any] = {}
    """Arguments of the plan that are the same in every trial."""

    parameters: dict[Name, Parameter] = Field(min_length=1)
    constraints: Annotated[tuple[Constraint, ...], Field(strict=False)] = ()
    mixtures: Annotated[tuple[Mixture, ...], Field(strict=False)] = ()
    candidates: Candidates | None = None
    """A CSV file with a column for each parameter: only its rows may be tried."""

    objectives: dict[Name, Objective] = Field(min_length=1)
    outcome_constraints: dict[Name, OutcomeConstraint] = {}
    """Outcomes that must stay within bounds, which is known only once they are measured."""

    contexts: dict[Name, ContextEntry] = {}
    """What cannot be chosen but matters: read when a trial is suggested, and learned from."""

    fidelity: Fidelity | None = None
    """Which parameter says how well (and how dearly) a trial is made."""

    costs: Costs = Costs()
    optimizer: OptimizerEntry = OptimizerEntry()
    budget: Budget
    stop: StopRule | None = None
    """Ends the campaign before its budget is spent: when hardly anything is left to be gained."""

    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    parallel: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    """How many trials may be in flight; instruments that they share they use in turn."""

    failures_in_a_row: Annotated[int, Field(ge=1, strict=True)] = 3
    """After so many the campaign stops and waits for a person."""

    lab: str = "lab.yaml"
    """The lab file, relative to this one, unless the command names another."""

    _document: Document | None = PrivateAttr(None)

    @field_validator("candidates", mode="before")
    @classmethod
    def _plain_file(cls, candidates: object) -> object:
        return {"file": candidates} if isinstance(candidates, str) else candidates

    @field_validator("optimizer", mode="before")
    @classmethod
    def _plain_name(cls, optimizer: object) -> object:
        return {"use": optimizer} if isinstance(optimizer, str) else optimizer

    @field_validator("instruments")
    @classmethod
    def _whole_stations(cls, instruments: Mapping[str, Paths]) -> Mapping[str, Paths]:
        lists = {n: paths for n, paths in instruments.items() if isinstance(paths, tuple)}
        if empty := [name for name, paths in lists.items() if not paths]:
            raise ValueError(f"{empty[0]} is an empty list; give one entry for each station")
        if len({len(paths) for paths in lists.values()}) > 1:
            told = ", ".join(f"{name} {len(paths)}" for name, paths in lists.items())
            raise ValueError(f"each list has one entry for each station, but there are: {told}")
        found = _stations(instruments)
        for k, station in enumerate(found):
            if station in found[:k]:
                first = found.index(station) + 1
                raise ValueError(
                    f"stations {first} and {k + 1} are the same: {', '.join(station.values())}"
                )
        return instruments

    @field_serializer("recovery", when_used="json")
    def _by_name(self, recovery: object) -> str | None:
        return self.recovery_name

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a campaign file; its plan and instruments are checked by `problems`.

        :raises ConfigError: everything that is wrong with the file's words.
        """
        document = files.read(Path(path))
        campaign = files.parse(document, cls)
        campaign._document = document
        return campaign

    @property
    def document(self) -> Document:
        """The file this campaign was read from, or one made up for messages."""
        return self._document or Document(Path("<campaign>"), {}, {})

    @property
    def space(self) -> Space:
        """What may be tried, with the files that it names.

        :raises ValueError: one of them cannot be read.
        """
        folder = self.document.path.parent
        candidates = self.candidates and self.candidates.resolved(folder)
        return Space(
            parameters={
                name: p.resolved(folder) if isinstance(p, Library) else p
                for name, p in self.parameters.items()
            },
            constraints=self.constraints,
            mixtures=self.mixtures,
            candidates=candidates,
        )

    @property
    def task(self) -> Task:
        """What the optimizer is asked."""
        return Task(
            space=self.space,
            objectives=self.objectives,
            outcome_constraints=self.outcome_constraints,
            contexts={name: entry.parameter for name, entry in self.contexts.items()},
            fidelity=self.fidelity,
            costs=self.costs,
            trials=self.budget.trials,
        )

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What the plan must return: objectives, and what is constrained."""
        return tuple(dict.fromkeys([*self.objectives, *self.outcome_constraints]))

    @property
    def plan_name(self) -> str:
        if self.plan is None:
            return BY_HAND
        return self.plan if isinstance(self.plan, str) else self.plan.__qualname__

    @property
    def recovery_name(self) -> str | None:
        if self.recovery is None or isinstance(self.recovery, str):
            return self.recovery
        return self.recovery.__qualname__

    @property
    def stations(self) -> Sequence[Station]:
        """The stations on which trials can run side by side: at least one."""
        return _stations(self.instruments)

    def problems(self, lab: Lab) -> Sequence[Problem]:
        """Everything in which the campaign does not fit the lab or the plan. Touches nothing."""
        found = [*binding.problems(self, lab), *self._unpromoted(lab)]
        if self.plan is not None:
            return found
        missing = self.document.problem(("plan",), NO_PLAN)
        return [missing, *(problem for problem in found if problem.key != "plan")]

    def _unpromoted(self, lab: Lab) -> Sequence[Problem]:
        """Whether the optimizer is another one than was promoted, where that is asked for."""
        entry, file = self.optimizer, self.document.path
        if not entry.promoted or self.campaign == "?":  # of a file whose words are wrong
            return []
        why = modelversion.refusal(entry.use, entry.options, lab.folder, file, self.campaign)
        return [self.document.problem(("optimizer", "promoted"), why)] if why else []

    def check(self, lab: Lab) -> None:
        """:raises ConfigError: what is wrong with the lab, or in how the campaign fits it."""
        problems = [*lab.problems(), *self.problems(lab)]
        if problems:
            raise ConfigError(*problems)

    async def run(
        self,
        lab: Lab,
        *,
        journal: str | None = None,
        on_document: Sequence["DocumentCallback"] = (),
    ) -> Results:
        """Run, or go on with, the campaign until its budget is spent.

        Instruments live on a loop of their own, in a thread of its own: this coroutine only waits.
        Cancelling it stops the campaign after the current step.

        :param lab: the lab, or its twin (`lab.twin()`).
        :param journal: file or URL; default the lab's own.
        :param on_document: Bluesky callbacks `(name, doc)`; the journal has a document before them.
        :raises ConfigError: something does not fit; nothing has moved.
        :raises SdlError: the campaign could not go on; what was measured is in the journal.
        """
        self.check(lab)
        return await session.run(self, lab, journal=journal, on_document=on_document)

    def run_blocking(
        self,
        lab: Lab,
        *,
        journal: str | None = None,
        on_document: Sequence["DocumentCallback"] = (),
    ) -> Results:
        """`run` for scripts, and for notebooks whose loop is busy."""
        self.check(lab)
        return session.run_blocking(self, lab, journal=journal, on_document=on_document)


def _stations(instruments: Mapping[str, Paths]) -> list[Station]:
    """The k-th entries of all lists belong together; single names are in every station."""
    count = min((len(p) for p in instruments.values() if isinstance(p, tuple)), default=1)
    return [
        {
            name: paths[k] if isinstance(paths, tuple) else paths
            for name, paths in instruments.items()
        }
        for k in range(count)
    ]
