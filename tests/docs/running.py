"""A page, followed as a reader would: its files written, its commands typed, its Python run."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import Block, Command, commands, missing, read

TIMEOUT = 120.0  # s for one command, on a busy machine
ENVIRONMENT = {"COLUMNS": "100", "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
BEGIN = "--- block {} ---"

PYTHON = """\
import ast, asyncio, inspect, json, linecache, sys
names = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for number, text in enumerate(json.load(open(sys.argv[1]))):
        print("--- block", number, "---", flush=True)
        name = f"<block {number}>"
        linecache.cache[name] = len(text), None, text.splitlines(True), ""  # as IPython does
        code = compile(text, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, names))
        else:
            exec(code, names)
"""


@dataclass
class Reader:
    """Somebody in a folder of their own with a page before them."""

    folder: Path
    replace: Mapping[str, str] = field(default_factory=dict)
    """What is different here: addresses of instruments."""

    _going_on: list[subprocess.Popen[str]] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Do all that the page says; fail where what it promises does not come.

        Its Python runs at the place of its last block.
        """
        blocks = read(page)
        python = [b for b in blocks if b.language == "python" and b.file is None]
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            for block in blocks:
                if python and block is python[-1]:
                    self._python(python, page)
                elif block.file is not None:
                    self._write(block.file, self._here(block.text))
                elif block.language == "console":
                    for command in commands(block):
                        self._type(command, f"{page.name}:{block.line}")

    def _here(self, text: str) -> str:
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return text

    def _write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _type(self, command: Command, where: str) -> None:
        words = shlex.split(self._here(command.text))
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return
        if words[-1] == "&":
            self._start(words[:-1], command, where)
            return
        done = subprocess.run(
            _program(words),
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
        )
        said = done.stdout + done.stderr
        lost = missing(command.output, said)
        assert lost is None, f"{where}: $ {command.text}\nno {lost!r} in\n{said}"
        assert done.returncode in (0, 1, 2), f"{where}: $ {command.text}\n{said}"
        if not command.output:
            assert done.returncode == 0, f"{where}: $ {command.text}\n{said}"

    def _start(self, words: list[str], command: Command, where: str) -> None:
        process = subprocess.Popen(
            _program(words),
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._going_on.append(process)
        assert process.stdout is not None
        said, began = "", time.monotonic()
        while missing(command.output, said) is not None:
            line = process.stdout.readline()
            said += line
            goes_on = line and time.monotonic() - began < TIMEOUT
            assert goes_on, f"{where}: $ {command.text}\n{said}"

    def _python(self, python: list[Block], page: Path) -> None:
        self._write("page.json", json.dumps([self._here(block.text) for block in python]))
        self._write("page.py", PYTHON)
        done = subprocess.run(
            [sys.executable, "page.py", "page.json"],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, f"{page.name}: {done.stdout}\n{done.stderr}"
        for number, block in enumerate(python):
            printed = done.stdout.partition(BEGIN.format(number))[2]
            printed = printed.partition(BEGIN.format(number + 1))[0]
            lost = missing([line for line in block.output.splitlines() if line.strip()], printed)
            assert lost is None, f"{page.name}:{block.line}: no {lost!r} in\n{printed}"

    def _end(self) -> None:
        for process in self._going_on:
            process.terminate()
        for process in self._going_on:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=20)
            process.kill()
        self._going_on.clear()


def _program(words: list[str]) -> list[str]:
    """Have `sdl`, `python` and `pytest` be those of this environment, whatever the path says."""
    ours = {
        "sdl": ["-m", "sdl.cli"],
        "python": [],
        "pytest": ["-m", "pytest", "-p", "no:cacheprovider"],
    }
    assert words[0] in ours, f"a page may type {', '.join(ours)} and cd, not {words[0]}"
    return [sys.executable, *ours[words[0]], *words[1:]]


def pages(folder: Path) -> Iterator[Path]:
    """All pages below a folder, in order."""
    return iter(sorted(folder.rglob("*.md")))
