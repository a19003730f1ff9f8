"""Levels put into the sections of a study: what turns a study and a choice of levels into one treatment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdrun.factors.contract import EMPTY
from kdrun.study.choice import LevelChoice
from kdrun.study.factor import Factor, FactorLevel
from kdrun.study.paths import MISSING, Path, dotted, get, put
from kdrun.study.wording import Problem


@dataclass(frozen=True)
class Assignment:
    """One level of one factor, to stand at the factor's key."""

    factor: Factor
    level: FactorLevel


def assigned(factors: Mapping[str, Factor], row: Sequence[int]) -> list[Assignment]:
    """The levels at the positions in `row`, one for each factor; factors without levels are left out."""
    pairs = zip(factors.values(), row, strict=True)
    return [Assignment(factor, factor.levels[position]) for factor, position in pairs if factor.levels]


def fill(data: Mapping[str, Any], assignments: Iterable[Assignment]) -> dict[str, Any]:
    """A copy of `data` with every level at its factor's key; what leads nowhere is left for validation to refuse."""
    filled: Any = data
    for item in sorted(assignments, key=lambda item: len(item.factor.key)):
        value = _merged(filled, item) if item.factor.family else item.level.value
        try:
            filled = put(filled, item.factor.key, value)
        except ValueError:
            continue
    return dict(filled)


def _merged(data: Any, item: Assignment) -> Any:
    """A family's level over the mapping that stands at its key: keys beside it stay where the new level knows them."""
    beside, value = get(data, item.factor.key), item.level.value
    choice = LevelChoice(item.factor.family or "")
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(beside, dict) or name == EMPTY:
        return value
    kept = {key: given for key, given in beside.items() if key != "name" and choice.knows(name, key)}
    return {**kept, **(value if isinstance(value, dict) else {"name": value})} if kept else value


def sections_of(data: Mapping[str, Any], used: Iterable[str]) -> dict[str, Any]:
    """The sections among the keys of a study that its task uses."""
    return {key: data[key] for key in ("task", *used) if key in data}


def traced(problem: Problem, assignments: Iterable[Assignment], data: Mapping[str, Any]) -> Problem:
    """A problem of the filled sections, at the place of the study that it comes from.

    That is a level, the key that a factor sets, or the place itself. `data` is the study before levels were put in.
    """
    path = problem.path
    for item in sorted(assignments, key=lambda item: -len(item.factor.key)):
        key, sets = item.factor.key, item.factor.family is None
        if path == key and problem.on_key and sets:
            return Problem(("factors", item.factor.name, "sets"), problem.text)
        if path[: len(key)] == key:
            return Problem(_inside_level(path, item, data), problem.text, problem.on_key)
        if len(path) > 1 and path == key[: len(path)] and not isinstance(get(data, path), dict):
            place = ("factors", item.factor.name, "sets") if sets else item.level.place
            return Problem(place, problem.text if problem.on_key else f"{dotted(path)}: {problem.text}")
    return problem


def _inside_level(path: Path, item: Assignment, data: Mapping[str, Any]) -> Path:
    """The part of a level that `path` means; the key beside the factor that was kept; else the level as a whole."""
    suffix = path[len(item.factor.key) :]
    if suffix and get(item.level.value, suffix) is not MISSING:
        return (*item.level.place, *suffix)
    return path if suffix and get(data, path) is not MISSING else item.level.place
