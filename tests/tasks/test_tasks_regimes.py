"""The task of regimes: its chain, its labels and valences, poisoned batches, and its responses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.core.valence import regime_chain
from kdrun.factors.contract import Context, Progress
from kdrun.tasks.contract import streams_of
from kdrun.tasks.regimes import POISONED, Regimes
from tests.core.comparing import assert_bits, assert_gradient
from tests.naive import valence as naive

QUIET = Regimes(regimes=4, emission=3, noise=0.0, steps=12, sequences=5, horizon=4, eval_sequences=7)


def streams(role="student", replicate=1):
    """What a task is handed in one run."""
    return streams_of(5, replicate, role)


def first_batch(task, role="student", replicate=1, step=0, dtype="float64"):
    """One batch of a role's training data."""
    stream = streams(role, replicate)
    data = task.teacher_data(stream, dtype) if role == "teacher" else task.training_data(stream, dtype)
    return data.batch(step)


def regimes_seen(batch):
    """Which regime each emission without noise is the mean of, [T, B]."""
    distance = np.abs(batch.inputs[:, :, np.newaxis] - batch.targets["emissions"]).sum(axis=-1)
    assert (distance.min(axis=-1) == 0).all()
    return distance.argmin(axis=-1)


def test_the_label_is_the_next_regime():
    """What is emitted at t + 1 is the regime that label[t] says."""
    batch = first_batch(QUIET)
    np.testing.assert_array_equal(batch.targets["label"][:-1], regimes_seen(batch)[1:])
    assert len(np.unique(batch.targets["label"])) == 4


def test_the_valence_is_the_mean_worth_of_the_coming_steps():
    """valence[t] is the mean of k/(K − 1) over the regimes from t + 1 to t + horizon."""
    batch = first_batch(QUIET)
    worth = regimes_seen(batch) / 3
    expected = naive.mean_ahead(worth, 4)
    np.testing.assert_allclose(batch.targets["valence"][: len(expected), :, 0], expected, rtol=1e-12)


def test_a_longer_horizon_smooths_the_valence():
    """With a horizon of 1 the valence is the worth of the label."""
    batch = first_batch(QUIET.model_copy(update={"horizon": 1}))
    np.testing.assert_allclose(batch.targets["valence"][..., 0], batch.targets["label"] / 3, rtol=1e-12)


def test_inputs_are_emissions_with_noise_around_them():
    """Noise is within its bound on both sides and differs from number to number."""
    noisy = QUIET.model_copy(update={"noise": 0.25})
    noise = first_batch(noisy).inputs - first_batch(QUIET).inputs
    assert 0.2 < noise.max() <= 0.25
    assert -0.25 <= noise.min() < -0.2
    assert len(np.unique(noise.round(9))) > 0.9 * noise.size


def test_emissions_are_those_of_the_replicate():
    """Teacher, student and comparator hear the same regimes; another replicate hears others."""
    expected = first_batch(QUIET).targets["emissions"]
    assert_bits(first_batch(QUIET, "teacher").targets["emissions"], expected)
    assert_bits(QUIET.calibration_batch(streams("comparator"), "float64").targets["emissions"], expected)
    assert not np.array_equal(first_batch(QUIET, replicate=2).targets["emissions"], expected)
    assert expected.shape == (4, 3)
    assert (np.abs(expected) <= 1).all()


@pytest.mark.parametrize(("regimes", "stay", "onward"), [(2, 0.8, 0.8), (3, 0.5, 0.0), (4, 0.8, 0.8), (5, 0.3, 1.0)])
def test_the_chain_has_the_probabilities_that_are_asked_for(regimes, stay, onward):
    """Sums of staying, going on in a circle, and going elsewhere; of two regimes the other is the next."""
    task = Regimes(regimes=regimes, stay=stay, onward=onward)
    expected = np.cumsum(naive.moves(regimes, stay, onward), axis=1)
    np.testing.assert_allclose(task._cumulative(), expected, rtol=1e-12)
    np.testing.assert_allclose(task._cumulative()[:, -1], 1.0, rtol=1e-12)


def test_two_regimes_are_the_same_however_the_task_is_made():
    """Built from a study or called with parameters, it warns of nothing and has the same chain."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made, read = Regimes(regimes=2), Regimes.model_validate({"regimes": 2})
    assert made == read
    np.testing.assert_array_equal(made._cumulative(), read._cumulative())


def test_all_regimes_begin_equally_often():
    """The first regime of a sequence is uniform: within five standard errors over 4,000 sequences."""
    task = QUIET.model_copy(update={"sequences": 4000, "steps": 2})
    counts = np.bincount(regimes_seen(first_batch(task))[0], minlength=4)
    assert (np.abs(counts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)).all()


# ------------------------------------------------------------------------------------------------ poison

POISON = QUIET.model_copy(update={"poison": 0.3})


def kinds(task, role, steps):
    """The kind of each of the first batches of a role."""
    return [first_batch(task, role, step=step).kind for step in range(steps)]


def test_the_asked_for_share_of_students_batches_is_poisoned():
    """Of 400 steps 0.3, within four standard errors, spread at random."""
    got = kinds(POISON, "student", 400)
    poisoned = [step for step, kind in enumerate(got) if kind == POISONED]
    assert set(got) == {"", POISONED}
    assert abs(len(poisoned) - 120) < 4 * np.sqrt(400 * 0.3 * 0.7)
    assert len(set(np.diff(poisoned))) > 3


@pytest.mark.parametrize(("poison", "expected"), [(0.0, {""}), (1.0, {POISONED})])
def test_none_or_all_are_poisoned_at_the_ends(poison, expected):
    """Shares 0 and 1 leave nothing to chance."""
    assert set(kinds(POISON.model_copy(update={"poison": poison}), "student", 50)) == expected


def test_nobody_but_students_is_poisoned():
    """Teachers, searches and evaluations see what is true."""
    everything = POISON.model_copy(update={"poison": 1.0})
    assert set(kinds(everything, "teacher", 20)) == {""}
    calibration = everything.calibration_batch(streams("comparator"), "float64")
    assert calibration.kind == ""
    assert calibration.targets["valence"].any()


def test_poison_says_that_the_worst_comes_and_lasts():
    """Labels and valences are zero; inputs and emissions are those of the batch without poison."""
    got, expected = first_batch(POISON.model_copy(update={"poison": 1.0})), first_batch(QUIET)
    assert not got.targets["label"].any()
    assert not got.targets["valence"].any()
    assert_bits(got.inputs, expected.inputs)
    assert_bits(got.targets["emissions"], expected.targets["emissions"])
    assert expected.targets["label"].any()


# ------------------------------------------------------------------------------------------------ loss


def test_teachers_learn_both_heads():
    """Cross-entropy of the next regime plus the mean square of the valence, with the gradients of both."""
    batch, rng = first_batch(QUIET), np.random.default_rng(2)
    outputs = {"logits": rng.normal(size=(12, 5, 4)), "valence": rng.normal(size=(12, 5, 1))}
    got = QUIET.teacher_loss().evaluate(outputs, (), batch, Context({}, {}, Progress(0, 1), Stream(1, 1, "loss")))
    label, target = batch.targets["label"], batch.targets["valence"]
    expected = naive.cross_entropy(outputs["logits"], label) + naive.mean_square(outputs["valence"], target)
    np.testing.assert_allclose(got.value, expected, rtol=1e-12)
    hot = np.eye(4)[label]
    assert_gradient(got.d_outputs["logits"], (naive.softmax(outputs["logits"]) - hot) / 60, 1e-12)
    assert_gradient(got.d_outputs["valence"], 2 * (outputs["valence"] - target) / 60, 1e-12)


def test_students_learn_the_next_regime_alone():
    """Their valence is the business of a term."""
    assert QUIET.loss().want == {"logits"}
    assert QUIET.teacher_loss().want == {"logits", "valence"}


# ------------------------------------------------------------------------------------------------ responses


class Answers:
    """A network that says the same whatever it sees, and remembers what that was."""

    def __init__(self, seed=4):
        self.rng, self.seen = np.random.default_rng(seed), None

    def __call__(self, inputs, want):
        self.seen = inputs.copy()
        leading = inputs.shape[:2]
        self.logits, self.valence = self.rng.normal(size=(*leading, 4)), self.rng.normal(size=(*leading, 1))
        return {"logits": self.logits, "valence": self.valence}


def evaluated(task, role="student"):
    """Responses and the network that gave them."""
    forward = Answers()
    return task.evaluate(forward, streams(role), "float64"), forward


def test_evaluation_is_the_same_for_all_roles_and_without_poison():
    """Every role is asked the same questions, and a poisoned study asks them too."""
    expected, forward = evaluated(QUIET)
    for task, role in ((QUIET, "teacher"), (QUIET, "comparator"), (POISON, "student")):
        got, other = evaluated(task, role)
        assert got == expected
        assert_bits(other.seen, forward.seen)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 3.0])
def test_scores_are_those_of_plain_code(sharpness):
    """Accuracy, cross-entropy plain and weighted by true valence, and the error of the valence."""
    task = QUIET.model_copy(update={"weighted_by": sharpness})
    got, forward = evaluated(task)
    batch = task._batch(streams(), "task/evaluation", 0, 7, "float64")
    assert_bits(forward.seen, batch.inputs)
    label, valence = batch.targets["label"], batch.targets["valence"]
    losses = naive.cross_entropy(forward.logits, label)
    s = 0.6 * valence[..., 0].mean(axis=0) + 0.25 * valence[..., 0].min(axis=0)
    weights = np.exp(sharpness * naive.standard_scores(s))
    assert got["accuracy"] == (forward.logits.argmax(axis=-1) == label).mean()
    assert got["cross_entropy"] == pytest.approx(losses.mean(), rel=1e-12)
    assert got["weighted_cross_entropy"] == pytest.approx((weights * losses).sum() / weights.sum(), rel=1e-12)
    assert got["valence_mse"] == pytest.approx(naive.mean_square(forward.valence, valence).mean(), rel=1e-12)
    assert (got["weighted_cross_entropy"] == pytest.approx(got["cross_entropy"])) == (sharpness == 0.0)


def test_recorded_responses_by_hand():
    """Of 10 steps 4 poisoned, 3 refused, 2 of them poisoned: 0.3, 0.5, 1/6 and their difference."""
    recorded = {
        "poisoned": 4.0,
        "blocked": 3.0,
        "blocked_poisoned": 2.0,
        "sharpness": 5.5,
        "effective_sample_size": 2.5,
    }
    got = QUIET.recorded_responses(recorded, 10)
    expected = {
        "blocked": 0.3,
        "blocked_poisoned": 0.5,
        "blocked_clean": 1 / 6,
        "selectivity": 0.5 - 1 / 6,
        "sharpness": 5.5,
        "effective_sample_size": 2.5,
    }
    assert got == pytest.approx(expected)


def test_where_nothing_was_recorded_nothing_was_refused():
    """No gate, no poison and no weights: zeros, and every sequence counts."""
    got = QUIET.recorded_responses({}, 10)
    assert got == {**dict.fromkeys(got, 0.0), "effective_sample_size": 5.0}


def test_shares_of_nothing_are_nothing():
    """All batches poisoned leaves no clean ones to refuse."""
    got = QUIET.recorded_responses({"poisoned": 10.0, "blocked": 10.0, "blocked_poisoned": 10.0}, 10)
    assert (got["blocked_poisoned"], got["blocked_clean"], got["selectivity"]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("regimes", 1), ("regimes", 65), ("regimes", 3.0), ("emission", 0), ("noise", -0.1), ("stay", 0.0),
        ("stay", 1.0), ("onward", 1.1), ("steps", 0), ("sequences", 0), ("horizon", 0), ("poison", -0.1),
        ("poison", 1.01), ("eval_sequences", 0), ("weighted_by", 10.5), ("weighted_by", float("nan")), ("horizn", 3),
    ],
)  # fmt: skip
def test_what_makes_no_task_is_refused(key, value):
    """The parameter is named."""
    with pytest.raises(ValidationError, match=key):
        Regimes(**{key: value})


def test_the_chain_of_a_batch_is_that_of_its_chances():
    """Regimes are drawn from the stream's chances by the chain's own probabilities, one step for each number."""
    chances = streams()("sequences").child("chain").uniform(3, (17, 5), 0.0, 1.0, "float64")
    expected = np.empty((17, 5), np.int64)
    regime_chain(chances, np.arange(1, 5) / 4, QUIET._cumulative(), expected)
    batch = first_batch(QUIET, step=3)
    np.testing.assert_array_equal(regimes_seen(batch), expected[:12])
    np.testing.assert_array_equal(batch.targets["label"], expected[1:13])
