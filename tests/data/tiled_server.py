"""A Tiled server that can be killed: `python tiled_server.py FOLDER PORT`, then `start` on stdin.

Importing the server takes seconds, so it is done once; each start forks. Ends when stdin ends.
"""

import os
import signal
import sys


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    folder, port = sys.argv[1:]
    import tiled.catalog.adapter
    import tiled.server.app
    from tiled.commandline.main import main as tiled

    _say("ready")
    child = 0
    for command in sys.stdin:
        if command.strip() == "start":
            child = os.fork()
            if child == 0:
                new = [] if os.path.exists(f"{folder}/catalog.db") else ["--init"]
                stores = ["-w", f"{folder}/arrays", "-w", f"sqlite:///{folder}/tables.db"]
                options = ["--port", port, "--api-key", "secret", "--host", "127.0.0.1"]
                sys.argv = ["tiled", "serve", "catalog", f"{folder}/catalog.db"]
                sys.argv += [*new, *stores, *options]
                os.dup2(2, 1)  # its log; stdout is ours
                os.close(0)
                tiled()
                os._exit(0)
        elif child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = 0
        _say("done")
    if child:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
