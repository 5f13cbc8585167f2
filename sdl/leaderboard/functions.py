"""Test functions with known optima, from their published definitions. Lower is better in all.

- Branin, Hartmann 6, Rosenbrock, Levy, Ackley: Surjanovic and Bingham, "Virtual Library of
  Simulation Experiments" (sfu.ca/~ssurjano).
- Pressure vessel: Coello Coello, Comput. Ind. 41 (2000) 113; thicknesses in sixteenths of an inch.
- Currin: Currin et al., J. Am. Stat. Assoc. 86 (1991) 953; with Branin as in Belakaria et al.
  (2019).
- ZDT: Zitzler, Deb and Thiele, Evol. Comput. 8 (2000) 173. DTLZ2: Deb et al., CEC (2002) 825.
- Gramacy: Gramacy et al., Technometrics 58 (2016) 1.
- Yarn: elongation of a blend of three polymers, Cornell, "Experiments with Mixtures" (2002), ch. 2.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

_HARTMANN_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_HARTMANN_SHARPNESS = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMANN_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def branin(x: float, y: float) -> float:
    """Minimum 0.397887 on [-5, 10] x [0, 15], at three places."""
    bent = y - 5.1 * x * x / (4 * math.pi**2) + 5 * x / math.pi - 6
    return bent * bent + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(x: Sequence[float]) -> float:
    """Minimum -3.32237 on the unit cube."""
    total = 0.0
    for weight, sharp, centre in zip(
        _HARTMANN_WEIGHTS, _HARTMANN_SHARPNESS, _HARTMANN_CENTRES, strict=True
    ):
        distance = sum(a * (v - p) ** 2 for a, v, p in zip(sharp, x, centre, strict=True))
        total += weight * math.exp(-distance)
    return -total


def hartmann6_fails(x: Sequence[float]) -> bool:
    """Whether a trial there fails and measures nothing: about 45 % of the cube, not the optimum."""
    return x[0] + x[2] > 1.05 or abs(x[1] - x[4]) > 0.55


def ackley(x: Sequence[float]) -> float:
    """Minimum 0 at the origin."""
    spread = math.sqrt(sum(v * v for v in x) / len(x))
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return 20 + math.e - 20 * math.exp(-0.2 * spread) - math.exp(waves)


def rosenbrock(x: Sequence[float]) -> float:
    """Minimum 0 where all are 1."""
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def levy(x: Sequence[float]) -> float:
    """Minimum 0 where all are 1."""
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + last


def pressure_vessel(shell: float, head: float, radius: float, length: float) -> dict[str, float]:
    """Cost of a vessel, and three outcomes that must not be above 0; best known 6059.714.

    :param shell: thickness in inches, as `head`; `radius` and `length` in inches too.
    """
    cost = 0.6224 * shell * radius * length + 1.7781 * head * radius**2
    cost += 3.1661 * shell**2 * length + 19.84 * shell**2 * radius
    volume = math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3
    return {
        "cost": cost,
        "shell_stress": 0.0193 * radius - shell,
        "head_stress": 0.00954 * radius - head,
        "lacking_volume": (1_296_000 - volume) / 1_296_000,
    }


def currin(x: float, y: float) -> float:
    """On the unit square."""
    damping = 1.0 if y <= 1e-12 else 1 - math.exp(-1 / (2 * y))
    above = 2300 * x**3 + 1900 * x**2 + 2092 * x + 60
    return damping * above / (100 * x**3 + 500 * x**2 + 4 * x + 20)


def zdt(number: int, x: Sequence[float]) -> tuple[float, float]:
    """ZDT1 (convex front) or ZDT2 (concave front) on the unit cube."""
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    ratio = x[0] / g
    return x[0], g * (1 - (math.sqrt(ratio) if number == 1 else ratio * ratio))


def dtlz2(x: Sequence[float], objectives: int) -> list[float]:
    """The front is a part of the unit sphere; on the unit cube."""
    g = sum((v - 0.5) ** 2 for v in x[objectives - 1 :])
    found = []
    for k in range(objectives):
        value = 1 + g
        for v in x[: objectives - 1 - k]:
            value *= math.cos(v * math.pi / 2)
        if k:
            value *= math.sin(x[objectives - 1 - k] * math.pi / 2)
        found.append(value)
    return found


def gramacy(x: float, y: float) -> dict[str, float]:
    """A plane, and two outcomes that must not be above 0; minimum 0.599788 on the unit square."""
    return {
        "y": x + y,
        "wave": 1.5 - x - 2 * y - 0.5 * math.sin(2 * math.pi * (x * x - 2 * y)),
        "disc": x * x + y * y - 1.5,
    }


def yarn(a: float, b: float, c: float) -> float:
    """Elongation (to be maximised) of a blend of polyethylene, polystyrene, polypropylene."""
    plain = 11.7 * a + 9.4 * b + 16.4 * c
    return plain + 19.0 * a * b + 11.4 * a * c - 9.6 * b * c
