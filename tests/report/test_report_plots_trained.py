"""Networks of finished runs, run again to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.run import DTYPE, Finished, execute
from kdrun.engine.trained import demonstrate, forward_of
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.tasks.sine import Sine

SMOKE = Path(__file__).parents[2] / "tests" / "smoke.yaml"


@pytest.fixture(scope="module")
def finished() -> dict[str, Finished]:
    """The runs of one replicate: teachers, treatments and comparators."""
    done: dict[str, Finished] = {}
    for run in plan(load_study(SMOKE)).replicate(1):
        outcome = execute(run, tuple(done[need] for need in run.needs))
        assert outcome.status == "done", outcome.error
        done[run.run_id] = Finished(run, outcome)
    return done


def test_the_network_of_a_run_gives_its_response_again(finished):
    """Float teachers, quantized students and comparators: every bit of eval_mse."""
    for item in finished.values():
        task = Sine(**{key: value for key, value in item.run.spec["task"].items() if key != "name"})
        forward = forward_of(item.run, item.outcome.parameters)
        got = task.evaluate(forward, lambda purpose: Stream(0, 0, purpose), DTYPE)

        assert got["eval_mse"] == item.outcome.responses["eval_mse"], item.run.title


def test_a_run_without_a_network_shows_nothing(finished):
    """A diverged run, or one whose network is not kept, has no demonstration."""
    run = next(iter(finished.values())).run

    assert demonstrate(run, {}) is None
    with pytest.raises(ValueError, match="there is no trained network"):
        forward_of(run, {})


def test_every_kind_of_run_demonstrates(finished):
    """Three periods of a wave, time 0 after the first: until then the free run is the one-step prediction."""
    for item in finished.values():
        found = demonstrate(item.run, item.outcome.parameters)

        assert found.given == 63
        assert found.time.shape == found.target.shape == found.one_step.shape == found.free.shape == (189,)
        np.testing.assert_array_equal(found.free[:63], found.one_step[:63])
        assert abs(found.time[62]) < 1e-12
        np.testing.assert_allclose(found.target, np.sin(found.time + 6.3), atol=1e-5)


def test_running_freely_feeds_answers_back():
    """A network that says what it hears repeats the last true input for ever; one that adds 1 counts."""
    task = Sine()

    def echo(inputs, want, added=0.0):
        return {"prediction": inputs + np.float32(added)}

    found = task.demonstrate(echo, DTYPE)
    assert np.all(found.free[found.given :] == found.one_step[found.given - 1])
    counting = task.demonstrate(lambda inputs, want: echo(inputs, want, 1.0), DTYPE)
    np.testing.assert_allclose(np.diff(counting.free[counting.given - 1 :]), 1.0, rtol=1e-5)


def test_a_wave_of_too_many_steps_is_not_demonstrated():
    """Running freely takes the square of the steps, so fine steps are refused rather than waited for."""
    assert Sine(dt=0.001).demonstrate(lambda inputs, want: {"prediction": inputs}, DTYPE) is None
    assert len(Sine(dt=2.0).demonstrate(lambda inputs, want: {"prediction": inputs}, DTYPE).time) == 24
