"""Coordinate search against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.search import coordinate_search, take_best_codes
from tests.naive import search as naive


class Codes:
    """A network of codes alone, with any loss on them; remembers every change and every visit."""

    def __init__(self, codes, loss, max_code=1):
        self.codes, self.max_code, self._loss = codes, max_code, loss
        self.changes = []
        self.seen, self.visits = [], []

    def set_code(self, tensor, row, column, code):
        """Change one code, and note which."""
        self.changes.append((tensor, row, column))
        self.codes[tensor][row, column] = code

    def loss(self):
        """The loss, noted too."""
        self.seen.append(self._loss(self.codes))
        return self.seen[-1]

    def improve_column(self, tensor, column, loss):
        """As it is defined."""
        self.visits.append((tensor, column))
        return take_best_codes(self, tensor, column, loss)


def random_problem(seed, max_code=1):
    """Two tensors of codes and a quadratic loss that couples all of them."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (3, 2), "w_out": (2, 2)}
    codes = {name: rng.integers(-max_code, max_code + 1, shape).astype(float) for name, shape in shapes.items()}
    mix, goal = rng.normal(size=(6, 10)), rng.normal(size=6)

    def loss(now):
        return float(np.sum((mix @ np.concatenate([array.ravel() for array in now.values()]) - goal) ** 2))

    return codes, loss


@pytest.mark.parametrize("max_code", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_the_search_is_that_of_its_definition(seed, max_code):
    """Codes and losses are those of the plain search, sweep by sweep."""
    codes, loss = random_problem(seed, max_code)
    expected_codes = {name: array.copy() for name, array in codes.items()}
    expected = naive.coordinate_search(expected_codes, loss, max_code, 5)
    got = coordinate_search(Codes(codes, loss, max_code), 5)
    assert got == expected
    for name, array in codes.items():
        np.testing.assert_array_equal(array, expected_codes[name])


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_never_rises(seed):
    """Each sweep ends at a loss no higher than it began with, and the first entry is the loss of the start."""
    codes, loss = random_problem(seed)
    start = loss(codes)
    got = coordinate_search(Codes(codes, loss), 5)
    assert got[0] == start
    assert np.all(np.diff(got) <= 0)
    assert got[-1] < got[0]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_has_the_loss_that_is_returned(seed):
    """The codes in place are those of the last loss."""
    codes, loss = random_problem(seed)
    got = coordinate_search(Codes(codes, loss), 5)
    assert loss(codes) == got[-1]


def test_no_single_change_would_gain_more():
    """A search that ended by itself is a minimum along every coordinate."""
    codes, loss = random_problem(3)
    losses = coordinate_search(Codes(codes, loss), 50)
    assert len(losses) < 51
    for array in codes.values():
        for index in np.ndindex(array.shape):
            present = array[index]
            for code in (-1, 0, 1):
                array[index] = code
                assert loss(codes) >= losses[-1]
            array[index] = present


@pytest.mark.parametrize("present", [-1.0, 0.0, 1.0])
def test_ties_keep_what_is(present):
    """Where every code is as good as the present one, nothing changes and one sweep is enough."""
    codes = {"w": np.full((3, 2), present)}
    got = coordinate_search(Codes(codes, lambda now: 1.5), 5)
    assert got == [1.5, 1.5]
    assert (codes["w"] == present).all()


def test_weights_are_visited_unit_by_unit():
    """Tensors in their order; in each, columns one after the other, and rows within them."""
    codes = {"w": np.zeros((2, 3)), "w_out": np.zeros((2, 1))}
    network = Codes(codes, lambda now: 1.0)
    coordinate_search(network, 1)
    assert network.visits == [("w", 0), ("w", 1), ("w", 2), ("w_out", 0)]
    visited = list(dict.fromkeys(network.changes))
    assert visited == [
        *(("w", row, column) for column in range(3) for row in range(2)),
        ("w_out", 0, 0),
        ("w_out", 1, 0),
    ]


def test_every_other_code_is_tried_once():
    """The present code is not evaluated again: two evaluations for each ternary weight, and one at the start."""
    network = Codes({"w": np.zeros((2, 3))}, lambda now: 1.0)
    coordinate_search(network, 1)
    assert len(network.seen) == 1 + 2 * 6


@pytest.mark.parametrize("sweeps", [1, 2, 3])
def test_sweeps_are_bounded(sweeps):
    """At most so many sweeps are made, however much there is to gain."""
    values = iter(range(10_000, 0, -1))
    got = coordinate_search(Codes({"w": np.zeros((2, 2))}, lambda now: float(next(values))), sweeps)
    assert len(got) == sweeps + 1


def test_nan_is_never_better():
    """A code that makes the loss nan is not taken."""
    codes = {"w": np.zeros((1, 1))}
    got = coordinate_search(Codes(codes, lambda now: 1.0 if now["w"][0, 0] == 0 else float("nan")), 5)
    assert got == [1.0, 1.0]
    assert codes["w"][0, 0] == 0
