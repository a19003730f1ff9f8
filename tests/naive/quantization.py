"""Codes, scales and the masks of surrogate gradients, one number at a time."""

from __future__ import annotations

from typing import Any

import numpy as np


def codes(w: Any, scale: Any, max_code: int) -> Any:
    """clip(round(w/s), −max_code, max_code), ties to even; the quotient is rounded to the dtype of w."""
    result = np.zeros_like(w)
    for row in range(w.shape[0]):
        for column in range(w.shape[1]):
            code = round(float(w[row, column] / scale[column]))
            result[row, column] = min(max(code, -max_code), max_code)
    return result


def effective(code: Any, scale: Any) -> Any:
    """s·q."""
    return np.array([[scale[c] * code[r, c] for c in range(code.shape[1])] for r in range(code.shape[0])])


def scale_gradient(dw_eff: Any, code: Any) -> Any:
    """Σ_r ∂L/∂ŵ[r, c]·q[r, c], in float64."""
    rows, columns = code.shape
    return np.array([sum(float(dw_eff[r, c]) * float(code[r, c]) for r in range(rows)) for c in range(columns)])


def mean_magnitude(w: Any) -> Any:
    """Mean |w| of each column, at least 1e−6, in float64."""
    rows, columns = w.shape
    return np.array([max(sum(abs(float(w[r, c])) for r in range(rows)) / rows, 1e-6) for c in range(columns)])


def ste_mask(w: float, scale: float, max_code: int, beta: float) -> float:
    """1."""
    return 1.0


def smoothstep_mask(w: float, scale: float, max_code: int, beta: float) -> float:
    """The soft quantizer as a sum of smoothsteps, one at every boundary ±½, ±1½, …; this is its derivative."""
    return sum(6 * t * (1 - t) * beta for t in _windows(w / scale, max_code, beta))


def smoothstep_unit_mask(w: float, scale: float, max_code: int, beta: float) -> float:
    """The same windows with peak 1."""
    return sum(4 * t * (1 - t) for t in _windows(w / scale, max_code, beta))


def _windows(position: float, max_code: int, beta: float) -> list[float]:
    """How far each smoothstep has risen, 0 to 1."""
    boundaries = [sign * (k + 0.5) for k in range(max_code) for sign in (-1, 1)]
    return [min(max((position - boundary) * beta + 0.5, 0.0), 1.0) for boundary in boundaries]


def smoothstep_plateau_mask(w: float, scale: float, max_code: int, beta: float) -> float:
    """1 − z²(3 − 2z) of the distance z from the nearest code in units of the window, 0 outside."""
    z = min(abs(w / scale - code) for code in range(-max_code, max_code + 1)) * beta
    return 1 - z**2 * (3 - 2 * z) if z < 1 else 0.0


MASKS = {
    "ste": ste_mask,
    "smoothstep": smoothstep_mask,
    "smoothstep_unit": smoothstep_unit_mask,
    "smoothstep_plateau": smoothstep_plateau_mask,
}
