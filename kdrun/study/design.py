"""Treatments: the combinations of levels that a study runs, numbered from 1 in standard order.

The first factor turns fastest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kdrun.errors import Mistake, StudyError
from kdrun.factors.contract import Teachers
from kdrun.study.assign import Assignment, assigned, fill, sections_of, traced
from kdrun.study.check import used_sections
from kdrun.study.paths import dotted
from kdrun.study.plain import canonical, changed, plain
from kdrun.study.schema import Sections, Study
from kdrun.study.selection import chosen_rows
from kdrun.study.wording import explained

MOST_MISTAKES = 20


@dataclass(frozen=True)
class Treatment:
    """One combination of levels.

    `levels` maps each factor to its level as tables show it; `sections` holds the sections that the task uses, as plain
    JSON data with every default written out (an empty slot is None), and `changed` the same without what equals its
    default. `teachers` is the level that chooses several teachers, where the student section has one.
    """

    number: int
    levels: Mapping[str, str]
    sections: Mapping[str, Any]
    changed: Mapping[str, Any]
    teachers: Teachers | None = None

    @property
    def title(self) -> str:
        """How messages name the treatment, e.g. `treatment 3 (gradient=ste, width=16)`."""
        levels = ", ".join(f"{factor}={level}" for factor, level in self.levels.items())
        return f"treatment {self.number} ({levels})"


def treatments(study: Study) -> tuple[Treatment, ...]:
    """Every treatment of a study, each validated as a whole. A StudyError names combinations that cannot be."""
    bare = study.resolved()
    used = used_sections(bare)
    found: list[Treatment] = []
    mistakes: list[Mistake] = []
    for number, assignments in enumerate(_combinations(study), start=1):
        levels = {item.factor.name: item.level.text for item in assignments}
        try:
            sections = Sections.model_validate(sections_of(fill(bare, assignments), used))
        except ValidationError as error:
            mistakes += _impossible(Treatment(number, levels, {}, {}), error, assignments, bare)
        else:
            teachers = getattr(sections.student, "teachers", None)
            found.append(Treatment(number, levels, plain(sections), changed(sections), teachers))
        if len(mistakes) >= MOST_MISTAKES:
            break
    mistakes += _equal_treatments(found)
    if mistakes:
        raise StudyError(mistakes)
    return tuple(found)


def _combinations(study: Study) -> Iterator[list[Assignment]]:
    """The levels of each treatment."""
    return (assigned(study.factors, row) for row in chosen_rows(study.design, study.factors))


def _impossible(
    treatment: Treatment, error: ValidationError, assignments: list[Assignment], bare: Mapping[str, Any]
) -> Iterator[Mistake]:
    for problem in explained(Sections, error):
        place = dotted(traced(problem, assignments, bare).path)
        yield Mistake(treatment.title, f"{place}: {problem.text}")


def _equal_treatments(found: list[Treatment]) -> Iterator[Mistake]:
    """Factors that undo each other would run one thing under two numbers."""
    first: dict[str, Treatment] = {}
    for treatment in found:
        other = first.setdefault(canonical(treatment.sections), treatment)
        if other is not treatment:
            yield Mistake(treatment.title, f"it is the same as {other.title}; its factors make no difference there")
