"""Finds classes by where they stand: one class of a contract in each module of a package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

Contract = TypeVar("Contract")


def submodules(package: ModuleType) -> list[ModuleType]:
    """The modules and packages directly inside `package`, imported, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def classes_in(module: ModuleType, contract: type[Contract]) -> list[type[Contract]]:
    """The classes that `module` itself defines and that fulfil `contract`."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, contract) and value.__module__ == module.__name__
    ]


def classes_of_package(package: ModuleType, contract: type[Contract]) -> list[type[Contract]]:
    """The named classes of `contract` in all modules of `package`; a class without a name is somebody's base."""
    found = [cls for module in submodules(package) for cls in classes_in(module, contract)]
    return [cls for cls in found if "name" in vars(cls)]
