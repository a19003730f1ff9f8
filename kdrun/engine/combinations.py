"""What the gradient check is about: techniques of every family, combined so that every two of them meet.

All combinations of all techniques would be millions. Gradients of techniques join in pairs (a term and a quantizer, a
weighting and a temperature), so each two levels of different families are checked together at least once, as covering
arrays of strength two do in software testing.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdrun.engine.recipe import quantizer_like, recipe_of
from kdrun.factors.contract import (
    Activations,
    Family,
    GradientShape,
    HyperParameter,
    Level,
    Penalty,
    Quantizer,
    Term,
    Weighting,
)
from kdrun.factors.discover import families, levels
from kdrun.models.contract import ModelSpec
from kdrun.study.fit import wanted
from kdrun.tasks.contract import TrainingTask

CHECKED = (Activations, Quantizer, GradientShape, Term, HyperParameter, Weighting, Penalty)
Choice = Level | None


@dataclass(frozen=True)
class Combination:
    """What one pair of rows is about: a task's loss on a network, under some techniques (none: a float teacher)."""

    task: TrainingTask
    model: ModelSpec
    techniques: Mapping[str, Level]

    @property
    def name(self) -> str:
        """Such as `sine, cfc: ternary + smoothstep + trajectory`."""
        parts = [_title(level) for _, level in sorted(self.techniques.items(), key=_quantizer_first)]
        return f"{self.task.name}, {self.model.name}: {' + '.join(parts) or 'float teacher'}"

    def loss(self) -> Term:
        """The task's own loss: a teacher's, where there is no technique."""
        return self.task.loss() if self.techniques else self.task.teacher_loss()


def _quantizer_first(item: tuple[str, Level]) -> tuple[bool, str]:
    family, level = item
    return (not isinstance(level, Quantizer), family)


def _title(level: Level) -> str:
    """The name of a level, with the parameters that are not its defaults."""
    changed = level.model_dump(exclude_defaults=True)
    return level.name + (f"({', '.join(f'{key}={value}' for key, value in changed.items())})" if changed else "")


def checked_techniques(techniques: Mapping[str, Level]) -> list[dict[str, Level]]:
    """Those of a student's techniques that take part in gradients, with each quantizer that is ever in force."""
    checked, recipe = _taking_part(techniques), recipe_of(dict(techniques))
    if recipe.schedule is None or recipe.quantizer is None:
        return [checked]
    names = recipe.schedule.quantizer_names(recipe.quantizer.name)
    return [{**checked, "quantizer": quantizer_like(recipe.quantizer, name)} for name in names]


def _taking_part(techniques: Mapping[str, Level]) -> dict[str, Level]:
    """The levels that gradients depend on; a hyper-parameter is one of them where a term reads it."""
    read = {name for level in techniques.values() if isinstance(level, Term) for name in level.hyper_names}
    return {
        family: level
        for family, level in techniques.items()
        if isinstance(level, CHECKED) and (not isinstance(level, HyperParameter) or level.provides in read)
    }


def every_combination(tasks: Sequence[TrainingTask], models: Sequence[ModelSpec]) -> list[Combination]:
    """Every two techniques together on one task and network, each by itself on others, every task on every network.

    Of tasks whose techniques another task has too, the one with most techniques is where they meet; the first of the
    others, with each technique by itself, stands for losses with a mask.
    """
    techniques = [sum(map(len, _choices(task, models[0]).values())) for task in tasks]
    host = tasks[techniques.index(max(techniques))]
    found: list[Combination] = []
    for task in tasks:
        first, *others = [model for model in models if task.has_time or not model.needs_time]
        by_itself = single_techniques if task in (host, tasks[0]) else defaults
        found += (all_combinations if task is host else by_itself)(task, first)
        for model in others:
            found += by_itself(task, model)
    return found


def all_combinations(task: TrainingTask, model: ModelSpec) -> list[Combination]:
    """The float teacher, and as many combinations of techniques as it takes for every two to meet."""
    choices = _choices(task, model)
    return _named(task, model, [{}, *covering(choices)])


def single_techniques(task: TrainingTask, model: ModelSpec) -> list[Combination]:
    """The float teacher, the default student, and every technique in the place of its family's default."""
    choices = _choices(task, model)
    default = {family: found[0] for family, found in choices.items()}
    changed = [{**default, family: level} for family, found in choices.items() for level in found[1:]]
    return _named(task, model, [{}, default, *filter(is_meaningful, changed)])


def defaults(task: TrainingTask, model: ModelSpec) -> list[Combination]:
    """The float teacher and the default student."""
    return _named(task, model, [{}, {family: found[0] for family, found in _choices(task, model).items()}])


def _named(task: TrainingTask, model: ModelSpec, chosen: Sequence[Mapping[str, Choice]]) -> list[Combination]:
    """Combinations of what takes part, each once: choices may differ in a hyper-parameter that no term reads."""
    filled = [{family: level for family, level in one.items() if level is not None} for one in chosen]
    found = [Combination(task, model, _taking_part(techniques)) for techniques in filled]
    return list({one.name: one for one in found}.values())


def covering(choices: Mapping[str, Sequence[Choice]]) -> Iterator[dict[str, Choice]]:
    """Combinations in which every two levels of different families meet that can, each found greedily.

    A combination starts from a pair that has not met yet; each further family gives the level that meets most of the
    chosen ones for the first time, of equal ones the first.
    """
    waiting = dict.fromkeys(_pairs(choices))
    while waiting:
        (first, a), (second, b) = next(iter(waiting))
        chosen: dict[str, Choice] = {first: choices[first][a], second: choices[second][b]}
        places = {first: a, second: b}
        for family in choices:
            if family not in places:
                places[family] = _best_place(family, choices, chosen, places, waiting)
                chosen[family] = choices[family][places[family]]
        del waiting[next(iter(waiting))]
        if is_meaningful(chosen):
            for pair in itertools.combinations([(family, places[family]) for family in choices], 2):
                waiting.pop(pair, None)
            yield {family: chosen[family] for family in choices}


Pair = tuple[tuple[str, int], tuple[str, int]]


def _pairs(choices: Mapping[str, Sequence[Choice]]) -> Iterator[Pair]:
    """All pairs of levels of two families that can be used together, by place."""
    for first, second in itertools.combinations(choices, 2):
        for a, b in itertools.product(range(len(choices[first])), range(len(choices[second]))):
            if is_meaningful({first: choices[first][a], second: choices[second][b]}):
                yield (first, a), (second, b)


def _best_place(
    family: str,
    choices: Mapping[str, Sequence[Choice]],
    chosen: Mapping[str, Choice],
    places: Mapping[str, int],
    waiting: Mapping[Pair, None],
) -> int:
    """The level of a family that meets most of the chosen ones for the first time, if it can be used with them."""

    def news(place: int) -> int:
        order = list(choices)
        pairs = [sorted([(family, place), other], key=lambda item: order.index(item[0])) for other in places.items()]
        return sum((first, second) in waiting for first, second in pairs)

    possible = [place for place, level in enumerate(choices[family]) if is_meaningful({**chosen, family: level})]
    return max(possible or [0], key=news)


def is_meaningful(techniques: Mapping[str, Choice]) -> bool:
    """Whether the levels that are chosen so far say something about gradients together.

    A float network has no quantizer for a gradient to be shaped through: one shape stands for all of them. A
    hyper-parameter needs a term that reads it: without one the family's default stands for all.
    """
    quantizer, shape = techniques.get("quantizer"), techniques.get("gradient")
    is_float = isinstance(quantizer, Quantizer) and not quantizer.max_code
    if is_float and shape is not None and shape.name != families()["gradient"].default:
        return False
    return all(
        _is_read(level, techniques) or level.name == families()[family].default
        for family, level in techniques.items()
        if isinstance(level, HyperParameter)
    )


def _is_read(level: HyperParameter, techniques: Mapping[str, Choice]) -> bool:
    """Whether some chosen term reads a hyper-parameter, or one may still be chosen."""
    readers = {family for family in families() if _may_read(family, level.provides)}
    if not readers <= techniques.keys():
        return True
    return any(isinstance(term, Term) and level.provides in term.hyper_names for term in techniques.values())


def _may_read(family: str, provides: str) -> bool:
    return any(issubclass(level, Term) and provides in level.hyper_names for level in levels(family).values())


def _choices(task: TrainingTask, model: ModelSpec) -> dict[str, list[Choice]]:
    """Levels by family, its default first, of all that take part in gradients and look at what the networks give."""
    given = {*task.heads, *model.layers_shown}
    found: dict[str, list[Choice]] = {}
    for family in families().values():
        if issubclass(family.contract, CHECKED) and family.key == f"student.{family.name}":
            fitting = [level for level in _levels_of(family) if level is None or wanted(level) <= given]
            if len(fitting) > 1:
                found[family.name] = fitting
    return found


def _levels_of(family: Family) -> list[Choice]:
    known = levels(family.name)
    ordered = sorted(known.values(), key=lambda level: (level.name != family.default, level.name))
    found: list[Choice] = [variant for level in ordered for variant in variants(level)]
    return found if family.default is not None else [None, *found]


def variants(level: type[Level]) -> Iterator[Level]:
    """A level with its defaults, and once more for each other value of a parameter that chooses among a few."""
    default = level()
    yield default
    for name, field in level.model_fields.items():
        for value in _values(field.annotation, field.json_schema_extra):
            if value != getattr(default, name):
                yield level(**{name: value})


def _values(annotation: object, extra: object) -> Sequence[object]:
    """What a parameter chooses among: levels of a family that it names, words, yes and no; nothing of a number."""
    if isinstance(extra, dict) and "family" in extra:
        return tuple(levels(str(extra["family"])))
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    return (True, False) if annotation is bool else ()
