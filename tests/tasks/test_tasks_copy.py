"""Signs to repeat: what a sequence is, what counts, and how answers are judged."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.factors.contract import Context, Progress
from kdrun.tasks.copy import Copy

TASK = Copy(symbols=2, blanks=3, sequences=4, eval={"sequences": 50})
SIGNS = np.array([[1.0, -1.0], [-1.0, -1.0]])


def stream(purpose: str) -> Stream:
    return Stream(5, 2, f"student/{purpose}")


def test_a_sequence_is_signs_then_blanks_then_the_call_to_repeat():
    """Written out, for two sequences of two signs and three blanks."""
    got = TASK.batch(SIGNS)
    np.testing.assert_array_equal(got.inputs[:, 0, 0], [1, -1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(got.inputs[:, 1, 0], [-1, -1, 0, 0, 0, 0, 0])
    for b in range(2):
        np.testing.assert_array_equal(got.inputs[:, b, 1], [0, 0, 0, 0, 0, 1, 1])
        np.testing.assert_array_equal(got.mask[:, b], [0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(got.targets["y"][5:, :, 0], SIGNS)


def test_only_the_repeated_signs_count():
    """What is said before the recall changes neither the value nor its gradient."""
    batch = TASK.batch(SIGNS)
    prediction = batch.targets["y"].copy()
    prediction[:5] = 9.0
    result = TASK.loss().evaluate(
        {"prediction": prediction}, (), batch, Context({}, {}, Progress(0, 1), Stream(1, 1, "loss"))
    )
    assert (result.value == 0.0).all()
    assert (result.d_outputs["prediction"] == 0.0).all()


def test_the_default_is_eight_signs_twenty_blanks_and_eight_to_repeat():
    """36 steps."""
    batch = Copy().training_data(stream, "float32").batch(0)
    assert batch.inputs.shape == (36, 64, 2)
    assert batch.mask.sum() == 8 * 64


def test_signs_are_fair_and_independent_of_each_other():
    """Half of them are +1, in every place, and places do not know of each other."""
    task = Copy(sequences=4000)
    signs = task.training_data(stream, "float64").batch(3).inputs[:8, :, 0]
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(np.cov(signs) - np.eye(8)).max() < 0.08
    assert np.abs(signs.mean(axis=1)).max() < 0.08


def answers(change):
    """Responses of somebody who knows the targets of evaluation, and changes them."""
    return TASK.evaluate(lambda inputs, want: {"prediction": change(known(inputs))}, stream, np.dtype("float64"))


def known(inputs):
    target = np.zeros((*inputs.shape[:2], 1))
    target[-2:, :, 0] = inputs[:2, :, 0]
    return target


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda target: target, (0.0, 1.0)),
        (lambda target: -target, (4.0, 0.0)),
        (lambda target: 0.5 * target, (0.25, 1.0)),
        (lambda target: 0.0 * target, (1.0, 0.0)),
        (lambda target: np.full_like(target, np.nan), (np.nan, 0.0)),
    ],
    ids=["right", "wrong", "hesitant", "silent", "broken"],
)
def test_answers_are_judged(change, expected):
    """The error is the mean of squares over the repeated signs; an answer counts as right where its sign is."""
    got = answers(change)
    assert (got["eval_mse"], got["accuracy"]) == pytest.approx(expected, nan_ok=True)


def test_half_of_the_signs_right_is_an_accuracy_of_one_half():
    """The first of the two signs is repeated, the second is turned round."""

    def change(target):
        target[-1] *= -1
        return target

    assert answers(change) == pytest.approx({"eval_mse": 2.0, "accuracy": 0.5})


def test_replicates_are_evaluated_on_sequences_of_their_own():
    """What is the same for all runs of a replicate differs between replicates."""
    seen = []

    def forward(inputs, want):
        seen.append(inputs.copy())
        return {"prediction": known(inputs)}

    for replicate in (1, 2):
        TASK.evaluate(forward, lambda purpose, r=replicate: Stream(5, r, purpose), np.dtype("float32"))
    assert not np.array_equal(seen[0], seen[1])
