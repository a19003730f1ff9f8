"""Softmax over classes, and what losses of logits are made of: rows of logits [N, K], one example and time each.

N counts times and samples together, time-major. Sums run over classes in order, then over times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrun.core.elementary import exp, log
from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, load_part, splat_like, store_part

Array = NDArray[Any]


@kernel
def log_softmax(logits, temperature, p, log_p):
    """Probabilities of classes, and their logarithms.

    Equation, with a = (logits − max logits)/temperature
        log_p[n, k] = a[n, k] − ln Σ_j exp(a[n, j])     p = exp(log_p), as exp(a)/Σ exp(a)
    Parameters
        logits, p, log_p [N, K], one dtype; the last two are overwritten. temperature: number > 0, rounded to the dtype.
    """
    rows, classes = logits.shape
    totals = np.empty(rows, logits.dtype)
    divisor = splat_like(temperature, logits)
    for n in range(rows):
        highest = logits[n, 0]
        for k in range(1, classes):
            highest = max(highest, logits[n, k])
        for k in range(0, classes, LANES):
            count = min(LANES, classes - k)
            a = (load_part(logits, (n, k), count) - splat_like(highest, logits)) / divisor
            store_part(log_p, (n, k), a, count)
            store_part(p, (n, k), exp(a), count)
        total = p[n, 0]
        for k in range(1, classes):
            total += p[n, k]
        totals[n] = total
        for k in range(classes):
            p[n, k] /= total
    for n in range(0, rows, LANES):
        count = min(LANES, rows - n)
        store_part(totals, n, log(load_part(totals, n, count)), count)
    for n in range(rows):
        for k in range(classes):
            log_p[n, k] -= totals[n]


@kernel
def cross_entropy(p, log_p, labels, rows, dlogits):
    """The negative logarithm of the probability of the right class.

    Equation
        rows[n] = −log_p[n, labels[n]]     dlogits[n, k] = p[n, k] − 1 for the right class, p[n, k] for the others
    Parameters
        p, log_p, dlogits [N, K]; labels int64 [N] in 0 … K−1; rows float64 [N]. The last and dlogits are overwritten.
    """
    one = p.dtype.type(1.0)
    for n in range(p.shape[0]):
        for k in range(p.shape[1]):
            dlogits[n, k] = p[n, k]
        label = labels[n]
        dlogits[n, label] -= one
        rows[n] = -np.float64(log_p[n, label])


@kernel
def highest_class(logits, classes):
    """classes int64 [N], overwritten: the class of the largest of logits [N, K]; of equal ones the first."""
    for n in range(logits.shape[0]):
        best = 0
        for k in range(1, logits.shape[1]):
            if logits[n, k] > logits[n, best]:
                best = k
        classes[n] = best


@kernel
def shares_of_mask(mask, shares):
    """shares[n] = mask[n]/Σ mask for mask [N], not negative, of the dtype of a network; shares float64 [N]."""
    total = 0.0
    for n in range(mask.size):
        total += np.float64(mask[n])
    for n in range(mask.size):
        shares[n] = np.float64(mask[n]) / total


@kernel
def mean_over_times(rows, shares, value):
    """The value of each sample from those of its rows, so that its mean over samples is the mean over all rows.

    Equation
        value[b] = B·Σ_t shares[t·B + b]·rows[t·B + b]
    Parameters
        rows, shares float64 [T·B]; shares add up to 1. value float64 [B], overwritten.
    """
    samples = value.size
    value[:] = 0.0
    for n in range(rows.size):
        value[n % samples] += samples * (shares[n] * rows[n])


@kernel
def scale_rows_inplace(array, factors):
    """array[n, :] ← factors[n]·array[n, :] for array [N, K]; factors float64 [N] are rounded to its dtype."""
    for n in range(array.shape[0]):
        factor = array.dtype.type(factors[n])
        for k in range(array.shape[1]):
            array[n, k] *= factor


def class_loss(logits: Array, labels: Array, shares: Array) -> tuple[Array, Array]:
    """Cross-entropy against labels: the value of each sample, and the gradient of their mean.

    logits [..., B, K]; labels int64 [..., B]; shares float64, one a row, 1 in all. Returns float64 [B] whose mean
    is Σ shares·cross_entropy, and its gradient by the logits, in their shape and dtype.
    """
    rows_of = logits.reshape(-1, logits.shape[-1])
    p, log_p, dlogits = (np.empty_like(rows_of) for _ in range(3))
    rows, value = np.empty(len(rows_of)), np.empty(logits.shape[-2])
    log_softmax(rows_of, 1.0, p, log_p)
    cross_entropy(p, log_p, labels.reshape(-1), rows, dlogits)
    mean_over_times(rows, shares, value)
    scale_rows_inplace(dlogits, shares)
    return value, dlogits.reshape(logits.shape)


@kernel
def temperature_slope(du, da, student, teacher, temperature, slope):
    """The derivative by the temperature of a divergence between softened distributions.

    Equation, with u = student/T and a = teacher/T
        slope[n] = −(Σ_k du[n, k]·student[n, k] + Σ_k da[n, k]·teacher[n, k])/T²
    Parameters
        du, da, student, teacher [N, K]: gradients by u and a, and logits. temperature T: number > 0.
        slope float64 [N], overwritten.
    """
    scale = -1.0 / (temperature * temperature)
    for n in range(du.shape[0]):
        total = 0.0
        for k in range(du.shape[1]):
            total += np.float64(du[n, k]) * np.float64(student[n, k])
            total += np.float64(da[n, k]) * np.float64(teacher[n, k])
        slope[n] = scale * total
