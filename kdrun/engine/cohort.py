"""Students side by side: what is done to their weights between two passes is done to all at once.

Students of one architecture, quantized and updated alike, keep their parameters as columns of the same arrays. A
quantizer takes each column by itself and an optimizer each number, so that they see one wide network, and no bit of a
student depends on who else is there. A student alone is a cohort of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdrun.core.clipping import add_squared_norms, clip_inplace
from kdrun.core.parameters import ParameterSet
from kdrun.engine.quantized import CodeFlips, QuantizedParameters
from kdrun.engine.recipe import Recipe
from kdrun.factors.contract import Array, Arrays, GradientShape, Optimizer, Progress
from kdrun.models.contract import Network

# Gradients of latent parameters, by tensor.
Slopes = Sequence[tuple[str, Array]]


@dataclass(slots=True)
class Group:
    """Arrays that are updated together, what the optimizer remembers of them, and their part of the learning rate.

    `layout` says which numbers of their gradient are a student's (see `ParameterSet.layout`).
    """

    parameters: ParameterSet
    gradient: ParameterSet
    memory: dict[str, Array]
    layout: Array
    lr: float = 1.0

    @classmethod
    def started(
        cls, optimizer: Optimizer, parameters: ParameterSet, gradient: ParameterSet, students: int = 1, lr: float = 1.0
    ) -> Group:
        """A group that an optimizer remembers nothing of."""
        memory = optimizer.start(parameters.flat.size, parameters.flat.dtype)
        return cls(parameters, gradient, memory, parameters.layout(students), lr)


class Cohort:
    """The parameters of some students, their gradients, and what they run on: slots 1, 5, 6 and 7 of all of them.

    `latent` and `gradient` hold every parameter [..., students·n]. `weights` is what the networks run on, made by
    `quantized` while it is `in_force`; a quantizer may leave networks to their latent weights until training ends.
    """

    def __init__(self, network: Network, latent: ParameterSet, recipe: Recipe, students: int = 1) -> None:
        self.network, self.latent, self.students = network, latent, students
        self.gradient = latent.like()
        # A plain mapping is looked up in sooner.
        self.latent_arrays, self.gradient_arrays = dict(latent), dict(self.gradient)
        self.groups: dict[str, Group] = {}
        self._norms, self._shapes = np.zeros(students), list[tuple[GradientShape, Array]]()
        self.quantize_by(recipe)

    @staticmethod
    def room(network: Network, students: int) -> ParameterSet:
        """Latent parameters for so many students, all zero."""
        wide = {name: (*t.shape[:-1], students * t.shape[-1]) for name, t in network.tensors.items()}
        return ParameterSet(wide, network.dtype)

    def quantize_by(self, recipe: Recipe) -> None:
        """Go on with the quantizer of a recipe: new scales, measured from the latent weights."""
        self.quantized: QuantizedParameters | None = None
        self.weights: Arrays = self.latent_arrays
        if recipe.quantizer is not None and recipe.granularity is not None and recipe.quantizer.max_code:
            self.quantized = QuantizedParameters(self.network, self.latent, recipe.quantizer, recipe.granularity)
            self.weights = self.quantized.weights
        self.in_force = self.quantized
        self._flips: CodeFlips | None = None
        self._flipped: tuple[int, Array | None] = (-1, None)

    def own(self, arrays: Arrays, place: int) -> dict[str, Array]:
        """Those columns of arrays that are the student's at a place; all of them, as they are, where it is alone."""
        if self.students == 1:
            return dict(arrays)
        own = {}
        for name, array in arrays.items():
            columns = array.shape[-1] // self.students
            own[name] = array[..., place * columns : (place + 1) * columns]
        return own

    def join(self, place: int, latent: ParameterSet, shape: GradientShape | None) -> Arrays:
        """Let a student take its place, with some parameters and a shape of its gradients. Gives its columns."""
        self.shape_by(place, shape)
        if latent is self.latent:
            return latent
        own = self.own(self.latent, place)
        for name, array in own.items():
            array[...] = latent[name]
        if self.quantized is not None:
            self.quantized.measure()
        return own

    def shape_by(self, place: int, shape: GradientShape | None) -> None:
        """Let the gradients of a student have a shape; one that is 1 everywhere costs nothing."""
        if shape is None or type(shape).mask is GradientShape.mask:
            return
        shapes = [known for known, _ in self._shapes]
        if shape not in shapes:
            self._shapes.append((shape, np.array([place])))
        else:
            known, places = self._shapes[shapes.index(shape)]
            self._shapes[shapes.index(shape)] = known, np.append(places, place)

    def prepare(self, progress: Progress) -> None:
        """Slot 1: quantize, or let networks run on latent weights, so that scales have no gradient."""
        quantized = self.quantized
        if quantized is None:
            return
        if quantized.quantizer.is_in_force(progress):
            self.in_force, self.weights = quantized, quantized.weights
            quantized.update()
        else:
            self.in_force, self.weights = None, self.latent_arrays
            quantized.dtrained.flat.fill(0.0)

    def flips(self, step: int) -> Array | None:
        """The share of each student's codes that are not what they were in the step that was asked about before.

        float64 [students]; None at first, and while networks run on latent weights.
        """
        known, shares = self._flipped
        if step != known:
            shares = None
            if self.in_force is None:
                self._flips = None
            elif self._flips is None:
                self._flips = CodeFlips(self.in_force.codes, self.students)
            else:
                shares = self._flips.shares()
            self._flipped = step, shares
        return shares

    def finish(self, progress: Progress, penalties: Slopes) -> None:
        """Slot 5: gradients of the weights that ran become those of latent weights and scales; then penalties join."""
        if self.in_force is not None:
            self.in_force.backward(self.gradient_arrays)
            for shape, places in self._shapes:
                self.shape_inplace(shape, places, progress)
        for tensor, gradient in penalties:
            self.gradient_arrays[tensor][...] += gradient

    def shape_inplace(self, shape: GradientShape, places: Array, progress: Progress) -> None:
        """Slot 5, for the students that have one shape, while weights are quantized."""
        assert self.in_force is not None
        self.in_force.shape_inplace(self.gradient_arrays, shape, progress, places, self.students)

    def start(self, optimizer: Optimizer) -> None:
        """Groups of latent parameters and scales, with an optimizer that remembers nothing; they are clipped as one.

        A scale takes steps of 1/max_code of the rate: it is as much smaller than the weights that it spans, and Adam's
        steps know nothing of the size of what they move.
        """
        self.groups = {"latent": Group.started(optimizer, self.latent, self.gradient, self.students)}
        quantized = self.quantized
        if quantized is not None and len(quantized.trained):
            scales, dscales, lr = quantized.trained, quantized.dtrained, 1.0 / quantized.quantizer.max_code
            self.groups["scales"] = Group.started(optimizer, scales, dscales, self.students, lr)

    def update(self, optimizer: Optimizer, lr: float, progress: Progress, penalties: Slopes) -> None:
        """Slots 5 to 7: one step at a learning rate, along gradients that are clipped to one norm for each student."""
        self.finish(progress, penalties)
        if optimizer.clip is not None:
            self._clip_inplace(optimizer.clip)
        for group in self.groups.values():
            optimizer.update_inplace(group.parameters.flat, group.gradient.flat, group.memory, 1.0, lr * group.lr)
        if self.quantized is not None:
            self.quantized.project_inplace(progress)

    def _clip_inplace(self, clip: float) -> None:
        norms, largest = self._norms, 0.0
        norms.fill(0.0)
        for group in self.groups.values():
            largest = add_squared_norms(group.gradient.flat, group.layout, norms)
        if math.sqrt(largest) > clip:
            for group in self.groups.values():
                clip_inplace(group.gradient.flat, group.layout, norms, clip)


def kept(latent: Arrays, scales: Arrays, codes: Mapping[str, Array]) -> dict[str, Array]:
    """What a finished run stores: latent parameters, and where weights are quantized their scales and codes (int8)."""
    arrays = {name: array.copy() for name, array in {**latent, **scales}.items()}
    return arrays | {f"codes.{name}": array.astype("int8") for name, array in codes.items()}
