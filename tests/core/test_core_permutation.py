"""Random orders: complete, repeatable, and each as likely as any."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kdrun.core.permutation import permutation
from kdrun.core.random import Stream
from tests.core.comparing import too_slow_without_jit

STREAM = Stream(5, 1, "order")


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_every_number_is_there_once(count):
    """An order of n things is a permutation of 0 … n−1, as int64."""
    got = permutation(STREAM, 0, count)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(np.sort(got), np.arange(count))


def test_nothing_has_one_order():
    """No things give an order without things."""
    assert permutation(STREAM, 0, 0).shape == (0,)


def test_the_order_is_that_of_the_streams_numbers():
    """The place of the smallest number comes first."""
    numbers = STREAM.uniform(3, (50,), 0.0, 1.0, "float64").tolist()
    assert permutation(STREAM, 3, 50).tolist() == sorted(range(50), key=lambda place: (numbers[place], place))


def test_an_order_depends_on_stream_and_step_alone():
    """The same asked twice is the same; another step, replicate or purpose gives another."""
    expected = permutation(STREAM, 0, 100).tolist()
    assert permutation(Stream(5, 1, "order"), 0, 100).tolist() == expected
    others = [(STREAM, 1), (Stream(5, 2, "order"), 0), (STREAM.child("x"), 0), (Stream(6, 1, "order"), 0)]
    for stream, step in others:
        assert permutation(stream, step, 100).tolist() != expected


def test_of_equal_numbers_the_first_comes_first():
    """Ties keep their places, so that the order is one."""

    class Tied:
        def uniform(self, step, shape, low, high, dtype):
            return np.arange(1000) % 3 / 4

    got = permutation(Tied(), 0, 1000)
    assert got.tolist() == [*range(0, 1000, 3), *range(1, 1000, 3), *range(2, 1000, 3)]


@too_slow_without_jit
def test_every_order_is_as_likely():
    """Of 6,000 orders of three things each of the six comes about a thousand times: χ² below its 99.9% point."""
    found = [tuple(permutation(STREAM, step, 3).tolist()) for step in range(6000)]
    counts = np.array([found.count(order) for order in itertools.permutations(range(3))])
    assert counts.sum() == 6000
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5
