"""Finds families and levels: every folder and file of this package, and the entry points `kdrun.levels`.

A family is a sub-package whose `FAMILY` says what contract its levels fulfil; a level is a module in it that defines
one class of that contract. An entry point of the group `kdrun.levels` named `family.level` names such a class.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points

import kdrun.factors
from kdrun.discovery import classes_of_package, submodules
from kdrun.factors.contract import Family, Level


@cache
def families() -> dict[str, Family]:
    """Every family by name, in alphabetical order."""
    packages = [module for module in submodules(kdrun.factors) if hasattr(module, "FAMILY")]
    return {package.FAMILY.name: package.FAMILY for package in packages}


@cache
def levels(family: str) -> dict[str, type[Level]]:
    """Every level of a family by the name that a study gives it, in alphabetical order."""
    description = families()[family]
    package = importlib.import_module(f"kdrun.factors.{family}")
    found = classes_of_package(package, description.contract) + _from_entry_points(family)
    return {level.name: level for level in sorted(found, key=lambda level: level.name)}


def _from_entry_points(family: str) -> list[type[Level]]:
    points = [point for point in entry_points(group="kdrun.levels") if point.name.split(".")[0] == family]
    return [point.load() for point in points]
