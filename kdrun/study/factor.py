"""Factors as a study writes them: which key each sets, and its levels."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kdrun.factors import discover
from kdrun.factors.contract import EMPTY, Family
from kdrun.study.choice import LevelChoice
from kdrun.study.paths import Path, dotted, parse_path
from kdrun.study.wording import Problem, did_you_mean, listed, nearest, shown

SECTIONS = ("task", "model", "teacher", "student")
_LONGEST_TEXT = 200
_MOST_LEVELS = 1000
_CHANGES_NO_RUN: dict[Path, str] = {("teacher", "accept"): "judges teachers", ("task", "timeout"): "ends runs"}
_COLUMNS = {
    "run_id",
    "kind",
    "treatment",
    "replicate",
    "replicates",
    "comparator",
    "status",
    "seconds",
    "error",
    "baseline",
}


@dataclass(frozen=True)
class FactorLevel:
    """One level: `text` is how tables show it, `value` what it sets, as plain data without the label."""

    text: str
    value: Any
    place: Path


@dataclass(frozen=True)
class Factor:
    """One factor: the key that it sets, and its levels in the order of the study.

    `family` is the technique family that it is named after, if it is. `written` is what the study says, as plain data.
    """

    name: str
    key: Path
    family: str | None
    levels: tuple[FactorLevel, ...]
    written: Any

    def find(self, level: Any) -> FactorLevel | None:
        """The level that a study refers to by its text, or by its value."""
        for known in self.levels:
            if level == known.text or same_value(level, known.value):
                return known
        return None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object"}


def same_value(one: Any, other: Any) -> bool:
    """Equal and of one kind: 16 is neither 16.0 nor true nor text."""
    return _kind(one) is _kind(other) and bool(one == other)


def _kind(value: Any) -> type:
    return next((kind for kind in (bool, int, float) if isinstance(value, kind)), type(value))


def factor_families() -> dict[str, Family]:
    """The families whose levels a factor can take: those that fill a key below a section."""
    return {name: family for name, family in discover.families().items() if family.key.split(".")[0] in SECTIONS}


def text_of(value: Any) -> str:
    """A plain value as a study file writes it on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {text_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text_of(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(getattr(value, "text", value))


def read_factors(data: Any) -> tuple[dict[str, Factor], list[Problem]]:
    """Every factor that can be told, and what is wrong with the factors of a study."""
    if not isinstance(data, dict):
        return {}, [Problem(("factors",), f"found {shown(data)}; a mapping of at least one factor is allowed")]
    if not data:
        return {}, [Problem(("factors",), "found no factor; at least one is needed")]
    factors: dict[str, Factor] = {}
    problems: list[Problem] = []
    for name, body in data.items():
        place: Path = ("factors", name)
        problems += [Problem(place, text, on_key=True) for text in name_mistakes(name, "factor")]
        factor, found = _read_family(name, body) if name in factor_families() else _read_sets(name, body)
        problems += [Problem((*place, *item.path), item.text, item.on_key) for item in found]
        if factor is not None:
            factors[name] = factor
    conflicts, involved = _key_conflicts(factors)
    # Levels of factors in conflict would be blamed for what the conflict brings about.
    factors |= {name: replace(factors[name], levels=()) for name in involved}
    return factors, problems + conflicts


def name_mistakes(name: str, noun: str) -> Iterator[str]:
    """What is wrong with the name of a factor or response, which is a column of the tables."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
        yield f"found {shown(name)}; the name of a {noun} has 1 to 64 letters, digits and _, and starts with a letter"
    elif name in _COLUMNS:
        yield f"{name!r} is another column of the tables; give the {noun} another name"


def _read_family(name: str, body: Any) -> tuple[Factor | None, list[Problem]]:
    family = factor_families()[name]
    if isinstance(body, dict):
        text = (
            f"a factor named after the family {name!r} is a list of its levels; one that sets a key needs another name"
        )
        return None, [Problem((), text)]
    key = parse_path(family.key)
    levels, problems = _read_levels(body, ("factors", name), LevelChoice(name))
    return Factor(name, key, name, levels, body), problems


def _read_sets(name: str, body: Any) -> tuple[Factor | None, list[Problem]]:
    if not isinstance(body, dict):
        return None, [Problem((), _not_sets(name, body), on_key=isinstance(body, list))]
    problems = [
        Problem(
            (key,), f"unknown key {shown(key)}; known: sets, levels{did_you_mean(key, ('sets', 'levels'))}", on_key=True
        )
        for key in body
        if key not in ("sets", "levels")
    ]
    problems += [Problem((key,), f"missing; {need} is needed") for key, need in _NEEDED.items() if key not in body]
    key, text = _sets_key(body.get("sets"))
    if text and "sets" in body:
        problems.append(Problem(("sets",), text))
    levels, found = _read_levels(body["levels"], ("factors", name, "levels"), None) if "levels" in body else ((), [])
    problems += [Problem(("levels", *item.path), item.text, item.on_key) for item in found]
    return (Factor(name, key, None, levels, body) if key else None), problems


_NEEDED = {"sets": "the key that the factor sets, such as model.hidden,", "levels": "a list of at least two levels"}


def _not_sets(name: str, body: Any) -> str:
    families = factor_families()
    if isinstance(body, list):
        return (
            f"unknown family {shown(name)}; known: {listed(families)}; any other factor is written "
            f"{{sets: key, levels: […]}}{did_you_mean(name, families)}"
        )
    return f"found {shown(body)}; {{sets: key, levels: […]}} is allowed"


def _sets_key(text: Any) -> tuple[Path, str]:
    """The key that a factor sets, or what is wrong with it."""
    if not isinstance(text, str):
        return (), f"found {shown(text)}; a key such as model.hidden is allowed"
    try:
        key = parse_path(text)
    except ValueError as error:
        return (), str(error)
    if key[0] not in SECTIONS or len(key) < 2:
        return (), _not_in_a_section(key)
    if key[:2] in _CHANGES_NO_RUN:
        return (), f"{dotted(key[:2])} {_CHANGES_NO_RUN[key[:2]]} and changes no run; a factor cannot set it"
    return key, ""


def _not_in_a_section(key: Path) -> str:
    match = nearest(str(key[0]), SECTIONS)
    offer = f". Did you mean {dotted((match, *key[1:]))!r}?" if match and len(key) > 1 else ""
    return f"found {dotted(key)!r}; a key below task, model, teacher or student is allowed{offer}"


def _read_levels(body: Any, place: Path, family: LevelChoice | None) -> tuple[tuple[FactorLevel, ...], list[Problem]]:
    if not isinstance(body, list):
        return (), [Problem((), f"found {shown(body)}; a list of at least two levels is allowed")]
    if len(body) > _MOST_LEVELS:
        return (), [Problem((), f"found {len(body):,} levels; at most {_MOST_LEVELS:,} are allowed")]
    problems = [problem for index, level in enumerate(body) for problem in _label_mistakes(index, level)]
    if len(body) < 2:
        problems.append(Problem((), f"found {len(body)} level{'' if len(body) == 1 else 's'}; at least two are needed"))
    texts = level_texts([EMPTY if level is None and family else level for level in body])
    levels = [
        FactorLevel(text, _value(level, family), (*place, index))
        for index, (text, level) in enumerate(zip(texts, body, strict=True))
    ]
    return tuple(levels), [*problems, *_text_mistakes(texts, "labels or parameters" if family else "values")]


def _label_mistakes(index: int, level: Any) -> Iterator[Problem]:
    if not isinstance(level, dict) or "label" not in level:
        return
    label = level["label"]
    if not isinstance(label, str) or not 1 <= len(label) <= 64 or not label.isprintable() or label != label.strip():
        yield Problem((index, "label"), f"found {shown(label)}; a label is one line of 1 to 64 letters")


def _text_mistakes(texts: list[str], difference: str) -> Iterator[Problem]:
    """Tables tell levels apart by their texts."""
    for index, text in enumerate(texts):
        if text in texts[:index]:
            yield Problem((index,), f"the level {shown(text)} is given twice; give each level other {difference}")
        if not text or len(text) > _LONGEST_TEXT or not text.isprintable():
            yield Problem((index,), f"found {shown(text)}; one line of 1 to {_LONGEST_TEXT} letters is allowed")


def _value(level: Any, family: LevelChoice | None) -> Any:
    """What a level sets: without its label, and a bare name where nothing else is left."""
    if level is None and family is not None:
        return EMPTY
    if not isinstance(level, dict):
        return level
    value = {key: item for key, item in level.items() if key != "label" or not _has_label(level)}
    return value["name"] if value.keys() == {"name"} and isinstance(value["name"], str) else value


def _has_label(level: Mapping[str, Any]) -> bool:
    """Whether `label` is the level's label: a mapping that names nothing may have a key of that name."""
    return "name" in level


def _name(level: Any) -> str:
    if isinstance(level, dict):
        return str(level["name"]) if isinstance(level.get("name"), str) else text_of(level)
    return text_of(level)


def level_texts(levels: list[Any]) -> list[str]:
    """How tables show each level: its label, else its name, with its parameters where the name repeats."""
    counts = Counter(_name(level) for level in levels)
    return [_text(level, counts[_name(level)] > 1) for level in levels]


def _text(level: Any, repeats: bool) -> str:
    if not isinstance(level, dict) or "name" not in level:
        return _name(level)
    if isinstance(level.get("label"), str):
        return str(level["label"])
    parameters = ",".join(f"{key}={text_of(value)}" for key, value in level.items() if key not in ("name", "label"))
    return f"{_name(level)}({parameters})" if repeats and parameters else _name(level)


def _key_conflicts(factors: Mapping[str, Factor]) -> tuple[list[Problem], set[str]]:
    """Factors that set one key, or a part of what another sets, and the names of all that are involved."""
    problems: list[Problem] = []
    involved: set[str] = set()
    for other, factor in itertools.combinations(factors.values(), 2):
        if _in_conflict(factor, other):
            text = f"sets {dotted(factor.key)}, and the factor {other.name!r} sets {dotted(other.key)}"
            problems.append(Problem(("factors", factor.name), f"{text}; set each key by one factor", on_key=True))
            involved |= {factor.name, other.name}
    return problems, involved


def _in_conflict(factor: Factor, other: Factor) -> bool:
    """Families may set a part of what another sets: the granularity of a quantizer."""
    shorter, longer = sorted((factor.key, other.key), key=len)
    if longer[: len(shorter)] != shorter:
        return False
    return not (factor.family and other.family) or factor.key == other.key


def factors_schema() -> dict[str, Any]:
    """JSON Schema of the section `factors`."""
    families = {
        name: {
            "type": "array",
            "minItems": 2,
            "description": family.title,
            "items": LevelChoice(name).json_schema(label=True),
        }
        for name, family in factor_families().items()
    }
    sets = {
        "type": "object",
        "description": "A factor that sets a key below task, model, teacher or student.",
        "properties": {"sets": {"type": "string"}, "levels": {"type": "array", "minItems": 2}},
        "required": ["sets", "levels"],
        "additionalProperties": False,
    }
    return {"type": "object", "minProperties": 1, "properties": families, "additionalProperties": sets}
