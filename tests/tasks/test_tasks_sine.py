"""Training data of the sine task: waves that are made ahead are those that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.tasks import one_step
from kdrun.tasks.sine import TWO_PI, Sine
from tests.core.comparing import assert_bits

TASK = Sine(steps=4, sequences=3, dt=0.3)


def stream(purpose: str) -> Stream:
    return Stream(5, 2, purpose)


def alone(step, dtype):
    """Inputs and targets of one step, from data that made no other before."""
    batch = TASK.training_data(stream, dtype).batch(step)
    return batch.inputs.copy(), batch.targets["y"].copy()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [2, 2, 5, 3, 0, 6, 2]], ids=str)
def test_a_batch_has_the_same_bits_in_any_order_of_steps(monkeypatch, order, dtype):
    """Forwards, backwards and to and fro, across the borders of what is made at once."""
    monkeypatch.setattr(one_step, "MOST_AHEAD", 3)
    data = TASK.training_data(stream, dtype)
    for step in order:
        batch = data.batch(step)
        inputs, targets = alone(step, dtype)
        assert_bits(batch.inputs, inputs)
        assert_bits(batch.targets["y"], targets)


@pytest.mark.parametrize("step", [0, 99, 100, 101, 250])
def test_a_batch_is_waves_of_the_phases_of_its_step(step):
    """Inputs and targets are sin(t·dt + φ), a step apart, for phases that the stream gives that step."""
    data = TASK.training_data(stream, "float64")
    data.batch(0)
    got = data.batch(step)
    phases = stream("phases").uniform(step, (3,), 0.0, TWO_PI, "float64")
    waves = np.sin(np.arange(5)[:, np.newaxis] * 0.3 + phases)[:, :, np.newaxis]
    np.testing.assert_allclose(got.inputs, waves[:-1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.targets["y"], waves[1:], rtol=0, atol=1e-14)


def test_a_batch_stays_as_it_is_when_others_are_made(monkeypatch):
    """What was handed out is not written over by later steps."""
    monkeypatch.setattr(one_step, "MOST_AHEAD", 2)
    data = TASK.training_data(stream, "float32")
    first = data.batch(0)
    for step in range(1, 9):
        data.batch(step)
    assert_bits(first.inputs, alone(0, "float32")[0])


def test_waves_too_long_to_be_made_ahead_are_made_one_step_at_a_time(monkeypatch):
    """Where one step alone is more than what is made at once, it is made nevertheless, and right."""
    monkeypatch.setattr(one_step, "NUMBERS_AHEAD", 1)
    data = TASK.training_data(stream, "float32")
    for step in (0, 1, 5):
        assert_bits(data.batch(step).inputs, alone(step, "float32")[0])
