"""Levels that change nothing where they are chosen, which a study is told before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from kdrun.engine.recipe import quantizer_like, recipe_of
from kdrun.engine.run import techniques
from kdrun.factors.contract import GradientShape, HyperParameter, Level, Progress, QuantizationSchedule, Quantizer
from kdrun.factors.discover import families
from kdrun.report.text import counted
from kdrun.study.choice import LevelChoice
from kdrun.study.design import Treatment
from kdrun.study.plain import canonical
from kdrun.study.schema import student_model

# Family and name of a level; and why it changes nothing.
_Named = tuple[str, str]
_Idle = tuple[str, str, str]
# How finely a training is looked through for a step in which its network is quantized.
STEPS = 100


def idle_warnings(treatments: Sequence[Treatment]) -> list[str]:
    """What to tell of levels that change nothing: in all treatments that have them, or in some that equal others.

    The default of a family changes nothing anywhere, and is not told.
    """
    having, idle, equal = Counter[_Named](), Counter[_Idle](), Counter[_Idle]()
    known = []
    for treatment in treatments:
        chosen = _techniques(treatment)
        inert = dict(inert_families(chosen))
        having.update((family, level.name) for family, level in chosen.items())
        known.append((_idle_levels(chosen, inert), _what_counts(treatment, inert)))
    times = Counter(what for _, what in known)
    for levels, what in known:
        idle.update(levels)
        equal.update(levels if times[what] > 1 else ())
    return [
        f"{families()[family].key}: {name!r} changes nothing {why}"
        f" (in {number:,} of {counted(having[family, name], 'treatment')} with it)"
        for (family, name, why), number in idle.items()
        if number == having[family, name] or equal[family, name, why]
    ]


def _techniques(treatment: Treatment) -> dict[str, Level]:
    student = treatment.sections.get("student")
    return {} if student is None else techniques(student_model().model_validate(student))


def _idle_levels(chosen: Mapping[str, Level], inert: Mapping[str, str]) -> list[_Idle]:
    return [
        (family, chosen[family].name, why)
        for family, why in inert.items()
        if chosen[family] != LevelChoice(family).default_level()
    ]


def _what_counts(treatment: Treatment, inert: Mapping[str, str]) -> str:
    """Equal for treatments that come to the same bits, as far as this file knows."""
    student = treatment.sections.get("student") or {}
    return canonical({**treatment.sections, "student": {key: student[key] for key in student if key not in inert}})


def inert_families(chosen: Mapping[str, Level]) -> Iterator[tuple[str, str]]:
    """Families of which any level would do the same beside the others, each with why.

    A gradient is shaped through a quantizer that is in force while the network trains; a schedule changes one that is
    there. A hyper-parameter needs a term that reads it.
    """
    recipe = recipe_of(dict(chosen))
    for family, level in chosen.items():
        if isinstance(level, GradientShape) and not _trains_quantized(recipe.quantizer, recipe.schedule):
            yield family, "where nothing is quantized while the network trains"
        elif isinstance(level, QuantizationSchedule) and recipe.quantizer is None:
            yield family, "where nothing is quantized"
        elif isinstance(level, HyperParameter) and family not in recipe.hyper:
            yield family, f"where no technique beside it reads a {level.provides}"


def _trains_quantized(quantizer: Quantizer | None, schedule: QuantizationSchedule | None) -> bool:
    """Whether a network runs on quantized weights in any step of training."""
    if quantizer is None:
        return False
    for step in range(STEPS):
        progress = Progress(step, STEPS)
        name = schedule.quantizer_name(progress, quantizer.name) if schedule is not None else quantizer.name
        present = quantizer_like(quantizer, name)
        if present.max_code and present.is_in_force(progress):
            return True
    return False
