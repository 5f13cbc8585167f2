"""Journals on both databases; PostgreSQL runs as a private server without a network port."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from sdl.journal import Journal, Trial, TrialState

_numbers = count(1)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of the database `postgres` on a server of our own, reached by a Unix socket."""
    psycopg = pytest.importorskip("psycopg", reason="PostgreSQL's client (psycopg) is missing")
    initdb, server = _program("initdb"), _program("postgres")
    as_user, user = _unprivileged()
    # not pytest's folder: a socket's path may have 107 characters, and another user must get in
    folder = Path(tempfile.mkdtemp(prefix="sdl-pg-", dir="/tmp"))
    shutil.chown(folder, user)
    data = folder / "data"
    make = [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*as_user, *make], check=True, capture_output=True, cwd=folder, timeout=120)
    options = [
        "-k",
        folder,
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "full_page_writes=off",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*as_user, server, "-D", data, *options], stdout=log, stderr=log, cwd=folder
        )
    url = f"postgresql://postgres@/postgres?host={folder}"
    try:
        _wait_for(process, lambda: psycopg.connect(url, connect_timeout=5).close(), folder / "log")
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown: nothing is kept
        process.wait(timeout=30)
        shutil.rmtree(folder)


def _program(name: str) -> str:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(places[-1]) if places else None)
    return found or pytest.skip(f"PostgreSQL's {name} is not installed")


def _unprivileged() -> tuple[list[str], str]:
    """PostgreSQL refuses to run as root: the command before it, and the user it then is."""
    if os.geteuid() != 0:
        return [], pwd.getpwuid(os.geteuid()).pw_name
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv")
    user = next(p for p in pwd.getpwall() if p.pw_name in ("postgres", "nobody"))
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    # it goes when pytest goes, even if that is killed
    return ["setpriv", *ids, "--pdeathsig=QUIT", "--"], user.pw_name


def _wait_for(
    process: "subprocess.Popen[bytes]", connect: Callable[[], None], log: Path, wait: float = 30
) -> None:
    import psycopg

    for _ in range(int(wait / 0.1)):
        try:
            return connect()
        except psycopg.OperationalError:
            pass
        try:
            process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")


@pytest.fixture
def postgresql_database(postgresql_url: str) -> str:
    """An empty place on the server: a schema, which is quicker to make than a database."""
    import psycopg

    name = f"journal_{next(_numbers)}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{postgresql_url}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no journal is yet, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "journal.db")
    return request.getfixturevalue("postgresql_database")


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    """A journal with the campaign `screen` of the lab `bench`."""
    with Journal.open(journal_url) as journal:
        add_screen(journal)
        yield journal


@pytest.fixture
def other(journal: Journal, journal_url: str) -> Iterator[Journal]:
    """A second Journal on the same database, as another process would have."""
    with Journal.open(journal_url) as other:
        yield other


@pytest.fixture
def trial(journal: Journal) -> Trial:
    """A suggested trial."""
    return journal.suggest("screen", [({"temperature": 60.0}, {"generator": "sobol"})], time=1.0)[0]


@pytest.fixture
def running(journal: Journal, trial: Trial) -> Trial:
    approved = journal.move(trial, TrialState.APPROVED, time=2.0, who="autonomy")
    return journal.move(approved, TrialState.RUNNING, time=3.0, who="runtime")


def add_screen(journal: Journal) -> None:
    spec = {"objectives": {"yield": "max"}, "budget": {"trials": 20}}
    journal.add_campaign("screen", spec, lab="bench", twin=True, versions={"sdl": "0"}, time=0.0)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Nobody's permissions for a while: root may write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
