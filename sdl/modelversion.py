"""Which optimizer exactly, and whether a person let that one work on a campaign.

A version is a digest of the strategy's name, its options, its program (and all of ours that this
imports), and the versions of the packages that compute. `sdl evaluate --promote` writes which
version may be used; a campaign that says `optimizer: {use: …, promoted: true}` refuses any other.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdl import plugins
from sdl.errors import ConfigError
from sdl.program import modules_of

FOLDER = "evaluations"
"""Beside the campaign file."""

PACKAGES = ("sdl", "torch", "botorch", "gpytorch", "numpy", "scipy", "rdkit")
"""Whose version counts, of those that are installed."""

SHOWN = 12  # hexadecimal digits of a digest that people see


@dataclass(frozen=True)
class ModelVersion:
    """An optimizer as it is installed now."""

    use: str
    options: Mapping[str, Any]
    packages: Mapping[str, str]
    program: str

    @property
    def digest(self) -> str:
        """SHA-256 of all of it; hexadecimal."""
        words = json.dumps(self.as_json(), sort_keys=True, default=str)
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def name(self) -> str:
        return f"{self.use} {self.digest[:SHOWN]}"

    def as_json(self) -> dict[str, Any]:
        return {
            "use": self.use,
            "options": dict(self.options),
            "packages": dict(self.packages),
            "program": self.program,
        }


def model_version(use: str, options: Mapping[str, Any], folder: Path | None) -> ModelVersion:
    """Return the version of an optimizer.

    :param folder: whose `optimizers/` it may come from, besides those installed.
    :raises sdl.plugins.PluginError: nothing is called so.
    """
    return ModelVersion(use, dict(options), _packages(), _program(use, folder))


def promoted_file(campaign_file: Path, campaign: str) -> Path:
    """Where it stands which version may be used."""
    return campaign_file.resolve().parent / FOLDER / campaign / "promoted.json"


def promoted(campaign_file: Path, campaign: str) -> dict[str, Any] | None:
    """Read which version was promoted, by whom and why; None: none was.

    :raises ConfigError: the file cannot be read.
    """
    file = promoted_file(campaign_file, campaign)
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"cannot be read ({error}); `sdl evaluate --promote` writes it anew"
        raise ConfigError.at(file, "", message) from error
    if not isinstance(found, dict) or not isinstance(found.get("digest"), str):
        message = "is no record of a promotion; `sdl evaluate --promote` writes it anew"
        raise ConfigError.at(file, "", message)
    return found


def refusal(
    use: str, options: Mapping[str, Any], folder: Path | None, campaign_file: Path, campaign: str
) -> str:
    """Say why a campaign that wants a promoted optimizer must not use this one; empty: it may."""
    command = f"sdl evaluate {campaign_file.name} --promote --note …"
    try:
        known = promoted(campaign_file, campaign)
        present = model_version(use, options, folder)
    except ConfigError as error:
        return str(error)
    except plugins.PluginError:
        return ""  # which is said where optimizers are loaded
    if known is None:
        return f"no version was promoted yet; look at this one with `{command}`"
    if known["digest"] == present.digest:
        return ""
    why = ", ".join(_differ(known, present)) or "its record differs"
    return (
        f"{present.name} is another version than the promoted one, {known.get('use')} "
        f"{known['digest'][:SHOWN]} ({why}); go back to that, or `{command}`"
    )


def _differ(known: Mapping[str, Any], present: ModelVersion) -> Iterator[str]:
    """What of two versions is not the same."""
    if known.get("use") != present.use:
        yield f"it is {present.use}"
    if known.get("options") != json.loads(json.dumps(dict(present.options), default=str)):
        yield "its options differ"
    before = known.get("packages") or {}
    for package in sorted(before.keys() | present.packages.keys()):
        old, new = before.get(package, "none"), present.packages.get(package, "none")
        if old != new:
            yield f"{package} {new} instead of {old}"
    if known.get("program") != present.program:
        yield "its program text differs"


# -- the program ----------------------------------------------------------------------------------


@cache
def _program(use: str, folder: Path | None) -> str:
    """A digest of the strategy's module and all that it imports of ours, comments and docstrings
    left out.
    """
    strategy = plugins.load("optimizers", use, folder)
    trees = {name: _bare(tree) for name, tree in modules_of(strategy).items()}
    # where a lab keeps its own file does not matter, though its module is called after that
    trees = {"" if name == strategy.__module__ else name: tree for name, tree in trees.items()}
    parts = [f"{name}:{ast.dump(tree)}" for name, tree in sorted(trees.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _bare(tree: ast.Module) -> ast.Module:
    """Without docstrings and other bare texts: they do nothing."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _text(s)]  # pyright: ignore[reportAttributeAccessIssue]
    return tree


def _text(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return False
    return isinstance(statement.value.value, str)


@cache
def _packages() -> Mapping[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
