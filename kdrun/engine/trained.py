"""The network of a finished run again, from its record and the arrays that it left."""

from __future__ import annotations

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.engine.run import DTYPE, techniques
from kdrun.factors.contract import Array, Arrays, Progress
from kdrun.models.contract import Network
from kdrun.records import Run
from kdrun.study.schema import Sections
from kdrun.tasks.contract import Demonstration, Evaluate, TrainingTask


def forward_of(run: Run, parameters: Arrays) -> Evaluate:
    """The forward pass of a run's trained network, bit for bit the one that its responses were measured with.

    `parameters` are the arrays of its outcome. What `forward` returns is valid until its next call. A ValueError says
    why they make no network.
    """
    sections = _sections(run)
    task = sections.task
    if not isinstance(task, TrainingTask) or sections.model is None or not parameters:
        raise ValueError(f"{run.title}: there is no trained network")
    network = sections.model.build(task.inputs, task.heads, task.step_time, DTYPE)
    recipe = Recipe() if sections.student is None else recipe_of(techniques(sections.student))
    network.grid = recipe.grid
    weights = _weights(network, recipe, parameters)

    def forward(inputs: Array, want: frozenset[str]) -> Arrays:
        return network.forward(weights, inputs, want)

    return forward


def demonstrate(run: Run, parameters: Arrays) -> Demonstration | None:
    """What the trained network of a run does on its task's example; None where there is no network or no example."""
    task = _sections(run).task
    if not isinstance(task, TrainingTask) or not parameters:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return task.demonstrate(forward_of(run, parameters), DTYPE)


def _sections(run: Run) -> Sections:
    return Sections.model_validate({key: run.spec[key] for key in ("task", "model", "student") if key in run.spec})


def _weights(network: Network, recipe: Recipe, parameters: Arrays) -> Arrays:
    """What the network runs on: effective weights where the run kept codes, else the arrays as they are."""
    latent = ParameterSet({name: tensor.shape for name, tensor in network.tensors.items()}, DTYPE)
    latent.assign({name: parameters[name] for name in latent})
    if not any(name.startswith("codes.") for name in parameters):
        return latent
    if recipe.quantizer is None or recipe.granularity is None or not _is_final(recipe):
        raise ValueError("the codes of the network are those of another quantizer than its study names")
    quantized = QuantizedParameters(network, latent, recipe.quantizer, recipe.granularity)
    quantized.load(parameters)
    return quantized.weights


def _is_final(recipe: Recipe) -> bool:
    """Whether training ends with the quantizer that the recipe names."""
    if recipe.schedule is None or recipe.quantizer is None:
        return True
    return recipe.schedule.quantizer_name(Progress(1, 1), recipe.quantizer.name) == recipe.quantizer.name
