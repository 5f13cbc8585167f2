"""The fenced blocks of a page, as the tests run them.

- `console`: lines that begin with `$ ` are commands; the lines below one must stand in its output,
  in this order (runs of blanks count as one, `…` stands for anything). A command that ends with
  `&` goes on until the page's end.
- `python`: runs, one after the other, in one namespace per page; `await` may stand at the top. A
  `text` block directly after it must stand in what it prints.
- any block with `file=PATH` behind its language is written to that file instead.
- anything else is only read.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FENCE = re.compile(r"^```(\w*) *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    file: str | None
    text: str
    line: int
    """where it begins in its page"""
    follows: bool
    """whether only a blank line lies between it and the block before"""
    output: str = ""
    """of a `python` block: what it must print"""


@dataclass(frozen=True)
class Command:
    text: str
    output: Sequence[str]


def read(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text, end, found = page.read_text("utf-8"), -1, list[Block]()
    for match in FENCE.finditer(text):
        named = re.fullmatch(r"file=(\S+)", match[2])
        assert named or not match[2], f"{page}: what is {match[2]!r} in the fence?"
        line = text.count("\n", 0, match.start()) + 1
        follows = end >= 0 and not text[end : match.start()].strip()
        block = Block(match[1], named and named[1], match[3], line, follows)
        end = match.end()
        if block.language == "text" and follows and found[-1].language == "python":
            found[-1] = replace(found[-1], output=block.text)
        else:
            found.append(block)
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a `console` block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield Command(command, [line for line in output if line.strip()])


def missing(wanted: Sequence[str], output: str) -> str | None:
    """Return the first of the wanted lines that does not stand in the output behind the others."""
    at, seen = 0, re.sub(r"[ \t]+", " ", output)
    for line in wanted:
        words = re.sub(r"[ \t]+", " ", line.strip())
        pattern = "[^\n]*?".join(map(re.escape, re.split(" ?… ?", words)))
        match = re.compile(pattern).search(seen, at)
        if match is None:
            return line
        at = match.end()
    return None
