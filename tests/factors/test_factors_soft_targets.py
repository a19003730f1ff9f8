"""Soft targets: a battery over every level of the family, and each divergence by hand."""

from __future__ import annotations

import itertools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize

from kdrun.core.finite_differences import gradient_of, partial_derivative
from kdrun.engine.gradcheck import Combination, check
from kdrun.factors.contract import Batch, Context, Progress, Temperature
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.soft_targets.js import Js
from kdrun.factors.soft_targets.logit_mse import LogitMse
from kdrun.factors.soft_targets.reverse_kl import ReverseKl
from kdrun.factors.soft_targets.tv import Tv
from kdrun.factors.temperature.rising import Rising
from kdrun.models.mlp import Mlp
from kdrun.tasks.digits import Digits
from kdrun.tasks.losses import CrossEntropy
from tests.core.comparing import assert_bits, assert_gradient, too_slow_without_jit, unchanged
from tests.factors.discovered import STREAM
from tests.factors.soft import SHAPES, SOFT_TARGETS, WITH_TEMPERATURE, Case, smooth_case
from tests.naive import softmax as naive

every_level = pytest.mark.parametrize("level", SOFT_TARGETS.values(), ids=SOFT_TARGETS)
divergences = pytest.mark.parametrize("level", WITH_TEMPERATURE.values(), ids=WITH_TEMPERATURE)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
masks = pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
temperatures = pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])


def square_of(level, temperature):
    """What a value is scaled by."""
    return temperature**2 if getattr(level, "t_squared", False) else 1.0


def with_square(level, on):
    """A level with or without T²."""
    return type(level)(t_squared=on)


# ------------------------------------------------------------------------------------------------ battery


@every_level
@shapes
@temperatures
@masks
def test_values_are_those_of_plain_loops(level, shape, temperature, masked, dtype):
    """The value of each sample is the naive divergence, times T² where the level says so."""
    case = Case(level, shape, dtype, Temperature.fixed(temperature), masked)
    expected = square_of(level, temperature) * naive.divergence(level.name, *case.timed[:2], temperature, case.timed[2])
    tolerance = 3e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(case.evaluate().value, expected, rtol=tolerance, atol=tolerance * (1 + temperature**2))


@too_slow_without_jit
@every_level
@shapes
@masks
def test_gradients_by_the_student_are_those_of_finite_differences(level, shape, masked):
    """Logits of the student have the numeric slopes of the mean value."""
    case = smooth_case(level, shape=shape, masked=masked)
    assert_gradient(case.gradient(), gradient_of(case.value, case.student, 3e-3), 1e-8)


@every_level
@temperatures
def test_gradients_in_float32_are_those_of_float64(level, temperature):
    """Training precision computes the gradients of the check's precision."""
    single, double = (Case(level, dtype=kind, temperature=Temperature.fixed(temperature)) for kind in ("f4", "f8"))
    assert_gradient(single.gradient(), double.gradient(), 1e-5)


@every_level
@shapes
@temperatures
def test_gradients_of_a_row_add_up_to_zero(level, shape, temperature):
    """A constant on all logits changes no distribution, so that every row's gradient sums to zero."""
    got = Case(level, shape, "float64", Temperature.fixed(temperature)).gradient()
    assert np.abs(got).max() > 0.0
    np.testing.assert_allclose(got.sum(axis=-1), 0.0, rtol=0, atol=1e-15 * max(1.0, temperature))


@every_level
@shapes
@temperatures
def test_values_are_not_negative(level, shape, temperature):
    """Every divergence is positive where the distributions differ."""
    got = Case(level, shape, "float64", Temperature.fixed(temperature)).evaluate().value
    assert (got > 0.0).all()


@every_level
@shapes
def test_the_teachers_own_logits_cost_nothing(level, shape, dtype):
    """At equality value and gradient are zero, but for the rounding of a logarithm."""
    case = Case(level, shape, dtype)
    case.student[...] = case.teacher
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(case.evaluate().value, 0.0, rtol=0, atol=rounding)
    np.testing.assert_allclose(case.gradient(), 0.0, rtol=0, atol=rounding)


@every_level
def test_a_constant_on_all_logits_costs_nothing(level):
    """Student and teacher that differ by a constant have one distribution."""
    case = Case(level)
    case.student[...] = case.teacher + 5.0
    np.testing.assert_allclose(case.evaluate().value, 0.0, rtol=0, atol=1e-14)


@every_level
@pytest.mark.parametrize("shape", [(5, 2), (2, 3, 17)], ids=str)
def test_a_permutation_of_classes_permutes_the_gradient(level, shape, dtype, rng):
    """Classes have no order: values stay, gradients move along, but for rounding."""
    case = Case(level, shape, dtype)
    value, gradient = case.evaluate().value, case.gradient()
    order = rng.permutation(shape[-1])
    case.student, case.teacher = (np.ascontiguousarray(logits[..., order]) for logits in (case.student, case.teacher))
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(case.evaluate().value, value, rtol=tolerance, atol=tolerance)
    assert_gradient(case.gradient(), gradient[..., order], tolerance)


@every_level
@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("classes", [2, 17])
def test_extreme_logits_stay_finite(level, classes, temperature, dtype):
    """Logits of ±1e4 on opposite classes give finite values and gradients, the temperature's included."""
    case = Case(level, (2, classes), dtype, Temperature(temperature, temperature**2, is_learned=True))
    case.student[...], case.teacher[...] = -1e4, -1e4
    case.student[0, 0], case.teacher[0, -1] = 1e4, 1e4
    case.student[1, 0], case.teacher[1, 0] = 1e4, 1e4
    got = case.evaluate()
    assert np.isfinite(got.value).all()
    assert got.value[0] > 0.0
    assert np.isfinite(got.d_outputs["logits"]).all()
    assert all(np.isfinite(found).all() for found in got.d_hyper.values())


@every_level
@masks
def test_evaluating_is_pure(level, masked, dtype):
    """Logits of both, and the mask, keep their bits, and the same comes again."""
    case = Case(level, dtype=dtype, masked=masked)
    first = case.evaluate()
    arrays = {"student": case.student, "teacher": case.teacher, **({} if case.mask is None else {"mask": case.mask})}
    unchanged(arrays, case.evaluate)
    again = case.evaluate()
    assert_bits(again.value, first.value)
    assert_bits(again.d_outputs["logits"], first.d_outputs["logits"])


@every_level
def test_what_a_mask_leaves_out_does_not_count(level):
    """Logits of masked times change no bit of value or gradient, and have no gradient."""
    case = Case(level, (4, 3, 5), masked=True)
    assert not case.mask.all()
    value, gradient = case.evaluate().value, case.gradient()
    case.student[case.mask == 0] = 7.0
    assert_bits(case.evaluate().value, value)
    assert_bits(case.gradient()[case.mask > 0], gradient[case.mask > 0])
    assert not case.gradient()[case.mask == 0].any()


@every_level
def test_samples_do_not_know_each_other(level, dtype):
    """A sample's value is the same alone and among others, but for the rounding of a fifth."""
    case = Case(level, (5, 17), dtype)
    expected, student, teacher = case.evaluate().value, case.student, case.teacher
    for b in range(5):
        case.student, case.teacher = student[b : b + 1], teacher[b : b + 1]
        case.batch = Batch(case.batch.inputs[:1], {})
        assert case.evaluate().value[0] == pytest.approx(expected[b], rel=1e-15)


@every_level
def test_only_the_first_teacher_teaches(level):
    """Further teachers are for families of their own."""
    case = Case(level)
    outputs = [{"logits": case.teacher}, {"logits": case.student}]
    got = level.evaluate({"logits": case.student}, tuple(outputs), case.batch, case.context).value
    assert_bits(got, case.evaluate().value)


# ------------------------------------------------------------------------------------------------ by hand


HALVES, NINTHS = np.zeros((1, 2)), np.log([[1.0, 9.0]])
# Distances of q = (1/10, 9/10), the student, from p = (1/2, 1/2), the teacher.
BY_HAND = {
    "forward_kl": 0.5 * math.log(5) + 0.5 * math.log(5 / 9),
    "reverse_kl": 0.1 * math.log(1 / 5) + 0.9 * math.log(9 / 5),
    "js": 0.25 * math.log(5 / 3) + 0.25 * math.log(5 / 7) + 0.05 * math.log(1 / 3) + 0.45 * math.log(9 / 7),
    "tv": 0.4,
    "logit_mse": 0.125 * math.log(9) ** 2,
}


@every_level
def test_two_classes_by_hand(level):
    """A student of 1/10 and 9/10 and a teacher of two halves have the distances of the formulas."""
    case = Case(level, (1, 2), temperature=Temperature.fixed(1.0))
    case.student, case.teacher = NINTHS.copy(), HALVES.copy()
    assert case.evaluate().value[0] == pytest.approx(BY_HAND[level.name], rel=1e-13)


def rows_of(case, temperature):
    """p and q of every row, in numpy."""
    return (
        np.exp([naive.log_softmax(rows, temperature) for rows in logits.reshape(1, -1, logits.shape[-1])])[0]
        for logits in (case.teacher, case.student)
    )


@temperatures
@pytest.mark.parametrize(("t_squared", "factor"), [(True, lambda t: t), (False, lambda t: 1 / t)], ids=["T²", "seed"])
def test_the_gradient_of_forward_kl_is_the_difference(temperature, t_squared, factor):
    """T(q − p) with T², as Hinton has it; (q − p)/T without."""
    case = Case(ForwardKl(t_squared=t_squared), (5, 17), temperature=Temperature.fixed(temperature))
    p, q = rows_of(case, temperature)
    assert_gradient(case.gradient(), factor(temperature) * (q - p) / 5, 1e-13)


@temperatures
def test_the_gradient_of_reverse_kl_is_that_of_its_formula(temperature):
    """T·q_j[log(q_j/p_j) − KL(q‖p)]."""
    case = Case(ReverseKl(), (5, 17), temperature=Temperature.fixed(temperature))
    p, q = rows_of(case, temperature)
    log_ratio = np.log(q / p)
    expected = temperature * q * (log_ratio - (q * log_ratio).sum(axis=1, keepdims=True)) / 5
    assert_gradient(case.gradient(), expected, 1e-12)


@temperatures
def test_the_gradient_of_js_is_that_of_its_formula(temperature):
    """½q_j[log(q_j/m_j) − KL(q‖m)]/T with m = (p + q)/2."""
    case = Case(Js(), (5, 17), temperature=Temperature.fixed(temperature))
    p, q = rows_of(case, temperature)
    log_ratio = np.log(2 * q / (p + q))
    expected = 0.5 * q * (log_ratio - (q * log_ratio).sum(axis=1, keepdims=True)) / temperature / 5
    assert_gradient(case.gradient(), expected, 1e-12)


@temperatures
def test_the_gradient_of_tv_is_that_of_its_formula(temperature):
    """½q_j(σ_j − Σqσ)/T with σ = sign(q − p)."""
    case = Case(Tv(), (5, 17), temperature=Temperature.fixed(temperature))
    p, q = rows_of(case, temperature)
    sign = np.sign(q - p)
    expected = 0.5 * q * (sign - (q * sign).sum(axis=1, keepdims=True)) / temperature / 5
    assert_gradient(case.gradient(), expected, 1e-12)


def test_a_class_that_is_equal_has_no_sign_in_tv():
    """q = (¼, ¼, ½) and p = (¼, ½, ¼): σ = (0, −1, 1), Σqσ = ¼, gradient (−1, −5, 6)/32; distance ¼."""
    case = Case(Tv(), (1, 3), temperature=Temperature.fixed(1.0))
    case.student, case.teacher = np.log([[1.0, 1.0, 2.0]]), np.log([[1.0, 2.0, 1.0]])
    assert case.evaluate().value[0] == pytest.approx(0.25, rel=1e-15)
    np.testing.assert_allclose(case.gradient(), [[-1 / 32, -5 / 32, 6 / 32]], rtol=1e-14)


@divergences
@pytest.mark.parametrize("t_squared", [True, False])
def test_t_squared_multiplies_value_and_gradient(level, t_squared):
    """At T = 3 a level with T² has nine times the value and gradient of one without."""
    case = Case(with_square(level, t_squared), temperature=Temperature.fixed(3.0))
    plain = Case(with_square(level, False), temperature=Temperature.fixed(3.0))
    factor = 9.0 if t_squared else 1.0
    np.testing.assert_allclose(case.evaluate().value, factor * plain.evaluate().value, rtol=1e-14)
    assert_gradient(case.gradient(), factor * plain.gradient(), 1e-14)


def test_t_squared_is_on_for_the_divergences_that_grow():
    """By default both KLs have it, and the bounded ones do not."""
    got = {name: level.t_squared for name, level in WITH_TEMPERATURE.items()}
    assert got == {"forward_kl": True, "reverse_kl": True, "js": False, "tv": False}


def test_without_a_temperature_it_is_one():
    """Where nothing provides a temperature, logits are as they are."""
    case, bare = Case(ForwardKl(), temperature=Temperature.fixed(1.0)), Case(ForwardKl())
    bare.context.hyper = {}
    assert_bits(bare.evaluate().value, case.evaluate().value)
    assert_bits(bare.gradient(), case.gradient())


@pytest.mark.parametrize("name", ["forward_kl", "js"])
def test_the_second_opinion_on_values_and_gradients(name):
    """Autograd on the definition gives the same gradient."""
    case = Case(SOFT_TARGETS[name], (5, 17), temperature=Temperature.fixed(2.0))

    def log_softmax(z):
        a = z / 2.0
        return a - anp.log(anp.sum(anp.exp(a), axis=1, keepdims=True))

    def loss(z):
        log_q, log_p = log_softmax(z), log_softmax(case.teacher)
        p, q = anp.exp(log_p), anp.exp(log_q)
        if name == "forward_kl":
            return 4.0 * anp.sum(p * (log_p - log_q)) / 5
        log_m = anp.log((p + q) / 2)
        return anp.sum(p * (log_p - log_m) + q * (log_q - log_m)) / 10

    assert case.value() == pytest.approx(float(loss(case.student)), rel=1e-13)
    assert_gradient(case.gradient(), autograd.grad(loss)(case.student), 1e-12)


# ------------------------------------------------------------------------------------------------ bounds and limits


@pytest.mark.parametrize(("level", "bound"), [(Js(), math.log(2)), (Tv(), 1.0)], ids=["js", "tv"])
def test_the_bounded_ones_reach_their_bounds(level, bound, dtype):
    """Distributions without a common class are log 2 apart in js and 1 in tv; no others are further."""
    case = Case(level, (200, 5), dtype, Temperature.fixed(0.2))
    assert case.evaluate().value.max() <= bound * (1 + 1e-6)
    case.student[...], case.teacher[...] = 0.0, 0.0
    case.student[:, 0], case.teacher[:, 1] = 1e4, 1e4
    case.student[:, 2:], case.teacher[:, 2:] = -1e4, -1e4
    np.testing.assert_allclose(case.evaluate().value, bound, rtol=1e-6)


@pytest.mark.parametrize("level", [Js(), Tv()], ids=["js", "tv"])
def test_the_bounded_ones_are_symmetric(level):
    """Student and teacher may be exchanged."""
    case = Case(level)
    expected = case.evaluate().value
    case.student, case.teacher = case.teacher, case.student
    np.testing.assert_allclose(case.evaluate().value, expected, rtol=1e-13)


def test_the_directions_of_kl_are_exchanged_with_student_and_teacher():
    """forward_kl of exchanged logits is reverse_kl."""
    forward, reverse = Case(ForwardKl()), Case(ReverseKl())
    forward.student, forward.teacher = forward.teacher, forward.student
    np.testing.assert_allclose(reverse.evaluate().value, forward.evaluate().value, rtol=1e-12)


@pytest.mark.parametrize("level", [ForwardKl(), ReverseKl()], ids=["forward", "reverse"])
def test_with_growing_temperature_kl_tends_to_the_distance_of_logits(level):
    """T²·KL − (1/2K)Σd² shrinks as 1/T for T = 1e2, 1e3, 1e4, and so does the gradient's distance from d/K."""
    limit = Case(LogitMse(), (4, 7))
    value, gradient, errors = limit.evaluate().value, limit.gradient(), []
    for temperature in (1e2, 1e3, 1e4):
        case = Case(level, (4, 7), temperature=Temperature.fixed(temperature))
        errors.append(
            (
                np.abs(case.evaluate().value - value).max() / value.max(),
                np.abs(case.gradient() - gradient).max() / np.abs(gradient).max(),
            )
        )
    assert max(errors[0]) < 0.1
    for before, after in itertools.pairwise(errors):
        assert all(0.05 < later / earlier < 0.2 for earlier, later in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("level", "student", "teacher"), [(ForwardKl(), 1, 2), (ReverseKl(), 2, 1)], ids=["forward", "reverse"]
)
def test_what_is_left_at_a_high_temperature_is_that_of_the_derivation(level, student, teacher):
    """T·(T²·KL − ½E[d²]) tends to E[d²(s + 2t)]/6, and to E[d²(t + 2s)]/6 the other way, of centred logits."""
    limit, case = Case(LogitMse(), (4, 7)), Case(level, (4, 7), temperature=Temperature.fixed(1e3))
    got = 1e3 * (case.evaluate().value - limit.evaluate().value)
    s, t = (logits - logits.mean(axis=1, keepdims=True) for logits in (case.student, case.teacher))
    expected = ((s - t) ** 2 * (student * s + teacher * t)).mean(axis=1) / 6
    assert_gradient(got, expected, 0.02)


def test_logit_mse_by_hand():
    """Differences 3, 0 and 0 are 2, −1 and −1 when centred: 6/6 = 1, gradient 2/3, −1/3, −1/3."""
    case = Case(LogitMse(), (1, 3))
    case.student, case.teacher = np.array([[4.0, 1.0, 1.0]]), np.ones((1, 3))
    assert case.evaluate().value[0] == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(case.gradient(), [[2 / 3, -1 / 3, -1 / 3]], rtol=1e-14)


def test_logit_mse_reads_no_temperature():
    """It is what a temperature tends to, so that none acts on it."""
    case = Case(LogitMse())
    expected = case.evaluate().value
    case.context.hyper = {"temperature": Temperature.fixed(9.0)}
    assert LogitMse().hyper_names == ()
    assert_bits(case.evaluate().value, expected)


PLACES = np.arange(-10.0, 11.0)


def fitted_mean(level, start):
    """Where the mean of a discretised Gaussian goes that is fitted to modes at −5 and +6 (weights 0.55 and 0.45)."""
    modes = 0.55 * np.exp(-((PLACES + 5) ** 2) / 2) + 0.45 * np.exp(-((PLACES - 6) ** 2) / 2)
    case = Case(level, (1, PLACES.size), temperature=Temperature.fixed(1.0))
    case.teacher = np.log(modes / modes.sum() + 1e-9)[np.newaxis]

    def loss(parameters):
        mean, log_width = parameters
        case.student = -((PLACES - mean) ** 2)[np.newaxis] / (2 * math.exp(2 * log_width))
        result = case.evaluate()
        by_logit = result.d_outputs["logits"][0]
        by_mean = by_logit @ ((PLACES - mean) / math.exp(2 * log_width))
        by_width = by_logit @ ((PLACES - mean) ** 2 / math.exp(2 * log_width))
        return case.value(), np.array([by_mean, by_width])

    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-9, 9), (-1, 3)]).x


def test_forward_kl_covers_both_modes():
    """From either mode and from between, its mean ends between the modes, with a width that reaches them both."""
    for start in (-5.0, 0.5, 6.0):
        mean, log_width = fitted_mean(ForwardKl(), [start, 0.7])
        assert -2.0 < mean < 2.0
        assert math.exp(log_width) > 4.0


def test_reverse_kl_picks_a_mode():
    """From left and right its mean ends at the nearer mode, with that mode's own width."""
    for start, mode in ((-3.0, -5.0), (4.0, 6.0)):
        mean, log_width = fitted_mean(ReverseKl(), [start, 0.0])
        assert abs(mean - mode) < 0.3
        assert math.exp(log_width) < 1.5


# ------------------------------------------------------------------------------------------------ by the temperature


class Learned:
    """A soft target at a temperature that is learned, with T² of its own, as one number each that can be moved."""

    def __init__(self, level, weighted=False, masked=False, squared=5.0):
        self.at = np.array([1.7, squared])
        self.case = Case(level, (3, 4, 5), masked=masked)
        self.weights = np.array([0.2, 1.0, 3.0, 0.0]) if weighted else None
        # A kink of total variation must not lie on the way of the temperature.
        if not self.case.is_smooth:
            self.case = smooth_case(level, shape=(3, 4, 5), masked=masked)
        self.case.context.sample_weights = self.weights

    def evaluate(self):
        """Value and gradients at the present numbers."""
        self.case.context.hyper = {"temperature": Temperature(float(self.at[0]), float(self.at[1]), is_learned=True)}
        return self.case.evaluate()

    def value(self):
        """The mean of weighted values."""
        value = self.evaluate().value
        return float((value if self.weights is None else value * self.weights).mean())


@divergences
@pytest.mark.parametrize("t_squared", [True, False], ids=["T²", "plain"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain mean", "sample weights"])
@masks
def test_gradients_by_the_temperature_are_those_of_finite_differences(level, t_squared, weighted, masked):
    """By T with T² held, and by T² alone, of the mean of what sample weights make of the values."""
    learned = Learned(with_square(level, t_squared), weighted, masked)
    got = learned.evaluate().d_hyper["temperature"]
    expected = [partial_derivative(learned.value, learned.at, (place,), 1e-4) for place in range(2)]
    assert got.shape == (2,)
    assert got.dtype == np.float64
    assert_gradient(got, expected, 1e-8)
    assert (got[1] != 0.0) == t_squared


@temperatures
def test_the_slope_of_forward_kl_by_the_temperature_is_that_of_its_formula(temperature):
    """dKL/dT = −(1/T)·[Cov_p(z_t/T, log p/q) − (E_p − E_q)z_s/T]."""
    learned = Temperature(temperature, temperature**2, is_learned=True)
    case = Case(ForwardKl(t_squared=False), (1, 17), temperature=learned)
    p, q = (found[0] for found in rows_of(case, temperature))
    a, u, log_ratio = case.teacher[0] / temperature, case.student[0] / temperature, np.log(p / q)
    covariance = p @ (a * log_ratio) - (p @ a) * (p @ log_ratio)
    expected = -(covariance - (p @ u - q @ u)) / temperature
    assert case.evaluate().d_hyper["temperature"][0] == pytest.approx(expected, rel=1e-10)


@too_slow_without_jit
@divergences
@shapes
def test_gradients_by_the_teachers_logits_are_those_of_finite_differences(level, shape):
    """What the slope by T is made of: each level's `da` is the numeric slope by the teacher's logits."""
    case = smooth_case(level, shape=shape, temperature=Temperature.fixed(1.0))
    z_s, z_t = (logits.reshape(-1, shape[-1]) for logits in (case.student, case.teacher))
    _, _, da = level._rows(z_s, z_t, 1.0)

    def value():
        return float(level._rows(z_s, z_t, 1.0)[0].sum())

    assert_gradient(da, gradient_of(value, z_t, 1e-3), 1e-7)
    np.testing.assert_allclose(da.sum(axis=1), 0.0, rtol=0, atol=1e-15)


@divergences
def test_a_temperature_that_is_not_learned_has_no_gradient(level):
    """What nobody asks for is not computed."""
    assert not Case(level).evaluate().d_hyper


@divergences
def test_sample_weights_do_not_touch_the_gradient_of_logits(level):
    """The trainer applies them there; a term applies them to its hyper-parameters alone."""
    case = Case(level, temperature=Temperature(2.0, 4.0, is_learned=True))
    expected = case.gradient()
    case.context.sample_weights = np.array([0.5, 2.0, 0.0, 1.0])
    assert_bits(case.gradient(), expected)


# ------------------------------------------------------------------------------------------------ sharing the loss


@every_level
def test_the_weight_moves_linearly(level):
    """k goes from kd_weight to kd_weight_end, and the task keeps 1 − k."""
    level = type(level)(kd_weight=0.2, kd_weight_end=0.8)
    got = [(level.weight(Progress(step, 4)), level.supervised_weight(Progress(step, 4))) for step in range(5)]
    np.testing.assert_allclose(got, [[0.2, 0.8], [0.35, 0.65], [0.5, 0.5], [0.65, 0.35], [0.8, 0.2]], rtol=1e-14)


@every_level
def test_by_default_the_loss_is_shared_in_halves(level):
    """k is ½ throughout."""
    got = {(level.weight(Progress(step, 9)), level.supervised_weight(Progress(step, 9))) for step in range(10)}
    assert got == {(0.5, 0.5)}


@every_level
def test_added_terms_leave_the_task_its_loss(level):
    """Without mix the task's loss counts once, and k may be any number."""
    level = type(level)(kd_weight=3.0, mix=False)
    assert (level.weight(Progress(1, 2)), level.supervised_weight(Progress(1, 2))) == (3.0, 1.0)


@every_level
@pytest.mark.parametrize("key", ["kd_weight", "kd_weight_end"])
def test_a_share_above_one_is_refused(level, key):
    """The task's own loss would be climbed: the text says what is allowed, and what else to do."""
    with pytest.raises(ValidationError, match=rf"{key} is 1.5, .* must lie in 0 … 1, or mix be false"):
        type(level)(**{key: 1.5})
    assert type(level)(**{key: 1.0}).mix


# ------------------------------------------------------------------------------------------------ kinks


def test_total_variation_says_where_it_is_smooth():
    """A probability at the teacher's own is a kink; all well apart are none; what a mask leaves out does not count."""
    case = Case(Tv(), (2, 1, 2), temperature=Temperature.fixed(1.0))
    case.student, case.teacher = np.zeros((2, 1, 2)), np.zeros((2, 1, 2))
    case.teacher[..., 0] = 1.0
    assert case.is_smooth
    case.student[0, 0, 0] = 0.99
    assert not case.is_smooth
    case.batch = case.batch._replace(mask=np.array([[0.0], [1.0]]))
    assert case.is_smooth


@too_slow_without_jit
def test_total_variation_of_long_sequences_is_checked_at_a_smooth_point():
    """Of images row by row only the last step counts, and only there must no probability be near the teacher's."""
    techniques = {"soft_targets": Tv(), "temperature": Rising()}
    rows = list(check([Combination(Digits(batch=3, layout="rows"), Mlp.example(), techniques)]))
    assert [row for row in rows if not row.passed] == []


# ------------------------------------------------------------------------------------------------ cross-entropy


@shapes
@masks
def test_cross_entropy_is_that_of_plain_loops(shape, masked, dtype, rng):
    """The task's loss is the naive one per sample, and its gradient p − 1 or p, shared out."""
    case = Case(Js(), shape, dtype, masked=masked)
    labels = rng.integers(0, shape[-1], shape[:-1])
    context = Context({}, {}, Progress(0, 1), STREAM)
    got = CrossEntropy().evaluate({"logits": case.student}, (), case.batch._replace(targets={"label": labels}), context)
    student, _, mask = case.timed
    expected = naive.cross_entropy(student, labels.reshape(student.shape[:-1]), mask)
    np.testing.assert_allclose(got.value, expected, rtol=3e-6 if dtype == np.float32 else 1e-13)
    assert got.d_outputs["logits"].shape == shape


@shapes
@masks
def test_cross_entropy_has_the_gradient_of_automatic_differentiation(shape, masked, rng):
    """Autograd on the masked mean of −log softmax gives the same gradient."""
    case = Case(Js(), shape, masked=masked)
    labels = rng.integers(0, shape[-1], shape[:-1])
    mask = np.ones(shape[:-1]) if case.mask is None else case.mask

    def loss(z):
        right = anp.sum(z * np.eye(shape[-1])[labels], axis=-1)
        return anp.sum(mask * (anp.log(anp.sum(anp.exp(z), axis=-1)) - right)) / anp.sum(mask)

    context = Context({}, {}, Progress(0, 1), STREAM)
    got = CrossEntropy().evaluate({"logits": case.student}, (), case.batch._replace(targets={"label": labels}), context)
    assert got.value.mean() == pytest.approx(float(loss(case.student)), rel=1e-13)
    assert_gradient(got.d_outputs["logits"], autograd.grad(loss)(case.student), 1e-13)
