"""A table of real molecules with their potency: CHEMBL2321810, 1,017 inhibitors.

Source: ChEMBL (CC BY-SA 3.0), as RDKit's wheel ships it (`Contrib/FreeWilson/data`): a SMILES, a
number and a pIC50 of each. It is read from the installed package and is no part of this one. Which
target and assay it is, the files do not say.
"""

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdl.errors import ConfigError

TABLE = ("FreeWilson", "data", "CHEMBL2321810")


@dataclass(frozen=True)
class Molecule:
    """A row of the table."""

    name: str
    """its number in the table"""
    smiles: str
    pic50: float


@functools.cache
def library() -> Sequence[Molecule]:
    """Return all molecules, sorted by their SMILES: neighbours resemble each other somewhat.

    (The table itself is sorted by potency, which a library is not.)

    :raises ConfigError: RDKit is not installed, or comes without the table.
    """
    try:
        from rdkit import RDConfig  # an extra: only this world needs it
    except ImportError as error:
        raise ConfigError(
            "dose_response: its molecules are a table in RDKit, which is not installed: "
            "pip install 'sdl[molecules]'"
        ) from error
    *folders, name = TABLE
    folder = Path(RDConfig.RDContribDir, *folders)
    try:
        with (folder / f"{name}_act.csv").open(encoding="utf-8", newline="") as file:
            potencies = {row["Name"]: float(row["Act"]) for row in csv.DictReader(file)}
        lines = (folder / f"{name}.smi").read_text(encoding="utf-8").splitlines()
        pairs = [line.split() for line in lines if line.strip()]
        found = [Molecule(number, smiles, potencies[number]) for smiles, number in pairs]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"dose_response: {folder / name}.smi and _act.csv cannot be used: {error!r}; the wheel "
            "of RDKit (pip install 'sdl[molecules]') has them, other packages may not"
        ) from error
    return tuple(sorted(found, key=lambda molecule: molecule.smiles))
