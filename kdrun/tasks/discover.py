"""Finds tasks: every file of this package, and the entry points `kdrun.tasks`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

import kdrun.tasks
from kdrun.discovery import classes_of_package
from kdrun.tasks.contract import Task


@cache
def tasks() -> dict[str, type[Task]]:
    """Every task by the name that a study gives it, in alphabetical order."""
    found: list[type[Task]] = classes_of_package(kdrun.tasks, Task)
    found += [point.load() for point in entry_points(group="kdrun.tasks")]
    return {task.name: task for task in sorted(found, key=lambda task: task.name)}
