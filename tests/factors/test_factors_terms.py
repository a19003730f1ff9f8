"""Terms of the loss: a battery over every level and every task's own loss, and distillation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of
from kdrun.core.losses import mean_of
from kdrun.factors.contract import Batch, Progress, Shapes, Temperature, Term
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.distillation.trajectory_decaying import TrajectoryDecaying
from kdrun.tasks.discover import tasks
from kdrun.tasks.losses import SquaredError
from tests.core.comparing import assert_bits, assert_gradient, too_slow_without_jit, unchanged
from tests.factors.discovered import START, STREAM, context, draw, every_level
from tests.naive import losses as naive

STEPS, BATCH, WIDTH = 4, 3, 5

TERMS = {name: level() for name, level in every_level().items() if issubclass(level, Term)}
TERMS |= {f"task.{name}": task.example().loss() for name, task in tasks().items() if hasattr(task, "loss")}
# What hyper-parameters provide that are not plain numbers.
HYPER = {"temperature": Temperature.fixed(1.5)}
every_term = pytest.mark.parametrize("level", TERMS.values(), ids=TERMS)


class Case:
    """Outputs of a student and two teachers that a term wants, a batch, and the term's own arrays."""

    def __init__(self, level, dtype="float64", attempt=""):
        self.level = level
        self.student = {name: draw(f"{attempt}{name}", (STEPS, BATCH, WIDTH), dtype=dtype) for name in level.want}
        self.teachers = tuple(
            {name: draw(f"{teacher}/{name}", (STEPS, BATCH, WIDTH), dtype=dtype) for name in level.teacher_want}
            for teacher in ("first", "second")
        )
        labels = draw("label", (STEPS, BATCH), 0.0, WIDTH).astype(np.int64)
        targets = {name: draw(f"target/{name}", (STEPS, BATCH, WIDTH), dtype=dtype) for name in ("y", "valence")}
        targets["label"] = labels
        self.batch = Batch(draw("x", (STEPS, BATCH, 1), dtype=dtype), targets)
        widths = dict.fromkeys(level.want | level.teacher_want, (WIDTH,))
        own, state = level.init(STREAM, Shapes(widths, (widths, widths), {}, np.dtype(dtype)))
        self.context = context(Progress(1, 2), own, state)
        self.context.hyper = {name: HYPER.get(name, 1.5) for name in level.hyper_names}

    def evaluate(self):
        """Value and gradients."""
        return self.level.evaluate(self.student, self.teachers, self.batch, self.context)

    def value(self):
        """The scalar whose gradients the term gives."""
        return mean_of(np.asarray(self.evaluate().value))

    @property
    def is_smooth(self):
        """Whether finite differences stay clear of kinks."""
        return self.level.is_smooth(self.student, self.teachers, self.batch, self.context)


@every_term
def test_values_are_finite_and_one_per_sample(level, dtype):
    """A term gives a finite float64 for each sequence, or one for the batch."""
    got = Case(level, dtype).evaluate().value
    assert got.shape == ((BATCH,) if level.per_sample else (1,))
    assert got.dtype == np.float64
    assert np.isfinite(got).all()


@too_slow_without_jit
@every_term
def test_gradients_are_those_of_finite_differences(level):
    """Gradients by every output, and by the term's own arrays, are numeric slopes of the mean of its values."""
    case = next(case for attempt in range(500) if (case := Case(level, attempt=f"{attempt}/")).is_smooth)
    got = case.evaluate()
    assert set(got.d_outputs) == set(level.want)
    for name, array in case.student.items():
        assert_gradient(got.d_outputs[name], gradient_of(case.value, array, 1e-2), 1e-8)
    for name, array in case.context.own.items():
        assert_gradient(got.d_own[name], gradient_of(case.value, array, 1e-2), 1e-8)


@every_term
def test_gradients_have_the_shape_and_dtype_of_their_outputs(level, dtype):
    """Each gradient lies in memory as its output does."""
    case = Case(level, dtype)
    for name, gradient in case.evaluate().d_outputs.items():
        assert gradient.shape == case.student[name].shape
        assert gradient.dtype == dtype
        assert gradient.flags.c_contiguous


@every_term
def test_evaluating_is_pure(level, dtype):
    """Evaluating twice gives the same bits, and neither outputs, targets nor what is remembered change."""
    case = Case(level, dtype)
    arrays = {**case.student, **{f"first {n}": a for n, a in case.teachers[0].items()}, **case.batch.targets}
    arrays |= {f"state {name}": array for name, array in case.context.state.items()}
    first = case.evaluate()
    unchanged(arrays, case.evaluate)
    again = case.evaluate()
    assert_bits(again.value, first.value)
    for name, gradient in first.d_outputs.items():
        assert_bits(again.d_outputs[name], gradient)


@every_term
def test_gradients_in_float32_are_those_of_float64(level):
    """Training precision computes the gradients of the check's precision."""
    single, double = Case(level, "float32").evaluate(), Case(level, "float64").evaluate()
    for name, gradient in double.d_outputs.items():
        assert_gradient(single.d_outputs[name], gradient, 1e-5)


@every_term
@pytest.mark.parametrize("step", [0, 1, 50, 99])
def test_coefficients_are_finite_and_not_negative(level, step):
    """Neither a term's coefficient nor what it leaves of the task's loss turns negative during training."""
    progress = Progress(step, 100)
    got = level.weight(progress), level.supervised_weight(progress)
    assert np.isfinite(got).all()
    assert min(got) >= 0.0


# ------------------------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    ("level", "expected"),
    [(Trajectory(), [0.3, 0.425, 0.55, 0.675]), (TrajectoryDecaying(), [0.8, 0.675, 0.55, 0.425])],
)
def test_alpha_moves_linearly(level, expected):
    """α goes from 0.3 towards 0.8, or the other way; the task's loss keeps 1 − α."""
    got = [level.weight(Progress(step, 4)) for step in range(4)]
    assert got == pytest.approx(expected)
    assert [level.supervised_weight(Progress(step, 4)) for step in range(4)] == pytest.approx([1 - a for a in expected])


@pytest.mark.parametrize("level", [Trajectory(), TrajectoryDecaying()])
def test_trajectory_is_that_of_plain_loops(level):
    """The value is the naive distance from the first teacher's hidden states."""
    case = Case(level)
    got = case.evaluate().value
    expected = naive.hidden_distance(case.student["hidden"], case.teachers[0]["hidden"])
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("level", [Trajectory(), TrajectoryDecaying()])
def test_trajectory_of_the_teacher_itself_costs_nothing(level):
    """A student with the teacher's states has value and gradient zero."""
    case = Case(level)
    case.student["hidden"][...] = case.teachers[0]["hidden"]
    got = case.evaluate()
    assert not got.value.any()
    assert not got.d_outputs["hidden"].any()


def test_squared_error_is_that_of_plain_loops():
    """The task's loss is the naive one, without a mask and with one."""
    case = Case(SquaredError())
    prediction, target = case.student["prediction"], case.batch.targets["y"]
    np.testing.assert_allclose(case.evaluate().value, naive.squared_error(prediction, target), rtol=1e-13)
    mask = (draw("mask", (STEPS, BATCH)) > 0).astype(float)
    case.batch = Batch(case.batch.inputs, case.batch.targets, mask)
    np.testing.assert_allclose(case.evaluate().value, naive.squared_error(prediction, target, mask), rtol=1e-13)


def test_masked_squared_error_has_masked_gradients():
    """Where the mask is zero the gradient is zero; elsewhere it is the numeric slope."""
    case = Case(SquaredError())
    mask = (draw("mask", (STEPS, BATCH)) > 0).astype(float)
    case.batch = Batch(case.batch.inputs, case.batch.targets, mask)
    got = case.evaluate().d_outputs["prediction"]
    assert not got[mask == 0].any()
    assert_gradient(got, gradient_of(case.value, case.student["prediction"], 1e-2), 1e-8)


def test_a_term_without_a_schedule_counts_once():
    """By default a term has coefficient 1 and leaves the task's loss as it is."""
    got = SquaredError().weight(START), SquaredError().supervised_weight(START)
    assert got == (1.0, 1.0)
