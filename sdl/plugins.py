"""Find what a file names: registered entry points, the lab folder's own rooms, allowed packages.

A name is one of three things, looked up in this order:

- `ne1000`: an entry point in the group `sdl.<room>`;
- `titrate` or `my_pump:MyPump`: a Python file in the lab folder's own `<room>/` (without a colon
  the object has the file's name);
- `ophyd.sim:SynAxis`: a module of a package registered in the group `sdl.packages` (an allow-list:
  a lab file cannot import just anything).
"""

import hashlib
import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

LONGEST_NAME = 100  # of a module: no file system takes much longer ones

Room = Literal["drivers", "simulators", "worlds", "plans", "optimizers"]


class PluginError(LookupError):
    """The name leads nowhere; the message says what would. It becomes a `Problem` of the file."""


def load(room: Room, name: str, folder: Path | None = None) -> Any:
    """Return the object called `name`.

    :param folder: the lab folder; its `drivers/`, `plans/`, … are looked in too.
    :raises PluginError: nothing is called so, or its module does not import.
    """
    registered = _registered(room)
    if name in registered:
        return _import(name, registered[name].load)
    module, _, attribute = name.partition(":")
    file = _file(room, module, folder)
    if file is not None:
        return _attribute(name, _import(name, lambda: _load_file(file)), attribute or module)
    if attribute and _allowed(module):
        return _attribute(name, _import(name, lambda: importlib.import_module(module)), attribute)
    if attribute and "." in module:
        packages = ", ".join(sorted(_packages()))
        raise PluginError(
            f"{name!r} is not in an allowed package ({packages}); others register themselves "
            "in the entry-point group sdl.packages"
        )
    allowed = ", ".join(names(room, folder)) or "none"
    raise PluginError(f"there is no {room.removesuffix('s')} {name!r}; known are: {allowed}")


def names(room: Room, folder: Path | None = None) -> list[str]:
    """All names that `load` knows without a module path."""
    found = set(_registered(room))
    if folder is not None:
        found |= {f.stem for f in (folder / room).glob("*.py") if not f.stem.startswith("_")}
    return sorted(found)


@cache
def _registered(room: Room) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"sdl.{room}")}


@cache
def _packages() -> frozenset[str]:
    return frozenset(point.value for point in entry_points(group="sdl.packages"))


def _allowed(module: str) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in _packages())


def _file(room: Room, module: str, folder: Path | None) -> Path | None:
    if folder is None or not module.isidentifier() or len(module) > LONGEST_NAME:
        return None
    file = folder / room / f"{module}.py"
    return file if file.is_file() else None


def _load_file(file: Path) -> ModuleType:
    file = file.resolve()
    name = f"sdl_lab_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(name: str, load: Any) -> Any:
    try:
        return load()
    except Exception as error:
        raise PluginError(f"{name!r} does not import: {type(error).__name__}: {error}") from error


def _attribute(name: str, module: ModuleType, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise PluginError(f"{name!r}: {module.__file__} has no {attribute!r}") from None
