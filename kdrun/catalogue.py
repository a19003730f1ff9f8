"""What there is to study: tasks, networks and techniques by family, with parameters, defaults and sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from kdrun.factors.contract import Level, Named
from kdrun.factors.discover import families, levels
from kdrun.models.discover import cells
from kdrun.tasks.discover import tasks

REQUIRED = "required"


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Entries by group. Each has name, text (what it is or its equation), parameters {name: default}, source.

    kdrun's own levels have also `gradient`, the worst relative error that their gradients were checked with (None where
    they have none), and `effects`, what they changed in the project's own studies.
    """
    known = _measured()
    found = {
        "tasks": [_entry(task, task.title) for task in tasks().values()],
        "networks (model.cell)": [_entry(cell, summary(cell)) for cell in cells().values()],
    }
    for family in families().values():
        default = family.default or ("none" if family.key.startswith("student.") else None)
        title = f"{family.name} ({family.key}{f', default {default}' if default else ''}): {family.title}"
        found[title] = [
            _entry(level, level.equation) | known.get(f"{family.name}.{level.name}", {})
            for level in levels(family.name).values()
        ]
    return found


def _measured() -> dict[str, dict[str, Any]]:
    """What was measured of each level of kdrun's own, by `family.level`: tools/techniques.py writes it."""
    found = json.loads(files("kdrun").joinpath("measured.json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def _entry(named: type[Named], text: str) -> dict[str, Any]:
    defaults = {parameter.name: parameter.default for parameter in parameters(named)}
    return {"name": named.name, "text": text, "parameters": defaults, "source": named.source}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a task or technique: its default, `REQUIRED` for none, and what it is."""

    name: str
    default: Any
    text: str


def summary(cls: type[Named]) -> str:
    """The first line of a class's docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]


def parameters(model: type[BaseModel], within: str = "") -> Iterator[Parameter]:
    """Every parameter; those of a part stand under its name, as `eval.steps`."""
    for name, field in model.model_fields.items():
        default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and not isinstance(default, Level):
            yield from parameters(type(default), f"{within}{name}.")
        else:
            yield Parameter(f"{within}{name}", default, field.description or "")
