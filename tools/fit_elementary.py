"""Prints the polynomial coefficients of kdrun/core/elementary.py: fits by Chebyshev nodes.

    python tools/fit_elementary.py

Each line: the function fitted, its interval, the largest error of the fit, and the coefficients from the highest power
down, as Horner's rule takes them.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60
LN2 = mpmath.log(2)
QUARTER_PI_SQUARED = (mpmath.pi / 4) ** 2
NODES = 200
SERIES_BELOW = mpf(10) ** -6


def exp_remainder(r: mpf) -> mpf:
    """(eʳ − 1 − r − r²/2)/r³."""
    return mpmath.fsum(r**k / mpmath.factorial(k + 3) for k in range(40))


def tanh_remainder(z: mpf) -> mpf:
    """(tanh x / x − 1)/x² with z = x²."""
    if z < SERIES_BELOW:
        return -mpf(1) / 3 + 2 * z / 15 - 17 * z**2 / 315 + 62 * z**3 / 2835
    x = mpmath.sqrt(z)
    return (mpmath.tanh(x) / x - 1) / z


def log_remainder(z: mpf) -> mpf:
    """(2·atanh(s) − 2s)/s³ with z = s²."""
    return mpmath.fsum(2 * z**k / (2 * k + 3) for k in range(60))


def sin_remainder(z: mpf) -> mpf:
    """(sin x / x − 1)/x² with z = x²."""
    return mpmath.fsum(-((-z) ** k) / mpmath.factorial(2 * k + 3) for k in range(30))


def cos_remainder(z: mpf) -> mpf:
    """(cos x − 1 + z/2)/z² with z = x²."""
    return mpmath.fsum((-z) ** k / mpmath.factorial(2 * k + 4) for k in range(30))


def fit_exp(terms: int) -> None:
    """Print the polynomial P of eʳ = 1 + r + r²·P(r): its last term is ½, the others make the squared error least.

    Below it the same for 2ʳ = 1 + r·ln 2 + r²·P(r).
    """
    nodes = [LN2 / 2 * mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * NODES)) for k in range(NODES)]
    powers = mpmath.matrix([[r ** (3 + k) for k in reversed(range(terms - 1))] for r in nodes])
    rest = mpmath.matrix([r**3 * exp_remainder(r) for r in nodes])
    coefficients = [*mpmath.lu_solve(powers, rest), mpf(1) / 2]
    error = max(abs(mpmath.polyval([*coefficients, 1, 1], r) - mpmath.exp(r)) for r in nodes)
    show("exp", coefficients, error)
    show("exp2", [c * LN2 ** (terms + 1 - place) for place, c in enumerate(coefficients)], error)


def fit(name: str, function: Callable[[mpf], mpf], interval: tuple[mpf, mpf], terms: int) -> None:
    """Print one near-minimax fit."""
    show(name, *mpmath.chebyfit(function, list(interval), terms, error=True))


def show(name: str, coefficients: list[mpf], error: mpf) -> None:
    """Print one line."""
    digits = ", ".join(mpmath.nstr(c, 19) for c in coefficients)
    print(f"{name}, {len(coefficients)} terms, error {mpmath.nstr(error, 3)}: {digits}")


if __name__ == "__main__":
    for precision, terms in (("float32", (5, 0, 4, 3, 3)), ("float64", (10, 12, 8, 7, 7))):
        print(precision)
        fit_exp(terms[0])
        # In float32 tanh is a quotient of exponentials.
        if terms[1]:
            fit("tanh", tanh_remainder, (mpf(0), mpf("0.55") ** 2), terms[1])
        fit("log", log_remainder, (mpf(0), (3 - 2 * mpmath.sqrt(2)) ** 2), terms[2])
        fit("sin", sin_remainder, (mpf(0), QUARTER_PI_SQUARED), terms[3])
        fit("cos", cos_remainder, (mpf(0), QUARTER_PI_SQUARED), terms[4])
