"""The same bits on every processor: a tiny study of each training task, under machine code of two kinds."""

from __future__ import annotations

import json

import pytest

from kdrun.core.jit import JIT_DISABLED
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.discover import tasks
from tests.core.processes import run_python

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")

TASKS = [name for name, cls in tasks().items() if issubclass(cls, TrainingTask)]
SSE2 = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
# Each task's data in both precisions, and a teacher and a ternary student trained on it.
DIGESTS = """
import hashlib, json
import numpy as np
from kdrun.core.random import Stream
from kdrun.engine.objective import Objective
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.discover import tasks

SINGLE = np.dtype("float32")

def stream(purpose):
    return Stream(7, 1, "student/" + purpose)

def data(task, dtype):
    batches = [task.training_data(stream, dtype).batch(step) for step in (0, 3)]
    batches.append(task.calibration_batch(stream, dtype))
    return [array.tobytes() for batch in batches for array in (batch.inputs, *batch.targets.values())]

def trained(task, techniques):
    cell = (Cfc if task.has_time else Mlp)(hidden=5)
    network = cell.build(task.inputs, task.heads, task.step_time, SINGLE)
    latent = network.initial_parameters(stream("init"), SINGLE)
    objective = Objective(network, latent, task.loss(), recipe_of(techniques), (), stream)
    last = Trainer(objective, Adam(lr=0.01), Constant()).train(task.training_data(stream, SINGLE), 8, Series.of(8))
    responses = {**task.training_responses(last.supervised), **task.evaluate(objective.forward, stream, SINGLE)}
    return [latent.flat.tobytes(), *(value.hex().encode() for _, value in sorted(responses.items()))]

found = {}
for name, cls in tasks().items():
    if issubclass(cls, TrainingTask):
        task = cls.example()
        parts = data(task, "float32") + data(task, "float64")
        parts += trained(task, {}) + trained(task, {"quantizer": Ternary(), "gradient": Smoothstep()})
        found[name] = hashlib.sha256(b"|".join(parts)).hexdigest()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def digests():
    """What this machine and a processor without vectors of its own come to, by task."""
    return json.loads(run_python(DIGESTS, {})), json.loads(run_python(DIGESTS, SSE2))


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_tiny_study_has_the_same_bits_under_sse2(digests, name):
    """Data, both networks and every response of a task are equal, bit for bit."""
    here, there = digests
    assert here[name] == there[name]
