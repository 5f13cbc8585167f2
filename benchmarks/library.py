"""One proposal out of a library of fingerprints, against ways to score all of them with less.

Baselines, in the same process on one thread: the similarities alone as float32 matrix products of
unpacked bits (torch), and as `numpy.bitwise_count` row by row; both for a tenth of the rows, scaled
up. CPU seconds. Bars (for 10^6 rows, scaled with them): 2 s with NumKong, 8 s without; a batch of
eight less than twice one proposal; 1 GB.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from sdl.errors import ConfigError
from sdl.optimizers.library import _screening
from sdl.optimizers.library._model import Trials
from sdl.optimizers.library._tanimoto import counting

Packed = NDArray[np.uint8]


class OnDisk:
    """Fingerprints in a bare file, read as `sdl.library` reads its own."""

    packed = True

    def __init__(self, path: Path, rows: int, width: int) -> None:
        self._path, self.rows, self.width = path, rows, width

    def take(self, rows: Any) -> Packed:
        taken = np.empty((len(rows), self.width), np.uint8)
        with self._path.open("rb", buffering=0) as file:
            for place, row in enumerate(rows):
                file.seek(int(row) * self.width)
                file.readinto(taken[place].data)
        return taken

    def chunks(self, size: int) -> Iterator[tuple[int, Packed]]:
        buffer = np.empty((size, self.width), np.uint8)
        with self._path.open("rb", buffering=0) as file:
            for start in range(0, self.rows, size):
                read = file.readinto(buffer.reshape(-1).data)
                yield start, buffer[: read // self.width]


def synthesise(path: Path, rows: int, bits: int) -> OnDisk:
    """Write families of fingerprints with about 50 bits of 2048 set."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, 20_000):
            count = min(20_000, rows - start)
            parents = rng.random((count // 500 + 1, bits), dtype=np.float32) < 40 / 2048
            made = parents[rng.integers(0, len(parents), count)]
            made &= rng.random(made.shape, dtype=np.float32) < 0.8
            made |= rng.random(made.shape, dtype=np.float32) < 18 / 2048
            file.write(np.packbits(made, axis=1, bitorder="little").tobytes())
    return OnDisk(path, rows, bits // 8)


def cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the smallest of three CPU times, and the result."""
    times = []
    result = None
    for _ in range(3):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def by_products(features: OnDisk, reference: Packed, rows: int) -> None:
    import torch

    torch.set_num_threads(1)
    columns = torch.from_numpy(np.unpackbits(reference, axis=1)).float().T
    counts = columns.sum(0)
    for start, chunk in features.chunks(4096):
        if start >= rows:
            return
        bits = torch.from_numpy(np.unpackbits(chunk, axis=1)).float()
        common = bits @ columns
        common /= bits.sum(1, keepdim=True) + counts - common


def by_bitwise_count(features: OnDisk, reference: Packed, rows: int) -> None:
    words = reference.view(np.uint64)
    counts = np.bitwise_count(words).sum(1)
    for start, chunk in features.chunks(4096):
        if start >= rows:
            return
        block = chunk.view(np.uint64)
        own = np.bitwise_count(block).sum(1)
        for word, count in zip(words, counts, strict=True):
            common = np.bitwise_count(block & word).sum(1).astype(np.float32)
            common /= own + count - common


def peak() -> float:
    """Return the largest resident size so far, in MB."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(features: OnDisk, trials: int) -> bool:
    """Print times and ratios; return whether the bars are kept."""
    before = peak()
    rng = np.random.default_rng(1)
    rows = np.unique(rng.integers(0, features.rows, trials)).tolist()
    bits = np.unpackbits(features.take(rows), axis=1)
    outcomes = (bits @ rng.normal(size=bits.shape[1])).tolist()
    told, scale, kept = Trials(rows, outcomes), features.rows / 1e6, True
    ours: dict[str, float] = {}
    for popcount, bar in (("numkong", 2.0), ("numpy", 8.0)):
        try:
            counting(popcount)
        except ConfigError:
            print(f"{popcount}: not installed")
            continue
        one, _ = cpu(lambda p=popcount: _screening.choose(features, told, 1, popcount=p))
        batch, _ = cpu(lambda p=popcount: _screening.choose(features, told, 8, popcount=p))
        ours[popcount] = one
        kept &= one < bar * scale + 0.5 and batch < 2 * one
        print(f"{popcount}: a proposal {one:.3f} s, a batch of 8 {batch / one:.2f} times that")
    print(f"peak {peak():.0f} MB, {before:.0f} MB of it before (Python, numpy, making the library)")
    kept &= not peak() > 1000
    tenth, reference = max(features.rows // 10, 1), features.take(rows)
    for name, baseline in (
        ("torch float32 products", by_products),
        ("numpy bitwise_count", by_bitwise_count),
    ):
        seconds, _ = cpu(lambda b=baseline: b(features, reference, tenth))
        whole = seconds * features.rows / tenth
        ratios = ", ".join(f"{whole / each:.1f} times {name_}" for name_, each in ours.items())
        print(f"baseline {name}, similarities alone: {whole:.3f} s: {ratios}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--bits", type=int, default=2048)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        features = synthesise(Path(folder, "bits"), int(given.rows), given.bits)
        return 0 if measure(features, given.trials) else 1


if __name__ == "__main__":
    sys.exit(main())
