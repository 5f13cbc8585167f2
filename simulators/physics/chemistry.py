"""Aromatic substitution of 2,4-difluoronitrobenzene by pyrrolidine in ethanol.

    A + B -> O + HF   (a)   O: 5-fluoro-2-nitrophenyl-pyrrolidine, the ortho product
    A + B -> P + HF   (b)   P: 3-fluoro-4-nitrophenyl-pyrrolidine, the para product
    O + B -> D + HF   (c)   D: 2,4-dipyrrolidinyl-nitrobenzene, the bis product
    P + B -> D + HF   (d)

Each step is of first order in the aromatic and in the amine. One amine is consumed per
substitution; the HF set free is taken to stay with the solvent and not to bind further amine (an
assumption).
Rate constants at 90 degC and activation energies: Hone, Holmes, Akien, Bourne, Muller,
React. Chem. Eng. 2017, 2, 103.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPECIES = ("substrate", "amine", "ortho", "para", "bis")
A, B, O, P, D = range(5)  # noqa: E741 (the scheme's letters)

GAS_CONSTANT = 8.314462618e-3  # kJ/mol/K
KELVIN = 273.15
REFERENCE_K = 90.0 + KELVIN
K_REFERENCE = np.array([0.579, 0.0270, 0.00865, 0.0163])  # M-1 s-1
ACTIVATION_ENERGY = np.array([33.3, 35.3, 38.9, 44.8])  # kJ/mol


def rate_constants(celsius: Array) -> Array:
    """Return (4, n) second-order constants of a, b, c, d in M-1 s-1 for (n,) temperatures."""
    inverse = 1.0 / (np.asarray(celsius, dtype=float) + KELVIN) - 1.0 / REFERENCE_K
    exponent = np.outer(ACTIVATION_ENERGY / GAS_CONSTANT, inverse)
    return K_REFERENCE[:, None] * np.exp(-exponent)


def rates(c: Array, k: Array) -> Array:
    """Return dc/dt in M/s, (5, n), for (5, n) concentrations and (4, n) constants."""
    a, b, o, d = k * c[B] * c[[A, A, O, P]]
    return np.stack([-a - b, -a - b - o - d, a - o, b - d, o + d])


def react(c: Array, k: Array, dt: float) -> Array:
    """Return (5, n) concentrations after one backward-Euler step of `dt` seconds.

    Stable for every `dt`, never negative, and exact in the stoichiometry. For a given amine the
    rest is linear and triangular, so each vessel is one equation in one unknown.
    """
    b0 = c[B]
    if not b0.any():
        return c
    k = k * dt
    total = k[0] + k[1]
    # exact if O and P did not react on: total b^2 + m b - b0 = 0, in the form without cancellation
    m = 1.0 + total * (c[A] - b0) + k[2] * c[O] + k[3] * c[P]
    root = np.sqrt(m * m + 4.0 * total * b0)
    b = np.where(m > 0, 2.0 * b0 / (m + root), (root - m) / (2.0 * total + 1e-300))
    for _ in range(50):
        a, _, _, further = _aromatics(c, k, total, b)
        excess = b * (1.0 + total * a + further) - b0
        if abs(excess).max() < 1e-8:
            break
        # the slope leaves out that O and P grow with b, which is little: they react slowly
        slope = 1.0 + total * a / (1.0 + total * b) + further
        b = np.minimum(np.maximum(b - excess / slope, 0.0), b0)
    a, o, p, further = _aromatics(c, k, total, b)
    d = c[D] + b * further
    # what the aromatics gained is what the amine lost, to the last digit
    left = np.maximum(b0 - (o - c[O]) - (p - c[P]) - 2.0 * (d - c[D]), 0.0)
    return np.array([a, left, o, p, d])


def _aromatics(c: Array, k: Array, total: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """Return A, O, P after the step, and D formed per M of amine, if the amine is `b` then."""
    a = c[A] / (1.0 + total * b)
    ab = a * b
    o = (c[O] + k[0] * ab) / (1.0 + k[2] * b)
    p = (c[P] + k[1] * ab) / (1.0 + k[3] * b)
    return a, o, p, k[2] * o + k[3] * p
