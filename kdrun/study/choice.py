"""Keys whose value names a class: a level of a family, a task, a cell.

A study writes such a value as a bare name or as a mapping of the name and parameters. The classes are looked up when a
study is read, so a class that a user's package adds is known here without being listed.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

import kdrun.models.discover
import kdrun.tasks.discover
from kdrun.factors import discover
from kdrun.factors.contract import EMPTY, Family, Named
from kdrun.study.wording import Problem, listed, mistake, mistakes, read_model, shown, unknown


class Choice(ABC):
    """Reads the value of such a key, and describes it for JSON Schema. It annotates the field that holds the value.

    `key` is what names the class in a mapping, `noun` what messages call it.
    """

    noun: ClassVar[str]
    key: ClassVar[str] = "name"

    @abstractmethod
    def classes(self) -> Mapping[str, type[Named]]:
        """Every class by the name that a study gives it."""

    def left_out(self) -> Mapping[str, str]:
        """Why classes that packages offer cannot be used, by name."""
        return {}

    def unknown(self, name: str) -> str:
        """The text for a name that none of the classes has."""
        if name not in self.left_out():
            return unknown(self.noun, name, self.names())
        return f"unknown {self.noun} {shown(name)}: {self.left_out()[name]}; known: {listed(self.names())}"

    def default(self) -> str | None:
        """The name that a mapping without one means; None where it must have one."""
        return None

    def names(self) -> list[str]:
        """All names that a study can write here, the default first."""
        return sorted(self.classes(), key=lambda name: name != self.default())

    def read(self, data: Any) -> Named | None:
        """The instance that `data` describes, or None for an empty slot; pydantic's error says what is wrong."""
        if isinstance(data, Named):
            return data
        if not isinstance(data, str | dict):
            raise mistake(f"found {shown(data)}; the name of a {self.noun} or a mapping {{{self.key}: …}} is allowed")
        mapping = {self.key: data} if isinstance(data, str) else data
        name = self._name(mapping, () if isinstance(data, str) else (self.key,))
        return self._build(name, {key: value for key, value in mapping.items() if key != self.key})

    def _name(self, mapping: Mapping[str, Any], place: tuple[str, ...]) -> str:
        name = mapping.get(self.key, self.default())
        if isinstance(name, str) and name in self.names():
            return name
        if isinstance(name, str):
            text = self.unknown(name)
        else:
            found = f"found {shown(name)}" if self.key in mapping else "missing"
            text = f"{found}; the name of a {self.noun} is needed; known: {listed(self.names())}"
        raise mistakes([Problem(place, text)])

    def _build(self, name: str, parameters: Mapping[str, Any]) -> Named | None:
        named = self.classes()[name]
        return read_model(named, _with_tuples(named, parameters), self.key, also=_unknown_references(named, parameters))

    def knows(self, name: Any, key: str) -> bool:
        """Whether the class called `name` has a parameter `key`."""
        named = self.classes().get(name) if isinstance(name, str) else None
        return named is not None and key in named.model_fields

    def json_schema(self, label: bool = False) -> dict[str, Any]:
        """A bare name, or the mapping of one class; `label` adds the key that levels of factors have."""
        mappings = [_mapping_schema(self.key, name, named, label) for name, named in self.classes().items()]
        return {"anyOf": [{"enum": self.names()}, *mappings]}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json_schema()


class TaskChoice(Choice):
    """What the study is about."""

    noun = "task"

    def classes(self) -> Mapping[str, type[Named]]:
        """Every task."""
        return kdrun.tasks.discover.tasks()

    def left_out(self) -> Mapping[str, str]:
        """Tasks that cannot be used."""
        return kdrun.tasks.discover.left_out()


class CellChoice(Choice):
    """The network's architecture."""

    noun = "cell"
    key = "cell"

    def classes(self) -> Mapping[str, type[Named]]:
        """Every cell."""
        return kdrun.models.discover.cells()

    def default(self) -> str | None:
        """A study need not name the cell that kdrun was made for."""
        return "cfc"


class ComparatorChoice(Choice):
    """An item of the list of comparators."""

    noun = "comparator"

    def classes(self) -> Mapping[str, type[Named]]:
        """Every comparator."""
        return discover.levels("comparators")

    def left_out(self) -> Mapping[str, str]:
        """Comparators that cannot be used."""
        return discover.left_out("comparators")


@dataclass(frozen=True)
class LevelChoice(Choice):
    """A level of the family called `name`. Where the family has no default level, its slot may stay empty."""

    name: str
    noun: ClassVar[str] = "level"

    @property
    def family(self) -> Family:
        """The family that is chosen from."""
        return discover.families()[self.name]

    def classes(self) -> Mapping[str, type[Named]]:
        """Every level of the family."""
        return discover.levels(self.name)

    def left_out(self) -> Mapping[str, str]:
        """Levels of the family that cannot be used."""
        return discover.left_out(self.name)

    def default(self) -> str | None:
        """The family's default level, else the empty slot."""
        return self.family.default or EMPTY

    def default_level(self) -> Named | None:
        """The level of a study that names none, or None for the empty slot."""
        return self.read(self.default())

    def names(self) -> list[str]:
        """All levels, and before them `none` where the slot may stay empty."""
        return super().names() if self.family.default else [EMPTY, *self.classes()]

    def read(self, data: Any) -> Named | None:
        """The level that `data` describes; None for a slot that may stay empty."""
        return None if data is None and not self.family.default else super().read(data)

    def _build(self, name: str, parameters: Mapping[str, Any]) -> Named | None:
        if name in self.classes():
            return super()._build(name, parameters)
        if parameters:
            text = f"unknown key; the slot is empty ('{EMPTY}') and has no parameters"
            raise mistakes([Problem((key,), text, on_key=True) for key in parameters])
        return None

    def json_schema(self, label: bool = False) -> dict[str, Any]:
        """A level, or the empty slot where that is allowed."""
        schema = super().json_schema(label)
        if not self.family.default:
            empty = _closed({self.key: {"const": EMPTY}, **(_LABEL if label else {})}, [self.key])
            schema["anyOf"].append(empty)
        return schema


def _with_tuples(named: type[Named], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples where a class wants tuples: a study file has no other way to write one."""
    wanted = {key for key, field in named.model_fields.items() if _wants_tuple(field.annotation)}
    return {
        key: tuple(value) if key in wanted and isinstance(value, list) else value for key, value in parameters.items()
    }


def _wants_tuple(annotation: Any) -> bool:
    kinds = (annotation, *typing.get_args(annotation))
    return any(kind is tuple or typing.get_origin(kind) is tuple for kind in kinds)


def _references(named: type[Named]) -> dict[str, LevelChoice]:
    """The parameters that name a level of another family, such as the granularity of a quantizer."""
    extras = {key: field.json_schema_extra for key, field in named.model_fields.items()}
    return {
        key: LevelChoice(str(extra["family"]))
        for key, extra in extras.items()
        if isinstance(extra, dict) and "family" in extra
    }


def _unknown_references(named: type[Named], parameters: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem((key,), choice.unknown(parameters[key]))
        for key, choice in _references(named).items()
        if isinstance(parameters.get(key), str) and parameters[key] not in choice.names()
    ]


_LABEL = {"label": {"type": "string", "description": "How tables and figures call the level."}}


def _closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _mapping_schema(key: str, name: str, named: type[Named], label: bool) -> dict[str, Any]:
    """JSON Schema of {name: …, parameters}."""
    schema = inlined_schema(named)
    names = {parameter: {"enum": choice.names()} for parameter, choice in _references(named).items()}
    parameters = {
        key: {**description, **names.get(key, {})} for key, description in schema.get("properties", {}).items()
    }
    properties = {key: {"const": name}, **(_LABEL if label else {}), **parameters}
    description = (named.__doc__ or named.__name__).strip().splitlines()[0]
    return {"description": description, **_closed(properties, [key, *schema.get("required", [])])}


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a model without references, so that it can stand anywhere in another."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        target = node.get("$ref")
        found = definitions[target.rsplit("/", 1)[1]] if isinstance(target, str) else {}
        return {key: inline(value) for key, value in {**found, **node}.items() if key != "$ref"}

    return typing.cast(dict[str, Any], inline(schema))
