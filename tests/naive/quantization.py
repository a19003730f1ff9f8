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


def largest_magnitude(w: Any, max_code: int) -> Any:
    """Largest |w| of each column over the largest code, at least 1e−6, in float64."""
    return np.array([max(max(abs(float(v)) for v in column) / max_code, 1e-6) for column in w.T])


def mean_above(w: Any, threshold: Any) -> Any:
    """Mean |w| of each column over what is beyond its threshold, at least 1e−6, in float64."""
    result = []
    for column, limit in zip(w.T, threshold, strict=True):
        beyond = [abs(float(v)) for v in column if abs(v) > limit]
        result.append(max(sum(beyond) / max(len(beyond), 1), 1e-6))
    return np.array(result)


def threshold_codes(w: Any, threshold: Any) -> Any:
    """1 above the threshold of the column, −1 below its negative, else 0."""
    result = np.zeros_like(w)
    for r, c in np.ndindex(w.shape):
        result[r, c] = 1 if w[r, c] > threshold[c] else -1 if w[r, c] < -threshold[c] else 0
    return result


def signed_magnitudes(code: Any, positive: Any, negative: Any) -> Any:
    """A magnitude for positive codes and one for negative codes."""
    result = np.zeros_like(code)
    for r, c in np.ndindex(code.shape):
        result[r, c] = positive[c] if code[r, c] > 0 else -negative[c] if code[r, c] < 0 else 0
    return result


def signed_gradients(dw_eff: Any, code: Any) -> tuple[Any, Any]:
    """Sums of ∂L/∂ŵ over positive codes, and minus those over negative ones, in float64."""
    rows, columns = code.shape
    positive, negative = np.zeros(columns), np.zeros(columns)
    for r, c in np.ndindex(rows, columns):
        if code[r, c] > 0:
            positive[c] += float(dw_eff[r, c])
        elif code[r, c] < 0:
            negative[c] -= float(dw_eff[r, c])
    return positive, negative


def lsq_scale_gradient(dw_eff: Any, w: Any, scale: Any, max_code: int) -> Any:
    """Σ_r ∂L/∂ŵ·(round(w/s) − w/s) inside the clip range, ±max_code outside, in float64."""
    result = np.zeros(w.shape[1])
    for r, c in np.ndindex(w.shape):
        place = float(w[r, c]) / float(scale[c])
        inside = -max_code < place < max_code
        direction = round(place) - place if inside else max_code if place > 0 else -max_code
        result[c] += float(dw_eff[r, c]) * direction
    return result


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
