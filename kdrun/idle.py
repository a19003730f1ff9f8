"""Levels that change nothing where they are chosen, which a study is told before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kdrun.engine.recipe import recipe_of
from kdrun.engine.run import techniques
from kdrun.factors.contract import GradientShape, HyperParameter, Level, QuantizationSchedule, Quantizer
from kdrun.factors.discover import families
from kdrun.report.text import counted
from kdrun.study.schema import student_model


def idle_levels(chosen: Mapping[str, Level]) -> Iterator[tuple[str, str]]:
    """Families whose level changes nothing beside the others, each with why; the default of a family is never one.

    A float network has no quantizer that a gradient is shaped through, or that a schedule could change. A
    hyper-parameter needs a term that reads it.
    """
    read, quantizer = recipe_of(dict(chosen)).hyper, chosen.get("quantizer")
    is_float = isinstance(quantizer, Quantizer) and not quantizer.max_code
    for family, level in chosen.items():
        if level.name == families()[family].default:
            continue
        if is_float and isinstance(level, GradientShape | QuantizationSchedule):
            yield family, "where nothing is quantized"
        elif isinstance(level, HyperParameter) and family not in read:
            yield family, f"where no technique beside it reads a {level.provides}"


def idle_warnings(students: Iterable[Mapping[str, Any] | None]) -> list[str]:
    """What to tell of the student sections of all treatments: each level that is idle in some of those that have it."""
    having, idle = Counter[tuple[str, str]](), Counter[tuple[str, str, str]]()
    for student in students:
        if student is None:
            continue
        chosen = techniques(student_model().model_validate(student))
        having.update((family, level.name) for family, level in chosen.items())
        idle.update((family, chosen[family].name, why) for family, why in idle_levels(chosen))
    return [
        f"{families()[family].key}: {name!r} changes nothing {why}"
        f" (in {number:,} of {counted(having[family, name], 'treatment')} with it)"
        for (family, name, why), number in idle.items()
    ]
