"""Validated parts of a study as plain JSON data: all of them, or only what differs from its default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kdrun.factors.contract import EMPTY, Named
from kdrun.models.contract import ModelSpec
from kdrun.study.choice import CellChoice, Choice, LevelChoice
from kdrun.study.claims import Section

_JSON = (bool, int, float, str)


def plain(value: Any, empty: str | None = None) -> Any:
    """`value` with every default written out. A slot that stays empty is None, or `empty`."""
    if isinstance(value, BaseModel):
        return _naming(value) | _plain_fields(value, empty)
    if isinstance(value, Mapping):
        return {key: plain(item, empty) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, empty) for item in value]
    return value if value is None or isinstance(value, _JSON) else str(value)


def _naming(value: BaseModel) -> dict[str, Any]:
    """The key that says what `value` is, for what a study names."""
    if not isinstance(value, Named):
        return {}
    return {CellChoice.key if isinstance(value, ModelSpec) else Choice.key: value.name}


def _plain_fields(model: BaseModel, empty: str | None) -> dict[str, Any]:
    """All fields; an optional key of a section that is not given has nothing to write out."""
    fields: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None and _slot(field) is not None:
            fields[name] = empty
        elif value is not None or not isinstance(model, Section):
            fields[field.alias or name] = plain(value, empty)
    return fields


def _slot(field: FieldInfo) -> LevelChoice | None:
    return next((item for item in field.metadata if isinstance(item, LevelChoice)), None)


def changed(value: Any) -> Any:
    """`value` without what equals its default, so that a key that joins with a default changes nothing.

    Names of classes stay, but for the default level of a slot; fields that change no run are left out.
    """
    if isinstance(value, BaseModel):
        return _naming(value) | _changed_fields(value, None)
    if isinstance(value, Mapping):
        return {key: changed(item) for key, item in value.items()}
    return [changed(item) for item in value] if isinstance(value, list | tuple) else plain(value)


def _changed_fields(model: BaseModel, usual: BaseModel | None) -> dict[str, Any]:
    """The fields that differ from those of `usual`, or from the defaults of the class."""
    fields: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        default = getattr(usual, name) if usual is not None else field.get_default(call_default_factory=True)
        value = getattr(model, name)
        if (value != default or field.is_required()) and identifies(field):
            fields[name] = _difference(value, default, field)
    return fields


def identifies(field: FieldInfo) -> bool:
    """Whether a field is part of what makes a run the same run."""
    extra = field.json_schema_extra
    return not isinstance(extra, dict) or extra.get("identifies", True) is not False


def _difference(value: Any, default: Any, field: FieldInfo) -> Any:
    if value is None and _slot(field) is not None:
        return EMPTY
    if isinstance(value, BaseModel) and type(value) is type(default):
        return _changed_fields(value, default)
    return changed(value)


def canonical(data: Any) -> str:
    """The one JSON text of plain data: keys sorted, no spaces, floats as Python writes them."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
