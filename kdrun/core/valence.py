"""Valence: how well things are expected to go; what weights of samples and gates are made of.

A trajectory of valences is [T, B], time-major; so are rows of classes [T·B, K].
"""

from __future__ import annotations

import math

import numpy as np

from kdrun.core.elementary import exp
from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, load_part, store_part

MEAN_SHARE, LEAST_SHARE, COHERENCE_SHARE = 0.6, 0.25, 0.15
ROUNDING = 2.0**-52


@kernel
def regime_chain(chances, start, cumulative, regimes):
    """Sequences of a Markov chain from random numbers.

    Equation
        regimes[0, b] = the least k with start[k] > chances[0, b]
        regimes[t, b] = the least k with cumulative[regimes[t−1, b], k] > chances[t, b]
    Parameters
        chances [T, B] in [0, 1). start [K], cumulative [K, K]: sums of probabilities from the first regime on; the last
        of each counts as 1. regimes int64 [T, B], overwritten.
    """
    last = start.size - 1
    for t in range(chances.shape[0]):
        for b in range(chances.shape[1]):
            k = 0
            if t:
                before = regimes[t - 1, b]
                while k < last and not cumulative[before, k] > chances[t, b]:
                    k += 1
            else:
                while k < last and not start[k] > chances[t, b]:
                    k += 1
            regimes[t, b] = k


@kernel
def mean_ahead(values, horizon, means):
    """means[t, b] = (1/horizon) Σ_{i=1…horizon} values[t + i, b]; values float64 [T + horizon, B], means [T, B]."""
    for t in range(means.shape[0]):
        for b in range(means.shape[1]):
            total = 0.0
            for i in range(1, horizon + 1):
                total += values[t + i, b]
            means[t, b] = total / horizon


@kernel
def saliency(valence, p, log_p, s):
    """How much a sample matters, from the valences and classes that its teacher predicts.

    Equation
        s[b] = 0.6·mean_t v[t, b] + 0.25·min_t v[t, b] + 0.15·mean_t Σ_k p·log p
        The last is coherence: minus the entropy of the predicted classes.
    Parameters
        valence v [T, B]; p, log_p [T·B, K] of softmax(logits). s float64 [B], overwritten.
    Source
        The saliency of the source on valence weighting; its weights are those of kdrun's catalogue.
    """
    steps, samples = valence.shape
    for b in range(samples):
        total, least, coherence = 0.0, np.float64(valence[0, b]), 0.0
        for t in range(steps):
            v = np.float64(valence[t, b])
            total += v
            least = min(least, v)
            row = t * samples + b
            for k in range(p.shape[1]):
                coherence += np.float64(p[row, k]) * np.float64(log_p[row, k])
        s[b] = MEAN_SHARE * (total / steps) + LEAST_SHARE * least + COHERENCE_SHARE * (coherence / steps)


@kernel
def standard_scores(s, z):
    """z = (s − μ)/σ over a batch, 0 where all are equal; s, z float64 [B], μ and σ² the mean and the mean square.

    Equal to the rounding of μ, that is: a sum of equal numbers, divided by how many they are, is not always the number.
    """
    total = 0.0
    for b in range(s.size):
        total += s[b]
    mean = total / s.size
    square = 0.0
    for b in range(s.size):
        z[b] = s[b] - mean
        square += z[b] * z[b]
    deviation = math.sqrt(square / s.size)
    for b in range(s.size):
        z[b] = z[b] / deviation if deviation > s.size * ROUNDING * abs(mean) else 0.0


@kernel
def exponential_weights(z, sharpness, weights):
    """weights = exp(sharpness·z); z, weights float64 [B], the last overwritten."""
    for b in range(z.size):
        weights[b] = sharpness * z[b]
    for b in range(0, z.size, LANES):
        count = min(LANES, z.size - b)
        store_part(weights, b, exp(load_part(weights, b, count)), count)


@kernel
def effective_sample_size(weights):
    """(Σw)²/Σw² of float64 weights [B]: how many samples of equal weight would say as much."""
    total, square = 0.0, 0.0
    for b in range(weights.size):
        total += weights[b]
        square += weights[b] * weights[b]
    return total * total / square


@kernel
def expected_rows(p, values, out):
    """out[b, :] = Σ_k p[b, k]·values[k, :], k ascending; p [B, K], values [K, D], out [B, D], one dtype."""
    for b in range(p.shape[0]):
        for d in range(values.shape[1]):
            total = p[b, 0] * values[0, d]
            for k in range(1, values.shape[0]):
                total += p[b, k] * values[k, d]
            out[b, d] = total
