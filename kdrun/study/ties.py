"""What ties the keys of a study together, on its plain data, so that it shows whatever else is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdrun.factors import discover
from kdrun.factors.contract import Named
from kdrun.study.choice import LevelChoice, TaskChoice
from kdrun.study.claim_ties import claim_problems
from kdrun.study.factor import Factor, name_mistakes, same_value, text_of
from kdrun.study.paths import MISSING, Path, get
from kdrun.study.selection import design_problems
from kdrun.study.wording import Problem, listed, shown, unknown

# What tables of treatments have beside factors and responses where students are quantized.
STUDENT_COLUMNS = ("compression", "retention", "training_cost")


def loose_ends(data: Mapping[str, Any], factors: Mapping[str, Factor]) -> Iterator[Problem]:
    """Everything that is wrong between keys. Keys that are malformed in themselves are passed over."""
    yield from _responses(data)
    yield from _response_names(data)
    yield from _accept(data)
    yield from _columns(data, factors)
    yield from design_problems(data, factors)
    for factor in factors.values():
        yield from _beside(data, factor)
    yield from _comparators(data)
    yield from claim_problems(data, factors)


def items(data: Any, *path: str) -> Iterator[tuple[Path, Any]]:
    """The items of the list at `path`, each with its own path."""
    found = get(data, path)
    for index, item in enumerate(found if isinstance(found, list) else ()):
        yield (*path, index), item


def _texts(data: Mapping[str, Any], section: str, key: str) -> Iterator[tuple[Path, str]]:
    """The text at `key` of every item of a list."""
    for path, item in items(data, section):
        if isinstance(get(item, (key,)), str):
            yield (*path, key), item[key]


def _task(data: Mapping[str, Any]) -> type[Named] | None:
    name = get(data, ("task", "name")) if isinstance(data.get("task"), dict) else data.get("task")
    return TaskChoice().classes().get(name) if isinstance(name, str) else None


def _measured(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The responses that the task declares; none where only its runs can tell."""
    return tuple(getattr(_task(data), "responses", ()))


def _responses(data: Mapping[str, Any]) -> Iterator[Problem]:
    known, seen = _measured(data), set()
    for path, name in _texts(data, "responses", "name"):
        if known and name not in known:
            yield Problem(path, unknown("response", name, known))
        elif name in seen:
            yield Problem(path, f"the response {shown(name)} is given twice")
        seen.add(name)
    for path, item in items(data, "responses"):
        yield from _stand_in(path, get(item, ("scale",)), get(item, ("diverged", "value")))


def _response_names(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Responses that only runs declare are columns of the tables by the names that the study gives them."""
    if _task(data) is None or _measured(data):
        return
    for path, name in _texts(data, "responses", "name"):
        for text in name_mistakes(name, "response"):
            yield Problem(path, text)


def _stand_in(path: Path, scale: Any, value: Any) -> Iterator[Problem]:
    """The value of a diverged run must lie on the response's scale."""
    if not isinstance(value, int | float):
        return
    allowed = {"log10": (value > 0, "above 0"), "logit": (0 < value < 1, "between 0 and 1")}
    fits, words = allowed.get(scale, (True, "")) if isinstance(scale, str) else (True, "")
    if not fits:
        yield Problem(
            (*path, "diverged", "value"), f"found {shown(value)}; on the scale {scale} a number {words} is allowed"
        )


def _accept(data: Mapping[str, Any]) -> Iterator[Problem]:
    bounds, known = get(data, ("teacher", "accept")), _measured(data)
    for name in bounds if isinstance(bounds, dict) and known else ():
        if name not in known:
            yield Problem(("teacher", "accept", name), unknown("response", name, known), on_key=True)
        elif isinstance(bounds[name], int | float) and bounds[name] <= 0 and _is_log(data, name):
            text = f"found {shown(bounds[name])}; on the scale log10 a number above 0 is allowed"
            yield Problem(("teacher", "accept", name), text)


def _is_log(data: Mapping[str, Any], name: str) -> bool:
    """Whether the study analyses a response on a logarithmic scale."""
    responses = data.get("responses")
    entries = [item for item in responses if isinstance(item, dict)] if isinstance(responses, list) else []
    return any(item.get("name") == name and item.get("scale") == "log10" for item in entries)


def _columns(data: Mapping[str, Any], factors: Mapping[str, Factor]) -> Iterator[Problem]:
    """A factor is a column of the tables, beside those of the responses."""
    taken = {name for _, name in _texts(data, "responses", "name")} | {
        *_measured(data),
        *getattr(_task(data), "ratios", ()),
    }
    for name in factors.keys() & taken:
        yield Problem(
            ("factors", name), f"{name!r} is a response of the task; give the factor another name", on_key=True
        )
    for name in factors.keys() & set(STUDENT_COLUMNS if getattr(_task(data), "sections", ()) else ()):
        yield Problem(
            ("factors", name), f"{name!r} is another column of the tables; give the factor another name", on_key=True
        )


def _beside(data: Mapping[str, Any], factor: Factor) -> Iterator[Problem]:
    """A key that a factor sets may be given only where the value is used: as a level, or as a parameter of one."""
    given = get(data, factor.key)
    if given is MISSING or not factor.levels:
        return
    if factor.family and isinstance(given, dict):
        yield from _parameters_beside(given, factor)
    elif not any(same_value(given, level.value) for level in factor.levels) and given not in _names(factor):
        yield Problem(factor.key, _overridden(factor, given))


def _names(factor: Factor) -> list[str]:
    """The names of the classes that the levels of a family's factor choose."""
    if not factor.family:
        return []
    values = [level.value.get("name") if isinstance(level.value, dict) else level.value for level in factor.levels]
    return [name for name in values if isinstance(name, str)]


def _overridden(factor: Factor, given: Any) -> str:
    levels = listed([level.text for level in factor.levels])
    return f"found {shown(given)}, but the factor {factor.name!r} sets this key to {levels}; remove it here"


def _parameters_beside(given: Mapping[str, Any], factor: Factor) -> Iterator[Problem]:
    if "name" in given and given["name"] not in _names(factor):
        yield Problem((*factor.key, "name"), _overridden(factor, given["name"]))
    for key in given:
        if key != "name" and not _used(key, factor):
            yield Problem((*factor.key, key), _unused_parameter(key, factor), on_key=True)


def _used(key: str, factor: Factor) -> bool:
    """Whether some level knows this parameter and does not set it itself."""
    values = [level.value if isinstance(level.value, dict) else {"name": level.value} for level in factor.levels]
    return any(key in _parameters(value.get("name"), factor) and key not in value for value in values)


def _parameters(name: Any, factor: Factor) -> list[str]:
    """The parameters of one level of a family."""
    level = LevelChoice(factor.family or "").classes().get(name) if isinstance(name, str) else None
    return list(level.model_fields) if level else []


def _unused_parameter(key: str, factor: Factor) -> str:
    known = list(dict.fromkeys(key for name in _names(factor) for key in _parameters(name, factor)))
    if key in known:
        return f"the levels of the factor {factor.name!r} all set this key; remove it here"
    return unknown("key", key, ["name", *known])


def _comparators(data: Mapping[str, Any]) -> Iterator[Problem]:
    known = discover.levels("comparators") if "comparators" in discover.families() else {}
    before: list[str] = []
    seen: list[str] = []
    task = _task(data)
    if any(items(data, "comparators")) and task is not None and "student" not in getattr(task, "sections", ()):
        text = f"the task {task.name!r} has no networks to compare with; remove this key"
        yield Problem(("comparators",), text, on_key=True)
        return
    for path, item in items(data, "comparators"):
        name = get(item, ("name",)) if isinstance(item, dict) else item
        if not isinstance(name, str) or name not in known:
            continue
        if text_of(item) in seen:
            yield Problem(path, f"the comparator {shown(name)} is given twice")
        yield from _start(path, known[name], known, before, data)
        before.append(name)
        seen.append(text_of(item))


def _start(
    path: Path, level: Any, known: Mapping[str, Any], before: list[str], data: Mapping[str, Any]
) -> Iterator[Problem]:
    """A comparator starts from treatment 1, a teacher, or a comparator that comes before it."""
    starts_from = level.starts_from
    if starts_from in known and starts_from not in before:
        yield Problem(path, f"{level.name!r} starts from the comparator {starts_from!r}; list that one before it")
    if starts_from == "teacher" and "teacher" not in data:
        yield Problem(path, f"{level.name!r} starts from a teacher, and the task has none; remove it")
