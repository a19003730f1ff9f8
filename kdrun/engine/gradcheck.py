"""The gradient check: every analytic gradient of a combination of techniques against finite differences.

A hard quantizer is piecewise constant, so its weights are checked on what their rule declares (docs/derivations/
gradient_check.md): effective weights with codes frozen; latent weights along ŵ₀ + m ⊙ (w − w₀); the mask m against the
derivative of its declared antiderivative; scales with codes frozen. Everything else is checked directly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from copy import copy

import numpy as np

from kdrun.core.finite_differences import REACH, derivative_of, gradient_of, relative_error
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.combinations import Combination
from kdrun.engine.joint import evaluate_as_in_training
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import recipe_of
from kdrun.engine.workers import WorkerLost, results_of
from kdrun.errors import KdrunError
from kdrun.factors.contract import (
    Array,
    Arrays,
    Batch,
    Progress,
)
from kdrun.models.contract import Network
from kdrun.records import GradientCheck

DOUBLE_TOLERANCE = 1e-6
SINGLE_TOLERANCE = 1e-3
NETWORK_STEP = 1e-2
# Steps for masks, in widths of the narrowest window: they are piecewise polynomials, so that only rounding matters.
MASK_STEP = 1e-2
KINK_MARGIN = 2 * REACH * MASK_STEP
# How far from a kink float32 knows the place of a weight to its tolerance, in cells for each code.
PLACE_MARGIN = float(np.finfo(np.float32).eps) / SINGLE_TOLERANCE
ENDS = {"start": Progress(0, 1), "end": Progress(1, 1)}
SEED = 1
CANCELLATION = 1e-4
FRAGILE = 3e-4
# Hidden values are rounded so finely that rounding is the identity that gradients take it for.
FINE_GRID = {"float32": 2**21, "float64": 2**50}
TEACHERS = ("first", "second")
MOST_POINTS = 200


def check(combinations: Sequence[Combination], single_tolerance: float = SINGLE_TOLERANCE) -> Iterator[GradientCheck]:
    """Two rows for each combination and end of training: float64 against numeric, float32 against float64."""
    for combination in combinations:
        for end, progress in ENDS.items():
            name = f"{combination.name} ({end})"
            problem = _Problem(combination, progress)
            errors = problem.numeric_errors()
            yield GradientCheck(name, "float64", errors.size, float(errors.max()), DOUBLE_TOLERANCE)
            errors = problem.single_precision_errors()
            yield GradientCheck(name, "float32", errors.size, float(errors.max()), single_tolerance)


def compile_kernels(combinations: Sequence[Combination], dtype: str) -> None:
    """Have the kernels of all combinations compiled in one precision, and kept for other processes."""
    for combination in combinations:
        task = combination.task
        networks = [combination.model.build(task.inputs, task.heads, task.step_time, dtype) for _ in range(2)]
        latent = networks[0].initial_parameters(_compiling("student"), dtype)
        teachers = (TeacherModel(networks[1], latent.copy()),) * 2
        recipe = recipe_of(dict(combination.techniques))
        objective = Objective(networks[0], latent, combination.loss(), recipe, teachers, _compiling)
        for progress in ENDS.values():
            objective.prepare(progress)
            batch = task.training_data(_compiling, dtype).batch(0)
            objective.evaluate(batch, progress)
            evaluate_as_in_training(objective, batch, progress)
            objective.finish(progress)
        if objective.in_force is not None:
            objective.in_force.freeze()


def _compiling(purpose: str) -> Stream:
    return Stream(SEED, 1, purpose)


def checked_by(
    executor: Executor, combinations: Sequence[Combination], single_tolerance: float, is_cold: bool
) -> list[GradientCheck]:
    """The rows of `check`, made by workers: those of each combination by one of them.

    Where nothing is compiled yet (`is_cold`), one worker compiles for each precision first, instead of all for both.
    """
    try:
        if is_cold:
            results_of(executor, compile_kernels, [(combinations, dtype) for dtype in ("float64", "float32")])
        found = results_of(executor, _rows, [(combination, single_tolerance) for combination in combinations])
        return [row for rows in found for row in rows]
    except WorkerLost as lost:
        raise KdrunError(
            f"gradients were being checked, and {lost.text}; nothing was trained"
            + (f"\n{lost.printed}" if lost.printed else "")
        ) from None


def _rows(combination: Combination, single_tolerance: float) -> list[GradientCheck]:
    return list(check([combination], single_tolerance))


class _Problem:
    """Random parameters and a random short batch for one combination, at one point of training."""

    def __init__(self, combination: Combination, progress: Progress) -> None:
        self.combination, self.progress = combination, progress
        self.recipe = recipe_of(dict(combination.techniques))
        for self.attempt in range(MOST_POINTS):
            self._draw_point()
            objective, batch = self.objective("float64"), self.batch("float64")
            is_smooth = objective.is_smooth(objective.evaluate(batch, self.progress), batch)
            if is_smooth and not self._cancels(objective) and not self._is_fragile(objective):
                break

    def _cancels(self, objective: Objective) -> bool:
        """Whether some gradient is the small rest of large parts, of which float32 could keep few digits.

        Judged by the float64 gradients alone, before any mask: a component below 1e-4 of its array's largest, not zero.
        """
        gradients = [gradient.copy() for gradient in _named(objective).values()]
        objective.finish(self.progress)
        gradients += (objective.gradients.scales or {}).values()
        sizes = [np.abs(gradient[gradient != 0.0]) for gradient in gradients]
        return any(size.min() < CANCELLATION * size.max() for size in sizes if size.size)

    def _is_fragile(self, objective: Objective) -> bool:
        """Whether float32 could keep few digits of some gradient because roundings of the parameters change it much.

        Judged by float64 alone: gradients at parameters that differ by a few of float32's roundings.
        """
        gradients = {name: gradient.copy() for name, gradient in _named(objective).items()}
        beside = copy(self)
        beside.values = _nearby(self.values, self.stream("nearby"))
        beside.taught = {name: _nearby(values, self.stream(f"nearby/{name}")) for name, values in self.taught.items()}
        others = beside.gradients("float64")
        return any(relative_error(others[name], gradient).max() > FRAGILE for name, gradient in gradients.items())

    def stream(self, purpose: str) -> Stream:
        """Random numbers of the check, the same for every combination; new ones for each point that is tried."""
        return Stream(SEED, self.attempt, purpose)

    def network(self, dtype: str) -> Network:
        """The combination's network in one precision."""
        task = self.combination.task
        return self.combination.model.build(task.inputs, task.heads, task.step_time, dtype)

    def batch(self, dtype: str) -> Batch:
        """The first training batch of the task's small instance, from numbers that both precisions share."""
        return self.combination.task.training_data(self.stream, dtype).batch(0)

    def _draw_point(self) -> None:
        """Parameters and scales that float32 holds exactly, so that both precisions check the same point."""
        network = self.network("float32")
        self.values = _random_parameters(network, self.stream("student"))
        self.taught = {name: _random_parameters(network, self.stream(f"teacher/{name}")) for name in TEACHERS}
        self.scales: Mapping[str, Array] = {}
        quantized = self.objective("float32").in_force
        if quantized is None:
            return
        _shake(quantized.stored, self.stream("scales"))
        self.scales = dict(quantized.stored)
        for name in quantized.tensors:
            kinks, margin = self._kinks(quantized, name)
            _draw_again_near(self.values[name], kinks, margin, self.stream(f"again/{name}"))

    def _kinks(self, quantized: QuantizedParameters, name: str) -> tuple[Array, Array]:
        """Points [n, fan_out] where the rules of one tensor are not smooth, and how far to stay from them [fan_out]."""
        unit, high = quantized.unit(name), quantized.quantizer.max_code
        boundaries = np.outer(np.arange(-high, high) + 0.5, unit)
        points, margin = [boundaries, quantized.quantizer.scale_kinks(unit)], KINK_MARGIN * unit
        if self.recipe.shape is not None:
            points.append(self.recipe.shape.kinks(unit, high, self.progress))
            margin = KINK_MARGIN * self._window(unit, high)
        return np.concatenate(points), np.maximum(margin, PLACE_MARGIN * high * unit)

    def _window(self, unit: Array, max_code: int) -> Array:
        """Width of the narrowest window of the gradient shape in each column [fan_out]."""
        assert self.recipe.shape is not None
        kinks = np.sort(self.recipe.shape.kinks(np.ones(1), max_code, self.progress)[:, 0])
        gaps = np.diff(kinks)
        return np.asarray(unit * min([1.0, *gaps[gaps > 1e-6]]))

    def objective(self, dtype: str) -> Objective:
        """The combination at the problem's point, quantized, in one precision."""
        loss, teachers = self.combination.loss(), tuple(self._teacher(name, dtype) for name in TEACHERS)
        latent = ParameterSet.of(self.values, dtype)
        objective = Objective(self.network(dtype), latent, loss, self.recipe, teachers, self.stream)
        if self.recipe.activations is not None:
            objective.network.grid = FINE_GRID[dtype]
        for name, own in objective.own.items():
            _shake(own, self.stream(f"own/{name}"))
        objective.prepare(self.progress)
        if objective.in_force is not None:
            # Scales that training measures anew are held as well, at numbers that both precisions share.
            objective.in_force.assign_scales(self.scales)
            objective.in_force.quantize()
        return objective

    def _teacher(self, name: str, dtype: str) -> TeacherModel:
        return TeacherModel(self.network(dtype), ParameterSet.of(self.taught[name], dtype))

    def numeric_errors(self) -> Array:
        """Relative errors of all float64 gradients against finite differences."""
        return np.concatenate([error.reshape(-1) for error in _NumericCheck(self).errors()])

    def single_precision_errors(self) -> Array:
        """Relative errors of all float32 gradients against the float64 ones."""
        double, single = self.gradients("float64"), self.gradients("float32")
        return np.concatenate([relative_error(single[name], double[name]).reshape(-1) for name in double])

    def gradients(self, dtype: str) -> dict[str, Array]:
        """Every gradient at the point, by name."""
        objective = self.objective(dtype)
        evaluate_as_in_training(objective, self.batch(dtype), self.progress)
        objective.finish(self.progress)
        return _named(objective)


class _NumericCheck:
    """One problem in float64: its analytic gradients, and finite differences of what they claim to be gradients of."""

    def __init__(self, problem: _Problem) -> None:
        self.problem, self.progress = problem, problem.progress
        self.objective, self.batch = problem.objective("float64"), problem.batch("float64")
        evaluate_as_in_training(self.objective, self.batch, self.progress)
        self.effective = {name: array.copy() for name, array in self.objective.gradients.latent.items()}
        self.objective.finish(self.progress)
        self.analytic = {name: array.copy() for name, array in _named(self.objective).items()}

    def slopes(self, array: Array, step: float | Array, follow: Callable[[], None] = lambda: None) -> Array:
        """The numeric gradient of the whole loss by an array; `follow` moves what depends on it by a declared rule.

        Penalties are differentiated by themselves: beside a loss that weights have made large they would lose digits.
        """

        def loss() -> float:
            follow()
            return self.objective.loss_value(self.batch, self.progress)

        def penalty() -> float:
            return self.objective.penalty()[0]

        step = step * min((term.check_step for term in self.problem.recipe.terms.values()), default=1.0)
        found = gradient_of(loss, array, step)
        return found + gradient_of(penalty, array, step) if self.problem.recipe.penalties else found

    def errors(self) -> Iterator[Array]:
        """Relative errors, group by group; no parameter is left out."""
        quantized = self.objective.in_force
        for name, array in self.objective.latent.items():
            if quantized is not None and name in quantized.tensors:
                yield from self._quantized_errors(quantized, name)
            else:
                yield relative_error(self.analytic[name], self.slopes(array, NETWORK_STEP))
        if quantized is not None:
            yield from self._scale_errors(quantized)
        for slot, own in self.objective.own.items():
            for name, array in own.items():
                yield relative_error(self.analytic[f"{slot}.{name}"], self.slopes(array, NETWORK_STEP))

    def _quantized_errors(self, quantized: QuantizedParameters, name: str) -> Iterator[Array]:
        effective, latent = self.objective.weights[name], self.objective.latent[name]
        yield relative_error(self.effective[name], self.slopes(effective, NETWORK_STEP))
        mask, declared = self._masks(quantized, name)
        yield relative_error(mask, declared)
        start, origin = effective.copy(), latent.copy()

        def along_the_rule() -> None:
            effective[...] = start + mask * (latent - origin)

        numeric = self.slopes(latent, NETWORK_STEP / np.maximum(1.0, np.abs(mask)), along_the_rule)
        effective[...] = start
        yield relative_error(self.analytic[name], numeric)

    def _masks(self, quantized: QuantizedParameters, name: str) -> tuple[Array, Array]:
        """m(w) as training computes it, and the numeric derivative of the antiderivative that its level declares."""
        shape, latent = self.problem.recipe.shape, self.objective.latent[name]
        if shape is None:
            return np.ones_like(latent), np.ones_like(latent)
        mask = quantized.masks(shape, self.progress).get(name, np.ones_like(latent)).copy()
        unit, high = quantized.unit(name).copy(), quantized.quantizer.max_code
        step = np.broadcast_to(MASK_STEP * self.problem._window(unit, high), latent.shape)
        return mask, derivative_of(lambda w: shape.antiderivative(w, unit, high, self.progress), latent, step)

    def _scale_errors(self, quantized: QuantizedParameters) -> Iterator[Array]:
        start = quantized.copied_scales()

        def along_the_rule() -> None:
            quantized.along_scales(start)

        for name, array in quantized.trained.items():
            numeric = self.slopes(array, _scale_step(quantized, name), along_the_rule)
            yield relative_error(self.analytic[name], numeric)
            quantized.freeze()


def _scale_step(quantized: QuantizedParameters, name: str) -> float:
    """A step that moves weights as far as those of a ternary column: codes multiply it, columns that share add up."""
    columns = quantized.latent[name.partition(".")[2]].shape[1]
    return float(NETWORK_STEP / (quantized.quantizer.max_code * np.sqrt(columns / quantized.trained[name].size)))


def _named(objective: Objective) -> dict[str, Array]:
    """Every gradient of an objective by the name of what it belongs to."""
    found = dict(objective.gradients.latent)
    if objective.gradients.scales is not None:
        found |= objective.gradients.scales
    for slot, own in objective.gradients.own.items():
        found |= {f"{slot}.{name}": gradient for name, gradient in own.items()}
    return found


def _random_parameters(network: Network, stream: Stream) -> dict[str, Array]:
    """Values of float32 for every tensor, biases and signs of time constants included."""
    values = dict(network.initial_parameters(stream, "float32").copy())
    for name, tensor in network.tensors.items():
        part = stream.child(name)
        if tensor.low == tensor.high:
            values[name] = part.uniform(1, tensor.shape, -0.3, 0.3, "float32")
        elif tensor.low > 0.0:
            values[name] *= np.sign(part.uniform(1, tensor.shape, -1.0, 1.0, "float32"))
    return values


def _nearby(values: Mapping[str, Array], stream: Stream) -> dict[str, Array]:
    """Float64 values that differ by up to four roundings of float32, each by itself."""
    reach = 2.0**-22
    return {
        name: array * (1.0 + stream.child(name).uniform(0, array.shape, -reach, reach, "float64"))
        for name, array in values.items()
    }


def _shake(arrays: Arrays, stream: Stream) -> None:
    """Move arrays off their starting values, by numbers that both precisions hold."""
    for name, array in arrays.items():
        noise = stream.child(name).uniform(0, array.shape, -0.1, 0.1, "float32")
        array[...] = np.float32(array) * (np.float32(1.0) + noise) + np.float32(0.1) * noise * (np.float32(array) == 0)


def _draw_again_near(values: Array, kinks: Array, margin: Array, stream: Stream) -> None:
    """Draw those values [fan_in, fan_out] again that lie within `margin` of a kink of their column, until none does."""
    reach = float(np.abs(values).max())
    for attempt in itertools.count():
        near = (np.abs(values[np.newaxis] - kinks[:, np.newaxis]) < margin).any(axis=0)
        if not near.any():
            return
        values[near] = stream.uniform(attempt, values.shape, -reach, reach, "float32")[near]
