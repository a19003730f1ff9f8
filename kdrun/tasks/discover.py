"""Finds tasks: every file of this package, and the entry points `kdrun.tasks`, each named like its task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import kdrun.tasks
from kdrun.discovery import Found, Offer, classes_of_package, entry_points_of, found_among
from kdrun.tasks.contract import ExternalTask, Task, TrainingTask


def tasks() -> Mapping[str, type[Task]]:
    """Every task by the name that a study gives it, in alphabetical order."""
    return _found().classes


def left_out() -> Mapping[str, str]:
    """Why tasks that packages offer cannot be used, by name."""
    return _found().left_out


@cache
def _found() -> Found[Task]:
    points = entry_points_of("kdrun.tasks")
    offers = [Offer(package, f"the task {point.name}", point.name, point) for package, point in points]
    own: list[type[Task]] = classes_of_package(kdrun.tasks, Task)
    return found_among(own, offers, (TrainingTask, ExternalTask))
