"""One pass over a library on a GPU (see `_screening.short_list`).

Bits are unpacked to float16, whose matrix products are exact here: all sums are whole numbers up to
the number of bits, and float16 holds those up to 2048; longer fingerprints take float32. So the
similarities are those of the CPU, bit for bit. Every variance is computed, there is no bound. What
fits stays in the GPU's memory from one proposal to the next.
"""

import math
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sdl.optimizers.library._gp import Floats, sharpened
from sdl.optimizers.library._model import Features, Model, Rows

CHUNK = 65_536  # rows
EXACT_IN_HALF = 2048  # the largest whole number below which float16 has them all
SHARE = 0.5  # of the free memory that a library may take

_resident: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()  # of files, which do not change


def short_list(
    features: Features, model: Model, taken: Rows, most: int, device: str = "cuda"
) -> tuple[Rows, float]:
    """Go through the library once.

    :return: as `_screening.short_list`.
    """
    scored = _Scores(features, model, torch.device(device))
    with torch.no_grad():
        scores = torch.cat([scored(chunk) for chunk in _chunks(features, scored.device)])
        scores[torch.as_tensor(taken, device=scores.device)] = -math.inf
        count = min(most, len(scores) - len(taken))
        best, rows = torch.topk(scores, count)
        floor = -math.inf if count == len(scores) - len(taken) else float(best[-1])
        return np.sort(rows.cpu().numpy()), floor


def _chunks(features: Features, device: torch.device) -> Iterator[Tensor]:
    """Go through the features of all rows, on the device."""
    whole = _resident.get(features)
    if whole is None and device.type == "cuda":
        size = features.rows * features.width * (1 if features.packed else 4)
        if size < SHARE * torch.cuda.mem_get_info(device)[0]:
            whole = torch.cat([part.clone() for part in _read(features, device)])
            _resident[features] = whole
    if whole is None:
        yield from _read(features, device)
    else:
        yield from whole.split(CHUNK)


def _read(features: Features, device: torch.device) -> Iterator[Tensor]:
    for _, chunk in features.chunks(CHUNK):
        # a copy: the next chunk overwrites this one, and arrays in memory may be read-only
        yield torch.from_numpy(chunk.copy()).to(device)


class _Scores:
    """Log expected improvement and log P(success) of chunks of rows, float64."""

    def __init__(self, features: Features, model: Model, device: torch.device) -> None:
        self.device, self._model = device, model
        reference = features.take(model.trials.rows)
        self._correlation: _Tanimoto | _SquaredExponential = (
            _Tanimoto(reference, device)
            if features.packed
            else _SquaredExponential(reference, model.outcome.hyperparameters.lengthscale, device)
        )
        outcome, success = model.outcome, model.success
        self._weights = self._single(outcome.weights)
        self._whiten = self._single(outcome.whiten.T)
        if success is not None:
            self._ended = torch.as_tensor(model.ended, device=device)
            self._slope = self._single(success.weights)
            self._success_whiten = self._single(success.whiten.T)

    def _single(self, array: Floats) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32).to(self.device)

    def __call__(self, chunk: Tensor) -> Tensor:
        outcome, success = self._model.outcome, self._model.success
        correlations = self._correlation(chunk)
        mean = (correlations[:, : len(self._weights)] @ self._weights).double()
        taken = (correlations @ self._whiten).square_().sum(1).double()
        sd = (outcome.scale - taken).clamp_min(1e-10 * outcome.scale).sqrt()
        z = (mean + (outcome.hyperparameters.mean - self._model.incumbent)) / sd
        scores = _log_improvement(z) + sd.log()
        if success is not None:
            ended = sharpened(correlations[:, self._ended], success.doublings)
            latent = (ended @ self._slope).double() + success.mean
            taken = (ended @ self._success_whiten).square_().sum(1).double()
            variance = (success.amplitude - taken).clamp_min(0.0)
            scores += torch.special.log_ndtr(latent / (1.0 + variance).sqrt())
        return scores


class _Tanimoto:
    def __init__(self, reference: Any, device: torch.device) -> None:
        exact = device.type == "cuda" and reference.shape[1] * 8 <= EXACT_IN_HALF
        self._kind = torch.float16 if exact else torch.float32
        self._shifts = torch.arange(8, dtype=torch.uint8, device=device)
        bits = self._unpacked(torch.from_numpy(reference).to(device))
        everything = torch.ones_like(bits[:1])  # what all have in common with it is their own count
        self._counts = bits.sum(1, dtype=torch.float32)
        self._columns = torch.cat([bits, everything]).T.contiguous()

    def _unpacked(self, packed: Tensor) -> Tensor:
        bits = (packed.unsqueeze(-1) >> self._shifts) & 1
        return bits.flatten(1).to(self._kind)

    def __call__(self, packed: Tensor) -> Tensor:
        products = (self._unpacked(packed) @ self._columns).float()
        same, own = products[:, :-1], products[:, -1:]
        either = own + self._counts - same
        return torch.where(either > 0, same / either, 1.0)


class _SquaredExponential:
    def __init__(self, reference: Any, length: float | None, device: torch.device) -> None:
        assert length is not None
        self._reference = torch.from_numpy(reference).to(device) / length
        self._length = length

    def __call__(self, chunk: Tensor) -> Tensor:
        scaled = chunk / self._length
        squares = scaled.square().sum(1)[:, None] + self._reference.square().sum(1)
        return (scaled @ self._reference.T - 0.5 * squares).clamp_max(0.0).exp()


def _log_improvement(z: Tensor) -> Tensor:
    """Return log(phi(z) + z Phi(z)); see `_library_gp.log_expected_improvement`."""
    root = 1.0 / math.sqrt(2 * math.pi)
    depth = (-z).clamp_min(0.0)
    bracket = root - 0.5 * depth * torch.special.erfcx(depth / math.sqrt(2))
    bracket = torch.where(depth > 1e5, root / depth.clamp_min(1.0).square(), bracket)
    up = z.clamp_min(0.0)
    above = (root * torch.exp(-0.5 * up.square()) + up * torch.special.ndtr(up)).log()
    return torch.where(z > 0, above, bracket.log() - 0.5 * depth.square())
