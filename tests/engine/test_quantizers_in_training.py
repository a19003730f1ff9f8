"""Quantizers and their schedules while a network trains: what is trained, what is measured, and what runs."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.combinations import Combination, all_combinations, checked_techniques
from kdrun.engine.gradcheck import check
from kdrun.engine.objective import Objective
from kdrun.engine.probe import Probe
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import quantizer_like, recipe_of
from kdrun.engine.train import FLIPS, HISTORY_POINTS, Series, Trainer
from kdrun.factors import discover
from kdrun.factors.contract import Progress
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quant_schedule.direct import Direct
from kdrun.factors.quant_schedule.post_training import PostTraining
from kdrun.factors.quant_schedule.progressive import Progressive
from kdrun.factors.quantizer.float import Float
from kdrun.factors.quantizer.int4 import Int4
from kdrun.factors.quantizer.int8 import Int8
from kdrun.factors.quantizer.prox import Prox
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.factors.quantizer.ttq import Ttq
from kdrun.factors.quantizer.twn import Twn
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.tasks.contract import streams_of
from kdrun.tasks.digits import Digits
from kdrun.tasks.sine import Sine
from tests.core.comparing import assert_bits
from tests.engine.throwaway import Refusing

TASK = Sine(steps=12, sequences=4)
EVERY = [Int8(), Int4(), Ternary(), Ternary(scale="absmean"), Ternary(scale_grad="lsq"), Twn(), Ttq(), Prox()]
every = pytest.mark.parametrize(
    "quantizer", [q.model_copy(update={"granularity": g}) for q in EVERY for g in ("per_row", "per_tensor")], ids=repr
)


def stream(purpose):
    return Stream(3, 1, purpose)


def trainer_with(quantizer, schedule=None, gate=None):
    """A small network under a quantizer, before its first step."""
    network = Cfc(hidden=5).build(1, {"prediction": 1}, TASK.dt, "float32")
    techniques = {"quantizer": quantizer, "gradient": Ste(), "quant_schedule": schedule, "gate": gate}
    recipe = recipe_of({family: level for family, level in techniques.items() if level is not None})
    latent = network.initial_parameters(stream("init"), "float32")
    return Trainer(Objective(network, latent, TASK.loss(), recipe, (), stream), Adam(lr=1e-2), Constant())


def train(trainer, steps):
    trainer.train(TASK.training_data(stream, "float32"), steps, Series.of(steps))
    return trainer.objective


def spied(trainer, look):
    """What `look` sees of the objective at the beginning of every step."""
    seen, original = [], trainer._step

    def step(batch, progress, series):
        seen.append(look(trainer.objective))
        return original(batch, progress, series)

    trainer._step = step
    return seen


def quantized_as_they_are(objective, quantizer):
    """The latent weights of an objective under fresh scales."""
    granularity = objective.recipe.granularity
    found = QuantizedParameters(objective.network, objective.latent, quantizer, granularity)
    found.quantize()
    return found


def assert_same_codes(got, expected):
    """Codes, scales and weights of two quantized networks are the same bits."""
    for name in expected.tensors:
        assert_bits(got.codes[name], expected.codes[name])
        assert_bits(got.weights[name], expected.weights[name])
    for name in expected.stored:
        assert_bits(got.stored[name], expected.stored[name])


# ------------------------------------------------------------------------------------------------ scales


def groups_of(quantizer):
    """The names of scales that the optimizer trains."""
    groups = trainer_with(quantizer).groups
    return {name.split(".")[0] for name in groups["scales"].parameters} if "scales" in groups else set()


@pytest.mark.parametrize(
    ("quantizer", "expected"),
    [(Int8(), ["scale"]), (Int8(scale="absmax"), []), (Ttq(), ["negative", "positive"]), (Twn(), [])],
    ids=repr,
)
def test_only_trained_scales_have_a_group(quantizer, expected):
    """What is measured anew is nothing that an optimizer sees."""
    assert sorted(groups_of(quantizer)) == expected


@pytest.mark.parametrize("granularity", ["per_row", "per_tensor"])
@pytest.mark.parametrize(
    "kind", [Int8(scale="absmax"), Int4(scale="absmax"), Ternary(scale="absmean"), Twn()], ids=repr
)
def test_measured_scales_follow_the_weights(kind, granularity):
    """After training they are those of the trained weights, to the bit, and no longer those of the first ones."""
    quantizer = kind.model_copy(update={"granularity": granularity})
    trainer = trainer_with(quantizer)
    before = {name: array.copy() for name, array in trainer.objective.quantized.stored.items()}
    objective = train(trainer, 4)
    assert_same_codes(objective.quantized, quantized_as_they_are(objective, quantizer))
    assert all((objective.quantized.stored[name] != before[name]).any() for name in before)


def test_a_threshold_is_measured_and_magnitudes_are_not():
    """Under ttq the threshold is 0.05 of the largest trained weight; the magnitudes are what training made them."""
    objective = train(trainer_with(Ttq()), 4)
    stored, fresh = objective.quantized.stored, quantized_as_they_are(objective, Ttq()).stored
    assert_bits(stored["threshold.w"], fresh["threshold.w"])
    assert (stored["positive.w"] != fresh["positive.w"]).any()
    assert (stored["positive.w"] != stored["negative.w"]).any()


@every
def test_a_run_keeps_all_that_its_network_needs(quantizer):
    """Scales and codes that are stored give another set of parameters the same weights."""
    objective = train(trainer_with(quantizer), 4)
    arrays = objective.kept()
    other = quantized_as_they_are(objective, quantizer)
    other.load(arrays)
    for name in other.tensors:
        assert_bits(other.weights[name], objective.weights[name])
    assert {name.split(".")[0] for name in arrays} >= set(quantizer.scale_names)


@every
def test_the_network_that_is_left_is_quantized(quantizer):
    """Once training is over, what runs are few values in each matrix."""
    objective = train(trainer_with(quantizer), 4)
    assert objective.in_force is objective.quantized
    for name in objective.quantized.tensors:
        assert np.abs(objective.quantized.codes[name]).max() <= quantizer.max_code
        assert_bits(objective.weights[name], objective.quantized.weights[name])


@every
def test_a_gate_that_refuses_everything_leaves_every_scale(quantizer):
    """Measured scales are those of the weights that were put back."""
    trainer = trainer_with(quantizer, gate=Refusing(refused=tuple(range(3))))
    expected = quantized_as_they_are(trainer.objective, quantizer)
    objective = train(trainer, 3)
    if quantizer.name != "prox":
        assert_same_codes(objective.quantized, expected)
    assert_bits(objective.latent.flat, trainer_with(quantizer).objective.latent.flat)


def test_a_gate_sees_candidates_with_the_scales_that_they_measure():
    """Both candidates run as their latent weights are when they are quantized as they are."""
    seen = []

    class Looking(Refusing):
        name: ClassVar[str] = "looking"

        def accept(self, before, proposed, batch, context):
            want = frozenset({"prediction"})
            for candidate in (proposed, before):
                trained = candidate.parameters.copy()
                seen.append((trained, batch.inputs.copy(), candidate.forward(batch.inputs, want)["prediction"].copy()))
            return True

    objective = train(trainer_with(Twn(), gate=Looking()), 3)
    for latent, inputs, got in seen:
        objective.latent.flat[:] = latent.flat
        weights = quantized_as_they_are(objective, Twn()).weights
        assert_bits(got, objective.network.forward(weights, inputs, frozenset({"prediction"}))["prediction"])


# ------------------------------------------------------------------------------------------------ prox


@pytest.mark.parametrize("granularity", ["per_row", "per_tensor"])
def test_prox_draws_to_the_ternary_weights_of_the_step(granularity):
    """Halfway to ρ = 2, weights that have moved are drawn half of the way to their own ternary ones."""
    quantizer = Prox(rho_end=2.0, granularity=granularity)
    objective = trainer_with(quantizer).objective
    objective.latent["w"][...] *= np.linspace(0.5, 2.0, objective.latent["w"].shape[1]).astype("float32")
    before, fresh = objective.latent.copy(), quantized_as_they_are(objective, quantizer)
    objective.quantized.project_inplace(Progress(1, 2))
    for name in fresh.tensors:
        np.testing.assert_allclose(objective.latent[name], (before[name] + fresh.weights[name]) / 2, atol=1e-6)
    assert_bits(objective.latent["tau"], before["tau"])


def test_prox_trains_latent_weights():
    """Until the end the network runs on its latent arrays themselves, and nothing is shaped."""
    trainer = trainer_with(Prox())
    seen = spied(trainer, lambda objective: (objective.in_force, objective.weights["w"] is objective.latent["w"]))
    train(trainer, 3)
    assert seen == [(None, True)] * 3


def test_the_first_step_of_prox_is_that_of_a_float_network():
    """ρ starts at 0: parameters are the bits of one step without a quantizer."""
    got, expected = train(trainer_with(Prox()), 1), train(trainer_with(Float()), 1)
    assert_bits(got.latent.flat, expected.latent.flat)


@pytest.mark.parametrize("granularity", ["per_row", "per_tensor"])
def test_prox_draws_weights_to_their_ternary_ones(granularity):
    """A strong pull leaves latent weights near what runs in the end, a weak one does not."""
    distances = []
    for rho_end in (1e-6, 10.0):
        objective = train(trainer_with(Prox(rho_end=rho_end, granularity=granularity)), 20)
        distances.append(np.abs(objective.latent["w"] - objective.weights["w"]).max())
    assert distances[1] < 0.1 * distances[0]


# ------------------------------------------------------------------------------------------------ flips of codes


def flips(trainer, steps):
    """Steps and shares that were recorded in a training of so many steps."""
    series = Series.of(steps)
    trainer.train(TASK.training_data(stream, "float32"), steps, series)
    return series.points.get(FLIPS, [])


def codes_of(objective):
    return objective.quantized.codes.copy()


def share_of_flips(before, after):
    different = sum(int(np.sum(before[name] != after[name])) for name in after)
    return different / sum(after[name].size for name in after)


@pytest.mark.parametrize("steps", [7, 450])
def test_the_share_of_codes_that_flipped_since_the_point_before_is_recorded(steps):
    """At every step that is kept but the first, and at the last."""
    trainer = trainer_with(Ternary())
    seen = spied(trainer, codes_of)
    got = flips(trainer, steps)
    kept = [*range(0, steps, -(-steps // HISTORY_POINTS)), steps - 1]
    kept = sorted(set(kept))
    assert got == [(b, share_of_flips(seen[a], seen[b])) for a, b in itertools.pairwise(kept)]
    assert any(share for _, share in got)


def test_a_network_that_is_not_quantized_has_no_flips():
    """Nor one whose quantizer waits for the end."""
    for quantizer, schedule in ((Float(), None), (Ternary(), PostTraining()), (Prox(), None)):
        assert flips(trainer_with(quantizer, schedule), 5) == []


def test_codes_of_another_quantizer_are_not_compared():
    """After a switch the first point has nothing before it."""
    assert [step for step, _ in flips(trainer_with(Ternary(), Progressive()), 6)] == [1, 3, 5]


# ------------------------------------------------------------------------------------------------ schedules


@every
def test_post_training_quantizes_the_weights_of_a_float_network(quantizer):
    """Codes, scales and weights are those that the float-trained network has when it is quantized as it is."""
    got = train(trainer_with(quantizer, PostTraining()), 5)
    trained = train(trainer_with(Float()), 5)
    assert_bits(got.latent.flat, trained.latent.flat)
    trained.recipe = recipe_of({"quantizer": quantizer})
    assert_same_codes(got.quantized, quantized_as_they_are(trained, quantizer))


def test_progressive_trains_a_third_with_each():
    """Two steps of six with each quantizer, all with the granularity of the last."""
    trainer = trainer_with(Ternary(granularity="per_tensor"), Progressive())
    seen = spied(trainer, lambda objective: (objective.recipe.quantizer, objective.quantized.stored["scale.w"].shape))
    train(trainer, 6)
    assert [quantizer.name for quantizer, _ in seen] == ["int8", "int8", "int4", "int4", "ternary", "ternary"]
    assert all(quantizer.granularity == "per_tensor" and shape == (1,) for quantizer, shape in seen)


def test_a_schedule_takes_over_what_a_quantizer_may_have():
    """The granularity, and the kind of scale where both know it; a value that is not allowed stays the default."""
    assert quantizer_like(Ternary(scale="absmax", granularity="per_tensor"), "int8") == Int8(
        scale="absmax", granularity="per_tensor"
    )
    assert quantizer_like(Ternary(scale="absmean"), "int8") == Int8()
    assert quantizer_like(Ternary(scale_grad="lsq"), "int4") == Int4(scale_grad="lsq")
    assert quantizer_like(Ternary(), "float") == Float()


def test_a_schedule_that_switches_nothing_is_no_part_of_a_recipe():
    """The default costs nothing, and so does any schedule of a float network."""
    assert recipe_of({"quantizer": Ternary(), "quant_schedule": Direct()}).schedule is None
    assert recipe_of({"quantizer": Float(), "quant_schedule": Progressive()}).schedule is None
    assert recipe_of({"quantizer": Ternary(), "quant_schedule": Progressive()}).schedule == Progressive()


# ------------------------------------------------------------------------------------------------ gradient check


def test_every_quantizer_of_a_schedule_is_checked():
    """A study that trains with int8 for a while has its gradients checked with int8."""
    techniques = {"quantizer": Ternary(granularity="per_tensor"), "gradient": Ste(), "quant_schedule": Progressive()}
    got = checked_techniques(techniques)
    assert [found["quantizer"] for found in got] == [
        Int8(granularity="per_tensor"),
        Int4(granularity="per_tensor"),
        Ternary(granularity="per_tensor"),
    ]
    assert all(found["gradient"] == Ste() and "quant_schedule" not in found for found in got)
    assert checked_techniques({"quantizer": Ternary(), "quant_schedule": Direct()}) == [{"quantizer": Ternary()}]


def rows_of(quantizer):
    return list(check([Combination(Sine.example(), Cfc(hidden=4), {"quantizer": quantizer, "gradient": Smoothstep()})]))


@pytest.mark.parametrize("seed", [2, 3])
@every
def test_gradients_of_every_quantizer_pass(monkeypatch, seed, quantizer):
    """At other random points than those of `kdrun gradcheck`, in both precisions, at both ends."""
    monkeypatch.setattr("kdrun.engine.gradcheck.SEED", seed)
    assert [row for row in rows_of(quantizer) if not row.passed] == []


def test_the_small_gradient_of_a_shared_scale_passes():
    """A scale that moves a whole matrix is moved by a small step: what is left of large parts keeps its digits."""
    techniques = {"quantizer": Ternary(granularity="per_tensor"), "gradient": Smoothstep()}
    rows = list(check([Combination(Probe.example(), Cfc.example(), techniques)]))
    assert [row for row in rows if not row.passed] == []


def test_prox_is_checked_as_a_float_network_at_the_start_and_quantized_at_the_end():
    """At the start each parameter once; at the end effective, latent and mask of each weight."""
    weights, others = 5 * 8 + 4, 8 + 4 + 1
    got = [row.parameters for row in rows_of(Prox()) if row.dtype == "float64"]
    assert got == [weights + others, 3 * weights + others]


def test_measured_scales_are_not_perturbed():
    """No numeric derivative is taken by what follows from the weights; ttq has two magnitudes for each column."""
    weights, columns, others = 5 * 8 + 4, 8 + 1, 8 + 4 + 1
    counts = {quantizer.name: rows_of(quantizer)[0].parameters for quantizer in (Twn(), Ttq(), Int8())}
    fixed = 3 * weights + others
    assert counts == {"twn": fixed, "ttq": fixed + 2 * columns, "int8": fixed + columns}


def test_a_surrogate_that_is_not_what_it_declares_fails():
    """Frozen residuals are what an LSQ gradient is compared with: no exact gradient passes for it, nor it for one."""

    class Exact(Ternary):
        name: ClassVar[str] = "exact"

        def along_scales(self, w_latent, codes, start, scales, w_eff):
            self.effective(codes, scales, w_eff)

    class Residuals(Ternary):
        name: ClassVar[str] = "residuals"

        def along_scales(self, *arguments):
            Ternary(scale_grad="lsq").along_scales(*arguments)

    assert not rows_of(Exact(scale_grad="lsq"))[0].passed
    assert not rows_of(Residuals())[0].passed


def test_a_variant_is_combined_with_what_it_meets():
    """A quantizer with another granularity or scale is checked with every gradient shape and every distillation."""
    found = all_combinations(Sine.example(), Cfc.example())
    scales = (Int4(scale="absmax"), Int4(scale_grad="lsq"), Ternary(scale="absmean"))
    for variant in (Int8(granularity="per_tensor"), *scales):
        beside = [c.techniques for c in found if c.techniques.get("quantizer") == variant]
        assert {techniques["gradient"].name for techniques in beside} == set(discover.levels("gradient"))
        names = {techniques["distillation"].name for techniques in beside if "distillation" in techniques}
        assert names == set(discover.levels("distillation"))
        assert any("distillation" not in techniques for techniques in beside)


def test_int8_is_float_within_noise():
    """A float recogniser of digits whose weights are rounded to eight bits afterwards errs on the same images."""
    task = Digits(train_size=200)
    model = Mlp(hidden=16)

    def trained(techniques):
        streams = streams_of(3, 1, "student")
        network = model.build(task.inputs, task.heads, 1.0, "float32")
        latent = network.initial_parameters(streams("init"), "float32")
        objective = Objective(network, latent, task.loss(), recipe_of(techniques), (), streams)
        Trainer(objective, Adam(lr=3e-3), Constant()).train(task.training_data(streams, "float32"), 300, Series.of(300))
        return task.evaluate(objective.forward, streams, "float32")

    expected = trained({})
    got = trained({"quantizer": Int8(), "quant_schedule": PostTraining()})
    assert expected["accuracy"] > 0.8
    assert got["cross_entropy"] != expected["cross_entropy"]
    assert abs(got["accuracy"] - expected["accuracy"]) <= 0.005
    assert got["cross_entropy"] == pytest.approx(expected["cross_entropy"], rel=0.02)
