"""Optimizers and learning-rate schedules: a battery over every level, and each by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.factors.contract import LearningRateSchedule, Optimizer, Progress
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.lr_schedule.cosine import Cosine
from kdrun.factors.lr_schedule.step import Step
from kdrun.factors.optimizer.adam import Adam
from tests.core.comparing import assert_bits
from tests.factors.discovered import battery, draw
from tests.naive import adam as naive

every_optimizer = battery(Optimizer)
every_schedule = battery(LearningRateSchedule)
SIZE = 32


def trained(level, start, steps, memory=None, lr=None, factor=1.0):
    """A point after steps down the bowl ½|x − 1|², and what the optimizer remembers."""
    flat, memory = start.copy(), memory or level.start(start.size, start.dtype)
    for _ in range(steps):
        level.update_inplace(flat, flat - flat.dtype.type(1.0), memory, factor, lr or level.lr)
    return flat, memory


def bowl(flat):
    """½|x − 1|²."""
    return 0.5 * float(((flat.astype(float) - 1.0) ** 2).sum())


# ------------------------------------------------------------------------------------------------ optimizers


@every_optimizer
def test_a_step_lowers_a_quadratic(level, dtype):
    """One step, and a hundred, go down a bowl."""
    start = draw("start", (SIZE,), -3.0, -1.0, dtype)
    once, often = trained(level, start, 1)[0], trained(level, start, 100)[0]
    assert bowl(often) < bowl(once) < bowl(start)


@every_optimizer
def test_a_restored_memory_gives_the_same_step(level, dtype):
    """Going on from copies of parameters and memory gives the bits of going on without a break."""
    start = draw("start", (SIZE,), -3.0, -1.0, dtype)
    flat, memory = trained(level, start, 5)
    kept = {name: array.copy() for name, array in memory.items()}
    expected, _ = trained(level, flat, 3, memory)
    got, _ = trained(level, flat, 3, kept)
    assert_bits(got, expected)


@every_optimizer
def test_everything_remembered_is_an_array(level, dtype):
    """Memory is finite arrays, which a gate can copy and put back."""
    got = trained(level, draw("start", (SIZE,), dtype=dtype), 3)[1]
    assert all(isinstance(array, np.ndarray) and np.isfinite(array).all() for array in got.values())


@every_optimizer
def test_the_gradient_is_only_read(level, dtype):
    """A step leaves the gradient as it was."""
    flat, gradient = draw("start", (SIZE,), dtype=dtype), draw("gradient", (SIZE,), dtype=dtype)
    before = gradient.copy()
    level.update_inplace(flat, gradient, level.start(SIZE, dtype), 0.5, level.lr)
    assert_bits(gradient, before)


@every_optimizer
def test_a_gap_without_gradient_stays_zero(level, dtype):
    """Where parameters and gradients are zero, they stay zero."""
    flat, memory = np.zeros(SIZE, dtype), level.start(SIZE, dtype)
    gradient = draw("gradient", (SIZE,), dtype=dtype)
    gradient[5:16] = 0.0
    for _ in range(4):
        level.update_inplace(flat, gradient, memory, 1.0, level.lr)
    assert not flat[5:16].any()
    assert flat[:5].all()


@every_optimizer
def test_a_rate_of_zero_moves_nothing(level):
    """A learning rate of zero leaves every parameter as it is."""
    flat, memory = draw("start", (SIZE,)), level.start(SIZE, np.dtype(float))
    before = flat.copy()
    level.update_inplace(flat, draw("gradient", (SIZE,)), memory, 1.0, 0.0)
    assert_bits(flat, before)


@every_optimizer
def test_rates_that_are_not_positive_are_refused(level):
    """lr and clip are above zero; clip may be left out."""
    for lr in (0.0, -1.0):
        with pytest.raises(ValidationError):
            type(level)(lr=lr)
    with pytest.raises(ValidationError):
        type(level)(clip=0.0)
    assert type(level)(clip=None).clip is None


def test_adam_has_the_parameters_of_the_study():
    """0.9, 0.999, 1e−8, learning rate 1e−3, gradients clipped to 5."""
    got = Adam()
    assert (got.beta1, got.beta2, got.epsilon, got.lr, got.clip) == (0.9, 0.999, 1e-8, 1e-3, 5.0)


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_adam_is_that_of_plain_loops(steps):
    """Bias correction follows the number of steps that the memory counts."""
    gradients = [draw(f"gradient{t}", (SIZE,)) for t in range(steps)]
    got, level = draw("start", (SIZE,)), Adam(beta1=0.8, beta2=0.95, lr=0.01, epsilon=1e-4)
    expected = naive.minimize(got, gradients, 0.01, 0.8, 0.95, 1e-4)
    memory = level.start(SIZE, np.dtype(float))
    for gradient in gradients:
        level.update_inplace(got, gradient, memory, 1.0, level.lr)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)


def test_adam_counts_steps_in_powers():
    """After three steps the memory holds β₁³ and β₂³."""
    got = trained(Adam(), draw("start", (SIZE,)), 3)[1]["powers"]
    np.testing.assert_allclose(got, [0.9**3, 0.999**3], rtol=1e-15)


def test_adam_clips_by_a_factor():
    """The factor multiplies the gradient before its averages."""
    gradient, memory = draw("gradient", (SIZE,)), Adam().start(SIZE, np.dtype(float))
    Adam().update_inplace(np.zeros(SIZE), gradient, memory, 0.25, 1e-3)
    np.testing.assert_allclose(memory["mean"], 0.1 * 0.25 * gradient, rtol=1e-14)
    np.testing.assert_allclose(memory["square"], 0.001 * (0.25 * gradient) ** 2, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ schedules


@every_schedule
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_factors_lie_between_zero_and_one(level, steps):
    """Every step has a factor in (0, 1]."""
    got = np.array([level.factor(Progress(step, steps)) for step in range(steps)])
    assert (got > 0.0).all()
    assert (got <= 1.0).all()


@every_schedule
@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_the_first_factor_is_one(level, steps):
    """Training starts at the learning rate of the study."""
    got = level.factor(Progress(0, steps))
    assert got == 1.0


@every_schedule
def test_factors_are_deterministic(level):
    """A step's factor does not depend on what was asked before."""
    forwards = [level.factor(Progress(step, 10)) for step in range(10)]
    backwards = [level.factor(Progress(step, 10)) for step in reversed(range(10))]
    assert forwards == backwards[::-1]


def test_constant_by_hand():
    """1 throughout."""
    got = [Constant().factor(Progress(step, 4)) for step in range(4)]
    assert got == [1.0] * 4


def test_cosine_by_hand():
    """final + (1 − final)(1 + cos πp)/2 at p = 0, ¼, ½, ¾ with final 0.1."""
    got = [Cosine().factor(Progress(step, 4)) for step in range(4)]
    root = np.sqrt(0.5)
    np.testing.assert_allclose(got, [1.0, 0.1 + 0.45 * (1 + root), 0.55, 0.1 + 0.45 * (1 - root)], rtol=1e-14)


def test_step_by_hand():
    """Two drops to a tenth split nine steps in three."""
    got = [Step().factor(Progress(step, 9)) for step in range(9)]
    assert got == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 3)


def test_step_follows_its_parameters():
    """One drop to a half splits training in two."""
    got = [Step(drops=1, ratio=0.5).factor(Progress(step, 4)) for step in range(4)]
    assert got == [1.0, 1.0, 0.5, 0.5]
