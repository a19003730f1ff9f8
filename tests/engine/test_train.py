"""The training loop: against a naive training, against a golden trajectory, and what happens when a loss blows up."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from kdrun.core.jit import JIT_DISABLED
from kdrun.core.random import Stream
from kdrun.engine.joint import JointLoss
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.engine.train import HISTORY_POINTS, Diverged, Series, Trainer
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.smoothstep_plateau import SmoothstepPlateau
from kdrun.factors.gradient.smoothstep_unit import SmoothstepUnit
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.lr_schedule.step import Step
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.tasks.sine import Sine
from tests.engine import golden
from tests.naive import training

TASK = Sine(steps=4, sequences=2, dt=0.3)
MODEL = Cfc(hidden=3)
EPOCHS = 6


def stream(purpose: str) -> Stream:
    return Stream(11, 1, purpose)


def parameters(purpose: str):
    return MODEL.build(1, {"prediction": 1}, TASK.dt, "float64").initial_parameters(stream(purpose), "float64")


@pytest.mark.parametrize("shape", [Ste(), Smoothstep(), SmoothstepUnit(), SmoothstepPlateau()], ids=lambda s: s.name)
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_training_follows_the_equations(shape, distilled, joint):
    """Six epochs of a ternary student have the losses of a naive training with numeric gradients."""
    latent, taught = parameters("student"), parameters("teacher")
    techniques = {"quantizer": Ternary(), "gradient": shape, **({"distillation": Trajectory()} if distilled else {})}
    teacher = TeacherModel(MODEL.build(1, {"prediction": 1}, TASK.dt, "float64"), taught)
    data = TASK.training_data(stream, "float64")
    batches = [(data.batch(epoch).inputs, data.batch(epoch).targets["y"]) for epoch in range(EPOCHS)]
    expected = training.train(
        {name: array.copy() for name, array in latent.items()},
        taught,
        batches,
        TASK.dt,
        shape.name,
        lambda progress: 0.3 + 0.5 * progress if distilled else 0.0,
        lr=0.05,
        clip=0.1,
    )
    network = MODEL.build(1, {"prediction": 1}, TASK.dt, "float64")
    objective = Objective(network, latent, TASK.loss(), recipe_of(techniques), (teacher,), stream)
    series, joint_loss = Series.of(EPOCHS), JointLoss.of(objective) if joint else None
    Trainer(objective, Adam(lr=0.05, clip=0.1), Constant(), joint_loss).train(data, EPOCHS, series)
    got = [value for _, value in series.points["loss"]]
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert abs(got[-1] - got[0]) > 1e-3


@pytest.mark.skipif(JIT_DISABLED, reason="plain numpy rounds twice where a fused multiply-add rounds once")
def test_the_golden_trajectory_has_not_moved():
    """Forty epochs of a teacher and a student have the same bits as when they were recorded."""
    assert golden.trajectory() == json.loads(golden.FILE.read_text())


def float_objective() -> Objective:
    return Objective(
        MODEL.build(1, {"prediction": 1}, TASK.dt, "float32"), _single(), TASK.loss(), Recipe(), (), stream
    )


def _single():
    return MODEL.build(1, {"prediction": 1}, TASK.dt, "float32").initial_parameters(stream("init"), "float32")


def test_a_loss_that_is_no_number_is_a_divergence():
    """Training stops at the epoch where it happens, and says so."""
    objective = float_objective()
    objective.latent["w_out"][...] = np.inf
    with pytest.raises(Diverged, match="epoch 0"):
        Trainer(objective, Adam(), Constant()).train(TASK.training_data(stream, "float32"), 5, Series.of(5))


def test_the_learning_rate_schedule_reaches_the_update():
    """After the last drop of a steep schedule nothing moves any more."""
    objective = float_objective()
    trainer = Trainer(objective, Adam(), Step(drops=1, ratio=1e-12))
    data = TASK.training_data(stream, "float32")
    trainer.train(data, 1, Series.of(1))
    moved = objective.latent.flat.copy()
    assert not np.array_equal(moved, _single().flat)

    class LateHalf:
        def batch(self, step):
            return data.batch(step)

    before = {}
    original = trainer._update

    def spy(progress, penalties):
        before[progress.step] = objective.latent.flat.copy()
        original(progress, penalties)

    trainer._update = spy  # type: ignore[method-assign]
    trainer.train(LateHalf(), 4, Series.of(4))
    assert not np.array_equal(before[1], before[0])
    np.testing.assert_allclose(before[3], before[2], atol=1e-12)


def test_histories_are_bounded_and_keep_the_last_step():
    """However long a training is, a series has about two hundred points, its last step among them."""
    series = Series.of(9_999)
    for step in range(9_999):
        series.step = step
        series.add("loss", 1.0)
    history = series.histories()["loss"]
    assert len(history.epochs) <= HISTORY_POINTS + 1
    assert (history.epochs[0], history.epochs[-1]) == (0, 9_998)


def test_clipping_bounds_one_norm_over_weights_and_scales():
    """With a tiny bound Adam's first moments have that norm, over both groups together."""
    latent = _single()
    techniques = {"quantizer": Ternary(), "gradient": Ste()}
    network = MODEL.build(1, {"prediction": 1}, TASK.dt, "float32")
    objective = Objective(network, latent, TASK.loss(), recipe_of(techniques), (), stream)
    trainer = Trainer(objective, Adam(clip=1e-3), Constant())
    trainer.train(TASK.training_data(stream, "float32"), 1, Series.of(1))
    moments = [trainer.groups[name].memory["mean"].astype(np.float64) / 0.1 for name in ("latent", "scales")]
    assert math.sqrt(sum(float((moment**2).sum()) for moment in moments)) == pytest.approx(1e-3, rel=1e-5)
