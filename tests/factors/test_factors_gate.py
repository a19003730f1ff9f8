"""Gates: what mercy compares and when, blind refusals, and that a refusal leaves no trace."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.activations.int8 import Int8
from kdrun.factors.contract import Batch, Candidate, Context, Progress, Term, TermResult
from kdrun.factors.future_valence.truth import Truth
from kdrun.factors.gate.mercy import Mercy, rolled_valence
from kdrun.factors.gate.random import Random
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.prox import Prox
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.factors.quantizer.ttq import Ttq
from kdrun.factors.quantizer.twn import Twn
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.temperature.ctkd import Ctkd
from kdrun.factors.weighting.valence_learned import ValenceLearned
from kdrun.models.cfc import Cfc
from kdrun.tasks.regimes import Regimes
from tests.core.comparing import unchanged
from tests.naive import valence as naive

NO_PARAMETERS = ParameterSet({"w": (1,)}, "float32")
INPUTS = np.random.default_rng(1).normal(size=(4, 3, 2))
EMISSIONS = np.array([[1.0, -1.0], [0.5, 0.25], [-1.0, 2.0]])
BATCH = Batch(INPUTS, {"emissions": EMISSIONS})


def saying(valence):
    """A network that expects the same good of everything, and remembers what it was shown."""

    def forward(inputs, want):
        forward.seen.append(inputs.copy())
        leading = inputs.shape[:2]
        return {"logits": np.zeros((*leading, 3)), "valence": np.full((*leading, 1), valence)}

    forward.seen = []
    return forward


def reading(inputs, want=frozenset()):
    """A network whose answers depend on everything that it has heard so far."""
    heard = np.cumsum(inputs, axis=0)
    logits = np.stack([heard[..., 0], heard[..., 1], heard[..., 0] * heard[..., 1]], axis=-1)
    return {"logits": logits, "valence": np.tanh(heard.sum(axis=-1, keepdims=True))}


def judged(level, before, proposed, teacher, step=50):
    """Whether an update is kept that leads from one constant valence to another, at one step of 100."""
    expected = {"before": before, "proposed": proposed, "teacher": teacher}
    forwards = {name: saying(valence) for name, valence in expected.items()}
    own = Context({}, {}, Progress(step, 100), Stream(1, 1, "gate"), teachers=(forwards["teacher"], saying(99.0)))
    candidates = [Candidate(NO_PARAMETERS, forwards[name]) for name in ("before", "proposed")]
    return level.accept(*candidates, BATCH, own), forwards


@pytest.mark.parametrize(("proposed", "expected"), [(0.73, True), (0.7201, True), (0.7199, False), (0.1, False)])
def test_mercy_asks_for_a_part_of_what_the_teacher_expects(proposed, expected):
    """With threshold 0.9 and a teacher of 0.8 an update is kept from 0.72 on, whatever the student said before."""
    for before in (0.0, 1.0):
        assert judged(Mercy(), before, proposed, 0.8)[0] is expected


@pytest.mark.parametrize(("proposed", "expected"), [(0.55, True), (0.4501, True), (0.4499, False)])
def test_mercy_may_ask_for_a_part_of_what_the_student_expected_before(proposed, expected):
    """With reference `before` the teacher is not run at all."""
    got, forwards = judged(Mercy(reference="before"), 0.5, proposed, 99.0)
    assert got is expected
    assert forwards["teacher"].seen == []


def test_mercy_asks_the_first_teacher():
    """The student before the update is not run; of two teachers the second would refuse everything."""
    got, forwards = judged(Mercy(), 0.0, 0.8, 0.8)
    assert got is True
    assert forwards["before"].seen == []


@pytest.mark.parametrize("reference", ["teacher", "before"])
def test_an_expectation_of_just_the_part_is_kept(reference):
    """At least as much is asked for, not more: with threshold 1 an update that changes nothing is kept."""
    assert judged(Mercy(threshold=1.0, reference=reference), 0.5, 0.5, 0.5)[0] is True


def test_an_expectation_that_is_no_number_is_refused():
    """nan is not at least anything."""
    assert judged(Mercy(), 0.5, np.nan, 0.5)[0] is False


@pytest.mark.parametrize(("step", "expected"), [(0, True), (29, True), (30, False), (99, False)])
def test_a_warmup_keeps_every_update(step, expected):
    """In the first three tenths of training even the worst is kept, and nothing is rolled."""
    got, forwards = judged(Mercy(warmup=0.3), 0.9, 0.0, 0.9, step)
    assert got is expected
    assert (forwards["proposed"].seen == []) is expected


@pytest.mark.parametrize(("samples", "expected"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_mercy_rolls_the_first_samples_for_its_steps(samples, expected):
    """As many of the batch's sequences as there are up to `samples`, one step longer each time."""
    seen = judged(Mercy(samples=samples, steps=5), 0.5, 0.5, 0.5)[1]["proposed"].seen
    assert [inputs.shape for inputs in seen] == [(4 + step, expected, 2) for step in range(5)]
    np.testing.assert_array_equal(seen[-1][:4], INPUTS[:, :expected])


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_rolling_ahead_is_that_of_plain_code(steps, dtype):
    """Each input is what the expected next regime emits; valences are those after the batch alone."""
    inputs, emissions = INPUTS.astype(dtype), EMISSIONS.astype(dtype)
    arrays = {"inputs": inputs, "emissions": emissions}
    got = []
    unchanged(arrays, lambda: got.append(rolled_valence(reading, inputs, emissions, steps)))
    expected = naive.rolled_valence(lambda x: tuple(reading(x).values()), inputs, emissions, steps)
    assert got[0] == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-12)
    assert isinstance(got[0], float)


def test_rolling_ahead_by_hand():
    """A network sure of regime 1 after whatever it hears is fed what regime 1 emits."""

    def sure(inputs, want):
        logits = np.zeros((*inputs.shape[:2], 3))
        logits[..., 1] = 200.0
        return {"logits": logits, "valence": inputs[..., :1].copy()}

    got = rolled_valence(sure, INPUTS[:, :1], EMISSIONS, 3)
    assert got == pytest.approx((INPUTS[-1, 0, 0] + 0.5 + 0.5) / 3, rel=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [{"threshold": -0.1}, {"threshold": 2.1}, {"steps": 0}, {"samples": 0}, {"warmup": 1.1}, {"reference": "x"}],
)
def test_what_makes_no_gate_is_refused(parameters):
    """The parameter is named."""
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        Mercy(**parameters)


# ------------------------------------------------------------------------------------------------ blind refusals


def refusals(rate, steps=2000, batch=BATCH, purpose="gate"):
    """What a blind gate does at each step."""
    level, nobody = Random(rate=rate), Candidate(NO_PARAMETERS, saying(0.0))
    contexts = [Context({}, {}, Progress(step, steps), Stream(1, 1, purpose)) for step in range(steps)]
    return [not level.accept(nobody, nobody, batch, one) for one in contexts]


@pytest.mark.parametrize("rate", [0.1, 0.35])
def test_a_blind_gate_refuses_at_its_rate(rate):
    """Within four standard errors of 2,000 steps."""
    got = sum(refusals(rate))
    assert abs(got - 2000 * rate) < 4 * np.sqrt(2000 * rate * (1 - rate))


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (1.0, 300)])
def test_a_blind_gate_has_ends(rate, expected):
    """Rates 0 and 1 leave nothing to chance."""
    assert sum(refusals(rate, 300)) == expected


def test_a_blind_gate_looks_at_nothing():
    """Another batch is refused at the same steps; another stream at others."""
    poisoned = Batch(-INPUTS, {}, kind="poisoned")
    assert refusals(0.35, 200) == refusals(0.35, 200, poisoned)
    assert refusals(0.35, 200) != refusals(0.35, 200, purpose="other")


# ------------------------------------------------------------------------------------------------ in training

TASK = Regimes(regimes=3, emission=2, steps=6, sequences=4, horizon=3, poison=0.4)


def stream(purpose):
    return Stream(3, 1, purpose)


def network():
    return Cfc(hidden=5).build(2, TASK.heads, 1.0, "float32")


class Memory(Term):
    """A term that remembers: how many steps there were, and their mean valence."""

    name: ClassVar[str] = "memory"
    source: ClassVar[str] = "tests"
    equation: ClassVar[str] = "0"
    want: ClassVar[frozenset[str]] = frozenset({"valence"})

    def init(self, stream, shapes):
        return {}, {"seen": np.zeros(1), "mean": np.zeros(3)}

    def evaluate(self, student, teachers, batch, context):
        return TermResult(np.zeros(student["valence"].shape[1]), {"valence": np.zeros_like(student["valence"])})

    def remember(self, student, teachers, batch, context):
        context.state["seen"] = context.state["seen"] + 1
        context.state["mean"][:] = student["valence"].mean()


FULL = {
    "quantizer": Ternary(),
    "gradient": Smoothstep(),
    "activations": Int8(),
    "soft_targets": ForwardKl(),
    "temperature": Ctkd(),
    "future_valence": Truth(),
    "weighting": ValenceLearned(update="ascent"),
    "memory": Memory(),
}


def trainer_with(gate, **changed):
    """A student of regimes with arrays of its own in three slots, state in one, and a gate."""
    teachers = (TeacherModel(network(), network().initial_parameters(stream("teacher"), "float32")),)
    recipe = recipe_of({**FULL, **changed, **({} if gate is None else {"gate": gate})})
    latent = network().initial_parameters(stream("init"), "float32")
    objective = Objective(network(), latent, TASK.loss(), recipe, teachers, stream)
    return Trainer(objective, Adam(lr=1e-2), Constant())


def train(trainer, steps):
    series = Series.of(steps)
    trainer.train(TASK.training_data(stream, "float32"), steps, series)
    return series


def bits_of(trainer):
    """Everything that training changes: trained arrays, moments, states, stored scales, codes and what runs."""
    found = {}
    for name, group in trainer.groups.items():
        found[name] = group.parameters.flat.tobytes()
        found |= {f"{name}/{part}": array.tobytes() for part, array in group.memory.items()}
    for name, context in trainer.objective.contexts.items():
        found |= {f"{name}.{part}": array.tobytes() for part, array in context.state.items()}
    found |= {f"runs/{name}": array.tobytes() for name, array in trainer.objective.weights.items()}
    found |= {f"stored/{name}": array.tobytes() for name, array in trainer.objective.quantized.stored.items()}
    return found


REFUSES, KEEPS = Mercy(threshold=2.0, samples=2, steps=3), Mercy(threshold=0.0, samples=2, steps=3)


@pytest.fixture
def hopeful(monkeypatch):
    """Valences of a random network may have any sign; above 1 thresholds of 0 and 2 keep everything and nothing."""

    def above_one(*arguments):
        return abs(rolled_valence(*arguments)) + 1.0

    monkeypatch.setattr("kdrun.factors.gate.mercy.rolled_valence", above_one)


@pytest.fixture
def batches():
    """The kind of each of the first fifteen batches."""
    data = TASK.training_data(stream, "float32")
    kinds = [data.batch(step).kind for step in range(15)]
    assert set(kinds) == {"", "poisoned"}
    return kinds


@pytest.mark.usefixtures("hopeful")
@pytest.mark.parametrize("quantizer", [Ternary(), Twn(), Ttq(), Prox()], ids=lambda q: q.name)
def test_refusing_every_update_changes_nothing(quantizer):
    """Parameters, scales, moments, temperature, sharpness and state are the same bits after twelve refused steps."""
    trainer = trainer_with(REFUSES, quantizer=quantizer)
    trainer.objective.prepare(Progress(0, 12))
    before = bits_of(trainer)
    series = train(trainer, 12)
    # A quantizer that waits for the end of training runs on other weights there.
    trainer.objective.prepare(Progress(0, 12))
    assert bits_of(trainer) == before
    assert series.points["blocked"][-1] == (11, 12.0)
    assert {"weighting", "temperature", "latent"} <= trainer.groups.keys()


@pytest.mark.usefixtures("hopeful")
def test_keeping_every_update_is_as_if_there_were_no_gate():
    """The bits after twelve steps are those of a training without one."""
    gated, free = trainer_with(KEEPS), trainer_with(None)
    series = train(gated, 12)
    train(free, 12)
    assert bits_of(gated) == bits_of(free)
    assert series.points["blocked"][-1] == (11, 0.0)


def test_a_refused_step_is_as_if_it_had_not_been(batches):
    """Refusing the steps of poisoned batches gives the bits of a training on the others alone."""

    class NoPoison(Mercy):
        name: ClassVar[str] = "no_poison"

        def accept(self, before, proposed, batch, context):
            super().accept(before, proposed, batch, context)
            return not batch.kind

    data = TASK.training_data(stream, "float32")
    gated, free = trainer_with(NoPoison(samples=2, steps=3)), trainer_with(NoPoison(samples=2, steps=3))
    clean = [step for step, kind in enumerate(batches) if not kind]
    for trainer, steps in ((gated, range(15)), (free, clean)):
        for step in steps:
            progress = Progress(step, 15)
            trainer.objective.prepare(progress)
            trainer._step(data.batch(step), progress, Series.of(15))
        trainer.objective.prepare(Progress(15, 15))
    assert bits_of(gated) == bits_of(free)


@pytest.mark.usefixtures("hopeful")
def test_refusals_are_counted_and_those_of_poisoned_batches_too(batches):
    """A gate that refuses all: every batch, and every poisoned one."""
    series = train(trainer_with(REFUSES), 15)
    got, poisoned = series.last_values(), batches.count("poisoned")
    assert (got["blocked"], got["poisoned"], got["blocked_poisoned"]) == (15.0, poisoned, poisoned)
    assert TASK.recorded_responses(got, 15)["selectivity"] == 0.0


@pytest.mark.usefixtures("hopeful")
def test_poisoned_batches_are_counted_where_nothing_is_refused(batches):
    """And in a training without a gate."""
    kept, free = (train(trainer_with(gate), 15).last_values() for gate in (KEEPS, None))
    assert kept["poisoned"] == free["poisoned"] == batches.count("poisoned")
    assert kept["blocked"] == kept["blocked_poisoned"] == 0.0
    assert "blocked" not in free


@pytest.mark.usefixtures("hopeful")
def test_what_was_rolled_is_recorded():
    """The student's mean valence ahead, at every step that is judged."""
    series = train(trainer_with(Mercy(threshold=0.0, warmup=0.5, samples=2, steps=3)), 8)
    assert [step for step, _ in series.points["rolled_valence"]] == [4, 5, 6, 7]


def test_the_gate_judges_the_student_after_the_update():
    """The proposed candidate answers as the parameters after the step do, the one before as those before it."""
    answers = []

    class Spy(Mercy):
        name: ClassVar[str] = "spy"

        def accept(self, before, proposed, batch, context):
            want, asked = frozenset({"valence"}), (before, proposed, before)
            answers.extend(candidate.forward(batch.inputs, want)["valence"].copy() for candidate in asked)
            return True

    trainer, data = trainer_with(Spy()), TASK.training_data(stream, "float32")
    trainer.objective.prepare(Progress(0, 2))
    inputs = data.batch(0).inputs
    expected = [trainer.objective.forward(inputs, frozenset({"valence"}))["valence"].copy()]
    trainer._step(data.batch(0), Progress(0, 2), Series.of(2))
    trainer.objective.prepare(Progress(1, 2))
    expected.append(trainer.objective.forward(inputs, frozenset({"valence"}))["valence"].copy())
    np.testing.assert_array_equal(answers[0], expected[0])
    np.testing.assert_array_equal(answers[1], expected[1])
    np.testing.assert_array_equal(answers[2], expected[0])
    assert not np.array_equal(expected[0], expected[1])
