"""The watchdog, with a real runtime process to kill, and valves on real ports."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdl import Lab
from sdl.engine import end_loop, start_loop
from sdl.errors import UnsafeError
from sdl.journal import Journal
from sdl.watchdog import control, reach
from sdl.watchdog.client import Watchdog
from sdl.watchdog.lock import Lock
from sdl.watchdog.places import places
from tests.watchdog import valves
from tests.watchdog.valves import said, tell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9, POSIX pipes and signals")

TIMEOUT = 1.5  # s, as the stand-in has it


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[valves.Bench]:
    with valves.served(tmp_path) as found:
        yield found


def test_a_runtime_that_was_killed_leaves_a_safe_lab(bench: valves.Bench) -> None:
    with bench.runtime("wait") as runtime:
        watchdog = int(said(runtime))
        assert not bench.is_safe()
        moment = time.monotonic()
        runtime.kill()
        assert bench.safe_after(moment, 6.0) < 3.0
        gone(watchdog)
    assert not bench.control.exists()
    with Journal.open(bench.folder / "journal.db", readonly=True) as journal:
        (note,) = journal.notes()
    assert "the runtime died" in note.text
    assert "all 3 instruments confirmed" in note.text
    assert "the runtime died" in (bench.folder / "sdl.log").read_text()


@pytest.mark.parametrize("how", ["spin", "block"])
def test_a_runtime_whose_loop_is_dead_is_ended_and_the_lab_made_safe(
    bench: valves.Bench, how: str
) -> None:
    with bench.runtime("wait") as runtime:
        said(runtime)
        moment = time.monotonic()
        tell(runtime, how)
        assert TIMEOUT / 2 < bench.safe_after(moment, 10.0) < 6.0
        assert runtime.wait(5) == -signal.SIGKILL


def test_a_runtime_that_beats_is_left_alone_and_a_clean_end_touches_nothing(
    bench: valves.Bench,
) -> None:
    with bench.runtime("wait", "0.5") as runtime:
        watchdog = int(said(runtime))
        time.sleep(1.5)  # three times what a silent one gets
        tell(runtime, "down")
        assert said(runtime) == "down"
        assert runtime.wait(5) == 0
        gone(watchdog)
    assert not any(valve.closed_at() for valve in bench.valves.values())
    assert not bench.control.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_do_not_end_it(bench: valves.Bench, number: int) -> None:
    with bench.runtime("wait") as runtime:
        watchdog = int(said(runtime))
        assert os.getpgid(watchdog) != os.getpgid(runtime.pid)
        os.kill(watchdog, number)
        time.sleep(0.2)
        moment = time.monotonic()
        runtime.kill()
        assert bench.safe_after(moment, 6.0) < 3.0


def test_a_watchdog_that_died_is_replaced_and_the_run_goes_on(bench: valves.Bench) -> None:
    with bench.runtime("wait") as runtime:
        os.kill(int(said(runtime)), signal.SIGKILL)
        assert "the watchdog died" in said(runtime)
        before = control.read(bench.control)
        within(10.0, lambda: answers(bench))
        assert control.read(bench.control) == before  # the same door: a full disk would not matter
        assert runtime.poll() is None
        assert not bench.is_safe()
        moment = time.monotonic()
        runtime.kill()
        assert bench.safe_after(moment, 6.0) < 3.0


def test_one_that_stands_down_while_its_process_is_replaced_leaves_none_behind(
    bench: valves.Bench,
) -> None:
    with bench.runtime("wait") as runtime:
        os.kill(int(said(runtime)), signal.SIGKILL)
        assert "the watchdog died" in said(runtime)
        time.sleep(1.05)  # the next one is being started
        tell(runtime, "down")
        assert runtime.wait(20) == 0
    time.sleep(0.5)
    assert not any(valve.closed_at() for valve in bench.valves.values())
    lock = Lock(places(str(bench.folder / "journal.db"), "valves", bench.folder).lock)
    assert lock.wait(5)
    lock.free()


def test_only_its_owner_can_read_where_to_knock(bench: valves.Bench) -> None:
    with bench.runtime("wait"):
        assert stat.S_IMODE(bench.control.stat().st_mode) == 0o600


def test_whoever_does_not_know_the_token_stops_nothing(bench: valves.Bench) -> None:
    with bench.runtime("wait"):
        right = control.read(bench.control)
        assert right is not None
        wrong = control.Control(right.port, "guess", right.pid)
        with pytest.raises(control.NobodyThereError):
            control.ask_to_stop(wrong, "mallory@here", "")
        assert not bench.is_safe()


def test_the_runtime_itself_obeys_a_stop_while_its_disk_hangs(bench: valves.Bench) -> None:
    with bench.runtime("disk") as runtime:
        answer = stop(bench)
        assert (answer.all_safe, answer.by) == (True, "the runtime")
        assert bench.is_safe()
        assert runtime.poll() is None


@pytest.mark.parametrize("mode", ["refuse", "spin", "deaf"])
def test_a_stop_that_the_runtime_does_not_obey_is_the_watchdogs(
    bench: valves.Bench, mode: str
) -> None:
    with bench.runtime("wait" if mode == "spin" else mode, "60") as runtime:
        if mode == "spin":
            tell(runtime, "spin")
            time.sleep(0.2)
        moment = time.monotonic()
        answer = stop(bench)
        longest = 20.0 if mode == "deaf" else 5.0  # s; one that has acknowledged has 6 s to report
        assert time.monotonic() - moment < longest
        assert answer.all_safe
        assert "watchdog" in answer.by
        assert bench.is_safe()
        assert runtime.wait(5) == -signal.SIGKILL


def test_one_mute_instrument_of_twenty_holds_up_nobody_and_is_named(tmp_path: Path) -> None:
    with valves.served(tmp_path, 20, mute=[7]) as bench, bench.runtime("wait") as runtime:
        watchdog = int(said(runtime))
        fill_the_disk(runtime.pid, watchdog)
        moment = time.monotonic()
        answer = stop(bench)
        assert bench.safe_after(moment, 3.0) < 3.0
        assert [n for n, why in answer.instruments.items() if why] == ["valve_7"]
        assert runtime.poll() is None
        os.kill(watchdog, signal.SIGKILL)  # or it would try the mute one again and again


def test_the_watchdog_reaches_all_but_the_mute_one_with_a_full_disk(tmp_path: Path) -> None:
    with valves.served(tmp_path, 20, mute=[7]) as bench, bench.runtime("wait") as runtime:
        watchdog = int(said(runtime))
        fill_the_disk(runtime.pid, watchdog)
        moment = time.monotonic()
        tell(runtime, "spin")
        assert bench.safe_after(moment, 10.0) < 6.0
        os.kill(watchdog, signal.SIGKILL)


@pytest.mark.slow
def test_the_next_runtime_waits_until_the_old_watchdog_is_done(tmp_path: Path) -> None:
    with valves.served(tmp_path, 2, mute=[1]) as bench:
        with bench.runtime("wait") as runtime:
            watchdog = int(said(runtime))
        lock = Lock(places(str(bench.folder / "journal.db"), "valves", bench.folder).lock)
        assert not lock.take()  # it tries the mute one again and again
        gone(watchdog, 40)
        assert lock.take()
        lock.free()


def test_one_that_did_not_confirm_is_tried_again(tmp_path: Path) -> None:
    with valves.served(tmp_path, 2, mute=[1]) as bench:
        rounds: list[dict[str, str | None]] = []

        def told(answers: dict[str, str | None]) -> None:
            rounds.append(dict(answers))
            bench.valves["valve_1"].mute = False

        work = reach.make_safe_patiently(Lab.read(bench.lab), timeout=1.0, told=told)
        assert asyncio.run(work) == {"valve_0": None, "valve_1": None}
    assert [answers["valve_1"] is None for answers in rounds] == [False, True]
    assert len(bench.valves["valve_0"].heard) == 1  # what confirmed is left alone


def test_two_who_stop_at_once_hear_the_same(bench: valves.Bench) -> None:
    with bench.runtime("slow", "30") as runtime:
        said(runtime)
        found = control.read(bench.control)
        assert found is not None
        script = (
            "import sys, json; from sdl.watchdog import control as c; from pathlib import Path\n"
            "a = c.ask_to_stop(c.read(Path(sys.argv[1])), sys.argv[2], 'together')\n"
            "print(json.dumps([a.instruments, a.by]))"
        )
        command = [sys.executable, "-c", script, str(bench.control)]
        both = [
            subprocess.Popen([*command, who], stdout=subprocess.PIPE, text=True)
            for who in ("anna", "bert")
        ]
        one, other = (json.loads(process.communicate(timeout=30)[0]) for process in both)
        tell(runtime, "down")
        assert said(runtime).startswith("stopping for")
        assert said(runtime) == "down"  # it was told once
    assert one == other
    assert bench.is_safe()


def test_without_its_lock_file_nothing_begins(tmp_path: Path) -> None:
    with valves.served(tmp_path) as bench:

        async def on_stop(who: str, why: str) -> dict[str, str]:
            return {}

        lab, loop = Lab.load(bench.lab), start_loop()
        try:
            with pytest.raises(UnsafeError, match="nothing has moved"):
                Watchdog.start(
                    lab,
                    str(tmp_path / "no such folder" / "journal.db"),
                    timeout=1.0,
                    beat=0.1,
                    on_stop=on_stop,
                    loop=loop,
                    tell=print,
                )
        finally:
            end_loop(loop)


def stop(bench: valves.Bench) -> control.Answer:
    found = control.read(bench.control)
    assert found is not None
    return control.ask_to_stop(found, "anna@bench", "smoke")


def answers(bench: valves.Bench) -> bool:
    import socket

    found = control.read(bench.control)
    try:
        socket.create_connection((control.HOST, found.port if found else 0), 1.0).close()
    except OSError:
        return False
    return True


def within(seconds: float, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int, seconds: float = 15.0) -> None:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    within(seconds, ended)


def fill_the_disk(*pids: int) -> None:
    """No file of these processes can grow any more: every write fails (EFBIG for ENOSPC)."""
    import resource

    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
