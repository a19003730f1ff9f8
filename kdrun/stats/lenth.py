"""Lenth's analysis of one replicate: which of m contrasts stand out, judged by the contrasts themselves.

Source: R. V. Lenth, Quick and Easy Analysis of Unreplicated Factorials, Technometrics 31 (1989), with its approximate
quantiles: they are conservative (with m = 7, 2% and 1.2% of null contrasts exceed ME and SME where 5% is meant).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from kdrun.stats.scales import Floats

LEAST_CONTRASTS = 7


@dataclass(frozen=True)
class Lenth:
    """`s0` and the pseudo standard error `pse` of m contrasts; `me` limits one of them, `sme` all of them at once."""

    contrasts: int
    s0: float
    pse: float
    me: float
    sme: float


def lenth(contrasts: Floats) -> Lenth | None:
    """Lenth's limits for orthogonal two-level contrasts [m] of one replicate; None below seven, or where PSE is 0.

    s0 = 1.5·median|c|, PSE = 1.5·median{|c| : |c| < 2.5·s0}, ME = t(.975, m/3)·PSE,
    SME = t((1 + .95^(1/m))/2, m/3)·PSE.
    """
    sizes = np.abs(contrasts)
    m = len(sizes)
    if m < LEAST_CONTRASTS or np.isnan(sizes).any():
        return None
    s0 = 1.5 * float(np.median(sizes))
    small = sizes[sizes < 2.5 * s0]
    pse = 1.5 * float(np.median(small)) if len(small) else 0.0
    if pse == 0.0:
        return None
    each, all_of_them = special.stdtrit(m / 3, np.array([0.975, (1 + 0.95 ** (1 / m)) / 2]))
    return Lenth(m, s0, pse, float(each) * pse, float(all_of_them) * pse)
