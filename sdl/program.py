"""The program text of a class: its module, and what of the same package and of sdl it imports."""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path


def modules_of(strategy: type) -> dict[str, ast.Module]:
    """Parse a class's module and the modules of ours that it leads to, by name.

    Nothing is imported: what they import may be slow.
    """
    first = strategy.__module__
    own = (first.partition(".")[0], "sdl")
    trees: dict[str, ast.Module] = {}
    left = {first}
    while left:
        name = left.pop()
        file = inspect.getsourcefile(strategy) if name == first else _file(name)
        if name in trees or file is None:
            continue
        trees[name] = ast.parse(Path(file).read_bytes())
        left |= {m for m in imported(trees[name]) if m.partition(".")[0] in own}
    return trees


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports: modules, and names that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(module: str) -> Path | None:
    top, *parts = module.split(".")
    for folder in getattr(sys.modules.get(top), "__path__", ()):
        inside = Path(folder, *parts)
        for file in (inside.with_suffix(".py"), inside / "__init__.py"):
            if file.is_file():
                return file
    return None
