"""The loss of a network under a recipe, and its gradients: slots 1 to 5 of the training contract, composed.

The trainer steps along these gradients, or along the same ones of a loss in common (joint.py), and the gradient check
compares with finite differences whichever they are, so that what is checked is what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kdrun.core.losses import add_scaled, mean_of, scale_inplace, scale_samples_inplace
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.cohort import Cohort, Slopes, kept
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import Recipe
from kdrun.factors.contract import (
    NOTHING,
    Array,
    Arrays,
    Batch,
    Context,
    Credit,
    Progress,
    Shapes,
    Term,
    TermResult,
    Weighting,
)
from kdrun.models.contract import Network

SUPERVISED = "supervised"


@dataclass
class TeacherModel:
    """A trained network that is only run."""

    network: Network
    weights: Arrays

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs on the same inputs as the student's."""
        return self.network.run_only(self.weights, inputs, want)


@dataclass
class Gradients:
    """Gradients of everything that is trained: of latent parameters and scales those of the whole cohort."""

    latent: ParameterSet
    scales: ParameterSet | None
    own: dict[str, ParameterSet] = field(default_factory=dict)


@dataclass(slots=True)
class Weighted:
    """A term, its coefficient in the loss at this step, what it gave, and the mean of its values."""

    term: Term
    weight: float
    result: TermResult
    mean: float


class Losses(NamedTuple):
    """What is recorded of an evaluation: the value of the loss, and that of the task's own loss alone."""

    value: float
    supervised: float


@dataclass(slots=True)
class Evaluation:
    """One evaluation of the loss.

    Its value, that of the task's own loss alone, every term, weights of samples, and the outputs that it came from.
    """

    value: float
    supervised: float
    results: dict[str, Weighted]
    weights: Array | None
    student: Arrays
    teachers: tuple[Arrays, ...]


class Objective:
    """A network with its latent parameters, a task's loss and a recipe, for one dtype.

    `cohort` holds the parameters, at `place`; without one the student is alone.
    """

    def __init__(
        self,
        network: Network,
        latent: ParameterSet,
        loss: Term,
        recipe: Recipe,
        teachers: tuple[TeacherModel, ...],
        stream: Callable[[str], Stream],
        cohort: Cohort | None = None,
        place: int = 0,
    ) -> None:
        self.network, self.recipe, self.teachers = network, recipe, teachers
        self.network.grid = recipe.grid
        self.cohort, self.place = Cohort(network, latent, recipe) if cohort is None else cohort, place
        self.latent = self.cohort.join(place, latent, recipe.shape)
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
        self._trains_own = any(len(own) for own in self.own.values())
        self._judged = [(name, term, self.contexts[name]) for name, term in self.terms.items()]

    def _start_slots(self, stream: Callable[[str], Stream]) -> None:
        dtype = self.network.dtype
        shapes = Shapes(
            student=self.network.outputs,
            teachers=tuple(teacher.network.outputs for teacher in self.teachers),
            parameters={name: tensor.shape for name, tensor in self.network.tensors.items()},
            dtype=dtype,
        )
        start = Progress(0, 1)
        self.contexts[SUPERVISED] = Context({}, {}, start, stream(SUPERVISED))
        for name, level in self.recipe.slots.items():
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
        own = {name: own.like() for name, own in self.own.items()}
        return Gradients(self.cohort.gradient, self._dscales(), own)

    def _dscales(self) -> ParameterSet | None:
        return self.quantized.dtrained if self.quantized is not None else None

    @property
    def quantized(self) -> QuantizedParameters | None:
        """The quantized view of the cohort's latent parameters."""
        return self.cohort.quantized

    @property
    def in_force(self) -> QuantizedParameters | None:
        """`quantized`, while networks run on it."""
        return self.cohort.in_force

    @property
    def weights(self) -> Arrays:
        """What the network runs on."""
        return self.cohort.weights

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Outputs of the network as it is now quantized."""
        return self.network.forward(self.cohort.weights, inputs, want, self.place)

    def switch(self, recipe: Recipe) -> None:
        """Go on with another quantizer: new scales, measured from the latent weights."""
        self.recipe = recipe
        self.cohort.quantize_by(recipe)
        self.gradients.scales = self._dscales()

    def prepare(self, progress: Progress) -> None:
        """Tell every slot where training stands, and quantize."""
        for context in self.contexts.values():
            context.progress = progress
        self.cohort.prepare(progress)

    def evaluate(self, batch: Batch, progress: Progress) -> Evaluation:
        """Value of the loss at the present weights; fills `gradients` with those of the weights that run and of `own`.

        `finish` turns them into gradients of latent parameters and scales.
        """
        found = self._losses(batch, progress)
        if self._trains_own:
            self._own_gradients(found.results)
        d_outputs = _output_gradients(found.results, found.weights)
        if self.recipe.credit is None:
            cohort = self.cohort
            self.network.backward(cohort.weights, batch.inputs, d_outputs, cohort.gradient_arrays, self.place)
        else:
            self._assign_credit(self.recipe.credit, found.student, d_outputs, batch)
        return found

    def loss_value(self, batch: Batch, progress: Progress) -> float:
        """Value of the loss at the present weights, without gradients and without penalties."""
        return self._losses(batch, progress).value

    def _losses(self, batch: Batch, progress: Progress) -> Evaluation:
        student = self.network.forward(self.cohort.weights, batch.inputs, self.want, self.place)
        teachers = self.run_teachers(batch) if self.teacher_want else ()
        hyper = self._hyper_values(teachers, batch) if self.recipe.hyper else NOTHING
        results = self._evaluate_terms(student, teachers, batch, progress, hyper)
        if self.recipe.weighting is None:
            weights, value = None, _weighted_mean(results.values())
        else:
            values = _sample_values(results)
            weights = self._sample_weights(self.recipe.weighting, values, teachers, batch)
            self._evaluate_weighted(results, student, teachers, batch, weights)
            on_batch = [entry for entry in results.values() if not entry.term.per_sample]
            value = mean_of(values * weights) + _weighted_mean(on_batch)
        for name, level in self.recipe.with_own_loss.items():
            value += level.own_loss(self.contexts[name])[0]
        return Evaluation(value, results[SUPERVISED].mean, results, weights, student, teachers)

    def _hyper_values(self, teachers: tuple[Arrays, ...], batch: Batch) -> dict[str, Any]:
        """What hyper-parameters are at this step, by what they provide."""
        return {
            level.provides: level.value(teachers, batch, self.contexts[name])
            for name, level in self.recipe.hyper.items()
        }

    def finish(self, progress: Progress) -> float:
        """Slot 5 and penalties: gradients of latent parameters and scales. Returns the value of the penalties."""
        value, slopes = self.penalty()
        self.cohort.finish(progress, slopes)
        return value

    def penalty(self) -> tuple[float, Slopes]:
        """Value of all penalties, and their gradients of latent parameters by tensor."""
        total = 0.0
        gradients: list[tuple[str, Array]] = []
        for name, penalty in self.recipe.penalties.items():
            value, dlatent = penalty.evaluate(self.latent, self.contexts[name])
            total += value
            gradients += dlatent.items()
        return total, gradients

    def is_smooth(self, evaluation: Evaluation, batch: Batch) -> bool:
        """Whether every term that was evaluated is smooth around this point."""
        student, teachers = evaluation.student, evaluation.teachers
        return all(
            entry.term.is_smooth(student, teachers, batch, self.contexts[name])
            for name, entry in evaluation.results.items()
        )

    def kept(self) -> dict[str, Array]:
        """What the run stores of its student."""
        scales, codes = (self.quantized.stored, self.quantized.codes) if self.quantized is not None else ({}, {})
        return kept(self.latent, self.cohort.own(scales, self.place), self.cohort.own(codes, self.place))

    def remember(self, evaluation: Evaluation, batch: Batch) -> None:
        """Let every slot remember the step that was evaluated last."""
        for name, level in self.recipe.remembering.items():
            level.remember(evaluation.student, evaluation.teachers, batch, self.contexts[name])

    def run_teachers(self, batch: Batch) -> tuple[Arrays, ...]:
        """What teachers say of a batch, as far as it is asked for."""
        return tuple(teacher.forward(batch.inputs, self.teacher_want) for teacher in self.teachers)

    def _evaluate_terms(
        self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, progress: Progress, hyper: Mapping[str, Any]
    ) -> dict[str, Weighted]:
        share_of_task = self.recipe.share_of_task(progress)
        results = {}
        for name, term, context in self._judged:
            weight = term.weight(progress)
            if name == SUPERVISED:
                weight *= share_of_task
            elif weight == 0.0:
                continue
            if term.hyper_names:
                context.hyper = {known: hyper[known] for known in term.hyper_names if known in hyper}
            result = term.evaluate(student, teachers, batch, context)
            results[name] = Weighted(term, weight, result, mean_of(result.value))
        return results

    def _sample_weights(self, weighting: Weighting, values: Array, teachers: tuple[Arrays, ...], batch: Batch) -> Array:
        weights, d_own = weighting.weights(values, teachers, batch, self.contexts["weighting"])
        self.gradients.own["weighting"].assign(d_own)
        return weights

    def _evaluate_weighted(
        self, results: dict[str, Weighted], student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, weights: Array
    ) -> None:
        """Terms with arrays or hyper-parameters of their own once more: their gradients depend on sample weights."""
        for name, entry in results.items():
            if entry.term.per_sample and (entry.result.d_own or entry.result.d_hyper):
                context = self.contexts[name]
                context.sample_weights = weights
                again = entry.term.evaluate(student, teachers, batch, context)
                context.sample_weights = None
                entry.result = entry.result._replace(d_own=again.d_own, d_hyper=again.d_hyper)

    def _own_gradients(self, results: dict[str, Weighted]) -> None:
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
        for name, slot in self.recipe.with_own_loss.items():
            for array, gradient in slot.own_loss(self.contexts[name])[1].items():
                self.gradients.own[name][array][...] += gradient

    def _assign_credit(self, credit: Credit, student: Arrays, d_outputs: Arrays, batch: Batch) -> None:
        d_own = credit.assign(
            self.weights, student, d_outputs, batch, self.forward, self.gradients.latent, self.contexts["credit"]
        )
        self.gradients.own["credit"].assign(d_own)


def _weighted_mean(entries: Iterable[Weighted]) -> float:
    """Σ weight·mean of the values of terms: the loss where samples count alike."""
    total = 0.0
    for entry in entries:
        total += entry.weight * entry.mean
    return total


def _sample_values(results: dict[str, Weighted]) -> Array:
    """Σ of weighted per-sample values, float64 [B]."""
    total = np.zeros(results[SUPERVISED].result.value.size)
    for entry in results.values():
        if entry.term.per_sample:
            add_scaled(entry.result.value, entry.weight, total)
    return total


def _output_gradients(results: dict[str, Weighted], weights: Array | None) -> Arrays:
    """Gradients of the loss by the student's outputs; `weights` are those of samples in per-sample terms."""
    if weights is None:
        return _add_outputs(results.values(), {})
    total = _add_outputs([entry for entry in results.values() if entry.term.per_sample], {})
    for gradient in total.values():
        rows = gradient.reshape(-1, weights.size, gradient.shape[-1])
        scale_samples_inplace(rows, weights.astype(gradient.dtype))
    return _add_outputs([entry for entry in results.values() if not entry.term.per_sample], total)


def _add_outputs(entries: Iterable[Weighted], total: dict[str, Array]) -> dict[str, Array]:
    """total += weight·gradients; the first gradient of an output becomes its total."""
    for entry in entries:
        weight = entry.weight
        for name, gradient in entry.result.d_outputs.items():
            if name in total:
                add_scaled(gradient.reshape(-1), weight, total[name].reshape(-1))
                continue
            if weight != 1.0:
                scale_inplace(gradient.reshape(-1), weight)
            total[name] = gradient
    return total
