"""Finds classes: one of a contract in each module of a package of kdrun, and those that other packages offer.

A package offers a class by an entry point. One that cannot be used is left out with a warning, so that no package stops
studies that do not use it; a study that does use it is told why it is not there.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from kdrun.errors import LeftOutWarning


class _HasName(Protocol):
    name: ClassVar[str]


Contract = TypeVar("Contract", bound=_HasName)

# What `kdrun list` shows of a class, where its contract declares it.
TEXTS = ("name", "source", "equation", "title")
LONGEST_ERROR = 200


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


@dataclass(frozen=True)
class Offer:
    """A class that a package offers.

    `package` says which one with its version, `what` is the class to a reader, such as `the task tides`, and `name` is
    what a study would call it.
    """

    package: str
    what: str
    name: str
    point: EntryPoint


@dataclass(frozen=True)
class Found(Generic[Contract]):
    """Classes by name, in alphabetical order; and by name, why one that a package offers is not among them."""

    classes: Mapping[str, type[Contract]]
    left_out: Mapping[str, str]


class Unfit(Exception):
    """Why an offered class cannot be used, and what to do about it."""


def entry_points_of(group: str) -> list[tuple[str, EntryPoint]]:
    """The entry points of a group, each with the package that it is of: in an order that hangs on their names alone."""
    found = [(f"{point.dist.name} {point.dist.version}", point) for point in entry_points(group=group) if point.dist]
    return sorted(found, key=lambda pair: (pair[1].name, pair[0]))


def found_among(
    own: Iterable[type[Contract]],
    offers: Sequence[Offer],
    contracts: tuple[type[Contract], ...],
    reserved: Collection[str] = (),
    try_out: Callable[[type[Contract]], object] = lambda cls: None,
) -> Found[Contract]:
    """kdrun's own classes, and of those that packages offer the ones that can be used.

    A name that is kdrun's own, or `reserved`, stays so. Of a name that is offered twice nothing is used: what a study
    runs does not hang on the order in which packages are found. `try_out` raises for a class that cannot be made.
    """
    classes = {cls.name: cls for cls in own}
    taken, times = {*classes, *reserved}, Counter(offer.name for offer in offers)
    left_out: dict[str, str] = {}
    for offer in offers:
        try:
            if offer.name in taken:
                raise Unfit("the name is kdrun's own; the package has to give it another one")
            if times[offer.name] > 1:
                raise Unfit(f"it is offered by {_all_that_offer(offer.name, offers)}; uninstall all but one of them")
            classes[offer.name] = _class_of(offer, contracts, try_out)
        except Unfit as why:
            left_out[offer.name] = f"{offer.package} offers it, but {why}"
            leave_out(offer, str(why))
    return Found({name: classes[name] for name in sorted(classes)}, left_out)


def leave_out(offer: Offer, why: str) -> None:
    """Warn that something is left out."""
    warnings.warn(f"{offer.what} of {offer.package} is left out: {why}", LeftOutWarning, stacklevel=2)


def _all_that_offer(name: str, offers: Sequence[Offer]) -> str:
    return " and by ".join(offer.package for offer in offers if offer.name == name)


def _class_of(
    offer: Offer, contracts: tuple[type[Contract], ...], try_out: Callable[[type[Contract]], object]
) -> type[Contract]:
    """The class of an offer; `Unfit` where it does not keep its contract."""
    loaded, place = _loaded(offer.point), offer.point.value
    needed = " or ".join(contract.__name__ for contract in contracts)
    if not inspect.isclass(loaded):
        raise Unfit(f"{place} is no class; a class that derives from {needed} is needed")
    if not issubclass(loaded, contracts):
        raise Unfit(f"{place} does not derive from {needed}")
    _refuse_undeclared(loaded, place)
    if loaded.name != offer.name:
        raise Unfit(f"{place} has the name {loaded.name!r}, its entry point {offer.name!r}; give both the same")
    try:
        try_out(loaded)
    except Exception as error:
        raise Unfit(f"{place}() fails, but every parameter must have a default: {_words(error)}") from None
    return loaded


def _loaded(point: EntryPoint) -> Any:
    """What an entry point stands for. Whatever its import prints is kept from standard output, which may be JSON."""
    if not point.pattern.match(point.value):
        raise Unfit(f"its entry point is {point.value!r}; module:Class is needed")
    try:
        with redirect_stdout(sys.stderr):
            importlib.import_module(point.module)
    # A module may leave by sys.exit.
    except (Exception, SystemExit) as error:
        raise Unfit(f"it cannot be imported: {_words(error)}; python -c 'import {point.module}' shows where") from None
    try:
        return point.load()
    except AttributeError:
        raise Unfit(
            f"{point.module} has no {point.attr}; correct the entry point, or install the package again"
        ) from None


def _refuse_undeclared(cls: type[Any], place: str) -> None:
    """`Unfit` for a class that lacks what its contract declares: texts about it, other constants, or methods."""
    declared: set[str] = getattr(cls, "__class_vars__", set())
    texts = [name for name in TEXTS if name in declared]
    lacking = [name for name in texts if not isinstance(getattr(cls, name, None), str) or not getattr(cls, name)]
    lacking += sorted(name for name in declared.difference(texts) if not hasattr(cls, name))
    if lacking:
        raise Unfit(f"{place} has no {', '.join(lacking)}; each is declared as {lacking[0]}: ClassVar[…] = …")
    if not (cls.__doc__ or "").strip():
        raise Unfit(f"{place} has no docstring, which says what it is")
    if inspect.isabstract(cls):
        raise Unfit(f"{place} does not define {', '.join(sorted(cls.__abstractmethods__))}")


def _words(error: BaseException) -> str:
    """An error on one line, which is not long."""
    letters = "".join(letter if letter.isprintable() else " " for letter in f"{type(error).__name__}: {error}")
    text = " ".join(letters.split())
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}…"
