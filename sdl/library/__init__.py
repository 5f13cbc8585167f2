"""A candidate library: a parameter whose values are the rows of a file, from 10^2 to 10^7 of them.

    molecule: {library: molecules.csv, key: smiles, features: fingerprint}
    ligand:   {library: ligands.csv, key: name, features: [cone_angle, homo, lumo]}
    material: {library: alloys.parquet, key: id, features: "embedding_*"}
    polymer:  {library: p.csv, key: id, features: {fingerprint: smiles, radius: 3}}

The value of a trial is the text of the row's key. Models see the row's features: the bits of a
fingerprint, or numbers (descriptors, an embedding), each column standardised over the library.

A library is sent between processes by path and digest, never by content. The first process that
needs it reads the file, once, and leaves what all others open in a cache (`sdl.library.store`).
Every method that needs the file raises `ValueError` where it cannot be read, has changed since the
digest was taken, or holds something that cannot be a library; the message names file, row and
column.
"""

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sdl.library import store, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Fingerprint(_Model):
    """Morgan fingerprints (ECFP: Rogers and Hahn 2010) of a column of SMILES, made by RDKit."""

    fingerprint: str
    """The column of SMILES."""

    radius: Annotated[int, Field(ge=0, le=6)] = 2
    bits: Annotated[int, Field(ge=64, le=16384)] = 2048

    @field_validator("bits")
    @classmethod
    def _whole_words(cls, bits: int) -> int:
        if bits % 64:
            raise ValueError(f"bits must be a multiple of 64, such as 1024 or 2048, not {bits}")
        return bits


class Library(_Model):
    """One row of a file, named by its key."""

    type: Literal["library"] = "library"
    library: str
    """CSV (`.csv`, `.tsv` with tabs) or Parquet file, relative to the campaign file."""

    key: str
    """The column whose text names a row; no two rows share one."""

    features: str | Annotated[tuple[str, ...], Field(strict=False)] | Fingerprint
    """What models compare rows by: `fingerprint` (the key is SMILES), a mapping of `Fingerprint`,
    or columns of numbers, by name or pattern (`embedding_*`)."""

    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Of the file's bytes when the campaign began; a file that changed since is refused."""

    rows: Annotated[int, Field(ge=0)] = 0
    """How many there are; 0 until `resolved`."""

    @field_validator("library", "key")
    @classmethod
    def _named(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be empty")
        return text

    @field_validator("features", mode="before")
    @classmethod
    def _known_form(cls, features: object) -> object:
        if isinstance(features, str | Fingerprint | dict) and features:
            return features
        if isinstance(features, list | tuple) and features:
            names = tuple(name for name in features if isinstance(name, str) and name)
            if len(names) == len(features):
                return names
        raise ValueError(
            "must be fingerprint, a column or pattern (embedding_*), a list of them, or a mapping "
            f"such as {{fingerprint: smiles, radius: 2, bits: 2048}}, not {features!r}"
        )

    @property
    def fingerprint(self) -> Fingerprint | None:
        """How fingerprints are made; None where features are numbers."""
        if self.features == "fingerprint":
            return Fingerprint(fingerprint=self.key)
        return self.features if isinstance(self.features, Fingerprint) else None

    def resolved(self, folder: Path) -> Self:
        """Return the same with an absolute path, its digest and the number of rows.

        Reads the file; checks columns and keys, but not yet every feature (see `prepare`).

        :param folder: what a relative path is relative to.
        """
        path = (folder / self.library).resolve()
        found = self.model_copy(
            update={"library": str(path), "sha256": self.sha256 or table.digest(path)}
        )
        rows = len(found.index)
        if self.rows and self.rows != rows:
            raise ValueError(f"{path.name} has {rows} rows, not the {self.rows} it had")
        _ = found.columns
        return found.model_copy(update={"rows": rows})

    def prepare(self) -> None:
        """Compute the features of all rows and leave them in the cache, if they are not there.

        Fingerprints take 0.3 ms of CPU time each, once; what cannot be one is found here.
        """
        _ = self.matrix

    def check(self, value: object) -> str | None:
        """Say what is wrong with a value, or None."""
        if not isinstance(value, str):
            return f"must be text, a key of {Path(self.library).name}, not {value!r}"
        if self.index.row(value) is None:
            return f"must be in column {self.key!r} of {Path(self.library).name}, not {value!r}"
        return None

    def round(self, value: Any) -> str:
        return value

    def to_unit(self, value: Any) -> float:
        """Return the row (from 0) of a key.

        :raises ValueError: there is none such.
        """
        row = self.index.row(value) if isinstance(value, str) else None
        if row is None:
            raise ValueError(f"{value!r} is no key of {Path(self.library).name}")
        return float(row)

    def from_unit(self, unit: float) -> str:
        """Return the key of the nearest row."""
        row = 0 if math.isnan(unit) else round(min(max(unit, 0.0), len(self.index) - 1.0))
        return self.index[row]

    @property
    def matrix(self) -> "store.Matrix":
        """The features of all rows, on disk."""
        made = self.fingerprint
        spec = None if made is None else (made.radius, made.bits)
        return store.matrix(self._source, self.columns, spec)

    def features_of(self, rows: "Sequence[int] | NDArray[np.integer]") -> "NDArray[Any]":
        """Return rows' features: n x bits/8 (uint8, packed) or n x columns (float32)."""
        return self.matrix.take(rows)

    def chunks(self, size: int) -> "Iterator[tuple[int, NDArray[Any]]]":
        """Go through all rows, `size` at a time: the first row's number, and their features."""
        return self.matrix.chunks(size)

    @property
    def index(self) -> "store.Keys":
        """The keys of all rows, on disk."""
        return store.keys(self._source)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that features are made of, patterns replaced by what they match."""
        there = table.header(self._source)
        if (made := self.fingerprint) is not None:
            return (table.present(Path(self.library), made.fingerprint, there),)
        wanted = (self.features,) if isinstance(self.features, str) else self.features
        assert not isinstance(wanted, Fingerprint)
        found: dict[str, None] = {}
        for name in wanted:
            matches = [c for c in there if c == name or (fnmatchcase(c, name) and c != self.key)]
            if not matches:
                table.present(Path(self.library), name, there)
            found |= dict.fromkeys(matches)
        return tuple(found)

    @property
    def _source(self) -> "table.Source":
        return table.Source(self.library, self.sha256, self.key)


__all__ = ["Fingerprint", "Library"]
