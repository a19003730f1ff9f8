"""Losses: a value per sample, and the gradient of their mean over the batch.

Those `…_of_each` are of several students over one batch, M of them as leading axis of predictions, values and
gradients, which come multiplied by one weight, as `scale_inplace` does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import LANES, fma, load_part, splat_like, store_part, sum_lanes, widened

Array = NDArray[Any]


@kernel
def squared_error(prediction, target, value, dprediction):
    """Half the squared error, summed over outputs, averaged over time.

    Equation
        value[b] = (1/T) Σ_t ½ Σ_o (prediction[t, b, o] − target[t, b, o])²
        dprediction = (prediction − target)/(T·B), the gradient of the mean of `value` over b
    Parameters
        prediction, target [T, B, O]. value [B], float64, overwritten: its sums run over o, then t, in double precision.
        dprediction [T, B, O], overwritten.
    """
    steps, batch, outputs = prediction.shape
    numbers, share = batch * outputs, splat_like(1.0 / (steps * batch), prediction)
    predicted, wanted = prediction.reshape(steps, numbers), target.reshape(steps, numbers)
    slopes, sums = dprediction.reshape(steps, numbers), np.empty(numbers)
    for first in range(0, numbers, LANES):
        count = min(LANES, numbers - first)
        total = widened(splat_like(0.0, prediction))
        for t in range(steps):
            error = load_part(predicted, (t, first), count) - load_part(wanted, (t, first), count)
            store_part(slopes, (t, first), error * share, count)
            # The square of a float32 is exact in float64.
            total = fma(widened(error), widened(error), total)
        store_part(sums, first, total, count)
    for b in range(batch):
        total_of_sample = 0.0
        for o in range(outputs):
            total_of_sample += sums[b * outputs + o]
        value[b] = total_of_sample * (0.5 / steps)


@kernel
def squared_error_of_each(prediction, target, weight, value, dprediction):
    """`squared_error` of prediction [M, T, B, O]; value [M, B] and dprediction [M, T, B, O] are overwritten."""
    for m in range(prediction.shape[0]):
        squared_error(prediction[m], target, value[m], dprediction[m])
        _weigh(dprediction[m], weight)


def squared_distance(prediction: Array, target: Array) -> tuple[Array, Array]:
    """The mean squared error of each sample, float64 [B], and the gradient of its mean, of arrays [T, B, O]."""
    value, dprediction = np.empty(prediction.shape[1]), np.empty_like(prediction)
    squared_error(prediction, target, value, dprediction)
    scale_inplace(dprediction.reshape(-1), 2.0)
    return 2.0 * value, dprediction


@kernel
def masked_squared_error(prediction, target, mask, value, dprediction):
    """Half the squared error where a mask is set, over the sum of the mask.

    Equation, with M = Σ_{t,b} mask[t, b]
        value[b] = (B/M) Σ_t mask[t, b]·½ Σ_o (prediction − target)², whose mean over b is the masked mean
        dprediction = mask·(prediction − target)/M
    Parameters
        prediction, target [T, B, O]. mask [T, B], not negative, M > 0. value [B], float64; dprediction [T, B, O]:
        overwritten.
    """
    steps, batch, outputs = prediction.shape
    kind = prediction.dtype.type
    total = 0.0
    for t in range(steps):
        for b in range(batch):
            total += np.float64(mask[t, b])
    value[:] = 0.0
    for t in range(steps):
        for b in range(batch):
            share = kind(np.float64(mask[t, b]) / total)
            for o in range(outputs):
                error = prediction[t, b, o] - target[t, b, o]
                value[b] += np.float64(mask[t, b]) * (np.float64(error) * np.float64(error))
                dprediction[t, b, o] = error * share
    for b in range(batch):
        value[b] *= 0.5 * batch / total


@kernel
def masked_squared_error_of_each(prediction, target, mask, weight, value, dprediction):
    """`masked_squared_error` of prediction [M, T, B, O]; value [M, B], dprediction [M, T, B, O] are overwritten."""
    for m in range(prediction.shape[0]):
        masked_squared_error(prediction[m], target, mask, value[m], dprediction[m])
        _weigh(dprediction[m], weight)


@kernel
def hidden_distance(hidden, reference, weight, value, dhidden):
    """Half the mean squared distance of hidden states, averaged over time.

    Equation
        value[b] = (1/T) Σ_t (1/2H) Σ_i (hidden[t, b, i] − reference[t, b, i])²
        dhidden = weight·((hidden − reference)/(H·T·B)), which is the gradient of the mean of `value` over b, weighted
        The sum of a sample runs over t, then i, in 16 partial sums of the dtype and one fixed tree.
    Parameters
        hidden, reference [T, B, H]. weight: number, rounded to their dtype. value [B], float64, overwritten.
        dhidden [T, B, H], overwritten.
    """
    steps, batch, units = hidden.shape
    share, factor = splat_like(1.0 / (units * steps * batch), hidden), splat_like(weight, hidden)
    for b in range(batch):
        total = splat_like(0.0, hidden)
        for t in range(steps):
            for i in range(0, units, LANES):
                count = min(LANES, units - i)
                distance = load_part(hidden, (t, b, i), count) - load_part(reference, (t, b, i), count)
                store_part(dhidden, (t, b, i), distance * share * factor, count)
                total = fma(distance, distance, total)
        value[b] = np.float64(sum_lanes(total)) * (0.5 / (units * steps))


@kernel
def hidden_distance_of_each(hidden, reference, weight, value, dhidden):
    """`hidden_distance` of hidden [M, T, B, H]; value [M, B] and dhidden [M, T, B, H] are overwritten."""
    for m in range(hidden.shape[0]):
        hidden_distance(hidden[m], reference, weight, value[m], dhidden[m])


@inlined
def _weigh(gradient, weight):
    """gradient ← weight·gradient, elementwise over an array [T, B, N]; weight is rounded to its dtype."""
    if weight != 1.0:
        scale_inplace(gradient.reshape(gradient.size), weight)


@kernel
def mean_of(values):
    """The mean of float64 values [n], summed in order."""
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total / values.size


@kernel
def mean_of_each(values, means):
    """means[k, m] = `mean_of` values[k, m], float64 [K, M, n]; means [K, M], overwritten."""
    for k in range(means.shape[0]):
        for m in range(means.shape[1]):
            means[k, m] = mean_of(values[k, m])


@kernel
def sum_of_squares(values):
    """Σ values², values [n] of any dtype, summed in order in float64."""
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@kernel
def add_scaled(source, weight, target):
    """target ← target + weight·source, elementwise over arrays [n] of one dtype; weight is rounded to it."""
    factor = target.dtype.type(weight)
    for i in range(target.size):
        target[i] += factor * source[i]


@kernel
def scale_inplace(array, weight):
    """array ← weight·array, elementwise over an array [n]; weight is rounded to its dtype."""
    factor = array.dtype.type(weight)
    for i in range(array.size):
        array[i] *= factor


@kernel
def scale_samples_inplace(array, weights):
    """array[t, b, :] ← weights[b]·array[t, b, :] for an array [T, B, N]; weights [B] of the same dtype."""
    for t in range(array.shape[0]):
        for b in range(array.shape[1]):
            for n in range(array.shape[2]):
                array[t, b, n] *= weights[b]
