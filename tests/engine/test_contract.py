"""The training contract, slot by slot, with levels that use what no level of the package uses yet."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.errors import UsageError
from kdrun.factors import discover
from kdrun.factors.contract import Level, Progress
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.int4 import Int4
from kdrun.factors.quantizer.int8 import Int8
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.tasks.sine import Sine
from tests.engine.throwaway import (
    BatchVariance,
    CoarseFirst,
    Decay,
    ExponentialWeights,
    FeedbackAlignment,
    HardSequences,
    LearnedSharpness,
    MemoryBank,
    Projector,
    Refusing,
    SmallTau,
    TwoTeachers,
)

TASK = Sine(steps=12, sequences=4)
HIDDEN = 5


def stream(purpose: str) -> Stream:
    return Stream(3, 1, purpose)


def network(dtype: str = "float32"):
    return Cfc(hidden=HIDDEN).build(1, {"prediction": 1}, TASK.dt, dtype)


def trainer_with(techniques: dict[str, Level], lr: float = 1e-2) -> Trainer:
    teachers = tuple(
        TeacherModel(network(), network().initial_parameters(stream(f"teacher{i}"), "float32")) for i in range(2)
    )
    latent = network().initial_parameters(stream("init"), "float32")
    objective = Objective(network(), latent, TASK.loss(), recipe_of(techniques), teachers, stream)
    return Trainer(objective, Adam(lr=lr), Constant())


def train(trainer: Trainer, steps: int) -> Series:
    series = Series.of(steps)
    trainer.train(TASK.training_data(stream, "float32"), steps, series)
    return series


def bits_of(trainer: Trainer) -> dict[str, bytes]:
    """Everything that a refused step must put back."""
    groups = {f"{name}/values": group.parameters.flat.tobytes() for name, group in trainer.groups.items()}
    memories = {
        f"{name}/{part}": array.tobytes()
        for name, group in trainer.groups.items()
        for part, array in group.memory.items()
    }
    states = {
        f"{name}/{part}": array.tobytes()
        for name, context in trainer.objective.contexts.items()
        for part, array in context.state.items()
    }
    return {**groups, **memories, **states}


COMBINATIONS = {
    "projector": {"features": Projector()},
    "batch term": {"spread": BatchVariance()},
    "two teachers": {"ensemble": TwoTeachers()},
    "learned hyper-parameter": {"ensemble": TwoTeachers(), "sharpness": LearnedSharpness()},
    "weighting": {"weighting": ExponentialWeights()},
    "weighting with terms that have arrays of their own": {
        "weighting": ExponentialWeights(),
        "features": Projector(),
        "ensemble": TwoTeachers(),
        "sharpness": LearnedSharpness(),
        "spread": BatchVariance(),
    },
    "penalty": {"penalty": Decay()},
    "everything at once, quantized": {
        "quantizer": Ternary(),
        "gradient": Smoothstep(),
        "weighting": ExponentialWeights(),
        "features": Projector(),
        "ensemble": TwoTeachers(),
        "sharpness": LearnedSharpness(),
        "spread": BatchVariance(),
        "penalty": Decay(),
        "memory": MemoryBank(),
    },
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_gradient_check_covers_levels_that_it_has_never_heard_of(name):
    """Every slot's gradients, those of its own arrays included, agree with finite differences."""
    rows = list(check([Combination(Sine.example(), Cfc.example(), COMBINATIONS[name])]))
    assert [row for row in rows if not row.passed] == []


def test_arrays_of_a_slots_own_are_counted_by_the_gradient_check():
    """A projector of 8 × 8 adds 64 parameters to what is checked."""
    plain, projected = (
        next(check([Combination(Sine.example(), Cfc.example(), techniques)])).parameters
        for techniques in ({}, {"features": Projector()})
    )
    assert projected - plain == 64


def test_a_projector_learns():
    """Arrays of a slot's own move, and the loss that they belong to falls."""
    trainer = trainer_with({"features": Projector()})
    before = trainer.objective.own["features"].flat.copy()
    losses = [value for _, value in train(trainer, 60).points["loss"]]
    assert not np.array_equal(before, trainer.objective.own["features"].flat)
    assert losses[-1] < 0.8 * losses[0]


def test_a_reversed_group_climbs():
    """A hyper-parameter with sign −1 grows where descent would shrink it."""
    trainer = trainer_with({"ensemble": TwoTeachers(), "sharpness": LearnedSharpness()})
    train(trainer, 10)
    assert float(trainer.objective.own["sharpness"]["theta"][0]) > 0.7


def test_a_group_has_a_learning_rate_of_its_own():
    """Adam's first step is the learning rate, times what the group asks for."""
    trainer = trainer_with({"features": Projector()}, lr=1e-3)
    before = trainer.objective.own["features"]["projection"].copy()
    train(trainer, 1)
    moved = np.abs(trainer.objective.own["features"]["projection"] - before)
    assert moved.max() == pytest.approx(2e-3, rel=1e-2)


@pytest.mark.parametrize(("quantizer", "codes"), [(Ternary(), 1), (Int4(), 7), (Int8(), 127)])
def test_scales_take_steps_as_small_as_they_are(quantizer, codes):
    """Adam's first step moves a learned scale by the learning rate over the largest code, and weights by all of it."""
    trainer = trainer_with({"quantizer": quantizer, "gradient": Ste()}, lr=1e-4)
    quantized = trainer.objective.quantized
    scales, weights = quantized.trained.flat.copy(), trainer.objective.latent["w"].copy()
    train(trainer, 1)
    assert np.abs(quantized.trained.flat - scales).max() == pytest.approx(1e-4 / codes, rel=0.1)
    assert np.abs(trainer.objective.latent["w"] - weights).max() == pytest.approx(1e-4, rel=0.1)


def test_a_term_that_is_left_out_moves_nothing():
    """With weight 0 the gradient of its own arrays is zero, not that of the step before."""

    class Early(Projector):
        name: ClassVar[str] = "early"

        def weight(self, progress: Progress) -> float:
            return 1.0 if progress.step == 0 else 0.0

    trainer = trainer_with({"features": Early()})
    train(trainer, 2)
    assert not trainer.objective.gradients.own["features"].flat.any()


def test_a_level_writes_into_the_history():
    """What a hyper-parameter records is a series of the run."""
    series = train(trainer_with({"ensemble": TwoTeachers(), "sharpness": LearnedSharpness()}), 3)
    assert [step for step, _ in series.points["sharpness"]] == [0, 1, 2]


def test_counts_are_sums_however_rarely_they_are_kept():
    """In a long training the last point of a count has every step in it."""
    series = Series.of(1000)
    for step in range(1000):
        series.step = step
        series.add("blocked", 1.0, count=True)
    assert series.points["blocked"][-1] == (999, 1000.0)


def test_a_count_ends_with_its_sum_whichever_steps_are_kept():
    """What is counted at odd steps alone, where even ones are kept, has its sum at the last step."""
    series = Series.of(400)
    for step in range(1, 399, 2):
        series.step = step
        series.add("poisoned", 1.0, count=True)
    assert series.last_values() == {"poisoned": 199.0}
    history = series.histories()["poisoned"]
    assert (history.epochs.tolist(), history.values.tolist()) == ([399], [199.0])


def test_a_sum_at_the_last_step_is_kept_once():
    """The end of a count is not written twice."""
    series = Series.of(400)
    for step in range(400):
        series.step = step
        series.add("blocked", float(step % 3 == 0), count=True)
    history = series.histories()["blocked"]
    assert history.epochs.tolist() == [*range(0, 400, 2), 399]
    assert history.values[-1] == 134.0


def test_two_levels_for_one_slot_are_refused():
    """Neither is dropped in silence."""
    with pytest.raises(UsageError, match="both fill the slot Gate"):
        recipe_of({"gate": Refusing(), "other": Refusing()})


def test_a_schedule_may_quantize_at_the_very_end():
    """Trained in full precision and quantized once: the network that is left is ternary."""

    class AtTheEnd(CoarseFirst):
        name: ClassVar[str] = "at_the_end"

        def quantizer_name(self, progress: Progress, final: str) -> str:
            return "float" if progress.step < progress.steps else final

    trainer = trainer_with({"quantizer": Ternary(), "gradient": Smoothstep(), "quant_schedule": AtTheEnd()})
    train(trainer, 3)
    quantized = trainer.objective.quantized
    assert quantized is not None
    assert set(np.unique(quantized.codes["w"])) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(trainer.objective.weights["w"], quantized.weights["w"])


def test_a_curriculum_chooses_examples_and_stages():
    """In its first stage the step sees two sequences, in its second all four."""
    seen: list[tuple[int, int]] = []

    class Spy(BatchVariance):
        def evaluate(self, student, teachers, batch, context):
            seen.append((context.progress.stage, batch.inputs.shape[1]))
            return super().evaluate(student, teachers, batch, context)

    train(trainer_with({"batches": HardSequences(), "spread": Spy()}), 10)
    assert seen == [(0, 2)] * 5 + [(1, 4)] * 5


def test_a_stage_counts_its_own_steps():
    """Progress within a stage starts again at 0."""
    steps: list[int] = []

    class Spy(BatchVariance):
        def evaluate(self, student, teachers, batch, context):
            steps.append(context.progress.stage_step)
            return super().evaluate(student, teachers, batch, context)

    train(trainer_with({"batches": HardSequences(), "spread": Spy()}), 6)
    assert steps == [0, 1, 2, 0, 1, 2]


FULL = {
    "quantizer": Ternary(),
    "gradient": Smoothstep(),
    "features": Projector(),
    "memory": MemoryBank(),
    "weighting": ExponentialWeights(),
}


def test_a_gate_that_refuses_everything_restores_everything():
    """Parameters, scales, moments, arrays and state of every slot are the same bits after thirty refused steps."""
    trainer = trainer_with({**FULL, "gate": Refusing(refused=tuple(range(30)))})
    before = bits_of(trainer)
    series = train(trainer, 30)
    assert bits_of(trainer) == before
    assert [value for _, value in series.points["blocked"]] == list(range(1, 31))


def test_a_refused_step_leaves_no_trace_in_the_next():
    """Refusing the second step gives the bits of a training that never took it, on the same batches."""

    class Batches:
        def __init__(self, order):
            self.order, self.data = order, TASK.training_data(stream, "float32")

        def batch(self, step):
            return self.data.batch(self.order[step])

    refusing = trainer_with({**FULL, "gate": Refusing(refused=(1,))})
    plain = trainer_with({**FULL, "gate": Refusing()})
    for trainer, order, steps in ((refusing, (0, 1, 2), (0, 1, 2)), (plain, (0, 2), (0, 2))):
        for place, step in enumerate(steps):
            progress = Progress(step, 3)
            trainer.objective.prepare(progress)
            trainer._step(Batches(order).batch(place), progress, Series.of(3))
            trainer.objective.prepare(progress)
    assert bits_of(refusing) == bits_of(plain)


def test_a_gate_that_accepts_changes_nothing():
    """The bits are those of a training without a gate."""
    with_gate, without = trainer_with({**FULL, "gate": Refusing()}), trainer_with(FULL)
    train(with_gate, 5)
    train(without, 5)
    assert bits_of(with_gate) == bits_of(without)


def test_slot_four_is_replaceable_as_a_whole():
    """A credit level trains the network where backpropagation is unavailable."""
    trainer = trainer_with({"credit": FeedbackAlignment()})

    def unavailable(*args):
        raise AssertionError("backpropagation was used")

    trainer.objective.network.backward = unavailable  # type: ignore[method-assign]
    before = trainer.objective.latent.flat.copy()
    train(trainer, 5)
    assert not np.array_equal(before, trainer.objective.latent.flat)
    assert float(trainer.objective.own["credit"]["gain"][0]) != 1.0


def test_state_is_remembered_step_by_step():
    """A running average moves once for each step that is kept."""
    trainer = trainer_with({"memory": MemoryBank()})
    train(trainer, 3)
    assert float(trainer.objective.contexts["memory"].state["average"][0]) != 0.0


def test_a_projection_acts_after_every_update():
    """Time constants start above 1 and end at or below it."""
    trainer = trainer_with({"projection": SmallTau()})
    assert trainer.objective.latent["tau"].max() > 1.0
    train(trainer, 1)
    assert trainer.objective.latent["tau"].max() <= 1.0


class Coarse(Ternary):
    name: ClassVar[str] = "coarse"


def test_a_switch_of_quantizers_starts_new_scales_and_moments(monkeypatch):
    """At the switch scales are measured again and the optimizer remembers nothing."""
    monkeypatch.setattr("kdrun.engine.recipe.levels", lambda family: {**discover.levels(family), "coarse": Coarse})
    trainer = trainer_with({"quantizer": Ternary(), "gradient": Smoothstep(), "quant_schedule": CoarseFirst()})
    names, powers = [], []
    original = trainer._step

    def spy(batch, progress, series):
        names.append(trainer.objective.recipe.quantizer.name)
        result = original(batch, progress, series)
        powers.append(round(float(trainer.groups["scales"].memory["powers"][0]), 6))
        return result

    trainer._step = spy  # type: ignore[method-assign]
    train(trainer, 4)
    assert names == ["coarse", "coarse", "ternary", "ternary"]
    assert powers == [0.9, 0.81, 0.9, 0.81]


def test_an_empty_slot_costs_nothing():
    """Without techniques no arrays, contexts or teachers are touched."""
    trainer = trainer_with({})
    assert set(trainer.groups) == {"latent"}
    assert set(trainer.objective.contexts) == {"supervised"}
    assert not trainer.objective.teacher_want
