"""`sdl report`: one HTML file of what a campaign has found."""

import webbrowser
from argparse import Namespace


def run(options: Namespace) -> int:
    from sdl import report
    from sdl.cli import places, snapshot
    from sdl.journal import Journal

    place = places.find(options)
    output = options.output or place.folder / "report.html"
    with Journal.open(place.url, readonly=True) as journal:
        campaign = place.campaign or snapshot.latest(journal).name
        written = report.write(journal, campaign, output, folder=place.folder)
    print(f"{campaign}: the report is {written}")
    if options.open:
        webbrowser.open(written.resolve().as_uri())
    return 0
