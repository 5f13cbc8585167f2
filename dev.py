#!/usr/bin/env python3
"""Set up a checkout of sdl, and run what a developer runs. It needs Python only.

    python3 dev.py demo           the flow-chemistry campaign on its twin, in demo/
    python3 dev.py test [ARGS]    all tests, side by side; or what ARGS tell pytest
    python3 dev.py check          lint, types and contracts
    python3 dev.py lint           ruff
    python3 dev.py types          pyright
    python3 dev.py setup          no more than to set up: .venv, from constraints.txt
    python3 dev.py clean          remove .venv and what tools left; demo/ too

Everything is kept in .venv beside this file. What was done once is not done again, until
pyproject.toml or constraints.txt changes.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (this file must parse on older ones, to say so)
    _newer = [n for n in ("python3.11", "python3.12", "python3.13") if shutil.which(n)]
    sys.exit(
        "dev.py: sdl needs Python 3.11 or newer; this is {} ({}).\n  {}".format(
            sys.version.split()[0],
            sys.executable,
            "Try: {} dev.py {}".format(_newer[0], " ".join(sys.argv[1:]))
            if _newer
            else "Install one (your system's packages, or python.org) and run dev.py with it.",
        )
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "setup.json"
LOG = VENV / "setup.log"
DEMO = ROOT / "demo"
ROOMS = ("drivers", "simulators", "plans", "optimizers")
LEFTOVERS = (
    *("build", "dist", "sdl.egg-info", "demo", ".peers"),
    *(".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"),
)

UNREACHED = (
    "Temporary failure in name resolution|Name or service not known|getaddrinfo failed"
    "|nodename nor servname|Failed to establish a new connection|Network is unreachable"
    "|Connection refused|Connection reset|RemoteDisconnected|timed out|NewConnectionError"
)
HINTS = {  # what pip says: what to do; the first one that fits is shown
    "No space left|Errno 28|WinError 112": "The disk is full. Free some gigabytes (also where "
    "temporary files go; TMPDIR moves those) and run the same command again.",
    "CERTIFICATE_VERIFY_FAILED|SSLError": "The package index's certificate is not trusted here. "
    "Behind a company proxy, tell pip its certificate: PIP_CERT=/path/to/ca.pem.",
    "ProxyError|407 Proxy": "The proxy refused. Set HTTPS_PROXY=http://user:password@host:port.",
    UNREACHED: "The package index was not reached. Is there a network? Behind a proxy set "
    "HTTPS_PROXY, for an index of your own PIP_INDEX_URL; then run the same command again.",
    "WinError 206|Long Path|path too long": "Windows' limit of 260 characters was hit. Move the "
    "checkout to a short path (C:/sdl), or enable long paths in Windows.",
    r"Permission denied|Errno 13|WinError 5\b|Access is denied": "A file could not be written. Is "
    "the checkout yours, and does no other program use .venv?",
    "No matching distribution found|Could not find a version": "There is no build of that package "
    "for this Python and machine. Use 64-bit CPython 3.11 to 3.13 on Linux, Windows or a Mac with "
    "Apple silicon: `dev.py clean`, then run dev.py with it. (A wrong PIP_INDEX_URL looks the "
    "same.)",
    "ResolutionImpossible|conflicting dependencies": "pyproject.toml and constraints.txt "
    "disagree: renew the pins as constraints.txt says.",
    "setup.py or setup.cfg not found|no such option": "This pip is too old. Run `dev.py clean`, "
    "then the same command again with a newer Python.",
    "DO NOT MATCH THE HASHES": "A download was damaged. Run the same command again.",
}


class SetupError(Exception):
    """What failed and what to do; shown without a traceback."""


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    command, *rest = arguments or ["help"]
    if command in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    if command not in COMMANDS or (rest and command != "test"):
        wrong = command if command not in COMMANDS else " ".join([command, *rest])
        print(f"dev.py: {wrong!r} is not known; it is one of {', '.join(COMMANDS)}.")
        return 2
    try:
        return COMMANDS[command](*rest)
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndev.py: interrupted; the same command goes on where it ended.", file=sys.stderr)
        return 130


# ---- commands


def demo() -> int:
    """Run the flow-chemistry campaign on its twin, with the live view, and write its report."""
    set_up(dev=False)
    DEMO.mkdir(exist_ok=True)
    shutil.copytree(ROOT / "examples" / "flow_chemistry", DEMO, dirs_exist_ok=True)
    say("the campaign runs in demo/, on simulators, in simulated time")
    campaign = ("campaign.yaml", "--lab", "lab.yaml", "--twin")
    code = run("sdl.cli", "run", *campaign, "--fresh", folder=DEMO)
    if code:
        return code
    code = run("sdl.cli", "report", *campaign, folder=DEMO)
    report = DEMO / "report.html"
    if code == 0 and report.is_file():
        say(f"the report is {report.as_uri()} (open it in a browser)")
    return code


def test(*arguments: str) -> int:
    """Run the tests; `arguments` go to pytest. Without any, all tests run, side by side."""
    set_up(dev=True)
    # one more than cores: tests wait as long as they work; each may need a gigabyte of memory
    workers = min(4, (os.cpu_count() or 1) + 1)
    side_by_side = ("-n", str(workers), "--dist", "worksteal")
    return run("pytest", *(arguments or side_by_side))


def setup() -> int:
    """Set up for developers."""
    set_up(dev=True)
    say(f"ready: {PYTHON} has sdl and all its tools")
    return 0


def lint() -> int:
    """Look for mistakes of style, and for files that are not formatted."""
    set_up(dev=True)
    return run("ruff", "check", ".") or run("ruff", "format", "--check", ".")


def types() -> int:
    """Check the types."""
    set_up(dev=True)
    return run("pyright")


def contracts() -> int:
    """Check who imports whom."""
    set_up(dev=True)
    code = "from importlinter.cli import lint_imports_command as c; c()"
    return call([str(PYTHON), "-c", code])


def check() -> int:
    """Run lint, types and contracts, all three, and say which failed."""
    checks = {"lint": lint, "types": types, "contracts": contracts}
    failed = [name for name, one in checks.items() if one()]
    say(f"failed: {', '.join(failed)}" if failed else "lint, types and contracts are in order")
    return 1 if failed else 0


def clean() -> int:
    """Remove what this file and the tools have made."""
    places = [VENV, *(ROOT / name for name in LEFTOVERS)]
    for place in (p for p in places if p.exists()):
        if place == VENV and not (VENV / "pyvenv.cfg").exists():
            raise SetupError(
                f"{VENV} is no virtual environment; look at it, and remove it yourself"
            )
        say(f"removing {place.name}")
        remove(place)
    return 0


COMMANDS = {c.__name__: c for c in (demo, test, check, lint, types, contracts, setup, clean)}


# ---- setting up


def set_up(*, dev: bool) -> None:
    """Make .venv what pyproject.toml and constraints.txt say, unless it is.

    :param dev: with what tests and checks need.
    """
    link_rooms()
    key = what_is_asked()
    if usable():
        done = read_stamp()
        if done.get("key") == key and (done.get("dev") or not dev):
            return
        dev = dev or bool(done.get("dev"))
    else:
        make_venv()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    began = time.monotonic()
    if not has(pin("torch")) or not has(pin("setuptools")):
        pip(what_of_torch(), pin("torch"), pin("setuptools"))
    what = "sdl, what it needs and what its tests need" if dev else "sdl and what it needs"
    # setuptools is there: building sdl needs no network once all is installed
    extras = "[dev]" if dev else ""
    pip(f"installing {what}", "--no-build-isolation", "--editable", f".{extras}")
    STAMP.write_text(json.dumps({"key": key, "dev": dev}), encoding="utf-8")
    say(f"set up in {time.monotonic() - began:.0f} s")


def link_rooms() -> None:
    """Make sdl/drivers and the like lead to ../drivers, where git could not make the links."""
    for room in ROOMS:
        link, folder = ROOT / "sdl" / room, ROOT / room
        if link.is_dir() and os.path.samefile(link, folder):
            continue
        if link.is_file() or link.is_symlink():  # git wrote the link's target into a text file
            link.unlink()
        elif os.path.lexists(link):
            try:
                link.rmdir()  # a junction of a checkout that was moved; of a folder, if empty
            except OSError as error:
                raise SetupError(
                    f"{link} should lead to {folder}, but is a folder of its own: {error}"
                ) from error
        if sys.platform == "win32":
            import _winapi

            _winapi.CreateJunction(str(folder), str(link))
        else:
            link.symlink_to(Path("..") / room)
        say(f"sdl/{room} now leads to {room}/ (git could not make that link here)")


def what_is_asked() -> str:
    """Return a hash of all that decides what is installed."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        project["build-system"],
        project["project"],
        project["tool"]["setuptools"],
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
        str(ROOT),  # an editable install says where it is
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def usable() -> bool:
    """Whether .venv is one, with a Python that starts, is new enough and has pip."""
    try:
        config = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    code = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    command = [str(PYTHON), "-c", code]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = asked.stdout.strip()
    made_with = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", config, re.MULTILINE)
    return asked.returncode == 0 and made_with is not None and made_with[1] == version


def read_stamp() -> dict[str, object]:
    """What was installed, or nothing."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def make_venv() -> None:
    """Make .venv anew."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = "{}.{}".format(*sys.version_info[:2])
        raise SetupError(
            "this Python cannot make virtual environments (its venv module is a package of its "
            f"own).\n  On Debian and Ubuntu: sudo apt install python{version}-venv\n"
            "  Then run the same command again."
        )
    if VENV.exists():
        if not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
            raise SetupError(f"{VENV} is no virtual environment; move it out of the way")
        say("the .venv there is does not work any more; it is made anew")
        remove(VENV)
    say(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment(),
        check=False,
    )
    if made.returncode:
        said = made.stdout + made.stderr
        raise SetupError(f"making {VENV} failed:\n{indented(said)}\n{hint(said)}")


def what_of_torch() -> str:
    """Say what is about to come, which may be large."""
    text = f"installing PyTorch ({pin('torch')}), the largest part"
    if sys.platform.startswith("linux") and not Path("/proc/driver/nvidia").exists():
        text += "; there is no NVIDIA driver here: README says how to get the small CPU build"
    return text


def pin(package: str) -> str:
    """Return the line of constraints.txt for `package`."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==\S+", text, re.MULTILINE)
    if found is None:
        raise SetupError(f"constraints.txt has no {package}==...; renew it as it says")
    return found[0]


def has(pinned: str) -> bool:
    """Whether .venv has that version of that package (or a local one, `+cpu`)."""
    found = pinned.replace("==", "-")
    places = [*VENV.glob("lib/python*/site-packages"), VENV / "Lib" / "site-packages"]
    names = (f"{found}.dist-info", f"{found}+*.dist-info")
    return any(any(place.glob(name)) for place in places for name in names)


def pip(title: str, *arguments: str) -> None:
    """Install, quietly; what pip says is in the log, and is shown if it fails."""
    say(title)
    command = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--constraint", "constraints.txt", *arguments]
    lines = []
    with LOG.open("a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=ROOT,
            env=environment(),
        ) as process:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                lines.append(line)
                show_progress(line)
    show_progress("")
    if process.returncode:
        said = "".join(lines)
        tail = indented("".join(lines[-15:]))
        if process.returncode == -signal.SIGTERM or process.returncode == -9:
            said += "killed"
        raise SetupError(f"pip failed; its last words (all are in {LOG}):\n{tail}\n{hint(said)}")


def show_progress(line: str) -> None:
    """Keep one line on a terminal that says what pip is at."""
    if sys.stdout.isatty():
        print("\r" + line.strip()[:76].ljust(76), end="" if line else "\r", flush=True)


def hint(said: str) -> str:
    """What to do about it."""
    if said.endswith("killed"):
        return "  It was killed: perhaps there was too little memory. Run the same command again."
    for pattern, text in HINTS.items():
        if re.search(pattern, said, re.IGNORECASE):
            return f"  {text}"
    return "  If that does not help: `dev.py clean`, then the same command again."


# ---- small things


def environment() -> dict[str, str]:
    """Our environment as if .venv were activated, without what would lead its Python elsewhere."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    path = os.pathsep.join([str(PYTHON.parent), *filter(None, [os.environ.get("PATH")])])
    return {**kept, "PYTHONUTF8": "1", "VIRTUAL_ENV": str(VENV), "PATH": path}


def run(module: str, *arguments: str, folder: Path = ROOT) -> int:
    """Run a module of .venv to its end and return its exit code."""
    return call([str(PYTHON), "-m", module, *arguments], folder)


def call(command: list[str], folder: Path = ROOT) -> int:
    """Run a program to its end and return its exit code; Ctrl-C is its business alone."""
    process = subprocess.Popen(command, cwd=folder, env=environment())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def remove(place: Path) -> None:
    """Remove a file, a link or a folder with all in it."""
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    except OSError as error:
        raise SetupError(f"{place} cannot be removed: {error}\n  Is it in use?") from error


def say(text: str) -> None:
    """Tell the user, in one line."""
    print(f"dev.py: {text}", flush=True)


def indented(text: str) -> str:
    """The text, a little to the right."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
