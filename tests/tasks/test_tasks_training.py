"""Every training task that is found, whatever it is: its data, evaluation and loss. A new one is tested unlisted."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from kdrun.core.random import Stream
from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check
from kdrun.factors.contract import Context, Progress
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.tasks.contract import Demonstration, TrainingTask, streams_of
from kdrun.tasks.discover import tasks
from tests.core.comparing import assert_bits, too_slow_without_jit

TASKS = {name: cls for name, cls in tasks().items() if issubclass(cls, TrainingTask)}


@pytest.fixture(params=TASKS)
def task(request):
    """The small instance of each task."""
    return TASKS[request.param].example()


def streams(replicate=1, role="student", seed=5):
    """What a task is handed in one run: streams of that run's role."""
    return streams_of(seed, replicate, role)


def arrays_of(batch) -> dict[str, Any]:
    """Everything of a batch, in arrays of its own."""
    found = {"inputs": batch.inputs, **batch.targets}
    if batch.mask is not None:
        found["mask"] = batch.mask
    return {name: array.copy() for name, array in found.items()}


def assert_same(got, expected):
    """Two batches hold the same bits."""
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert_bits(array, expected[name])


def first_batch(task, dtype="float32", step=0, **which):
    return arrays_of(task.training_data(streams(**which), dtype).batch(step))


def leading_of(task, batch):
    """T and B of the inputs, or B where they have no time."""
    assert batch.inputs.ndim == 2 + task.has_time
    return batch.inputs.shape[:-1]


class Watched:
    """A small random network that remembers what it was shown."""

    def __init__(self, task, dtype):
        model = (Cfc if task.has_time else Mlp)(hidden=3)
        self.network = model.build(task.inputs, task.heads, task.step_time, np.dtype(dtype))
        self.weights = self.network.initial_parameters(Stream(3, 1, "init"), np.dtype(dtype))
        self.seen: list[Any] = []

    def __call__(self, inputs, want):
        self.seen.append(inputs.copy())
        return self.network.forward(self.weights, inputs, want)


def evaluated(task, dtype="float32", **which):
    """Responses of a small random network, and the inputs that it saw."""
    forward = Watched(task, dtype)
    return dict(task.evaluate(forward, streams(**which), np.dtype(dtype))), forward.seen


def test_it_says_what_it_is(task):
    """Title, source, every response in words, and a description of every parameter."""
    assert task.title
    assert task.source
    assert type(task).__doc__
    assert all(task.responses.values())
    for name, field in type(task).model_fields.items():
        assert field.description or isinstance(getattr(task, name), BaseModel), name


def test_a_batch_has_the_shapes_that_the_task_says(task, dtype):
    """Inputs [T, B, D] or [B, D], targets and mask likewise; contiguous, of the dtype (labels int64), and finite."""
    batch = task.training_data(streams(), dtype).batch(0)
    leading = leading_of(task, batch)
    assert min(leading) >= 1
    assert batch.inputs.shape[-1] == task.inputs
    for name, array in arrays_of(batch).items():
        # What regimes emit is told of each regime, not of each step.
        assert array.shape[: len(leading)] == leading or name == "emissions"
        assert array.dtype == (np.int64 if name == "label" else dtype), name
        assert np.isfinite(array).all(), name
    assert batch.inputs.flags.c_contiguous
    assert batch.mask is None or batch.mask.sum() > 0


def test_the_loss_reads_the_batch(task, dtype):
    """A finite value per sample; its gradients have the shapes of the heads and are not zero."""
    batch = task.training_data(streams(), dtype).batch(0)
    leading = leading_of(task, batch)
    outputs = {name: np.full((*leading, columns), 0.3, dtype) for name, columns in task.heads.items()}
    context = Context({}, {}, Progress(0, 1), Stream(1, 1, "loss"))
    for loss in (task.loss(), task.teacher_loss()):
        result = loss.evaluate(outputs, (), batch, context)
        assert result.value.shape == leading[-1:]
        assert np.isfinite(result.value).all()
        for name in loss.want:
            assert result.d_outputs[name].shape == outputs[name].shape
            assert np.abs(result.d_outputs[name]).sum() > 0


def test_a_step_has_its_own_data_for_ever(task, dtype):
    """The same bits from any instance, whatever steps came before."""
    data = task.training_data(streams(), dtype)
    for step in (0, 1, 7, 1, 150, 0):
        assert_same(arrays_of(data.batch(step)), first_batch(task, dtype, step))


def test_steps_replicates_seeds_and_roles_have_data_of_their_own(task):
    """Nothing is drawn twice; neither is what a search goes by."""
    found = [
        first_batch(task)["inputs"],
        first_batch(task, step=1)["inputs"],
        first_batch(task, replicate=2)["inputs"],
        first_batch(task, seed=6)["inputs"],
        first_batch(task, role="teacher")["inputs"],
        arrays_of(task.calibration_batch(streams(), "float32"))["inputs"],
    ]
    assert len({array.tobytes() for array in found}) == len(found)


def test_calibration_is_like_training_data(task, dtype):
    """Of the same shapes but for the number of samples, and the same whenever it is asked for."""
    got = arrays_of(task.calibration_batch(streams(), dtype))
    assert_same(arrays_of(task.calibration_batch(streams(), dtype)), got)
    expected = first_batch(task, dtype)
    samples = int(task.has_time)
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert array.dtype == expected[name].dtype
        assert np.delete(array.shape, samples).tolist() == np.delete(expected[name].shape, samples).tolist()


def test_every_response_is_measured(task, dtype):
    """Training and evaluation give the declared responses and no others, all of them finite numbers."""
    got = {**task.training_responses(0.5), **task.recorded_responses({}, 10), **evaluated(task, dtype)[0]}
    assert got.keys() == task.responses.keys()
    assert all(isinstance(value, float) and np.isfinite(value) for value in got.values())


def test_evaluation_is_the_same_for_all_runs_of_a_replicate(task, dtype):
    """Teacher, student and comparator answer the same questions, however much was trained before."""
    expected, questions = evaluated(task, dtype)
    data = task.training_data(streams(), dtype)
    for step in range(3):
        data.batch(step)
    for role in ("student", "teacher", "comparator"):
        got, seen = evaluated(task, dtype, role=role)
        assert got == expected
        assert [array.tobytes() for array in seen] == [array.tobytes() for array in questions]


def test_both_precisions_see_the_same(task):
    """Data and responses in float32 are those in float64, rounded."""
    single, double = first_batch(task, "float32"), first_batch(task, "float64")
    for name, array in single.items():
        np.testing.assert_allclose(array, double[name], rtol=0, atol=2e-5)
    got, expected = evaluated(task, "float32")[0], evaluated(task, "float64")[0]
    assert got == pytest.approx(expected, rel=1e-4)


@too_slow_without_jit
def test_the_gradient_through_a_network_is_right(task):
    """Analytic against finite differences to 1e-6 in double precision, and single precision as studies ask for it."""
    rows = list(check([Combination(task, (Cfc if task.has_time else Mlp).example(), {})]))
    assert [row for row in rows if not row.passed] == []
    assert max(row.max_relative_error for row in rows if row.dtype == "float64") <= 1e-6


def test_it_can_be_sent_to_a_worker(task):
    """Pickled, it gives the same data."""
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert_same(first_batch(again), first_batch(task))


def test_a_demonstration_is_whole(task):
    """Where there is one: arrays of one length, true input for part of it, and the same each time."""
    found = task.demonstrate(Watched(task, "float32"), np.dtype("float32"))
    if found is None:
        return
    assert isinstance(found, Demonstration)
    assert found.time_label
    assert found.value_label
    assert 0 < found.given < len(found.time)
    again = task.demonstrate(Watched(task, "float32"), np.dtype("float32"))
    for name in ("time", "target", "one_step", "free"):
        array = getattr(found, name)
        assert array.shape == found.time.shape
        assert np.isfinite(array).all()
        assert_bits(array, getattr(again, name))
    assert_bits(found.free[: found.given], found.one_step[: found.given])
