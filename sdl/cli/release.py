"""`sdl release`: an instrument in quarantine may be used again."""

from argparse import Namespace

from sdl.errors import ConfigError


def run(options: Namespace) -> int:
    from sdl.cli import desk

    if not options.note.strip():
        raise ConfigError("--note: say what was done about it; the record keeps it")
    with desk.at(options) as here:
        claims = here.journal.claims(here.lab)
        kept = {name: c for name, c in claims.items() if c.quarantined is not None}
        if options.instrument not in kept:
            there = ", ".join(f"{name} ({c.quarantined})" for name, c in kept.items())
            raise ConfigError(
                f"{options.instrument}: is not in quarantine in lab {here.lab}; "
                f"{f'these are: {there}' if there else 'no instrument is'}"
            )
        claim = kept[options.instrument]
        here.journal.unquarantine(
            here.lab, options.instrument, time=here.now, who=here.who, note=options.note
        )
        held = here.journal.claims(here.lab).get(options.instrument)
    print(f"{options.instrument} was in quarantine: {claim.quarantined}")
    if held is not None and held.trial:
        print(f"It is released, and held by trial {held.trial} until that ends.")
    else:
        print("It is released: the next trial that needs it may use it.")
    return 0
