"""`sdl new driver`: an instrument of a lab's own: driver, simulator, transcript, world and tests.

What is written works, for an invented instrument; its numbered marks say what has to be filled in.
"""

import ast
import builtins
import keyword
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from sdl.errors import ConfigError

NAME, CLASS, URL = "newname", "NewName", "newname://delivered"
"""What the templates call their instrument and its wire."""

LEFT = ("__pycache__", "__init__.py")
LONGEST = 30  # characters of a name: it stands in lines of at most 100
MARK = re.compile(r"FILL IN (\d+): (.*?)\W*$", re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """The files for a kind of wire."""

    url: str
    """How the invented instrument is delivered."""

    folders: tuple[str, ...]
    """Of `sdl/scaffold_driver`; a file in a later one takes the place of that in an earlier."""


TEMPLATES: Mapping[str, Template] = {
    "serial": Template("serial:///dev/ttyUSB0?baudrate=9600", ("common", "line")),
    "tcp": Template("tcp://10.0.0.7:4001", ("common", "line")),
    "modbus+tcp": Template("modbus+tcp://10.0.0.8:502", ("common", "modbus")),
    "modbus+rtu": Template(
        "modbus+rtu:///dev/ttyUSB0?baudrate=9600&parity=E", ("common", "modbus", "modbus_rtu")
    ),
    "mqtt": Template("mqtt://broker:1883", ("common", "mqtt")),
    "zmq+tcp": Template("zmq+tcp://10.0.0.9:5555", ("common", "zmq")),
    "http": Template("http://10.0.0.10:8080", ("common", "http")),
}


def run(options: Namespace) -> int:
    name, folder, template = options.name, options.into, TEMPLATES[options.wire]
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; make it first, or name another with --into")
    texts = {path: source.read_text(encoding="utf-8") for path, source in _files(template)}
    _check_name(name, texts)
    written = dict(_filled(_numbered(texts), name, template.url))
    there = sorted(str(path) for path in written if (folder / path).exists())
    if there:
        raise ConfigError(
            f"{folder}: has {', '.join(there)} already; nothing is overwritten: take another name"
        )
    _write(folder, written)
    _tell(name, options.wire, folder, written)
    return 0


def _check_name(name: str, texts: Mapping[Path, str]) -> None:
    """Refuse a name that cannot be a module's, or that would be taken for something else.

    :raises ConfigError: it says what to do.
    """
    from sdl import plugins  # only now: it asks what is installed

    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None or len(name) > LONGEST:
        rule = f"small letters, digits and _, beginning with a letter, at most {LONGEST} in all"
        raise ConfigError(f"{name!r}: a driver's name becomes a module's: {rule}; as my_bath")
    other = f"for example my_{name}"
    if keyword.iskeyword(name) or keyword.iskeyword(_class(name)):
        raise ConfigError(f"{name!r} is a word of Python; take another name, {other}")
    for room in ("drivers", "simulators", "worlds"):
        if name in plugins.names(room) or f"{name}_bench" in plugins.names(room):
            raise ConfigError(
                f"{name!r} is on the shelf already (`sdl instruments --catalogue`): use that one, "
                f"or take another name, {other}"
            )
    if {name, _class(name)} & _words(texts):
        raise ConfigError(f"{name!r} is a word that the files need themselves; {other}")


def _words(texts: Mapping[Path, str]) -> set[str]:
    """Return the names that the modules use at their top, and those that Python brings."""
    found = set(dir(builtins)) | {"sdl"}
    for path, text in texts.items():
        if path.suffix == ".py":
            nodes = list(ast.walk(ast.parse(text)))
            found |= {node.id for node in nodes if isinstance(node, ast.Name)}
            found |= {alias.asname or alias.name for node in nodes for alias in _imported(node)}
            found |= {
                node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)
            }
    return found - {NAME, CLASS}


def _imported(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, ast.Import | ast.ImportFrom) else []


def _numbered(texts: Mapping[Path, str]) -> Mapping[Path, str]:
    """Number the marks from 1 on: not every kind of wire has each of them."""
    found = sorted({int(match[1]) for text in texts.values() for match in MARK.finditer(text)})

    def anew(match: re.Match[str]) -> str:
        return match[0].replace(match[1], str(found.index(int(match[1])) + 1), 1)

    return {path: MARK.sub(anew, text) for path, text in texts.items()}


def _filled(texts: Mapping[Path, str], name: str, url: str) -> Iterator[tuple[Path, str]]:
    def named(text: str) -> str:
        return text.replace(URL, url).replace(NAME, name).replace(CLASS, _class(name))

    for path, text in texts.items():
        yield Path(named(str(path))), named(text)


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _write(folder: Path, written: Mapping[Path, str]) -> None:
    try:
        for path, text in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error


def _tell(name: str, wire: str, folder: Path, written: Mapping[Path, str]) -> None:
    cd = "" if folder == Path() else f"cd {folder} && "
    print(
        f"A driver on {wire} with all that belongs to it, for an invented bath. It works as it is:"
    )
    print(f"  {cd}pytest tests/test_{name}.py")
    print(f"  {cd}sdl instruments --lab {name}_lab.yaml --ping --twin")
    print("Put your instrument in its place, from its manual, in this order:")
    marks = sorted(_marks(written))
    wide = max(len(place) for _, place, _ in marks)
    for number, place, what in marks:
        print(f"  {number:2}  {place:{wide}}  {what}")


def _marks(written: Mapping[Path, str]) -> Iterator[tuple[int, str, str]]:
    for path, text in written.items():
        for match in MARK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield int(match[1]), f"{path.as_posix()}:{line}", match[2]


def _files(template: Template) -> Iterator[tuple[Path, Traversable]]:
    root = resources.files("sdl") / "scaffold_driver"
    found: dict[Path, Traversable] = {}
    for folder in template.folders:
        found |= dict(_below(root / folder, Path()))
    yield from sorted(found.items())


def _below(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        if entry.name in LEFT:
            continue
        if entry.is_dir():
            yield from _below(entry, path / entry.name)
        else:
            yield path / entry.name, entry
