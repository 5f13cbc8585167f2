"""`sdl status`: what the journal says, whoever writes it now or died writing it."""

import time
from argparse import Namespace
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdl.cli.places import Place
    from sdl.journal import CampaignRecord, Journal

WATCH_PERIOD = 0.5  # s


def run(options: Namespace) -> int:
    from rich.console import Console

    from sdl.cli import places
    from sdl.journal import Journal

    place = places.find(options)
    console = Console(highlight=False)
    with Journal.open(place.url, readonly=True) as journal:
        console.print(f"{journal.place}", style="dim", soft_wrap=True)
        if options.watch:
            return _watch(journal, place.campaign, console)
        _show(journal, place, console)
    return 0


def _show(journal: "Journal", place: "Place", console: Any) -> None:
    from sdl.cli import inventory, snapshot, view

    shot = snapshot.take(journal, place.campaign)
    others = [r for r in journal.campaigns() if r.name != shot.campaign.name]
    for record in others:
        console.print(f"{record.name}: {_states(journal, record)}", style="dim", soft_wrap=True)
    counts = _states(journal, shot.campaign)
    console.print(*view.screen(shot, view.Room(console.width, None)).renderables, sep="\n")
    console.print(f"\n{shot.campaign.name}: {counts}", soft_wrap=True)
    left = journal.balances(shot.campaign.lab)
    if left:
        console.print(f"inventory: {inventory.line(place.lab, left)}", soft_wrap=True)
    for key, activity in journal.activities().items():
        if key.startswith("follower/"):
            console.print(_follower(key.removeprefix("follower/"), activity.value), soft_wrap=True)


def _follower(name: str, said: dict[str, Any]) -> str:
    trouble = f"; it is down: {said['error']}" if said.get("error") else ""
    return f"{name}: {said.get('sent', 0)} runs sent, {said.get('behind', 0)} behind{trouble}"


def _states(journal: "Journal", record: "CampaignRecord") -> str:
    from sdl.cli import words

    counts = Counter(words.state(t.state) for t in journal.trials(record.name))
    said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return said or "no trials yet"


def _watch(journal: "Journal", campaign: str | None, console: Any) -> int:
    from sdl.cli.live import LiveView

    with LiveView(journal, campaign, console) as live:
        try:
            while True:
                live.look()
                time.sleep(WATCH_PERIOD)
        except KeyboardInterrupt:
            return 0
