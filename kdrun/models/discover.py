"""Finds kinds of network: every file of this package."""

from __future__ import annotations

from functools import cache

import kdrun.models
from kdrun.discovery import classes_of_package
from kdrun.models.contract import ModelSpec


@cache
def cells() -> dict[str, type[ModelSpec]]:
    """Every kind of network by the name that a study gives it as `cell`, in alphabetical order."""
    found = classes_of_package(kdrun.models, ModelSpec)  # type: ignore[type-abstract]
    return {cell.name: cell for cell in sorted(found, key=lambda cell: cell.name)}
