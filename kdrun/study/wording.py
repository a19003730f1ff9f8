"""Plain words for what is wrong in a study: what was found, what is allowed, and the nearest match."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from kdrun.study.paths import Path

Model = TypeVar("Model", bound=BaseModel)

_MISTAKE, _KEY_MISTAKE = "mistake", "key_mistake"
_MOST_NAMES = 20
_MOST_LETTERS = 60
_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "at most"}
_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, if one is like it at all."""
    by_folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word[:_MOST_LETTERS].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that offers the nearest match, empty where none is near."""
    match = nearest(word, known)
    return f". Did you mean {match!r}?" if match else ""


def listed(names: Collection[str]) -> str:
    """Names separated by commas; what goes beyond twenty is an ellipsis."""
    shown_names = [printable(name) for name in names][:_MOST_NAMES]
    return ", ".join([*shown_names, "…"] if len(names) > _MOST_NAMES else shown_names) or "none"


def unknown(noun: str, word: str, known: Collection[str]) -> str:
    """The text for a name that nobody knows."""
    return f"unknown {noun} {shown(word)}; known: {listed(known)}{did_you_mean(word, known)}"


def printable(text: str) -> str:
    """The text on one line: what cannot be printed is written as an escape."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shown(value: Any) -> str:
    """A value as a message shows it: text in quotes, true and false, kinds of what is too long to show."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = repr(value) if isinstance(value, str) else str(getattr(value, "text", value))
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


@dataclass(frozen=True)
class Problem:
    """A mistake at a path of a study; `on_key` where the key itself is wrong, not its value."""

    path: Path
    text: str
    on_key: bool = False


def mistake(text: str, on_key: bool = False) -> PydanticCustomError:
    """An error for pydantic to carry whose text is final."""
    return PydanticCustomError(_KEY_MISTAKE if on_key else _MISTAKE, "{text}", {"text": text})


def mistakes(problems: Iterable[Problem]) -> ValidationError:
    """Several such errors at once, each with its path."""
    lines = [InitErrorDetails(type=mistake(item.text, item.on_key), loc=item.path, input=None) for item in problems]
    return ValidationError.from_exception_data("study", lines)


def read_model(model: type[Model], data: Any, naming: str = "", also: Collection[Problem] = ()) -> Model:
    """`data` as an instance of `model`; mistakes, with those found `also`, come as pydantic's error in plain words.

    `naming` is the key that named the model, which is not among its fields.
    """
    try:
        read = model.model_validate(data, strict=True)
    except ValidationError as error:
        raise mistakes([*also, *explained(model, error, naming)]) from None
    if also:
        raise mistakes(also)
    return read


def explained(model: type[BaseModel], error: ValidationError, naming: str = "") -> list[Problem]:
    """What `error` found while it validated `model`, which tells what is allowed at each place.

    The places of a union's branches, which are no keys of the study, are left out, so that its branches report once.
    """
    found = [_problem(model, details, naming) for details in error.errors(include_url=False)]
    return list(dict.fromkeys(found))


def _problem(model: type[BaseModel], details: ErrorDetails, naming: str) -> Problem:
    kind = details["type"]
    if kind in (_MISTAKE, _KEY_MISTAKE):
        return Problem(details["loc"], details["msg"], kind == _KEY_MISTAKE)
    path, annotation, field = _locate(model, details["loc"])
    if kind == "extra_forbidden":
        keys = keys_of(_model_in(annotation) or model)
        known = [naming, *keys] if naming and len(path) == 1 else keys
        return Problem(path, unknown("key", str(path[-1]), known), on_key=True)
    return Problem(path, _text(details, annotation, field))


def _text(details: ErrorDetails, annotation: Any, field: FieldInfo | None) -> str:
    kind, value = details["type"], details["input"]
    if kind == "value_error":
        return str(details["ctx"]["error"])
    allowed = allowed_words(annotation, field)
    if kind == "missing":
        return f"missing; {allowed} is needed"
    return f"found {shown(value)}; {allowed} is allowed{_near_choice(value, annotation)}"


def _near_choice(value: Any, annotation: Any) -> str:
    """The choice that was perhaps meant, where a key holds one of several words."""
    choices = [word for branch in _branches(annotation) for word in _choices(branch) if isinstance(word, str)]
    return did_you_mean(value, choices) if isinstance(value, str) else ""


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a study writes for the fields of `model`, in the order that it gives or that of its fields."""
    order: tuple[str, ...] = getattr(model, "key_order", ())
    return list(order) or [field.alias or name for name, field in model.model_fields.items()]


def _locate(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[Path, Any, FieldInfo | None]:
    """The path that `loc` means, and the annotation and field there; for an unknown key, the model that refuses it."""
    annotation: Any = model
    field: FieldInfo | None = None
    for depth, part in enumerate(loc):
        owner = _model_in(annotation)
        if owner is not None and isinstance(part, str):
            inner = _field(owner, part)
            if inner is None:
                return loc[: depth + 1], owner, None
            annotation, field = inner.annotation, inner
        else:
            element = _element(annotation, part)
            if element is None:
                return loc[:depth], annotation, field
            annotation, field = element, None
    return loc, annotation, field


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    fields = model.model_fields
    return fields.get(key) or next((field for field in fields.values() if field.alias == key), None)


def _branches(annotation: Any) -> tuple[Any, ...]:
    """The members of a union but None, or the one annotation, without `Annotated`."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(branch for branch in typing.get_args(annotation) if branch is not types.NoneType)
    return (annotation,)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    branches = _branches(annotation)
    only = branches[0] if len(branches) == 1 else None
    return only if isinstance(only, type) and issubclass(only, BaseModel) else None


def _element(annotation: Any, part: str | int) -> Any | None:
    """What the items of a list or the values of a mapping are."""
    branches = _branches(annotation)
    arguments = typing.get_args(branches[0]) if len(branches) == 1 else ()
    origin = typing.get_origin(branches[0])
    if isinstance(part, int) and origin in (tuple, list) and arguments:
        return arguments[min(part, len(arguments) - 1) if arguments[-1] is not ... else 0]
    return arguments[1] if isinstance(part, str) and origin in (dict, Mapping) and len(arguments) == 2 else None


def allowed_words(annotation: Any, field: FieldInfo | None = None) -> str:
    """What a key may hold, such as `a whole number from 1 to 4096`."""
    metadata = list(field.metadata) if field else []
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata += [item for entry in more for item in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    words = [_kind_words(branch) for branch in _branches(annotation)]
    return " or ".join(dict.fromkeys(words)) + _bounds_words(metadata)


def _kind_words(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return allowed_words(kind)
    if origin is typing.Literal:
        return _literal_words(typing.get_args(kind))
    if origin in (tuple, list):
        return _list_words(typing.get_args(kind))
    model = _model_in(kind)
    if model is not None:
        return f"a mapping with the keys {listed(keys_of(model))}" if keys_of(model) else "a mapping"
    return _WORDS.get(kind, "a mapping" if origin in (dict, Mapping) else "another value")


def _literal_words(values: tuple[Any, ...]) -> str:
    words = [value if isinstance(value, str) else shown(value) for value in values]
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _list_words(arguments: tuple[Any, ...]) -> str:
    if not arguments or arguments[-1] is ... or len(arguments) == 1:
        return "a list"
    return f"a list of {len(arguments)} values"


def _bounds_words(metadata: list[Any]) -> str:
    """The bounds among a field's annotations, such as ` above 0 and at most 1`."""
    bounds = {name: getattr(item, name) for item in metadata for name in _BOUNDS if hasattr(item, name)}
    if {"ge", "le"} <= bounds.keys():
        return f" from {_bound(bounds['ge'])} to {_bound(bounds['le'])}"
    words = [f"{words} {_bound(bounds[name])}" for name, words in _BOUNDS.items() if name in bounds]
    return f" {' and '.join(words)}" if words else ""


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.15g}"
