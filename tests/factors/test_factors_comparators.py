"""Comparators: a battery over every level on a small coded network."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.search import take_best_codes
from kdrun.factors.comparators.coordinate_search import CoordinateSearch
from kdrun.factors.comparators.post_training import PostTraining
from kdrun.factors.comparators.post_training_search import PostTrainingSearch
from kdrun.factors.contract import Comparator
from tests.factors.discovered import battery, draw
from tests.naive.search import coordinate_search

every_comparator = battery(Comparator)


class Coded:
    """Codes with a quadratic loss."""

    def __init__(self, max_code=1):
        self.max_code = max_code
        self.codes = {"w": np.rint(1.4 * draw("w", (3, 2))), "w_out": np.rint(1.4 * draw("w_out", (2, 1)))}
        self.mix, self.goal = draw("mix", (5, 8)), draw("goal", (5,))

    def set_code(self, tensor, row, column, code):
        """Change one code."""
        self.codes[tensor][row, column] = code

    def loss_of(self, codes):
        """The loss of any codes."""
        return float(((self.mix @ np.concatenate([array.ravel() for array in codes.values()]) - self.goal) ** 2).sum())

    def loss(self):
        """The loss of its own codes."""
        return self.loss_of(self.codes)

    def improve_column(self, tensor, column, loss):
        """Weight by weight."""
        return take_best_codes(self, tensor, column, loss)


@every_comparator
def test_a_comparator_says_where_it_starts(level):
    """Treatment 1 or its teacher."""
    assert level.starts_from in {"baseline", "teacher"}


@every_comparator
def test_refining_never_makes_it_worse(level):
    """The calibration loss does not rise, and codes stay integers in their range."""
    network = Coded()
    before = network.loss()
    level.refine(network)
    assert network.loss() <= before
    for codes in network.codes.values():
        assert set(np.unique(codes)) <= {-1.0, 0.0, 1.0}


@every_comparator
def test_refining_is_deterministic(level):
    """Two networks with the same codes end with the same codes and series."""
    first, second = Coded(), Coded()
    got, again = level.refine(first), level.refine(second)
    assert got == again
    for name, codes in first.codes.items():
        np.testing.assert_array_equal(codes, second.codes[name])


@every_comparator
def test_series_are_finite_numbers(level):
    """What goes into a run's history is named lists of floats."""
    for name, series in level.refine(Coded()).items():
        assert name
        assert all(isinstance(value, float) for value in series)
        assert np.isfinite(series).all()


@pytest.mark.parametrize("shape", [CoordinateSearch, PostTrainingSearch])
@pytest.mark.parametrize("sweeps", [1, 5])
def test_searches_are_that_of_the_definition(shape, sweeps):
    """The history is that of the plain search with so many sweeps."""
    network, expected = Coded(), Coded()
    got = shape(sweeps=sweeps).refine(network)
    assert got == {"calibration_loss": coordinate_search(expected.codes, expected.loss_of, 1, sweeps)}
    for name, codes in network.codes.items():
        np.testing.assert_array_equal(codes, expected.codes[name])


def test_starts_are_those_of_the_study():
    """coordinate_search starts from treatment 1, the post-training comparators from the teacher."""
    got = [level.starts_from for level in (CoordinateSearch(), PostTraining(), PostTrainingSearch())]
    assert got == ["baseline", "teacher", "teacher"]


def test_post_training_leaves_the_codes_alone():
    """Quantizing without training is all that it does."""
    network = Coded()
    before = {name: codes.copy() for name, codes in network.codes.items()}
    assert PostTraining().refine(network) == {}
    for name, codes in network.codes.items():
        np.testing.assert_array_equal(codes, before[name])
