"""The Lorenz system: its data against naive code, and that it is on the attractor."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.tasks import lorenz
from kdrun.tasks.lorenz import CENTRE, SPREAD, Lorenz
from tests.core.comparing import assert_bits, too_slow_without_jit
from tests.naive import signals as naive

TASK = Lorenz(steps=5, sequences=17, burn_in=40, eval={"orbits": 3, "steps": 7})


def stream(purpose: str) -> Stream:
    return Stream(5, 2, purpose)


def standard(orbits):
    return (orbits - np.array(CENTRE)) / np.array(SPREAD)


@pytest.mark.parametrize("step", [0, 130])
def test_a_batch_is_orbits_from_the_points_of_its_step(step, dtype):
    """Inputs and targets are standardised points of one orbit each, ten Runge–Kutta steps apart."""
    got = TASK.training_data(stream, dtype).batch(step)
    drawn = stream("phases").uniform(step, (17, 3), 0.0, 1.0, "float64")
    starts = np.array(lorenz.LOWEST) + 30.0 * drawn
    expected = np.stack([standard(naive.lorenz_orbit(start, 0.01, 40, 10, 6)) for start in starts], axis=1)
    tolerance = 3e-7 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(got.inputs, expected[:-1], rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.targets["y"], expected[1:], rtol=0, atol=tolerance)


@too_slow_without_jit
def test_the_constants_standardise():
    """Long orbits have mean 0 and deviation 1 in each coordinate."""
    task = Lorenz(steps=10_000, sequences=40)
    points = task.training_data(stream, "float64").batch(0).inputs.reshape(-1, 3)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(points.std(axis=0), 1.0, atol=0.01)


def test_the_burn_in_reaches_the_attractor():
    """A sequence begins like it goes on: its first points are spread as all others are."""
    first = Lorenz(steps=1, sequences=5000).training_data(stream, "float64").batch(0).inputs[0]
    np.testing.assert_allclose(first.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(first.std(axis=0), 1.0, atol=0.04)


def test_the_error_is_summed_over_coordinates():
    """Whoever answers the mean has an error of 3, the sum of three variances."""

    def answer_the_mean(inputs, want):
        return {"prediction": np.zeros_like(inputs)}

    got = Lorenz().evaluate(answer_the_mean, stream, np.dtype("float64"))
    assert got["eval_mse"] == pytest.approx(3.0, rel=0.1)


def test_evaluation_is_the_same_in_every_replicate():
    """Its orbits belong to no replicate and to no seed."""
    seen = []

    def forward(inputs, want):
        seen.append(inputs.copy())
        return {"prediction": np.zeros_like(inputs)}

    for replicate in (1, 2):
        TASK.evaluate(forward, lambda purpose, r=replicate: Stream(r, r, purpose), np.dtype("float32"))
    assert_bits(seen[0], seen[1])
    assert seen[0].shape == (7, 3, 3)


def test_steps_that_the_method_cannot_take_are_refused():
    """dt is bounded where orbits are still followed."""
    with pytest.raises(ValidationError, match="dt"):
        Lorenz(dt=0.03)


@pytest.mark.parametrize("dt", [0.001, 0.02])
def test_every_allowed_step_length_stays_on_the_attractor(dt):
    """No orbit leaves for infinity."""
    points = Lorenz(dt=dt, steps=400, sequences=200, every=3).training_data(stream, "float64").batch(0).inputs
    assert np.abs(points).max() < 4.0
