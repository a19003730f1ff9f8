"""The golden loss trajectory: `python -m tests.engine.golden` writes it anew to tests/engine/golden.json."""

from __future__ import annotations

import json
from pathlib import Path

from kdrun.core.random import Stream
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.tasks.sine import Sine

FILE = Path(__file__).with_name("golden.json")
EPOCHS = 40


def trajectory() -> dict[str, list[str]]:
    """Losses of a float teacher, the ternary student that starts from it, and one that is clipped, as `float.hex`."""
    task, model = Sine(steps=20, sequences=5), Cfc(hidden=18)
    latent = model.build(1, {"prediction": 1}, task.dt, "float32").initial_parameters(Stream(42, 1, "init"), "float32")
    techniques = {"quantizer": Ternary(), "gradient": Smoothstep(), "distillation": Trajectory()}
    found = {}
    for name, recipe, clip in (
        ("teacher", recipe_of({}), 5.0),
        ("student", recipe_of(techniques), 5.0),
        ("clipped", recipe_of(techniques), 0.02),
    ):
        teacher = TeacherModel(model.build(1, {"prediction": 1}, task.dt, "float32"), latent.copy())
        network = model.build(1, {"prediction": 1}, task.dt, "float32")
        objective = Objective(network, latent, task.loss(), recipe, (teacher,), lambda purpose: Stream(42, 1, purpose))
        series = Series.of(EPOCHS)
        data = task.training_data(lambda purpose: Stream(42, 1, purpose), "float32")
        Trainer(objective, Adam(lr=1e-2, clip=clip), Constant()).train(data, EPOCHS, series)
        found[name] = [value.hex() for _, value in series.points["loss"]]
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(trajectory(), indent=0) + "\n")
