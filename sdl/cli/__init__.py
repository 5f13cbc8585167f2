"""The command line. `main` is its boundary: an error ends here, as a message and an exit code."""

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from sdl.errors import ConfigError, SdlError

DONE, FAILED, WRONG, BUG, INTERRUPTED = 0, 1, 2, 70, 130
"""Exit codes: done or stopped; it could not be done; what was asked is wrong and nothing has moved;
a mistake in this program; Ctrl-C before anything had begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    :param arguments: without the program's name; default those of the process.
    """
    from sdl.cli.parser import parse

    try:
        options = parse(arguments)
        return options.run(options)
    except SystemExit as end:  # argparse has said what is wrong, or has helped
        return end.code if isinstance(end.code, int) else WRONG
    except ConfigError as error:
        return _say(error, WRONG)
    except SdlError as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was begun", INTERRUPTED)
    except BrokenPipeError:  # `sdl status | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # noqa: BLE001 (the boundary: no traceback reaches a user)
        return _say(_bug(error), BUG)


def _say(message: object, code: int) -> int:
    print(f"sdl: {message}" if code != WRONG else message, file=sys.stderr)
    return code


def _bug(error: Exception) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="sdl-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    first = " ".join(str(error).split())[:300]
    return (
        f"this is a mistake in sdl or in a plug-in: {type(error).__name__}: {first}\n"
        f"  where it happened stands in {file.name}; please report it with that file"
    )
