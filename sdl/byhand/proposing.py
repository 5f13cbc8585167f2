"""Ask the optimizer, and put what it proposes into the journal as trials to be made by hand."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdl import plugins, stoprule
from sdl.byhand.notebook import Notebook
from sdl.errors import ConfigError, ConflictError
from sdl.journal import Journal, Trial, TrialState
from sdl.kinship import told_first
from sdl.space import Categorical
from sdl.suggest import Suggestion
from sdl.suggest.process import OptimizerProcess
from sdl.telling import CONTEXT, history

PATIENCE = 600.0
"""s of real time for one answer: no robot waits for it."""

NOTE = "to be made by hand"


@dataclass(frozen=True)
class Proposal:
    """New trials, approved; and what the optimizer said of them."""

    trials: Sequence[Trial]
    provenance: Mapping[str, Any]
    restarts: Sequence[str]
    """Why the optimizer's process was started again, if it was."""

    @property
    def notes(self) -> list[str]:
        """What the optimizer had to say, in its words."""
        said = self.provenance.get("notes") or []
        notes = [str(note) for note in said] if isinstance(said, list) else [str(said)]
        if isinstance(forecast := self.provenance.get("forecast"), Mapping):
            notes += [text for text in (stoprule.in_words(forecast),) if text]
        return notes


def propose(
    notebook: Notebook,
    journal: Journal,
    n: int,
    context: Mapping[str, Any],
    *,
    keep: Callable[[Sequence[Trial]], None] = lambda _: None,
) -> Proposal:
    """Have `n` points proposed, with those that wait taken into account, and enter them.

    :param context: the present values of the campaign's contexts.
    :param keep: called with the new trials before they are in the journal for good: where it
        raises, they are not.
    :raises OptimizerError: nothing can be proposed; nothing was entered.
    :raises ConflictError: somebody else entered trials meanwhile; nothing was.
    """
    known = journal.trials(notebook.name)
    began = time.monotonic()
    suggestions, restarts = asyncio.run(_asked(notebook, journal, n, known, context))
    made: dict[str, Any] = {"seconds": round(time.monotonic() - began, 3)}
    if context:
        made[CONTEXT] = dict(context)
    points = [(s.parameters, {**s.provenance, **made}) for s in suggestions]
    with journal.batch():
        if len(journal.trials(notebook.name)) != len(known):
            raise ConflictError(
                f"{notebook.name}: somebody else entered trials while the optimizer was asked; "
                "nothing was entered: ask again"
            )
        now = time.time()
        trials = journal.suggest(notebook.name, points, time=now)
        who, approved = notebook.who, TrialState.APPROVED
        trials = [journal.move(t, approved, time=now, who=who, note=NOTE) for t in trials]
        keep(trials)
    return Proposal(trials, suggestions[0].provenance if suggestions else {}, restarts)


async def _asked(
    notebook: Notebook,
    journal: Journal,
    n: int,
    trials: Sequence[Trial],
    context: Mapping[str, Any],
) -> tuple[list[Suggestion], list[str]]:
    campaign, restarts = notebook.campaign, list[str]()
    task, entry = campaign.task, campaign.optimizer
    strategy = plugins.load("optimizers", entry.use, notebook.folder)
    earlier = told_first(journal, notebook.name, strategy, entry.options)
    async with OptimizerProcess(
        campaign.optimizer.use,
        task,
        options=campaign.optimizer.options,
        seed=campaign.seed,
        folder=notebook.folder,
        timeout=PATIENCE,
        on_restart=restarts.append,
    ) as optimizer:
        points = [*earlier, *history(trials, task)]
        wanted = None if campaign.stop is None else campaign.stop.wanted()
        return await optimizer.suggest(n, points, context, forecast=wanted), restarts


def read_context(notebook: Notebook, given: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the present values of all contexts, from `NAME=VALUE`, and what to be aware of.

    :raises ConfigError: one is missing, unknown, said twice, or no value of its kind.
    """
    contexts = {n: entry.parameter for n, entry in notebook.campaign.contexts.items()}
    problems, values, remarks = list[str](), dict[str, Any](), list[str]()
    for words in given:
        name, equals, text = (part.strip() for part in words.partition("="))
        if not equals or name not in contexts or name in values:
            problems.append(_wrong(words, name, contexts, said=name in values))
            continue
        try:
            values[name] = text if isinstance(contexts[name], Categorical) else _number(text)
        except ValueError:
            problems.append(f"--context {words}: should be a number, not {text!r}")
            continue
        if mistake := contexts[name].check(values[name]):
            # what is measured may lie outside what was expected; a choice that is unknown may not
            said = f"--context {words}: {mistake}"
            (problems if isinstance(contexts[name], Categorical) else remarks).append(said)
    asked = {words.partition("=")[0].strip() for words in given}
    problems += [
        f"--context {n}=VALUE: is missing: say how it is now" for n in contexts if n not in asked
    ]
    if problems:
        raise ConfigError(*problems)
    return values, remarks


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _wrong(words: str, name: str, contexts: Mapping[str, Any], *, said: bool) -> str:
    if said:
        return f"--context {words}: {name} is given twice; keep one"
    known = ", ".join(contexts) or "none"
    example = f"{next(iter(contexts), 'humidity')}=41"
    return f"--context {words}: should be such as {example}; contexts of the campaign are: {known}"
