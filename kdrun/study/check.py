"""From the plain data of a study to a `Study`, or to everything that is wrong with it.

First the shape (schema.py) of treatment 1, then of every other level by itself, then what ties keys together
(ties.py). Combinations of levels are checked where they are made, in design.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from kdrun.study.assign import Assignment, assigned, fill, sections_of, traced
from kdrun.study.choice import TaskChoice
from kdrun.study.claim_ties import with_claim_texts
from kdrun.study.factor import Factor, FactorLevel, read_factors
from kdrun.study.paths import MISSING, Path, dotted, get
from kdrun.study.plain import canonical, plain
from kdrun.study.schema import TASK, TASK_NAME, Sections, Study
from kdrun.study.selection import Row, selected_rows, with_level_texts
from kdrun.study.ties import loose_ends
from kdrun.study.wording import Problem, explained, shown

ALL_SECTIONS = frozenset({"model", "teacher", "student"})


class InvalidStudyError(Exception):
    """The data are no study: `problems` says why."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(f"{dotted(problem.path)}: {problem.text}" for problem in self.problems))


def read_study(data: Any) -> Study:
    """The study that `data` describes: plain data, keys as in a study file. `InvalidStudyError` says what is wrong."""
    if not isinstance(data, dict):
        raise InvalidStudyError([Problem((), f"found {shown(data)}; a study is a mapping of keys")])
    used = used_sections(data)
    factors, problems = read_factors(data["factors"]) if "factors" in data else ({}, [])
    bare = _opened(data, used)
    problems += _unused(data, used)
    rows = selected_rows(bare, factors)
    first = rows[0] if rows else (0,) * len(factors)
    study, found = _first_treatment(bare, factors, first)
    problems += found
    problems += _other_levels(bare, used, factors, known=set(found), first=first, rows=rows)
    problems += loose_ends(bare, factors)
    problems += _not_finite(data, known={problem.path for problem in problems})
    if problems or study is None:
        raise InvalidStudyError(problems)
    return study


def used_sections(data: Mapping[str, Any]) -> frozenset[str]:
    """The sections that the task of a study uses; all of them where the task cannot be told."""
    task = data.get("task")
    name = task.get("name") if isinstance(task, dict) else task
    found = TaskChoice().classes().get(name) if isinstance(name, str) else None
    return getattr(found, "sections", ALL_SECTIONS)


def _opened(data: Mapping[str, Any], used: frozenset[str]) -> dict[str, Any]:
    """The study with the sections that its task uses, empty where not given, and without the others."""
    kept = {key: value for key, value in data.items() if key not in ALL_SECTIONS - used}
    return kept | {key: {} for key in used if data.get(key) is None}


def _unused(data: Mapping[str, Any], used: frozenset[str]) -> Iterator[Problem]:
    task = data.get("task")
    name = task.get("name") if isinstance(task, dict) else task
    for key in data:
        if key in ALL_SECTIONS - used:
            yield Problem((key,), f"the task {shown(name)} has no {key}; remove this key", on_key=True)


def _not_finite(data: Any, known: set[Path], path: Path = ()) -> Iterator[Problem]:
    """Infinities, and what is no number, where nothing else has refused them."""
    if isinstance(data, float) and not math.isfinite(data) and path not in known:
        yield Problem(path, f"found {shown(data)}; a finite number is allowed")
    inside = data.items() if isinstance(data, dict) else enumerate(data if isinstance(data, list) else ())
    for key, item in inside:
        yield from _not_finite(item, known, (*path, key))


def _first_treatment(
    bare: Mapping[str, Any], factors: Mapping[str, Factor], first: Row
) -> tuple[Study | None, list[Problem]]:
    """The study with the levels of treatment 1, or what is wrong with it."""
    levels = assigned(factors, first)
    filled = with_claim_texts(fill(bare, levels), factors)
    if "design" in filled:
        filled["design"] = with_level_texts(filled["design"], factors)
    if "factors" in bare:
        filled["factors"] = factors
    beside = {factor.key: get(bare, factor.key) for factor in factors.values()}
    given = {key: value for key, value in beside.items() if value is not MISSING}
    # Tasks differ in what they know: beside a factor that chooses the task stands what the study says, no defaults.
    if "task" in bare and any(factor.key == TASK_NAME for factor in factors.values()):
        given[TASK] = bare["task"]
    try:
        return Study.model_validate(filled, context=given), []
    except ValidationError as error:
        return None, [traced(problem, levels, bare) for problem in explained(Study, error)]


def _other_levels(
    bare: Mapping[str, Any],
    used: frozenset[str],
    factors: Mapping[str, Factor],
    known: set[Problem],
    first: Row,
    rows: Sequence[Row],
) -> Iterator[Problem]:
    """Each level put into treatment 1, for what is wrong there and was not before."""
    run = set(rows)
    for place, factor in enumerate(factors.values()):
        seen: dict[str, FactorLevel] = {}
        for position, level in enumerate(factor.levels):
            one, row = Assignment(factor, level), (*first[:place], position, *first[place + 1 :])
            sections, problems = _read_sections(bare, used, assigned(factors, row))
            if rows and row not in run:
                with_it = next((other for other in rows if other[place] == position), None)
                problems = _own_problems(bare, used, factors, one, with_it) if with_it else []
            yield from (_blamed(problem, one) for problem in problems if problem not in known)
            if sections is not None:
                yield from _same_as_before(sections, one, seen)


def _own_problems(
    bare: Mapping[str, Any], used: frozenset[str], factors: Mapping[str, Factor], one: Assignment, row: Row
) -> list[Problem]:
    """What is wrong with a level whose change to treatment 1 is not run, in a treatment that is run.

    That treatment has other levels too, so only what shows at the level itself counts; design.py reports the rest.
    """
    _, problems = _read_sections(bare, used, assigned(factors, row))
    return [problem for problem in problems if problem.path[:2] == ("factors", one.factor.name)]


def _read_sections(
    bare: Mapping[str, Any], used: frozenset[str], assignments: list[Assignment]
) -> tuple[Sections | None, list[Problem]]:
    filled = sections_of(fill(bare, assignments), used)
    try:
        return Sections.model_validate(filled), []
    except ValidationError as error:
        return None, [traced(problem, assignments, bare) for problem in explained(Sections, error)]


def _blamed(problem: Problem, one: Assignment) -> Problem:
    """What only this level brings about is a problem of this level, wherever it shows."""
    if problem.path[:2] == ("factors", one.factor.name):
        return problem
    return Problem(one.level.place, f"{dotted(problem.path)}: {problem.text}")


def _same_as_before(sections: Sections, one: Assignment, seen: dict[str, FactorLevel]) -> Iterator[Problem]:
    """Two levels must differ in what they come to, not only in how they are written."""
    value = canonical(plain(sections))
    if value in seen and seen[value].text != one.level.text:
        yield Problem(one.level.place, f"the level {shown(one.level.text)} is the same as {shown(seen[value].text)}")
    seen.setdefault(value, one.level)
