"""Whether techniques, network and task of one treatment fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kdrun.factors.contract import Comparator, Credit, Gate, Level, Quantizer, Term, Weighting
from kdrun.models.contract import ModelSpec
from kdrun.study.paths import Path
from kdrun.study.wording import Problem, listed, shown
from kdrun.tasks.contract import TrainingTask


def unfit_network(task: TrainingTask, model: ModelSpec, path: Path) -> Iterator[Problem]:
    """A network that runs over time, for inputs that have none; `path` is the key that names it."""
    if model.needs_time and not task.has_time:
        text = (
            f"the cell {shown(model.name)} runs over sequences, but the task {shown(task.name)} gives single examples"
        )
        yield Problem(path, f"{text}; choose another cell, or set the task to sequences")


def unfit_levels(task: TrainingTask, model: ModelSpec, levels: dict[str, Level]) -> Iterator[Problem]:
    """Levels of a student section, by key, that look at outputs which the task asks of no network."""
    given = {*task.heads, *model.layers_shown}
    for key, level in levels.items():
        lacking = sorted(wanted(level) - given)
        if lacking:
            yield Problem(
                ("student", key),
                f"{shown(level.name)} needs {listed(lacking)}, which networks of the task {shown(task.name)} do not"
                f" give; they give {listed(sorted(given))}",
            )


def wanted(level: Level) -> frozenset[str]:
    """Every output of student or teacher that a level looks at."""
    found: frozenset[str] = frozenset()
    if isinstance(level, Term | Gate | Credit):
        found |= level.want
    if isinstance(level, Term | Weighting):
        found |= level.teacher_want
    return found


def unequal_networks(model: ModelSpec, teacher: ModelSpec, init: str, levels: dict[str, Level]) -> Iterator[Problem]:
    """What asks for a teacher that is like the student, where the teacher has another network."""
    if init == "teacher":
        path: Path = ("student", "init")
        yield Problem(
            path, "the student starts from its teacher's weights, but the teacher has another network; say random"
        )
    for key, level in levels.items():
        if isinstance(level, Term) and "hidden" in level.same_width and width_of(model) != width_of(teacher):
            yield Problem(
                ("student", key),
                f"{shown(level.name)} compares hidden values one by one, but the student has {width_of(model)} and"
                f" the teacher {width_of(teacher)}",
            )


def unfit_comparators(
    comparators: Sequence[Comparator], quantizer: Quantizer, is_like_teacher: bool
) -> Iterator[Problem]:
    """Comparators that have no codes to change, or that would quantize weights of another network.

    `quantizer` is treatment 1's; `is_like_teacher` says whether its network is of the kind of its teacher's.
    """
    for place, comparator in enumerate(comparators):
        path: Path = ("comparators", place)
        if not quantizer.max_code:
            yield Problem(
                path,
                f"{shown(comparator.name)} changes codes, but the quantizer of treatment 1 is {shown(quantizer.name)},"
                " which has none; choose another, or let another level be the first",
            )
        elif comparator.starts_from == "teacher" and not is_like_teacher:
            yield Problem(
                path,
                f"{shown(comparator.name)} quantizes the teacher's weights for the student's network, but the teacher"
                " has another network; leave it out",
            )


def width_of(model: ModelSpec) -> int | None:
    """The number of hidden values that a network shows."""
    return getattr(model, "hidden", None)
