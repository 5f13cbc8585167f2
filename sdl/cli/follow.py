"""`sdl follow`: carry finished runs from a journal to a data service, which may be down."""

import signal
import threading
from argparse import Namespace


def run(options: Namespace) -> int:
    from sdl.cli import places
    from sdl.data.tiled import follow
    from sdl.wires.urls import without_password

    place = places.find(options)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(
        f"{without_password(place.url)}: sending finished runs to {options.to}; Ctrl-C ends it",
        flush=True,
    )
    sent = follow(place.url, options.to, once=options.once, again=options.again, stop=stop)
    print(f"{sent} runs were sent")
    return 0
