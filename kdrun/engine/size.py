"""How many bits networks take when they are stored: from their specs alone, whatever training makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.engine.run import DTYPE
from kdrun.factors.contract import FLOAT_BITS, Quantizer
from kdrun.models.contract import ModelSpec, Network, Tensor
from kdrun.study.choice import CellChoice, LevelChoice, TaskChoice
from kdrun.study.plain import canonical
from kdrun.study.plan import Part, Plan
from kdrun.tasks.contract import TrainingTask


def compressions(planned: Plan) -> dict[int, float]:
    """By treatment, float32 bits of the teacher (the first of several) over the stored bits of its student.

    Empty for a study without networks or without teachers, and for one whose students are all float.
    """
    sizes, found, is_quantized = _Sizes(), {}, False
    for part in planned.parts:
        teacher = _teacher_of(part, planned)
        if teacher is None or part.treatment is None:
            continue
        recipe = _quantization(part.spec)
        is_quantized = is_quantized or recipe.quantizer is not None
        found[part.treatment] = sizes.of(teacher.spec, Recipe()) / sizes.of(part.spec, recipe)
    return found if is_quantized else {}


def _teacher_of(part: Part, planned: Plan) -> Part | None:
    return next((needed for place in part.needs if (needed := planned.parts[place]).kind == "teacher"), None)


def _quantization(spec: Mapping[str, Any]) -> Recipe:
    """What a student's weights are once training is over: its own quantizer, whatever led there."""
    quantizer = LevelChoice("quantizer").read(spec["student"]["quantizer"])
    assert isinstance(quantizer, Quantizer)
    return recipe_of({"quantizer": quantizer})


class _Sizes:
    """Stored bits of networks, each network built once: many treatments share one."""

    def __init__(self) -> None:
        self._networks: dict[str, Network] = {}

    def of(self, spec: Mapping[str, Any], recipe: Recipe) -> int:
        """The bits of the network of a run's spec."""
        key = canonical([spec["task"], spec["model"]])
        if key not in self._networks:
            self._networks[key] = _network(spec)
        return stored_bits(self._networks[key].tensors, recipe)


def _network(spec: Mapping[str, Any]) -> Network:
    task, model = TaskChoice().read(dict(spec["task"])), CellChoice().read(dict(spec["model"]))
    assert isinstance(task, TrainingTask)
    assert isinstance(model, ModelSpec)
    return model.build(task.inputs, task.heads, task.step_time, DTYPE)


def stored_bits(tensors: Mapping[str, Tensor], recipe: Recipe) -> int:
    """Codes in as many bits as tell them apart; 32 for each scale that rebuilds weights, and for all that is float."""
    return sum(bits for tensor in tensors.values() for bits in _bits(tensor, recipe))


def _bits(tensor: Tensor, recipe: Recipe) -> Iterator[int]:
    if not tensor.quantized or recipe.quantizer is None or recipe.granularity is None:
        yield FLOAT_BITS * math.prod(tensor.shape)
        return
    yield recipe.quantizer.bits * math.prod(tensor.shape)
    scales = math.prod(recipe.granularity.stored_shape(tensor.shape[1]))
    yield FLOAT_BITS * scales * len(recipe.quantizer.kept_names)
