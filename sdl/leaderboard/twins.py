"""Labs as problems: a campaign that is run on its twin, in virtual time.

The whole loop runs (plan, guard, journal, instruments); only the optimizer is asked in this
process. Nobody knows the truth of a twin: it is judged by what was measured.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sdl import clock, plugins
from sdl.campaign import Budget, Campaign
from sdl.errors import OptimizerError
from sdl.journal import Trial, TrialState
from sdl.lab import Lab
from sdl.leaderboard.baseline import draws
from sdl.leaderboard.problems import Ask, Known, Tried
from sdl.session import Session
from sdl.space import Point
from sdl.suggest import Suggestion
from sdl.suggest.process import OptimizerProcess
from sdl.telling import told


class Twin:
    """A campaign file on the twin of its lab; the world has the job's seed.

    :raises ConfigError: the campaign, the lab, or how they fit is wrong.
    """

    def __init__(self, file: Path, *, budget: int | None = None, initial: int = 5) -> None:
        campaign = Campaign.load(file)
        trials = budget or campaign.budget.trials or 20
        update = {"budget": Budget(trials=trials), "failures_in_a_row": trials + 1}
        self._campaign = campaign.model_copy(update=update)
        self._lab = Lab.load(file.parent / campaign.lab).twin()
        self._campaign.check(self._lab)
        task = self._campaign.task
        limits = {name: o.threshold for name, o in task.objectives.items()}
        known = {name: value for name, value in limits.items() if value is not None}
        self._known = Known(
            task,
            trials,
            min(initial, trials),
            about=f"campaign {campaign.campaign} on the twin of {self._lab.lab}, as measured",
            reference=known if len(known) == len(limits) > 1 else None,
        )

    @property
    def known(self) -> Known:
        return self._known

    def starts(self, seed: int) -> list[Point]:
        """Return the first points of a Sobol sequence, or random ones where it has none."""
        task = self._known.task
        if task.space.mixtures or task.space.candidates:
            points = draws(task.space, seed)
            return [next(points) for _ in range(self._known.initial)]
        return plugins.load("optimizers", "sobol")(task, seed=seed).suggest(self._known.initial)

    def run(self, ask: Ask, *, seed: int, batch: int, record: Callable[[Tried], None]) -> None:
        """Run the campaign; how many trials are in flight is the campaign's to say."""
        with tempfile.TemporaryDirectory(prefix="sdl-bench-") as folder:
            journal = str(Path(folder) / "twin.db")
            session = _Asked(self._campaign, self._seeded(seed), ask, journal=journal)
            try:
                with session:
                    session.wait()
            finally:
                for trial in session.ended:
                    record(self._tried(trial))

    def _seeded(self, seed: int) -> Lab:
        lab = self._lab
        if lab.world is None:
            return lab
        return lab.model_copy(update={"world": lab.world.model_copy(update={"seed": seed})})

    def _tried(self, trial: Trial) -> Tried:
        point = told(trial, self._known.task)
        names = self._known.task.outcomes
        context = {n: point[n] for n in self._known.task.contexts if n in point}
        if trial.state is not TrialState.COMPLETED:
            return Tried(trial.parameters, None, None, cause=trial.cause or "", context=context)
        measured = {n: float(v) for n, v in (trial.outcomes or {}).items() if n in names}
        return Tried(trial.parameters, measured, measured, context=context)


class _Asked(Session):
    """A session that asks somebody here, not a process of its own."""

    def __init__(self, campaign: Campaign, lab: Lab, ask: Ask, *, journal: str) -> None:
        super().__init__(campaign, lab, journal=journal)
        self._ask = ask
        self.ended: list[Trial] = []

    def _optimizer(self) -> OptimizerProcess:
        return _Here(self.campaign.optimizer.use, self._ask, self.campaign)

    def close(self) -> None:
        """Keep the trials that came to an end, then close."""
        ends = (TrialState.COMPLETED, TrialState.FAILED)
        self.ended = [t for t in self.results().trials if t.state in ends]
        super().close()


class _Here(OptimizerProcess):
    """Asks a function of this process, while virtual time stands still."""

    def __init__(self, name: str, ask: Ask, campaign: Campaign) -> None:
        super().__init__(name, campaign.task)
        self._ask_here = ask

    async def __aenter__(self) -> Self:
        return self

    async def warm_up(self) -> None:
        """Nothing: whoever is asked is warm."""

    async def suggest(
        self,
        n: int,
        history: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        *,
        forecast: Mapping[str, Any] | None = None,
    ) -> list[Suggestion]:
        """Return what is answered here; nobody forecasts."""
        points = await clock.outside(self._ask_here, n, history, context or {})
        if len(points) != n:
            raise OptimizerError(f"asked for {n} points, got {len(points)}")
        return [Suggestion(point, {}) for point in points]

    async def leave_one_out(self, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return []
