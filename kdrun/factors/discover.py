"""Finds families and levels: every folder and file of this package, and the entry points `kdrun.levels`.

A family is a sub-package whose `FAMILY` says what contract its levels fulfil; a level is a module in it that defines
one class of that contract. An entry point of the group `kdrun.levels` named `family.level` names such a class.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache

import kdrun.factors
from kdrun.discovery import Found, Offer, classes_of_package, entry_points_of, found_among, leave_out, submodules
from kdrun.factors.contract import EMPTY, Family, Level


@cache
def families() -> dict[str, Family]:
    """Every family by name, in alphabetical order."""
    packages = [module for module in submodules(kdrun.factors) if hasattr(module, "FAMILY")]
    return {package.FAMILY.name: package.FAMILY for package in packages}


def levels(family: str) -> Mapping[str, type[Level]]:
    """Every level of a family by the name that a study gives it, in alphabetical order."""
    return _found(family).classes


def left_out(family: str) -> Mapping[str, str]:
    """Why levels that packages offer cannot be used, by name."""
    return _found(family).left_out


@cache
def _found(family: str) -> Found[Level]:
    contract = families()[family].contract
    own = classes_of_package(importlib.import_module(f"kdrun.factors.{family}"), contract)
    return found_among(own, _offers().get(family, []), (contract,), (EMPTY,), try_out=lambda level: level())


@cache
def _offers() -> dict[str, list[Offer]]:
    """Levels that packages offer, by family."""
    found: dict[str, list[Offer]] = {family: [] for family in families()}
    for package, point in entry_points_of("kdrun.levels"):
        family, _, name = point.name.partition(".")
        offer = Offer(package, f"the level {point.name}", name, point)
        if family in found:
            found[family].append(offer)
        else:
            leave_out(
                offer,
                f"there is no family {family!r}; its entry point is named family.level, with one of {', '.join(found)}",
            )
    return found
