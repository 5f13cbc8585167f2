"""Tanimoto similarity of packed fingerprints: |a and b| / |a or b|.

Counts are whole numbers and the division is rounded once, to float32, so that every way to count
gives the same numbers, bit for bit. Two fingerprints without any bit are the same: similarity 1.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdl.errors import ConfigError

Counting = Literal["numkong", "numpy"]
Bytes = NDArray[np.uint8]

BLOCK = 1024  # fingerprints whose words numpy holds side by side: they fit a core's own cache


def counting(wanted: str = "auto") -> Counting:
    """Return how bits are counted: by NumKong's compiled kernels where it is installed.

    :param wanted: "auto", or what must be used.
    :raises ConfigError: it is not known, or not installed.
    """
    if wanted not in ("auto", "numkong", "numpy"):
        raise ConfigError(f"popcount must be auto, numkong or numpy, not {wanted!r}")
    if wanted == "numpy":
        return "numpy"
    try:
        import numkong  # noqa: F401
    except ImportError as error:
        if wanted == "auto":
            return "numpy"
        raise ConfigError(
            "popcount: numkong is not installed: pip install 'sdl[library]', or leave it auto"
        ) from error
    return "numkong"


class Tanimoto:
    """Similarity to a fixed set of fingerprints.

    :param reference: n x bytes, packed; bytes a multiple of 8.
    """

    def __init__(self, reference: Bytes, wanted: str = "auto") -> None:
        self._reference = np.ascontiguousarray(reference)
        self._counts = _bits(self._reference)
        self.counting = counting(wanted) if len(reference) else "numpy"
        self._distances: Callable[[Bytes], NDArray[Any]] = (
            _compiled(self._reference) if self.counting == "numkong" else self._counted
        )

    def __call__(self, packed: Bytes) -> NDArray[np.float32]:
        """Return similarities, m x n, of packed fingerprints, m x bytes."""
        packed = np.ascontiguousarray(packed)
        counts = _bits(packed)
        total = (counts[:, None] + self._counts).astype(np.float32)  # |a| + |b|
        different = self._distances(packed).astype(np.float32)  # |a xor b|
        same = total - different  # twice |a and b|; exact below 2^24
        total += different  # twice |a or b|
        if not counts.all() and not self._counts.all():
            empty = total == 0
            same[empty] = total[empty] = 1.0
        return np.divide(same, total, out=same)

    def _counted(self, packed: Bytes) -> NDArray[Any]:
        """Return Hamming distances, m x n, by numpy alone."""
        words = self._reference.view(np.uint64)
        # an intersection has no more bits than the reference has
        kind = np.uint8 if self._counts.max(initial=0) < 256 else np.uint16
        common = np.empty((len(packed), len(words)), np.uint32)
        for start in range(0, len(packed), BLOCK):
            block = np.ascontiguousarray(packed[start : start + BLOCK].view(np.uint64).T)
            both, bits = np.empty_like(block), np.empty(block.shape, np.uint8)
            for column, word in enumerate(words):
                np.bitwise_and(block, word[:, None], out=both)
                np.bitwise_count(both, out=bits)
                common[start : start + BLOCK, column] = np.add.reduce(bits, axis=0, dtype=kind)
        return _bits(packed)[:, None] + self._counts - 2 * common


def _compiled(reference: Bytes) -> Callable[[Bytes], NDArray[Any]]:
    import numkong

    columns = numkong.hammings_pack(reference)
    return lambda packed: np.asarray(numkong.hammings_packed(packed, columns))


def _bits(packed: Bytes) -> NDArray[np.uint32]:
    """Return how many bits are set in each fingerprint."""
    return np.bitwise_count(packed.view(np.uint64)).sum(axis=1, dtype=np.uint32)
