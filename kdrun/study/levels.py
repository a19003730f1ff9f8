"""Levels by factor, as claims and designs of a study select treatments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdrun.study.factor import Factor
from kdrun.study.paths import Path
from kdrun.study.wording import Problem, did_you_mean, listed, shown, unknown


def level_problems(path: Path, levels: Any, factors: Mapping[str, Factor]) -> Iterator[Problem]:
    """Factors and levels of a mapping of levels by factor that the study does not have."""
    for name, level in levels.items() if isinstance(levels, dict) else ():
        factor = factors.get(name)
        if factor is None:
            yield Problem((*path, name), unknown("factor", name, factors), on_key=True)
        elif factor.levels and isinstance(level, bool | int | float | str) and factor.find(level) is None:
            texts = [known.text for known in factor.levels]
            text = f"unknown level {shown(level)}; levels of {name!r}: {listed(texts)}{did_you_mean(str(level), texts)}"
            yield Problem((*path, name), text)


def as_texts(levels: Any, factors: Mapping[str, Factor]) -> Any:
    """Levels by factor with each level as tables show it; what is none, or unknown, stays as it is."""
    if not isinstance(levels, dict):
        return levels
    found = {name: factors[name].find(level) if name in factors else None for name, level in levels.items()}
    return {name: level if (known := found[name]) is None else known.text for name, level in levels.items()}
