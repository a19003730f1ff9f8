"""What must hold of the code, one function each; a mutant is caught when one of them raises AssertionError.

`python -m tests.mutants.checks NAME` runs one of them, on whatever copy of kdrun comes first on the path.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from kdrun.core.random import Stream
from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.run import Finished, _Setting, execute
from kdrun.engine.train import Series, Trainer
from kdrun.factors.contract import Level, Progress
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.temperature.ctkd import Ctkd
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.records import Run
from kdrun.tasks.digits import Digits
from kdrun.tasks.sine import Sine


def _gradients_pass(techniques: dict[str, Level]) -> None:
    row = next(check([Combination(Sine.example(), Cfc(hidden=4), techniques)]))
    assert row.dtype == "float64"
    assert row.passed, row


def gradients_of_a_float_teacher() -> None:
    """Weights, biases and time constants agree with finite differences."""
    _gradients_pass({})


def gradients_of_scales() -> None:
    """So do the learned scales of a ternary student."""
    _gradients_pass({"quantizer": Ternary(), "gradient": Ste()})


def gradients_through_a_shape() -> None:
    """A mask is the derivative of the antiderivative that its level declares."""
    _gradients_pass({"quantizer": Ternary(), "gradient": Smoothstep()})


def trajectory_weight_grows() -> None:
    """At a fraction p of training the loss is (1 − α)·½(y − y*)² + α·(1/2H)Σ(h − h_t)² with α = 0.3 + 0.5p."""
    task, model = Sine(steps=6, sequences=2), Cfc(hidden=3)

    def stream(purpose: str) -> Stream:
        return Stream(1, 1, purpose)

    def network() -> tuple:
        return model.build(1, {"prediction": 1}, task.dt, "float64"), model.build(
            1, {"prediction": 1}, task.dt, "float64"
        )

    student, teacher = network()
    latent, taught = (student.initial_parameters(stream(name), "float64") for name in ("student", "teacher"))
    recipe = recipe_of({"distillation": Trajectory()})
    objective = Objective(student, latent, task.loss(), recipe, (TeacherModel(teacher, taught),), stream)
    progress = Progress(1, 5)
    objective.prepare(progress)
    batch = task.training_data(stream, "float64").batch(0)
    got = objective.evaluate(batch, progress).value
    mine, other = network()
    want = frozenset({"prediction", "hidden"})
    outputs, states = mine.forward(latent, batch.inputs, want), other.forward(taught, batch.inputs, want)["hidden"]
    alpha = 0.3 + 0.5 * 0.2
    error = 0.5 * np.mean((outputs["prediction"] - batch.targets["y"]) ** 2)
    distance = 0.5 * np.mean((outputs["hidden"] - states) ** 2)
    np.testing.assert_allclose(got, (1 - alpha) * error + alpha * distance, rtol=1e-12)


def gradients_of_soft_targets() -> None:
    """Soft targets at a learned temperature agree with finite differences, by the network and by θ."""
    techniques: dict[str, Level] = {"soft_targets": ForwardKl(), "temperature": Ctkd()}
    row = next(check([Combination(Digits.example(), Mlp(hidden=3), techniques)]))
    assert row.passed, row


def an_anchor_pulls() -> None:
    """A learned temperature that is strongly anchored at 4 goes there from 8, however the loss pulls."""
    task, model = Digits(batch=8, train_size=40), Mlp(hidden=4)

    def stream(purpose: str) -> Stream:
        return Stream(1, 1, purpose)

    networks = [model.build(task.inputs, task.heads, task.step_time, "float32") for _ in range(2)]
    latent, taught = (
        network.initial_parameters(stream(str(place)), "float32") for place, network in enumerate(networks)
    )
    recipe = recipe_of({"soft_targets": ForwardKl(), "temperature": Ctkd(start=8.0, anchor=100.0, anchor_at=4.0)})
    objective = Objective(networks[0], latent, task.loss(), recipe, (TeacherModel(networks[1], taught),), stream)
    series = Series.of(200)
    Trainer(objective, Adam(lr=1e-2), Constant()).train(task.training_data(stream, "float32"), 200, series)
    temperatures = [value for _, value in series.points["temperature"]]
    assert abs(temperatures[-1] - 4.0) < 0.5, temperatures[-1]


def roles_share_the_test_images() -> None:
    """Teachers train on no image that students are tested on."""
    task = Digits()

    def streams(role: str) -> Callable[[str], Stream]:
        return _Setting(Run("x", "treatment", 1, {"seed": 5, "task": {"name": "digits"}}, ()), role).stream

    taught = task.teacher_data(streams("teacher"), "float32")
    seen = {int(number) for step in range(100) for number in taught.batch(step).ids}
    assert not seen & set(task.part(streams("student"), "test").tolist())


def _run(
    kind: str, evaluation_phases: int, replicate: int = 1, needs: tuple[Finished, ...] = (), **spec: object
) -> Finished:
    task = {"name": "sine", "steps": 6, "sequences": 3, "eval": {"phases": evaluation_phases, "steps": 5}}
    run = Run(
        run_id=f"{kind}{replicate}",
        kind=kind,  # type: ignore[arg-type]
        replicate=replicate,
        spec={"seed": 5, "task": task, "model": {"cell": "cfc", "hidden": 3}, **spec},
        needs=tuple(finished.run.run_id for finished in needs),
    )
    outcome = execute(run, needs)
    assert outcome.status == "done", outcome.error
    return Finished(run, outcome)


def search_never_sees_evaluation_data() -> None:
    """What coordinate search finds, and the losses it goes by, do not depend on how evaluation is done."""
    found = []
    for phases in (4, 9):
        teacher = _run("teacher", phases, teacher={"epochs": 20})
        search = {"name": "post_training_search", "sweeps": 2}
        searched = _run("comparator", phases, needs=(teacher,), student={}, comparator=search)
        losses = searched.outcome.history["calibration_loss"].values.tolist()
        found.append((losses, {name: array.tobytes() for name, array in searched.outcome.parameters.items()}))
    assert found[0] == found[1]


def replicates_share_nothing() -> None:
    """Initial weights and phases of two replicates differ."""
    first, second = (
        Stream(42, replicate, "student/phases").uniform(0, (4,), 0.0, 1.0, "float64") for replicate in (1, 2)
    )
    assert not np.array_equal(first, second)
    trained = [_run("teacher", 4, replicate, teacher={"epochs": 1}).outcome.parameters["w"] for replicate in (1, 2)]
    assert not np.array_equal(*trained)


CHECKS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        gradients_of_a_float_teacher,
        gradients_of_scales,
        gradients_through_a_shape,
        trajectory_weight_grows,
        gradients_of_soft_targets,
        an_anchor_pulls,
        roles_share_the_test_images,
        search_never_sees_evaluation_data,
        replicates_share_nothing,
    )
}

if __name__ == "__main__":
    CHECKS[sys.argv[1]]()
