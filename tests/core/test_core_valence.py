"""Kernels of valence: chains of regimes, what lies ahead, saliency, and weights of samples."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.softmax import log_softmax
from kdrun.core.valence import (
    effective_sample_size,
    expected_rows,
    exponential_weights,
    mean_ahead,
    regime_chain,
    saliency,
    standard_scores,
)
from tests.core.comparing import too_slow_without_jit, unchanged
from tests.naive import valence as naive


def chain(chances, start, moves):
    """Regimes by the kernel, from probabilities."""
    regimes = np.full(chances.shape, -1, np.int64)
    regime_chain(chances, np.cumsum(start), np.cumsum(moves, axis=1), regimes)
    return regimes


def scores(s):
    """Standard scores by the kernel."""
    z = np.full_like(s, np.nan)
    standard_scores(s, z)
    return z


def weights_of(z, sharpness):
    """Weights by the kernel."""
    weights = np.full_like(z, np.nan)
    exponential_weights(z, sharpness, weights)
    return weights


def salient(valence, logits):
    """Saliency by the kernel, from logits [T, B, K]."""
    rows = logits.reshape(-1, logits.shape[-1])
    p, log_p, s = np.empty_like(rows), np.empty_like(rows), np.full(valence.shape[1], np.nan)
    log_softmax(rows, 1.0, p, log_p)
    saliency(valence, p, log_p, s)
    return s


def test_a_chain_by_hand():
    """The first regime whose sum of probabilities exceeds the chance, from the regime before."""
    moves = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    chances = np.array([[0.0, 0.25, 0.99], [0.5, 0.2, 0.99], [0.3, 0.3, 0.5]])
    got = chain(chances, [0.25, 0.25, 0.5], moves)
    np.testing.assert_array_equal(got, [[0, 1, 2], [1, 1, 0], [2, 2, 1]])


def test_a_chain_is_that_of_plain_loops(rng):
    """Regimes of random chances are those of drawing by inversion."""
    moves = naive.moves(5, 0.6, 0.7)
    chances = rng.uniform(size=(40, 6))
    got = chain(chances, np.full(5, 0.2), moves)
    np.testing.assert_array_equal(got, naive.regime_chain(chances, np.full(5, 0.2), moves))
    assert len(np.unique(got)) == 5


def test_the_last_sum_counts_as_one():
    """A chance above sums that fell short of 1 by rounding is that of the last regime."""
    short = np.array([[0.4, 0.999], [0.4, 0.999]])
    regimes = np.full((2, 1), -1, np.int64)
    regime_chain(np.array([[0.9995], [0.9995]]), np.array([0.4, 0.999]), short, regimes)
    np.testing.assert_array_equal(regimes, [[1], [1]])


def test_frequencies_of_moves_are_the_probabilities(rng):
    """Over 200,000 moves each probability is met within five standard errors."""
    moves = np.array([[0.8, 0.16, 0.04], [0.1, 0.6, 0.3], [0.5, 0.25, 0.25]])
    regimes = chain(rng.uniform(size=(2001, 100)), [0.2, 0.3, 0.5], moves)
    counts = np.zeros((3, 3))
    np.add.at(counts, (regimes[:-1].ravel(), regimes[1:].ravel()), 1)
    visits = counts.sum(axis=1, keepdims=True)
    assert (np.abs(counts / visits - moves) < 5 * np.sqrt(moves * (1 - moves) / visits)).all()


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_what_lies_ahead_begins_with_the_next_step(rng, horizon):
    """Means are those of plain slices, the present step not among them."""
    values = rng.normal(size=(6 + horizon, 4))
    got = np.full((6, 4), np.nan)
    unchanged({"values": values}, lambda: mean_ahead(values, horizon, got))
    np.testing.assert_allclose(got, naive.mean_ahead(values, horizon), rtol=1e-13)


@pytest.mark.parametrize("steps", [1, 5])
def test_saliency_is_that_of_plain_code(rng, dtype, steps):
    """0.6 of the mean, 0.25 of the least and 0.15 of minus the entropy, each over the steps of a sample."""
    valence, logits = rng.uniform(size=(steps, 4)).astype(dtype), rng.normal(size=(steps, 4, 3)).astype(dtype)
    got = salient(valence, logits)
    np.testing.assert_allclose(got, naive.saliency(valence, logits), rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_saliency_by_hand():
    """Valences 1 and 0.5 of an undecided teacher of two classes: 0.6·0.75 + 0.25·0.5 − 0.15·ln 2."""
    got = salient(np.array([[1.0], [0.5]]), np.zeros((2, 1, 2)))
    assert got[0] == pytest.approx(0.45 + 0.125 - 0.15 * np.log(2), rel=1e-12)


def test_the_sure_teacher_is_the_more_salient():
    """Of two samples of one valence that with less entropy has the higher saliency."""
    logits = np.zeros((1, 2, 3))
    logits[0, 1, 0] = 3.0
    got = salient(np.full((1, 2), 0.5), logits)
    assert got[1] > got[0]


def test_standard_scores_are_those_of_plain_code(rng):
    """Mean 0 and mean square 1."""
    s = rng.normal(3.0, 0.2, 37)
    np.testing.assert_allclose(scores(s), naive.standard_scores(s), rtol=1e-11)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -1 / 3, 1e-12, 1e6])
@pytest.mark.parametrize("samples", [1, 3, 32, 64])
def test_equal_saliencies_have_scores_of_zero(value, samples):
    """Though their mean, a sum divided by their number, is a rounding away from them."""
    np.testing.assert_array_equal(scores(np.full(samples, value)), np.zeros(samples))


def test_saliencies_that_differ_a_little_have_scores():
    """A difference that float32 can hold is no rounding of a mean."""
    s = np.full(64, 0.7)
    s[5] += 6e-8
    np.testing.assert_allclose(scores(s), naive.standard_scores(s), rtol=1e-5)
    assert scores(s)[5] > 7


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 6.0, 20.0])
@pytest.mark.parametrize("samples", [1, 15, 16, 17])
def test_weights_are_exponentials(rng, sharpness, samples):
    """exp(λz) of every sample, whether or not they fill a vector."""
    z = rng.normal(size=samples)
    got = weights_of(z, sharpness)
    np.testing.assert_allclose(got, np.exp(sharpness * z), rtol=1e-13)


def test_the_effective_sample_size_is_that_of_plain_code(rng):
    """(Σw)²/Σw²; of equal weights as many as there are, of one weight that outweighs all about one."""
    weights = rng.uniform(0.1, 3.0, 20)
    assert effective_sample_size(weights) == pytest.approx(naive.effective_sample_size(weights), rel=1e-13)
    assert effective_sample_size(np.full(20, 0.3)) == pytest.approx(20.0)
    assert effective_sample_size(np.array([1e-9, 5.0, 1e-9])) == pytest.approx(1.0)


@too_slow_without_jit
@pytest.mark.parametrize(("sharpness", "expected", "within"), [(1.0, 27.0, 1.0), (3.0, 4.3, 0.2), (6.0, 2.0, 0.1)])
def test_sharp_weights_leave_few_of_64_normal_samples(sharpness, expected, within):
    """The mean effective sample size of batches of 64 normal saliencies is about 27, 4.3 and 2 at λ = 1, 3 and 6."""
    draws = np.random.default_rng(5).normal(size=(4000, 64))
    got = np.mean([effective_sample_size(weights_of(scores(s), sharpness)) for s in draws])
    assert got == pytest.approx(expected, abs=within)


def test_expected_rows_are_a_product(rng, dtype):
    """Σ_k p[b, k]·values[k, :]."""
    p, values = rng.uniform(size=(3, 4)).astype(dtype), rng.normal(size=(4, 5)).astype(dtype)
    got = np.full((3, 5), np.nan, dtype)
    unchanged({"p": p, "values": values}, lambda: expected_rows(p, values, got))
    np.testing.assert_allclose(got, p.astype(float) @ values, rtol=1e-5 if dtype == np.float32 else 1e-12)
