"""The sum of three sines: its data against naive code, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.tasks.multifreq import Multifreq
from tests.naive import signals as naive

TASK = Multifreq(steps=6, sequences=17, dt=0.2, span=50.0, eval={"starts": 4, "steps": 9})
FREQUENCIES = [1.0, 2.0**0.5, np.pi]


def stream(purpose: str) -> Stream:
    return Stream(5, 2, purpose)


@pytest.mark.parametrize("step", [0, 130])
def test_a_batch_is_the_signal_from_the_start_times_of_its_step(step, dtype):
    """Inputs and targets are the sum of sines at start + t·dt, a step apart, for start times from U(0, span)."""
    got = TASK.training_data(stream, dtype).batch(step)
    starts = stream("phases").uniform(step, (17,), 0.0, 50.0, "float64")
    expected = naive.sine_sums(starts, 0.2, FREQUENCIES, 7)[:, :, np.newaxis]
    tolerance = 2e-7 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got.inputs, expected[:-1], rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.targets["y"], expected[1:], rtol=0, atol=tolerance)
    assert starts.std() > 5


def test_evaluation_begins_at_evenly_spaced_times():
    """0, span/4, span/2, 3·span/4."""
    got = TASK.evaluation_batch("float64")
    expected = naive.sine_sums([0.0, 12.5, 25.0, 37.5], 0.2, FREQUENCIES, 10)[:, :, np.newaxis]
    np.testing.assert_allclose(got.inputs, expected[:-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.targets["y"], expected[1:], rtol=0, atol=1e-12)


def test_the_error_of_answering_nothing_is_the_power_of_the_signal():
    """Three sines of amplitude 1 have a mean square of 3/2."""
    zeros = {"prediction": np.zeros((100, 32, 1))}
    got = Multifreq().evaluate(lambda inputs, want: zeros, stream, "float64")
    assert got["eval_mse"] == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize("wrong", [{"span": 2600.0, "dt": 1.0}, {"dt": 60.0}, {"eval": {"steps": 20_000}}])
def test_times_whose_sines_are_not_computed_are_refused(wrong):
    """The text says how far time may go."""
    with pytest.raises(ValidationError, match=r"sin π·t is computed up to t = 2607"):
        Multifreq(**wrong)


def test_all_sequences_may_begin_at_time_0():
    """Where the span is 0."""
    batch = Multifreq(span=0.0, steps=2, sequences=3).training_data(stream, "float32").batch(0)
    assert (batch.inputs[0] == 0.0).all()
