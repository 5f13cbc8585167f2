import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sdl.clock import new_loop
from sdl.errors import OptimizerError
from sdl.space import Objective, Space
from sdl.suggest.process import OptimizerProcess
from sdl.task import Task

SPACE = Space.model_validate(
    {"parameters": {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}}}
)
WANTED = {"y": Objective(direction="minimize"), "z": Objective(direction="maximize")}
HISTORY: list[dict[str, Any]] = [
    {
        "_id": i,
        "_state": "completed",
        "a": (i * 0.37) % 1,
        "b": (i * 0.61) % 1,
        "y": ((i * 0.37) % 1 - 0.3) ** 2,
        "z": (i * 0.61) % 1,
    }
    for i in range(10)
]

PLUGIN = """
import os, sys, time
class Odd:
    provenance = {}
    def __init__(self, task, *, seed, **options):
        self.points = []
        if "bad" in options:
            raise ValueError("bad must be good")
    def ingest(self, points):
        self.points += points
    def suggest(self, n, pending=()):
        HERE
        return [{"a": 0.25, "b": len(self.points) / 100}] * n
"""


def lab(folder: Path, here: str) -> dict[str, Any]:
    """A lab folder with an optimizer that does this when asked."""
    (folder / "optimizers").mkdir()
    text = PLUGIN.replace("HERE", here.replace("\n", "\n        "))
    (folder / "optimizers" / "odd.py").write_text(text)
    return {"name": "odd:Odd", "folder": folder}


def process(name: str, folder: Path | None = None, **options: Any) -> OptimizerProcess:
    return OptimizerProcess(name, Task.of(SPACE, WANTED), seed=3, folder=folder, **options)


def once(folder: Path, trouble: str) -> str:
    """Plug-in code that gets into trouble the first time only, in whatever process."""
    flag = str(folder / "tried")
    return f"if not os.path.exists({flag!r}):\n    open({flag!r}, 'w').close()\n    {trouble}"


async def ask(optimizer: OptimizerProcess, n: int = 1) -> list[dict[str, Any]]:
    return [s.parameters for s in await optimizer.suggest(n, HISTORY)]


def test_two_fresh_processes_suggest_the_same() -> None:
    async def suggestions() -> Any:
        async with process("botorch") as optimizer:
            await optimizer.warm_up()
            made = await optimizer.suggest(1, HISTORY)
            assert made[0].provenance["generator"] == "botorch"
            assert len(await optimizer.leave_one_out(HISTORY)) == 20
            return made

    async def both() -> None:
        first, second = await asyncio.gather(suggestions(), suggestions())
        assert first == second

    asyncio.run(both())


def test_the_loop_does_not_stall_while_a_suggestion_is_made() -> None:
    async def longest_stall() -> float:
        loop = asyncio.get_running_loop()
        longest = 0.0
        async with process("botorch") as optimizer:
            await optimizer.warm_up()
            work = asyncio.create_task(optimizer.suggest(1, HISTORY))
            while not work.done():
                before = loop.time()
                await asyncio.sleep(0.002)
                longest = max(longest, loop.time() - before)
            assert len(await work) == 1
        return longest

    # tried again, since other work on this machine may stall it too
    assert any(asyncio.run(longest_stall()) < 0.05 for _ in range(3))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "ended with exit code -9"),
        ("print('last words', file=sys.stderr, flush=True); os._exit(3)", "last words"),
        ("time.sleep(60)", "no answer within 1.5 s"),
        ("os.kill(os.getpid(), 19)", "no answer within 1.5 s"),
        ("[os.write(fd, b'rubbish\\n') for fd in range(3, 8) if writable(fd)]", "made no sense"),
    ],
    ids=["killed", "ended", "hung", "stopped", "rubbish"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_worker_in_trouble_is_replaced_and_asked_again(
    tmp_path: Path, trouble: str, reason: str
) -> None:
    told: list[str] = []
    named = lab(tmp_path, once(tmp_path, trouble))
    with (tmp_path / "optimizers" / "odd.py").open("a") as file:
        file.write(
            "import fcntl, stat\n"
            "def writable(fd):\n"
            "    try:\n"
            "        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY\n"
            "    except OSError:\n"
            "        return False\n"
        )

    async def run() -> None:
        async with process(**named, timeout=1.5, on_restart=told.append) as optimizer:
            assert await ask(optimizer, 2) == [{"a": 0.25, "b": 0.1}] * 2

    asyncio.run(run())
    assert len(told) == 1
    assert reason in told[0]


def test_after_three_restarts_it_gives_up_and_shows_the_last_words(tmp_path: Path) -> None:
    told: list[str] = []
    named = lab(tmp_path, "print('out of cheese', flush=True)\nos._exit(7)")

    async def run() -> None:
        async with process(**named, on_restart=told.append) as optimizer:
            with pytest.raises(OptimizerError, match=r"exit code 7(.|\n)*out of cheese"):
                await ask(optimizer)

    asyncio.run(run())
    assert len(told) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_worker_killed_between_requests_is_replaced(tmp_path: Path) -> None:
    async def run() -> None:
        async with process(**lab(tmp_path, "pass")) as optimizer:
            before = await ask(optimizer)
            first = optimizer.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert await ask(optimizer) == before
            assert optimizer.pid != first

    asyncio.run(run())


def test_what_an_optimizer_prints_or_reads_does_not_disturb(tmp_path: Path) -> None:
    noise = "print('noise')\nos.system('echo more noise')\nassert sys.stdin.read() == ''"

    async def run() -> None:
        async with process(**lab(tmp_path, noise)) as optimizer:
            assert await ask(optimizer) == [{"a": 0.25, "b": 0.1}]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("here", "options", "says"),
    [
        ("raise RuntimeError('cannot fit')", {}, "cannot fit"),
        ("pass", {"bad": 1}, "bad must be good"),
        ("return [{'a': 2.0, 'b': 0.5}]", {}, "a: must be from 0 to 1, not 2"),
        ("return [{'a': 0.5}]", {}, "b: missing"),
        ("return []", {}, "asked for 1 points"),
        ("return [{'a': float('nan'), 'b': 0.5}]", {}, "JSON"),
    ],
)
def test_an_optimizer_that_errs_is_not_started_again(
    tmp_path: Path, here: str, options: dict[str, Any], says: str
) -> None:
    told: list[str] = []

    async def run() -> None:
        named = lab(tmp_path, here)
        async with process(**named, options=options, on_restart=told.append) as optimizer:
            with pytest.raises(OptimizerError, match=says):
                await ask(optimizer)

    asyncio.run(run())
    assert told == []


def test_a_name_that_leads_nowhere_is_an_optimizer_error() -> None:
    async def run() -> None:
        async with process("nonesuch") as optimizer:
            with pytest.raises(OptimizerError, match=r"known are: .*botorch.*sobol"):
                await optimizer.warm_up()

    asyncio.run(run())


def test_a_virtual_clock_stands_still_while_a_suggestion_is_made(tmp_path: Path) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with process(**lab(tmp_path, "time.sleep(0.3)")) as optimizer:
            rival = asyncio.create_task(asyncio.sleep(1e6))
            await asyncio.sleep(0)
            before = loop.time()
            await ask(optimizer)
            assert loop.time() == before
            assert not rival.done()
            rival.cancel()

    with asyncio.Runner(loop_factory=lambda: new_loop("virtual")) as runner:
        runner.run(run())


def test_a_request_given_up_ends_at_once_and_the_next_is_answered(tmp_path: Path) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        named = lab(tmp_path, once(tmp_path, "time.sleep(60)"))
        async with process(**named) as optimizer:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(optimizer), 1.0)
            await ask(optimizer)
        assert loop.time() - begun < 20

    asyncio.run(run())


def test_leaving_while_it_is_at_work_does_not_wait_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with process(**lab(tmp_path, "time.sleep(60)")) as optimizer:
            work = asyncio.create_task(ask(optimizer))
            await until(lambda: optimizer.pid is not None)
        with pytest.raises(OptimizerError, match="nobody waits"):
            await work

    asyncio.run(asyncio.wait_for(run(), 20))
    for thread in threading.enumerate():
        if thread.name.startswith("optimizer"):
            thread.join(10)  # it is on its way out, and not at work for a minute
            assert not thread.is_alive()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def in_a_parent(
    folder: Path, then: Callable[[subprocess.Popen[bytes], int], Awaitable[None]]
) -> None:
    """Run an `OptimizerProcess` that is asked for much in a process of its own."""
    named = lab(folder, "time.sleep(60)")
    script = (
        "import asyncio, json, sys\n"
        "from sdl.space import Objective, Space\n"
        "from sdl.task import Task\n"
        "from sdl.suggest.process import OptimizerProcess\n"
        "from pathlib import Path\n"
        "async def run():\n"
        f"    space = Space.model_validate(json.loads({SPACE.model_dump_json()!r}))\n"
        "    wanted = {'y': Objective(direction='minimize')}\n"
        f"    folder = Path({str(named['folder'])!r})\n"
        "    task = Task.of(space, wanted)\n"
        "    async with OptimizerProcess('odd:Odd', task, folder=folder) as optimizer:\n"
        "        await optimizer.warm_up()\n"
        "        print(optimizer.pid, flush=True)\n"
        "        await optimizer.suggest(1, [])\n"
        "asyncio.run(run())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            child = json.loads(parent.stdout.readline())
            asyncio.run(_then(then, parent, child))
        finally:
            parent.kill()


async def _then(
    then: Callable[[subprocess.Popen[bytes], int], Awaitable[None]],
    parent: subprocess.Popen[bytes],
    child: int,
) -> None:
    await then(parent, child)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
def test_the_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    async def kill(parent: subprocess.Popen[bytes], child: int) -> None:
        assert alive(child)
        parent.kill()
        await until(lambda: not alive(child))

    in_a_parent(tmp_path, kill)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
def test_the_worker_leaves_ctrl_c_to_its_parent(tmp_path: Path) -> None:
    async def interrupt(parent: subprocess.Popen[bytes], child: int) -> None:
        os.kill(child, signal.SIGINT)
        await asyncio.sleep(0.2)
        assert alive(child)
        assert os.getpgid(child) != os.getpgid(parent.pid)
        assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, parent.pid)

    in_a_parent(tmp_path, interrupt)
