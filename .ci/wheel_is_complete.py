"""Check that a wheel has every file that git has under sdl/, links followed."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOMS = ("drivers", "optimizers", "plans", "simulators")


def main(wheel: str) -> str:
    """Return what is missing, or nothing."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "sdl", *ROOMS]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    links = {f"sdl/{room}" for room in ROOMS}
    files = {f for f in listed.split("\0") if f} - links
    wanted = {f if f.startswith("sdl/") else f"sdl/{f}" for f in files if Path(f).exists()}
    there = set(zipfile.ZipFile(wheel).namelist())
    foreign = {f for f in there if not f.startswith(("sdl/", "sdl-"))}
    missing = "".join(f"not in the wheel: {f}\n" for f in sorted(wanted - there))
    return missing + "".join(f"should not be in the wheel: {f}\n" for f in sorted(foreign))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or None)
