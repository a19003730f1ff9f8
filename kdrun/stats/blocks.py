"""The linear model of a block design: replicate effects and the terms of the design, fitted to all runs that there are.

Replicates with the same holes have the same model matrix, so they are worked on together: 100,000 runs cost little more
than 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kdrun.stats.intervals import ROUNDING, Intervals
from kdrun.stats.scales import Floats

Mask = NDArray[np.bool_]
# Eigenvalues of I − H below this are those of directions that a replicate alone decides.
NULL = 1e-10
# Combinations that are worked on at once, for the sake of memory.
CHUNK = 32


@dataclass(frozen=True)
class Alike:
    """Replicates with the same holes: x [n, p] of their n treatments, and y [r, n], both centred."""

    x: Floats
    y: Floats


class BlockFit:
    """Least squares of y [R, N], nan for a hole, on the columns [N, p] of a design, both centred within replicates.

    `cells` [N] are labels within which to centre instead, so that effects of replicate × label are in the model too.
    """

    def __init__(self, columns: Floats, y: Floats, cells: Sequence[int] | NDArray[np.int64] | None = None) -> None:
        labels = np.zeros(len(columns), np.int64) if cells is None else np.asarray(cells)
        self._groups = [_centred(columns, y[rows], present, labels) for rows, present in _patterns(y)]
        self._cells = sum(len(np.unique(labels[present])) * int(rows.sum()) for rows, present in _patterns(y))
        self.observations = int(np.sum(~np.isnan(y)))
        self.replicates = sum(len(group.y) for group in self._groups)
        moment: Floats = np.zeros((columns.shape[1],) * 2)
        for group in self._groups:
            moment = moment + len(group.y) * (group.x.T @ group.x)
        self.inverse = np.asarray(np.linalg.pinv(moment, hermitian=True), np.float64)
        self.rank = int(np.linalg.matrix_rank(moment, hermitian=True)) if moment.size else 0
        self._determined = self.inverse @ moment

    @cached_property
    def coefficients(self) -> Floats:
        """b [p]; where columns depend on each other, the shortest."""
        right = sum((group.x.T @ group.y.sum(axis=0) for group in self._groups), np.zeros(len(self.inverse)))
        return self.inverse @ right

    @property
    def df(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.observations - self._cells - self.rank

    @cached_property
    def residual_sum(self) -> float:
        """The sum of squared residuals."""
        return float(sum(np.sum(residuals**2) for residuals in self._residuals))

    @cached_property
    def _residuals(self) -> list[Floats]:
        return [group.y - group.x @ self.coefficients for group in self._groups]

    def term_sum(self, span: slice) -> float:
        """The sum of squares of some columns given all others (Type III): b' (B_TT)⁻¹ b."""
        b = self.coefficients[span]
        return float(b @ np.linalg.pinv(self.inverse[span, span], hermitian=True) @ b)

    def estimable(self, combinations: Floats) -> Mask:
        """Whether the runs determine each combination [m, p] of coefficients."""
        determined: Mask = np.all(np.abs(combinations @ self._determined - combinations) < 1e-8, axis=1)
        return determined

    def intervals(self, combinations: Floats, level: float = 0.95) -> Intervals:
        """Combinations [m, p] of coefficients with intervals that are robust to whatever a replicate's runs share.

        **Equation** (CR2): H_g = X_g (XᵀX)⁻¹ X_gᵀ, w_g = (I − H_g)^(−½) X_g (XᵀX)⁻¹ c with the pseudo-inverse root,
        variance Σ_g (w_gᵀ e_g)², df = (tr P)² / tr(P²), P_gh = (M_gᵀ w_g)ᵀ (M_hᵀ w_h), M the residual projection. As
        M is idempotent, P_gh = δ_gh w_gᵀ w_g − u_gᵀ (XᵀX)⁻¹ u_h with u_g = X_gᵀ w_g. Without holes: the paired t.

        **Source**: R. M. Bell and D. F. McCaffrey, Bias reduction in standard errors for linear regression with
        multi-stage samples, Survey Methodology 28 (2002).
        """
        mean = np.where(self.estimable(combinations), combinations @ self.coefficients, np.nan)
        variance, df = self._variance(combinations)
        std_error = np.where(np.isnan(mean), np.nan, np.sqrt(variance))
        varies = std_error > ROUNDING * np.maximum(np.abs(mean), self._magnitude)
        df = np.where(np.isnan(mean), np.nan, df)
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.where(varies, special.stdtrit(df, (1 + level) / 2) * std_error, np.nan)
            p_value = np.where(varies, 2 * special.stdtr(df, -np.abs(mean / std_error)), np.nan)
        count = np.full(len(mean), self.replicates)
        return Intervals(count, mean, mean - half, mean + half, std_error, df, p_value)

    @property
    def _magnitude(self) -> float:
        return max((float(np.max(np.abs(group.y), initial=0.0)) for group in self._groups), default=0.0)

    def _variance(self, combinations: Floats) -> tuple[Floats, Floats]:
        """Variance and degrees of freedom [m] of each combination; nan where there are no runs."""
        if not self._groups:
            return np.full(len(combinations), np.nan), np.full(len(combinations), np.nan)
        adjusted = [_root_of_rest(group.x, self.inverse) @ group.x @ self.inverse for group in self._groups]
        parts = [combinations[start : start + CHUNK].T for start in range(0, len(combinations), CHUNK)]
        found = [self._variance_of([matrix @ part for matrix in adjusted]) for part in parts]
        variance, df = (np.concatenate([np.empty(0), *(item[side] for item in found)]) for side in (0, 1))
        return variance, df

    def _variance_of(self, w: list[Floats]) -> tuple[Floats, Floats]:
        """Variance and degrees of freedom [m] from the weights [n, m] of each group of replicates."""
        counts = np.array([len(group.y) for group in self._groups])
        variance = sum(
            np.sum((residuals @ weights) ** 2, axis=0) for residuals, weights in zip(self._residuals, w, strict=True)
        )
        root = _root(self.inverse)
        # v_gᵀ v_h is the overlap u_gᵀ (XᵀX)⁻¹ u_h of two replicates.
        v = np.stack([root @ group.x.T @ weights for group, weights in zip(self._groups, w, strict=True)], axis=-1)
        v = np.moveaxis(v, 1, 0)
        overlap = np.sum(v**2, axis=1)
        own = np.array([np.sum(weights**2, axis=0) for weights in w]).T - overlap
        trace = own @ counts
        squares = (own**2 - overlap**2) @ counts + _pair_squares(v * np.sqrt(counts))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(variance), trace**2 / squares


def _patterns(y: Floats) -> list[tuple[Mask, Mask]]:
    """For each pattern of holes: which replicates [R] have it, and which treatments [N] they have.

    A replicate without any run is in none.
    """
    present, place = np.unique(~np.isnan(y), axis=0, return_inverse=True)
    place = place.reshape(-1)
    return [(place == index, mask) for index, mask in enumerate(present) if mask.any()]


def _centred(columns: Floats, y: Floats, present: Mask, cells: NDArray[np.int64]) -> Alike:
    labels = np.unique(cells[present], return_inverse=True)[1]
    member = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    average = member @ (member / member.sum(axis=0)).T
    x, seen = columns[present], y[:, present]
    return Alike(x - average @ x, seen - seen @ average)


def _root_of_rest(x: Floats, inverse: Floats) -> Floats:
    """(I − H)^(−½) of one replicate, the pseudo-inverse root."""
    values, vectors = np.linalg.eigh(np.eye(len(x)) - x @ inverse @ x.T)
    roots = np.where(values > NULL, 1 / np.sqrt(np.maximum(values, NULL)), 0.0)
    found: Floats = (vectors * roots) @ vectors.T
    return found


def _root(matrix: Floats) -> Floats:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    found: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return found


def _pair_squares(v: Floats) -> Floats:
    """Σ_gh (v_gᵀ v_h)² [m] of v [m, p, G], by the smaller of its two Gram matrices."""
    flipped = np.moveaxis(v, 1, 2)
    gram = flipped @ v if v.shape[2] < v.shape[1] else v @ flipped
    found: Floats = np.sum(gram**2, axis=(1, 2))
    return found
