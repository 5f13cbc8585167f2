"""What an optimizer visits and what it leaves out: of a space, and of a library of molecules."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdl.library import Library
from sdl.space import Categorical, Continuous, Integer, Ordinal, Space

BINS = 10  # of a parameter with more levels
CUTOFF = 0.4  # Tanimoto distance within a cluster (Butina 1999)
MOST_MOLECULES = 2000  # that are clustered: the time grows with the second power


def visited(space: Space, points: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the share of levels, or of tenths of the range, that points are in: the mean over the
    parameters; None without points or parameters that have levels.
    """
    shares = []
    for name, parameter in space.parameters.items():
        if not isinstance(parameter, Continuous | Integer | Ordinal | Categorical) or not points:
            continue
        units = [parameter.to_unit(point[name]) for point in points]
        if isinstance(parameter, Categorical):
            count = len(parameter.choices)
            shares.append(len(set(units)) / count)
            continue
        levels = BINS if isinstance(parameter, Continuous) else min(len(parameter.levels), BINS)
        shares.append(len({min(int(u * levels), levels - 1) for u in units}) / levels)
    return sum(shares) / len(shares) if shares else None


def discrepancy(space: Space, points: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the centred discrepancy of what is continuous (Hickernell 1998): 0 is even; None
    with fewer than two points or nothing continuous.
    """
    names = [n for n, p in space.parameters.items() if isinstance(p, Continuous)]
    if not names or len(points) < 2:
        return None
    import numpy as np
    from scipy.stats import qmc

    rows = np.array([[space.parameters[n].to_unit(p[n]) for n in names] for p in points])
    return float(qmc.discrepancy(rows.clip(0.0, 1.0)))


def clusters_visited(library: Library, keys: Sequence[str]) -> tuple[int, int] | None:
    """Return how many clusters of a library of molecules were visited, and how many there are.

    Of a large library evenly spaced rows are clustered, and those visited.

    :return: None where features are no fingerprints.
    :raises ValueError: the library cannot be read, or RDKit is not installed.
    """
    if library.fingerprint is None or not keys:
        return None
    import numpy as np

    count = len(library.index)
    own = sorted({round(library.to_unit(key)) for key in keys})
    spread = np.linspace(0, count - 1, min(count, MOST_MOLECULES)).round().astype(int).tolist()
    rows = sorted({*own, *spread})
    groups = _butina(library.features_of(rows))
    inside = {rows.index(row) for row in own}
    return sum(any(i in inside for i in group) for group in groups), len(groups)


def _butina(packed: Any) -> Sequence[Sequence[int]]:
    """Cluster fingerprints, n x bits/8, packed; indices of the rows of each cluster."""
    import numpy as np

    try:
        from rdkit.ML.Cluster import Butina
    except ImportError as error:
        raise ValueError(
            "clusters are made by RDKit, which is not installed: pip install 'sdl[molecules]'"
        ) from error
    bits = np.unpackbits(packed, axis=1).astype(np.float32)
    common, sizes = bits @ bits.T, bits.sum(1)
    either = sizes[:, None] + sizes - common
    distance = 1.0 - np.divide(common, either, out=np.ones_like(common), where=either > 0)
    lower = distance[np.tril_indices(len(bits), -1)]  # row after row, as Butina wants it
    return Butina.ClusterData(lower.tolist(), len(bits), CUTOFF, isDistData=True)
