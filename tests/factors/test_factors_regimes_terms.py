"""Terms on valence, features, sequences and weights: each against plain code, with its coefficient."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of
from kdrun.core.losses import mean_of
from kdrun.factors.contract import Batch, Penalty, Term
from kdrun.factors.feature.hidden_mse import HiddenMse
from kdrun.factors.future_valence.teacher import Teacher
from kdrun.factors.future_valence.truth import Truth
from kdrun.factors.regularization.l2 import L2
from kdrun.factors.sequence.seq_kd import SeqKd
from tests.core.comparing import assert_gradient, unchanged
from tests.factors.discovered import END, START, battery, context, draw
from tests.naive import valence as naive

SHAPES = [(1, 1, 1), (4, 3, 5), (2, 17, 3)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
TERMS = {"valence": Truth(), "taught valence": Teacher(), "features": HiddenMse(), "sequence": SeqKd()}
every_term = pytest.mark.parametrize("level", TERMS.values(), ids=TERMS)


class Case:
    """Outputs of student, first and second teacher, and a batch of regimes."""

    def __init__(self, shape=(4, 3, 5), dtype="float64"):
        steps, samples, units = shape
        wide, single = {"hidden": units, "logits": units}, {"valence": 1}
        self.student, self.first, self.second = (
            {n: draw(f"{who}/{n}", (steps, samples, k), dtype=dtype) for n, k in {**wide, **single}.items()}
            for who in ("student", "first", "second")
        )
        target = draw("target", (steps, samples, 1), 0.0, 1.0, dtype=dtype)
        self.batch = Batch(np.empty((steps, samples, 1)), {"valence": target})

    def evaluate(self, level):
        """Value and gradients."""
        return level.evaluate(self.student, (self.first, self.second), self.batch, context())

    def expected(self, level):
        """Value of each sample by plain code."""
        if isinstance(level, SeqKd):
            return naive.cross_entropy(self.student["logits"], self.first["logits"].argmax(axis=-1))
        if isinstance(level, HiddenMse):
            return naive.mean_square(self.student["hidden"], self.first["hidden"])
        target = self.batch.targets["valence"] if isinstance(level, Truth) else self.first["valence"]
        return naive.mean_square(self.student["valence"], target)


@every_term
@shapes
def test_values_are_those_of_plain_code(level, shape, dtype):
    """A value per sample; the second teacher is not asked."""
    case = Case(shape, dtype)
    got = case.evaluate(level).value
    np.testing.assert_allclose(got, case.expected(level), rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-12)


@every_term
def test_gradients_are_those_of_finite_differences(level):
    """Of the mean over samples, by the one output that the term reads."""
    case = Case()
    got = case.evaluate(level).d_outputs
    assert set(got) == set(level.want)
    (name,) = level.want
    expected = gradient_of(lambda: mean_of(case.evaluate(level).value), case.student[name], 1e-2)
    assert_gradient(got[name], expected, 1e-8)


@every_term
def test_arguments_are_only_read(level, dtype):
    """Outputs and targets keep their bits."""
    case = Case(dtype=dtype)
    arrays = {**case.batch.targets, **{f"s {n}": a for n, a in case.student.items()}}
    unchanged({**arrays, **{f"t {n}": a for n, a in case.first.items()}}, lambda: case.evaluate(level))


@pytest.mark.parametrize(
    ("level", "expected"),
    [(Truth(), 0.6), (Teacher(), 0.6), (HiddenMse(), 0.4), (SeqKd(), 1.0)],
    ids=str,
)
def test_coefficients_are_the_sources_own(level, expected):
    """λ2 = 0.4 and λ4 = 0.6 by default, throughout training, and the task's loss keeps its own."""
    assert level.weight(START) == level.weight(END) == expected
    assert level.supervised_weight(START) == 1.0
    assert type(level)(coefficient=0.25).weight(START) == 0.25


def test_valence_by_hand():
    """Errors 0.5 and −0.1 over two steps: mean square 0.13, slopes 2·error/2."""
    student = {"valence": np.array([[[0.5]], [[0.3]]])}
    batch = Batch(np.empty((2, 1, 1)), {"valence": np.array([[[0.0]], [[0.4]]])})
    got = Truth().evaluate(student, (), batch, context())
    np.testing.assert_allclose(got.value, [0.13])
    np.testing.assert_allclose(got.d_outputs["valence"].ravel(), [0.5, -0.1])


def test_features_by_hand():
    """Distances 3 and 4 of two units: (9 + 16)/2, slopes 3 and 4."""
    got = HiddenMse().evaluate(
        {"hidden": np.array([[[3.0, 4.0]]])}, ({"hidden": np.zeros((1, 1, 2))},), None, context()
    )
    np.testing.assert_allclose(got.value, [12.5])
    np.testing.assert_allclose(got.d_outputs["hidden"].ravel(), [3.0, 4.0])


def test_features_of_examples_without_time():
    """Hidden values [B, H] have a distance for each example."""
    hidden, reference = draw("flat", (5, 4)), draw("flat reference", (5, 4))
    got = HiddenMse().evaluate({"hidden": hidden}, ({"hidden": reference},), None, context())
    np.testing.assert_allclose(got.value, np.square(hidden - reference).mean(axis=1), rtol=1e-12)
    assert_gradient(got.d_outputs["hidden"], 2 * (hidden - reference) / 4 / 5, 1e-12)


def test_the_teachers_sequence_is_its_likeliest_class_at_each_step():
    """Logits that are shifted, stretched or tied at the end have the same answers: the first of the highest."""
    case = Case()
    expected = case.evaluate(SeqKd()).value
    case.first["logits"] = 3 * case.first["logits"] + 2
    np.testing.assert_array_equal(case.evaluate(SeqKd()).value, expected)
    case.first["logits"][...] = 0.0
    tied = naive.cross_entropy(case.student["logits"], np.zeros((4, 3), int))
    np.testing.assert_allclose(case.evaluate(SeqKd()).value, tied, rtol=1e-12)


def test_a_mask_leaves_steps_of_a_sequence_out():
    """Where it is zero there is no gradient; the mean is over the rest."""
    case = Case()
    mask = np.ones((4, 3))
    mask[1:, 0] = 0.0
    case.batch = case.batch._replace(mask=mask)
    got = case.evaluate(SeqKd())
    assert not got.d_outputs["logits"][1:, 0].any()
    p = naive.softmax(case.student["logits"])
    answers = case.first["logits"].argmax(axis=-1)
    losses = -np.log(np.take_along_axis(p, answers[..., np.newaxis], axis=-1)[..., 0])
    assert mean_of(got.value) == pytest.approx((losses * mask).sum() / mask.sum(), rel=1e-12)


# ------------------------------------------------------------------------------------------------ penalties


def weights():
    """Two matrices, and what is none."""
    shapes = {"w": (3, 4), "b": (4,), "tau": (4,), "w_out": (4, 2)}
    return {name: draw(name, shape) for name, shape in shapes.items()}


def test_the_square_of_all_matrices():
    """λ5 times the sum over both; biases and time constants are free."""
    latent = weights()
    value, gradients = L2(coefficient=0.01).evaluate(latent, context())
    assert value == pytest.approx(0.01 * (np.square(latent["w"]).sum() + np.square(latent["w_out"]).sum()), rel=1e-12)
    assert set(gradients) == {"w", "w_out"}
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, 0.02 * latent[name], rtol=1e-12)


@battery(Penalty)
def test_penalties_have_the_gradients_of_their_values(level):
    """By every array that is named; the others do not move the value."""
    latent = weights()
    _, gradients = level.evaluate(latent, context())
    for name, array in latent.items():
        expected = gradient_of(lambda: level.evaluate(latent, context())[0], array, 1e-2)
        if name in gradients:
            assert_gradient(gradients[name], expected, 1e-8)
        else:
            assert not expected.any()


@battery(Penalty)
def test_penalties_only_read(level, dtype):
    """Weights keep their bits, and gradients have their dtype."""
    latent = {name: array.astype(dtype) for name, array in weights().items()}
    unchanged(latent, lambda: level.evaluate(latent, context()))
    assert {gradient.dtype for gradient in level.evaluate(latent, context())[1].values()} == {np.dtype(dtype)}


def test_terms_of_the_source_are_terms_and_its_penalty_is_none():
    """Four are weighted by sample; the penalty on weights has no samples."""
    assert all(isinstance(level, Term) and level.per_sample for level in TERMS.values())
    assert not isinstance(L2(), Term)
