"""What ties the claims of a study to the rest of it, on its plain data: factors, levels, responses, comparators."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from kdrun.study.choice import ComparatorChoice
from kdrun.study.claims import CLAIMS, Level
from kdrun.study.contrast import contrast_labels
from kdrun.study.factor import Factor, level_texts
from kdrun.study.levels import as_texts, level_problems
from kdrun.study.paths import Path, get
from kdrun.study.plain import changed
from kdrun.study.selection import PLACKETT_BURMAN, Row, design_of, selected_rows
from kdrun.study.wording import Problem, listed, shown, unknown

COMPARATOR = "comparator"
# Claims whose bounds are values of the response, and claims whose bounds are ratios on a log scale.
_ON_MEANS, _ON_RATIOS = ("response", "some_treatment"), ("effect", "equivalent")
_RANKING = ("largest_effect", "effect_rank")

Factors = Mapping[str, Factor]


def claim_problems(data: Mapping[str, Any], factors: Factors) -> Iterator[Problem]:
    """Everything in criteria and hypotheses that does not fit the rest of the study."""
    rows = selected_rows(data, factors)
    design = design_of(data.get("design", {}))
    screening = design is not None and design.fraction == PLACKETT_BURMAN
    for path, kind, body in claims_of(data):
        yield from _needs(path, kind, body, data)
        yield from _response(path, kind, body, data)
        yield from _selections(path, body, data, factors)
        yield from _treatments(path, body, factors, rows)
        yield from _same_parts(path, kind, body)
        yield from _untold(path, kind, body, screening)
        yield from _bounds(path, kind, body, data)
        yield from _term(path, kind, body, factors)
    yield from _repeated(data, "criteria", "name", "criterion")
    yield from _repeated(data, "hypotheses", "say", "hypothesis")


def claims_of(data: Mapping[str, Any]) -> Iterator[tuple[Path, str, Any]]:
    """Every claim with its kind and body, the parts of `all` too. Paths end with the kind."""
    for section in ("criteria", "hypotheses"):
        found = data.get(section)
        for index, item in enumerate(found if isinstance(found, list) else ()):
            yield from _parts((section, index, "claim"), get(item, ("claim",)))


def _parts(path: Path, claim: Any) -> Iterator[tuple[Path, str, Any]]:
    for kind, body in claim.items() if isinstance(claim, dict) else ():
        yield (*path, kind), kind, {"term": body} if kind == "largest_effect" and isinstance(body, str) else body
        if kind == "all" and isinstance(body, list):
            for index, part in enumerate(body):
                yield from _parts((*path, kind, index), part)


def _repeated(data: Mapping[str, Any], section: str, key: str, noun: str) -> Iterator[Problem]:
    found, seen = data.get(section), set()
    for index, item in enumerate(found if isinstance(found, list) else ()):
        text = get(item, (key,))
        if isinstance(text, str):
            if text in seen:
                yield Problem((section, index, key), f"the {noun} {shown(text)} is given twice")
            seen.add(text)


def _needs(path: Path, kind: str, body: Any, data: Mapping[str, Any]) -> Iterator[Problem]:
    needs = next((claim.needs for claim in CLAIMS if claim.kind == kind), frozenset())
    for section in sorted(needs - data.keys()):
        yield Problem(path, f"the task has no {section} to claim this of; remove the criterion", on_key=True)
    if (kind, body) == ("complete", "comparators") and not data.get("comparators"):
        yield Problem(path, "the study has no comparators; list some, or remove the criterion")


def _responses(data: Mapping[str, Any]) -> dict[str, Any]:
    """The scale of each response that the study declares."""
    found = data.get("responses")
    entries = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return {item["name"]: item.get("scale") for item in entries if isinstance(item.get("name"), str)}


def _response(path: Path, kind: str, body: Any, data: Mapping[str, Any]) -> Iterator[Problem]:
    known, name = _responses(data), get(body, ("response",)) if kind != "all" else None
    if isinstance(name, str) and known and name not in known:
        yield Problem((*path, "response"), unknown("response", name, list(known)))


def _selections(path: Path, body: Any, data: Mapping[str, Any], factors: Factors) -> Iterator[Problem]:
    """Levels, and comparators, that a claim selects."""
    for key in ("where", "a", "b"):
        chosen = get(body, (key,))
        if key != "where" and isinstance(chosen, dict) and COMPARATOR in chosen:
            yield from _comparator((*path, key), chosen, data)
        else:
            yield from level_problems((*path, key), chosen, factors)
    a, b = (as_texts(get(body, (key,)), factors) for key in ("a", "b"))
    if isinstance(a, dict) and a == b:
        yield Problem((*path, "b"), "a and b select the same; a claim compares two different things")


def _treatments(path: Path, body: Any, factors: Factors, rows: Sequence[Row]) -> Iterator[Problem]:
    """What a selection of levels comes to in a design that runs only some treatments."""
    chosen = {key: get(body, (key,)) for key in ("where", "a", "b")} if rows else {}
    found = {key: _matching(levels, factors, rows) for key, levels in chosen.items() if _is_selection(levels, factors)}
    for key, matching in found.items():
        if not matching:
            yield Problem((*path, key), "no treatment of this design has these levels")
    if found.get("a") and found.get("a") == found.get("b") and chosen["a"] != chosen["b"]:
        text = "a and b select the same treatments of this design; a claim compares two different things"
        yield Problem((*path, "b"), text)


def _is_selection(levels: Any, factors: Factors) -> bool:
    """Whether `levels` names levels that the study has."""
    return isinstance(levels, dict) and not any(True for _ in level_problems((), levels, factors))


def _matching(levels: Mapping[str, Any], factors: Factors, rows: Sequence[Row]) -> set[int]:
    """The rows of a design that have these levels."""
    names = list(factors)
    wanted = [(names.index(name), factors[name].find(level)) for name, level in levels.items()]
    places = [(column, factors[names[column]].levels.index(level)) for column, level in wanted if level is not None]
    return {index for index, row in enumerate(rows) if all(row[column] == place for column, place in places)}


def _same_parts(path: Path, kind: str, body: Any) -> Iterator[Problem]:
    parts = body if kind == "all" and isinstance(body, list) else []
    for index, part in enumerate(parts):
        if part in parts[:index]:
            yield Problem((*path, index), "this part is given twice")


def _untold(path: Path, kind: str, body: Any, screening: bool) -> Iterator[Problem]:
    term = get(body, ("term",)) if kind == "effect" else None
    if screening and isinstance(term, str) and ":" in term:
        yield Problem((*path, "term"), "a Plackett-Burman design tells main effects only; name one factor")


def _comparator(path: Path, chosen: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    known, name = _comparator_texts(data.get("comparators")), chosen[COMPARATOR]
    if len(chosen) > 1:
        others = listed([key for key in chosen if key != COMPARATOR])
        yield Problem(path, f"found {others} beside a comparator, which has no levels to choose; remove them")
    elif isinstance(name, Level) and name not in known:
        yield Problem((*path, COMPARATOR), unknown("comparator", str(name), known))


def _comparator_texts(found: Any) -> list[str]:
    """How tables show the comparators of a study: by name, with parameters where a name repeats."""
    levels = []
    for item in found if isinstance(found, list) else ():
        with contextlib.suppress(ValidationError, PydanticCustomError):
            levels.append(changed(ComparatorChoice().read(item)))
    return level_texts(levels)


def _bounds(path: Path, kind: str, body: Any, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Bounds must lie on the scale of the response."""
    scales, name = _responses(data), get(body, ("response",))
    scale = scales.get(name) if isinstance(name, str) else next(iter(scales.values()), None)
    for key in ("below", "above", "between", "within"):
        given = get(body, (key,))
        values = [value for value in (given if isinstance(given, list) else [given]) if _is_number(value)]
        wrong = [(value, allowed) for value in values if (allowed := _allowed(kind, key, scale, value))]
        if wrong:
            value, allowed = wrong[0]
            yield Problem((*path, key), f"found {shown(value)}; on the scale {scale} {allowed} is allowed")


def _is_number(value: Any) -> bool:
    """Whether `value` is a number that a bound can be; what is none, the shape of a claim refuses."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _allowed(kind: str, key: str, scale: Any, value: float) -> str | None:
    """What a bound may be, where `value` is not."""
    if scale not in ("log10", "logit"):
        return None
    if key == "within":
        return "a ratio above 1" if 0 < value <= 1 else None
    if kind in _ON_RATIOS:
        return None if value > 0 else "a ratio above 0"
    if kind in _ON_MEANS and scale == "logit":
        return None if 0 < value < 1 else "a number between 0 and 1"
    return None if kind not in _ON_MEANS or value > 0 else "a number above 0"


def _term(path: Path, kind: str, body: Any, factors: Factors) -> Iterator[Problem]:
    """The factors of an effect, its contrast, and what it is compared with."""
    term = get(body, ("term",))
    if kind not in ("effect", *_RANKING) or not isinstance(term, str):
        return
    names = term.split(":")
    place = (*path, "term")
    lacking = [name for name in names if name not in factors]
    if lacking:
        yield Problem(place, unknown("factor", lacking[0], factors))
    elif len(set(names)) < len(names):
        yield Problem(place, f"found {shown(term)}; each factor of an interaction is named once")
    elif kind in _RANKING and len(names) > 1:
        yield Problem(place, f"found {shown(term)}; main effects are ranked, so one factor is allowed")
    elif all(factors[name].levels for name in names):
        yield from _contrast(path, body, [[level.text for level in factors[name].levels] for name in names])
        yield from _ranking(path, kind, body, term, factors)


def _contrast(path: Path, body: Mapping[str, Any], levels: Sequence[Sequence[str]]) -> Iterator[Problem]:
    labels, given = contrast_labels(levels), body.get("contrast")
    if labels == ("",) and given is not None:
        yield Problem((*path, "contrast"), "a term of two-level factors is one contrast; remove this key", on_key=True)
    elif labels != ("",) and given is None:
        yield Problem((*path, "term"), f"this term has {len(labels)} contrasts; name one as contrast: {listed(labels)}")
    elif given is not None and given not in labels:
        yield Problem((*path, "contrast"), unknown("contrast", str(given), labels))


def _ranking(path: Path, kind: str, body: Mapping[str, Any], term: str, factors: Factors) -> Iterator[Problem]:
    if kind not in _RANKING:
        return
    others = [name for name, factor in factors.items() if name != term and len(factor.levels) == 2]
    rank = body.get("rank")
    if not others:
        yield Problem((*path, "term"), "there is no other two-level factor to compare it with")
    elif isinstance(rank, int) and rank > len(others) + 1:
        yield Problem((*path, "rank"), f"found {rank}; {len(others) + 1} main effects are ranked")


def with_claim_texts(data: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """The study with every level that a claim refers to written as tables show it."""
    sections = [key for key in ("criteria", "hypotheses") if isinstance(data.get(key), list)]
    return {**data, **{key: _rewritten(data[key], factors) for key in sections}}


def _rewritten(node: Any, factors: Factors) -> Any:
    if isinstance(node, list):
        return [_rewritten(item, factors) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: as_texts(value, factors) if key in ("where", "a", "b") else _rewritten(value, factors)
        for key, value in node.items()
    }
