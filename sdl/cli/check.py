"""`sdl check`: every mistake at once, or what the campaign is about to do."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdl.campaign import Budget, Campaign
    from sdl.lab import Lab


def run(options: Namespace) -> int:
    from sdl.cli import checking

    campaign, lab = checking.load(options.campaign, options.lab)
    print(f"{options.campaign} fits {lab.document.path}; nothing was touched.")
    for line in summary(campaign, lab):
        print(line)
    return 0


def summary(campaign: "Campaign", lab: "Lab") -> Iterator[str]:
    """What a person looks over before starting it."""
    yield f"  campaign    {campaign.campaign}"
    for label, text in zip(_labels("parameters"), _parameters(campaign), strict=False):
        yield f"  {label}  {text}"
    for label, (name, goal) in zip(
        _labels("objectives"), campaign.objectives.items(), strict=False
    ):
        yield f"  {label}  {goal.direction} {name} {goal.units}".rstrip()
    yield f"  plan        {campaign.plan_name}"
    if campaign.recovery_name is not None:
        yield f"  recovery    {campaign.recovery_name}, after a trial that failed"
    if len(campaign.stations) > 1:
        yield f"  stations    {len(campaign.stations)}, {campaign.parallel} trials at once"
    yield f"  optimizer   {campaign.optimizer.use}, seed {campaign.seed}"
    yield f"  budget      {budget_words(campaign.budget)}"
    yield f"  lab         {lab.lab}, {_twin_words(lab)}"
    width = max(map(len, lab.instruments))
    for name, entry in lab.instruments.items():
        driver = entry.driver if isinstance(entry.driver, str) else entry.driver.__name__
        wire = f" on {_shown(lab.wires[entry.wire].url)}" if entry.wire else ""
        yield f"    {name:<{width}}  {driver}{wire}"


def budget_words(budget: "Budget") -> str:
    said = [] if budget.trials is None else [f"{budget.trials} trials"]
    said += [] if budget.hours is None else [f"{budget.hours:g} hours"]
    if budget.until:
        wanted = " and ".join(f"{name} {value:g}" for name, value in budget.until.items())
        said.append(f"until {wanted} is reached")
    return ", or ".join(said)


def _labels(first: str) -> Iterator[str]:
    yield f"{first:<10}"
    while True:
        yield " " * 10


def _parameters(campaign: "Campaign") -> Iterator[str]:
    for name, parameter in campaign.parameters.items():
        words = parameter.model_dump(exclude_defaults=True)
        if "low" in words:
            allowed = f"{words['low']:g} to {words['high']:g} {words.get('units', '')}".rstrip()
        else:
            listed = words.get("values") or words.get("choices") or ()
            allowed = f"{', '.join(map(str, listed))} {words.get('units', '')}".rstrip()
        yield f"{name}: {allowed}"
    for constraint in campaign.constraints:
        yield f"such that {constraint.text}"


def _twin_words(lab: "Lab") -> str:
    if lab.world is None:
        return "without wires, so its twin needs no world" if not lab.wires else "has no twin"
    use = lab.world.use if isinstance(lab.world.use, str) else lab.world.use.__name__
    return f"twin in the world {use}"


def _shown(url: str) -> str:
    from sdl.wires.urls import without_password

    return without_password(url)
