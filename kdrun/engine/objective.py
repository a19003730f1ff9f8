"""The loss of a network under a recipe, and its gradients: slots 1 to 5 of the training contract, composed.

The trainer steps along these gradients and the gradient check compares them with finite differences, so that what is
checked is what is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdrun.core.losses import add_scaled, mean_of, scale_inplace, scale_samples_inplace
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import Recipe
from kdrun.factors.contract import Array, Arrays, Batch, Context, Progress, Shapes, Term, TermResult
from kdrun.models.contract import Network

SUPERVISED = "supervised"


@dataclass(frozen=True)
class TeacherModel:
    """A trained network that is only run."""

    network: Network
    weights: Arrays

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs on the same inputs as the student's."""
        return self.network.forward(self.weights, inputs, want)


@dataclass
class Gradients:
    """Gradients of everything that is trained, in the layout of what they belong to."""

    latent: ParameterSet
    stored: ParameterSet | None
    own: dict[str, ParameterSet] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the loss: its value, that of the task's own loss alone, and the outputs that it came from."""

    value: float
    supervised: float
    student: Arrays
    teachers: tuple[Arrays, ...]


class Objective:
    """A network with its latent parameters, a task's loss and a recipe, for one dtype."""

    def __init__(
        self,
        network: Network,
        latent: ParameterSet,
        loss: Term,
        recipe: Recipe,
        teachers: tuple[TeacherModel, ...],
        stream: Callable[[str], Stream],
    ) -> None:
        self.network, self.latent, self.recipe, self.teachers = network, latent, recipe, teachers
        self.quantized = self._quantized(recipe)
        self.terms: dict[str, Term] = {SUPERVISED: loss, **recipe.terms}
        self.own: dict[str, ParameterSet] = {}
        self.contexts: dict[str, Context] = {}
        self._start_slots(stream)
        self.want = frozenset().union(*(term.want for term in self.terms.values()))
        if recipe.credit is not None:
            self.want |= recipe.credit.want
        self.teacher_want = frozenset().union(*(term.teacher_want for term in self.terms.values()))
        if recipe.weighting is not None:
            self.teacher_want |= recipe.weighting.teacher_want
        self.gradients = self._zero_gradients()

    def _quantized(self, recipe: Recipe) -> QuantizedParameters | None:
        if recipe.quantizer is None or recipe.granularity is None or not recipe.quantizer.max_code:
            return None
        return QuantizedParameters(self.network, self.latent, recipe.quantizer, recipe.granularity)

    def _start_slots(self, stream: Callable[[str], Stream]) -> None:
        dtype = self.latent.flat.dtype
        shapes = Shapes(
            student=self.network.outputs,
            teachers=tuple(teacher.network.outputs for teacher in self.teachers),
            parameters=self.latent.shapes,
            dtype=dtype,
        )
        start = Progress(0, 1)
        self.contexts[SUPERVISED] = Context({}, {}, start, stream(SUPERVISED))
        for name, level in self.recipe.slots().items():
            own, state = level.init(stream(name), shapes)
            self.own[name] = ParameterSet.of(own, dtype)
            self.contexts[name] = Context(
                self.own[name],
                dict(state),
                start,
                stream(name),
                parameters=self.latent,
                teachers=tuple(teacher.forward for teacher in self.teachers),
            )

    def _zero_gradients(self) -> Gradients:
        stored = self.quantized.stored.like() if self.quantized else None
        return Gradients(self.latent.like(), stored, {name: own.like() for name, own in self.own.items()})

    @property
    def weights(self) -> Arrays:
        """What the network runs on."""
        return self.quantized.weights if self.quantized else self.latent

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Outputs of the network as it is now quantized."""
        return self.network.forward(self.weights, inputs, want)

    def switch(self, recipe: Recipe) -> None:
        """Go on with another quantizer: new scales, measured from the latent weights."""
        self.recipe = recipe
        self.quantized = self._quantized(recipe)
        self.gradients.stored = self.quantized.stored.like() if self.quantized else None

    def prepare(self, progress: Progress) -> None:
        """Tell every slot where training stands, and quantize."""
        for context in self.contexts.values():
            context.progress = progress
        if self.quantized:
            self.quantized.quantize()

    def evaluate(self, batch: Batch, progress: Progress) -> Evaluation:
        """Value of the loss at the present weights; fills `gradients` with those of the weights that run and of `own`.

        `finish` turns them into gradients of latent parameters and scales.
        """
        losses = self._losses(batch, progress)
        self._own_gradients(losses.results)
        self._assign_credit(losses.student, self._sum_outputs(losses.results, losses.weights), batch)
        supervised = mean_of(losses.results[SUPERVISED].result.value)
        return Evaluation(losses.value, supervised, losses.student, losses.teachers)

    def value(self, batch: Batch, progress: Progress) -> float:
        """Value of the whole loss at the present weights, without gradients."""
        return self._losses(batch, progress).value + self.penalty()[0]

    def _losses(self, batch: Batch, progress: Progress) -> _Losses:
        student = self.forward(batch.inputs, self.want)
        teachers = self._run_teachers(batch)
        hyper = {
            level.provides: level.value(teachers, batch, self.contexts[name])
            for name, level in self.recipe.hyper.items()
        }
        results = self._evaluate_terms(student, teachers, batch, progress, hyper)
        values = self._sample_values(results)
        weights = self._sample_weights(values, teachers, batch)
        if weights is not None:
            values = values * weights
            self._evaluate_weighted(results, student, teachers, batch, weights)
        value = mean_of(values) + self._batch_value(results) + self._own_losses()[0]
        return _Losses(value, results, weights, student, teachers)

    def _own_losses(self) -> tuple[float, dict[str, Arrays]]:
        """Terms of all slots on their own arrays: value, and gradients by slot."""
        found = {name: level.own_loss(self.contexts[name]) for name, level in self.recipe.slots().items()}
        return sum(value for value, _ in found.values()), {name: gradients for name, (_, gradients) in found.items()}

    def finish(self, progress: Progress) -> float:
        """Slot 5 and penalties: gradients of latent parameters and scales. Returns the value of the penalties."""
        if self.quantized and self.gradients.stored is not None:
            self.quantized.backward_inplace(self.gradients.latent, self.gradients.stored, self.recipe.shape, progress)
        value, gradients = self.penalty()
        for tensor, gradient in gradients:
            self.gradients.latent[tensor][...] += gradient
        return value

    def penalty(self) -> tuple[float, list[tuple[str, Array]]]:
        """Value of all penalties, and their gradients by tensor."""
        total = 0.0
        gradients: list[tuple[str, Array]] = []
        for name, penalty in self.recipe.penalties.items():
            value, dlatent = penalty.evaluate(self.latent, self.contexts[name])
            total += value
            gradients += dlatent.items()
        return total, gradients

    def remember(self, evaluation: Evaluation, batch: Batch) -> None:
        """Let every slot remember the step that was evaluated last."""
        for name, level in self.recipe.slots().items():
            level.remember(evaluation.student, evaluation.teachers, batch, self.contexts[name])

    def _run_teachers(self, batch: Batch) -> tuple[Arrays, ...]:
        if not self.teacher_want:
            return ()
        return tuple(teacher.forward(batch.inputs, self.teacher_want) for teacher in self.teachers)

    def _evaluate_terms(
        self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, progress: Progress, hyper: dict[str, Any]
    ) -> dict[str, _Weighted]:
        supervised = 1.0
        for term in self.recipe.terms.values():
            supervised *= term.supervised_weight(progress)
        results = {}
        for name, term in self.terms.items():
            weight = term.weight(progress) * (supervised if name == SUPERVISED else 1.0)
            if weight == 0.0 and name != SUPERVISED:
                continue
            context = self.contexts[name]
            context.hyper = {known: hyper[known] for known in term.hyper_names if known in hyper}
            context.sample_weights = None
            results[name] = _Weighted(term, weight, term.evaluate(student, teachers, batch, context))
        return results

    def _sample_values(self, results: dict[str, _Weighted]) -> Array:
        """Σ of weighted per-sample values, float64 [B]."""
        per_sample = [entry for entry in results.values() if entry.term.per_sample]
        total = np.zeros(per_sample[0].result.value.size)
        for entry in per_sample:
            add_scaled(entry.result.value, entry.weight, total)
        return total

    def _sample_weights(self, values: Array, teachers: tuple[Arrays, ...], batch: Batch) -> Array | None:
        if self.recipe.weighting is None:
            return None
        weights, d_own = self.recipe.weighting.weights(values, teachers, batch, self.contexts["weighting"])
        self.gradients.own["weighting"].assign(d_own)
        return weights

    def _evaluate_weighted(
        self, results: dict[str, _Weighted], student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, weights: Array
    ) -> None:
        """Terms with arrays or hyper-parameters of their own once more: their gradients depend on sample weights."""
        for name, entry in results.items():
            if entry.term.per_sample and (entry.result.d_own or entry.result.d_hyper):
                context = self.contexts[name]
                context.sample_weights = weights
                again = entry.term.evaluate(student, teachers, batch, context)
                entry.result = replace(entry.result, d_own=again.d_own, d_hyper=again.d_hyper)

    def _batch_value(self, results: dict[str, _Weighted]) -> float:
        return sum(
            entry.weight * float(entry.result.value[0]) for entry in results.values() if not entry.term.per_sample
        )

    def _own_gradients(self, results: dict[str, _Weighted]) -> None:
        """Gradients of every slot's own arrays; those of a term that is left out of this step are zero."""
        for name in (*self.recipe.terms, *self.recipe.hyper):
            self.gradients.own[name].flat.fill(0.0)
        d_hyper: dict[str, Any] = {}
        for name, entry in results.items():
            for array, gradient in entry.result.d_own.items():
                self.gradients.own[name][array][...] = entry.weight * gradient
            for provided, gradient in entry.result.d_hyper.items():
                d_hyper[provided] = d_hyper.get(provided, 0.0) + entry.weight * gradient
        for name, level in self.recipe.hyper.items():
            if level.provides in d_hyper:
                self.gradients.own[name].assign(level.backward(d_hyper[level.provides], self.contexts[name]))
        for name, gradients in self._own_losses()[1].items():
            for array, gradient in gradients.items():
                self.gradients.own[name][array][...] += gradient

    def _sum_outputs(self, results: dict[str, _Weighted], weights: Array | None) -> Arrays:
        """Gradients of the loss by the student's outputs: per-sample terms, weighted, then batch terms."""
        total: dict[str, Array] = {}
        for entry in results.values():
            if entry.term.per_sample:
                _add_gradients(total, entry)
        if weights is not None:
            for gradient in total.values():
                rows = gradient.reshape(-1, weights.size, gradient.shape[-1])
                scale_samples_inplace(rows, weights.astype(gradient.dtype))
        for entry in results.values():
            if not entry.term.per_sample:
                _add_gradients(total, entry)
        return total

    def _assign_credit(self, student: Arrays, d_outputs: Arrays, batch: Batch) -> None:
        credit = self.recipe.credit
        if credit is None:
            self.network.backward(self.weights, batch.inputs, d_outputs, self.gradients.latent)
            return
        d_own = credit.assign(
            self.weights, student, d_outputs, batch, self.forward, self.gradients.latent, self.contexts["credit"]
        )
        self.gradients.own["credit"].assign(d_own)


@dataclass
class _Weighted:
    """A term, its coefficient in the loss at this step, and what it gave."""

    term: Term
    weight: float
    result: TermResult


@dataclass(frozen=True)
class _Losses:
    """The terms of one evaluation: their value in all, each of them, sample weights, and the outputs they came from."""

    value: float
    results: dict[str, _Weighted]
    weights: Array | None
    student: Arrays
    teachers: tuple[Arrays, ...]


def _add_gradients(total: dict[str, Array], entry: _Weighted) -> None:
    """total += weight·gradients; the first gradient of an output becomes its total."""
    for name, gradient in entry.result.d_outputs.items():
        if name in total:
            add_scaled(gradient.reshape(-1), entry.weight, total[name].reshape(-1))
            continue
        if entry.weight != 1.0:
            scale_inplace(gradient.reshape(-1), entry.weight)
        total[name] = gradient
