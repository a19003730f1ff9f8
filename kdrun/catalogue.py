"""What there is to study: tasks, networks and techniques by family, with parameters, defaults and sources."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from kdrun.factors.contract import Level, Named
from kdrun.factors.discover import families, levels
from kdrun.models.discover import cells
from kdrun.tasks.discover import tasks

REQUIRED = "required"


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Entries by group. Each has name, text (what it is or its equation), parameters {name: default}, source."""
    found = {
        "tasks": [_entry(task, task.title) for task in tasks().values()],
        "networks (model.cell)": [_entry(cell, _summary(cell)) for cell in cells().values()],
    }
    for family in families().values():
        default = family.default or ("none" if family.key.startswith("student.") else None)
        title = f"{family.name} ({family.key}{f', default {default}' if default else ''}): {family.title}"
        found[title] = [_entry(level, level.equation) for level in levels(family.name).values()]
    return found


def _entry(named: type[Named], text: str) -> dict[str, Any]:
    return {"name": named.name, "text": text, "parameters": _parameters(named), "source": named.source}


def _summary(cls: type[Named]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _parameters(model: type[BaseModel]) -> dict[str, Any]:
    """Default of every parameter, `required` for one without; those of a part stand under its name, as `eval.steps`."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and not isinstance(default, Level):
            found |= {f"{name}.{inner}": value for inner, value in _parameters(type(default)).items()}
        else:
            found[name] = default
    return found
