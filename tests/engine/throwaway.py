"""Levels for tests alone: each uses a part of the training contract that no level of the package uses yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.factors.contract import (
    Array,
    Arrays,
    Batch,
    Candidate,
    Context,
    Credit,
    Curriculum,
    Forward,
    Gate,
    GroupSettings,
    HyperParameter,
    Penalty,
    Progress,
    Projection,
    QuantizationSchedule,
    Shapes,
    Teachers,
    Term,
    TermResult,
    Weighting,
)


class _Throwaway:
    source: ClassVar[str] = "tests"
    equation: ClassVar[str] = "tests"


class Projector(_Throwaway, Term):
    """½ mean over t, b of ‖h·W − h_teacher‖², with W learned: arrays of a slot's own."""

    name: ClassVar[str] = "projector"
    want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"hidden"})

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        shape = (*shapes.student["hidden"], *shapes.teachers[0]["hidden"])
        return {"projection": stream.uniform(0, shape, -0.5, 0.5, shapes.dtype)}, {}

    def group(self, progress: Progress) -> GroupSettings:
        return GroupSettings(lr=2.0, clip=1.0)

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        hidden, projection = student["hidden"], context.own["projection"]
        error = hidden @ projection - teachers[0]["hidden"]
        steps, samples = hidden.shape[:2]
        value = 0.5 * (error**2).sum(axis=2).mean(axis=0).astype(np.float64)
        weights = np.ones(samples) if context.sample_weights is None else context.sample_weights
        weighted = error * weights[np.newaxis, :, np.newaxis].astype(hidden.dtype)
        share = 1.0 / (steps * samples)
        return TermResult(
            value,
            {"hidden": np.ascontiguousarray(error @ projection.T * hidden.dtype.type(share))},
            {"projection": np.einsum("tbi,tbj->ij", hidden, weighted) * share},
        )


class BatchVariance(_Throwaway, Term):
    """The variance of the prediction over the batch: a term on the batch as a whole."""

    name: ClassVar[str] = "batch_variance"
    per_sample: ClassVar[bool] = False
    want: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def weight(self, progress: Progress) -> float:
        return 0.3

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        prediction = student["prediction"]
        centred = prediction - prediction.mean(axis=1, keepdims=True)
        value = np.array([float((centred**2).mean())])
        return TermResult(value, {"prediction": np.ascontiguousarray(2.0 * centred / centred.size)})


class TwoTeachers(_Throwaway, Term):
    """Distance from the mean of two teachers' hidden states, sharpened by a hyper-parameter."""

    name: ClassVar[str] = "two_teachers"
    want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    hyper_names: ClassVar[tuple[str, ...]] = ("sharpness",)

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        hidden = student["hidden"]
        sharpness = float(context.hyper.get("sharpness", 1.0))
        error = hidden - (teachers[0]["hidden"] + teachers[1]["hidden"]) / 2
        squared = (error**2).sum(axis=2).mean(axis=0).astype(np.float64)
        weights = np.ones(squared.size) if context.sample_weights is None else context.sample_weights
        share = 1.0 / (hidden.shape[0] * hidden.shape[1])
        dhidden = np.ascontiguousarray(2.0 * sharpness * error * hidden.dtype.type(share))
        d_hyper = {"sharpness": float((weights * squared).mean())} if "sharpness" in context.hyper else {}
        return TermResult(sharpness * squared, {"hidden": dhidden}, d_hyper=d_hyper)


class LearnedSharpness(_Throwaway, HyperParameter):
    """sharpness = θ², with θ learned by ascent: a reversed gradient."""

    name: ClassVar[str] = "learned_sharpness"
    provides: ClassVar[str] = "sharpness"

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        return {"theta": np.full(1, 0.7, shapes.dtype)}, {}

    def group(self, progress: Progress) -> GroupSettings:
        return GroupSettings(sign=-1.0)

    def value(self, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> Any:
        context.record("sharpness", float(context.own["theta"][0]) ** 2)
        return float(context.own["theta"][0]) ** 2

    def own_loss(self, context: Context) -> tuple[float, Arrays]:
        distance = float(context.own["theta"][0]) - 0.5
        return 0.1 * distance**2, {"theta": np.array([0.2 * distance])}

    def backward(self, d_value: Any, context: Context) -> Arrays:
        return {"theta": np.array([2.0 * float(context.own["theta"][0]) * d_value])}


class ExponentialWeights(_Throwaway, Weighting):
    """w_i = exp(λ·z_i) with z_i from the sample's place in the batch and λ learned."""

    name: ClassVar[str] = "exponential_weights"

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        return {"lambda": np.full(1, 0.4, shapes.dtype)}, {}

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        z = np.linspace(-1.0, 1.0, value.size)
        w = np.exp(float(context.own["lambda"][0]) * z)
        return w, {"lambda": np.array([float((value * w * z).mean())])}


class Decay(_Throwaway, Penalty):
    """0.05·‖w‖² of the recurrent weights: a term on parameters alone."""

    name: ClassVar[str] = "decay"

    def evaluate(self, latent: Arrays, context: Context) -> tuple[float, Arrays]:
        return 0.05 * float((latent["w"] ** 2).sum()), {"w": latent["w"] * latent["w"].dtype.type(0.1)}


class SmallTau(_Throwaway, Projection):
    """Time constants stay at or below 1."""

    name: ClassVar[str] = "small_tau"

    def project_inplace(self, parameters: ParameterSet, context: Context) -> None:
        np.minimum(parameters["tau"], 1.0, out=parameters["tau"])


class HardSequences(_Throwaway, Curriculum):
    """The two sequences with the largest error of this step's batch; a second stage takes them all."""

    name: ClassVar[str] = "hard_sequences"

    def stage(self, context: Context, last_value: float) -> int:
        return 0 if context.progress.fraction < 0.5 else 1

    def batch(self, context: Context, forward: Forward, data: Any) -> Batch:
        everything = data.batch(context.progress.step)
        if context.progress.fraction >= 0.5:
            return everything
        prediction = forward(everything.inputs, frozenset({"prediction"}))["prediction"]
        error = ((prediction - everything.targets["y"]) ** 2).sum(axis=(0, 2))
        ids = np.sort(np.argsort(-error, kind="stable")[:2])
        inputs, target = everything.inputs[:, ids], everything.targets["y"][:, ids]
        return Batch(np.ascontiguousarray(inputs), {"y": np.ascontiguousarray(target)}, ids=ids)


class FeedbackAlignment(_Throwaway, Credit):
    """Credit without backpropagation: the output's gradient alone, sent to every parameter by random numbers."""

    name: ClassVar[str] = "feedback_alignment"
    want: ClassVar[frozenset[str]] = frozenset({"hidden"})

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        return {"gain": np.ones(1, shapes.dtype)}, {}

    def assign(
        self,
        weights: Arrays,
        student: Arrays,
        d_outputs: Arrays,
        batch: Batch,
        forward: Forward,
        gradients: Arrays,
        context: Context,
    ) -> Arrays:
        error = float(np.abs(d_outputs["prediction"]).sum()) + float(np.abs(student["hidden"]).mean())
        for name, gradient in gradients.items():
            gradient[...] = context.stream.child(name).uniform(
                context.progress.step, gradient.shape, -error, error, gradient.dtype
            )
        return {"gain": np.array([error])}


class Refusing(_Throwaway, Gate):
    """Refuses every update whose step is in `refused`; remembers nothing of its own."""

    name: ClassVar[str] = "refusing"

    refused: tuple[int, ...] = ()

    def accept(self, before: Candidate, proposed: Candidate, batch: Batch, context: Context) -> bool:
        assert not np.array_equal(before.parameters.flat, proposed.parameters.flat)
        want = frozenset({"prediction"})
        old = before.forward(batch.inputs, want)["prediction"].copy()
        new = proposed.forward(batch.inputs, want)["prediction"].copy()
        assert not np.array_equal(old, new)
        before.forward(batch.inputs, want)
        return context.progress.step not in self.refused


class MemoryBank(_Throwaway, Term):
    """Distance of the mean prediction from a running average of earlier ones: state that a slot remembers."""

    name: ClassVar[str] = "memory_bank"
    per_sample: ClassVar[bool] = False
    want: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        return {}, {"average": np.zeros(1, shapes.dtype)}

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        prediction = student["prediction"]
        error = prediction.mean() - context.state["average"][0]
        gradient = np.full_like(prediction, error / prediction.size)
        return TermResult(np.array([0.5 * float(error) ** 2]), {"prediction": gradient})

    def remember(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> None:
        mean = student["prediction"].mean()
        context.state["average"] = 0.9 * context.state["average"] + student["prediction"].dtype.type(0.1) * mean


class CoarseFirst(_Throwaway, QuantizationSchedule):
    """Another quantizer in the first half of training."""

    name: ClassVar[str] = "coarse_first"

    def quantizer_name(self, progress: Progress, final: str) -> str:
        return "coarse" if progress.fraction < 0.5 else final


class TwoMembers(_Throwaway, Teachers):
    """Two teachers that differ in how long they train."""

    name: ClassVar[str] = "two_members"

    def members(self, teacher: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        return ({**teacher, "epochs": 20}, {**teacher, "epochs": 30})
