"""Pre-registration: what a study claims and how it is judged, fixed before its first run.

What changes afterwards is listed, and a hypothesis or criterion that was not registered as it stands is exploratory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kdrun.factors.contract import EMPTY, Named
from kdrun.study.assign import Assignment, fill
from kdrun.study.choice import LevelChoice
from kdrun.study.factor import Factor
from kdrun.study.paths import MISSING, Path, dotted, get, remove
from kdrun.study.plain import canonical, changed
from kdrun.study.schema import Study

DESIGN, RESPONSES, CRITERIA, HYPOTHESES = "design", "responses", "criteria", "hypotheses"
# Lists whose entries are told apart by one of their keys, and what an entry is called.
_KEYED = {RESPONSES: ("name", "response"), CRITERIA: ("name", "criterion"), HYPOTHESES: ("say", "hypothesis")}
# Keys under which claims and designs select levels.
_SELECTIONS = ("where", "a", "b", "include", "exclude")
_SECTIONS = ("task", "model", "teacher", "student", "comparators", "gradcheck")
LONGEST = 200

Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Registration:
    """The parts of a study as they were before its first run, and what was changed since.

    `registered` is the time; `parts` are design, responses, criteria and hypotheses as plain data without defaults, and
    `latest` the same after the last change; each of `changes` has a `time` and a `text`. `late` says that runs existed
    before anything was registered.
    """

    registered: str
    parts: Parts
    latest: Parts
    changes: tuple[Mapping[str, str], ...] = ()
    late: bool = field(default=False)

    @classmethod
    def take(cls, study: Study, time: str, late: bool = False, earlier: Registration | None = None) -> Registration:
        """The registration of a study as it is now; what differs from an `earlier` one, now void, is listed."""
        parts = parts_of(study)
        found = _changes(earlier.latest, parts) if earlier is not None else ()
        anew = f"started over; since what was registered at {earlier.registered}, " if earlier is not None else ""
        return cls(time, parts, parts, tuple({"time": time, "text": anew + text} for text in found), late)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Registration:
        """The registration that `data` wrote; a KeyError, TypeError or ValueError for what is none."""
        changes = tuple({"time": str(item["time"]), "text": str(item["text"])} for item in data["changes"])
        parts = _checked(data["parts"])
        latest = _checked(data["latest"]) if "latest" in data else parts
        return cls(str(data["registered"]), parts, latest, changes, bool(data["late"]))

    @property
    def hash(self) -> str:
        """SHA-256 over the parts as registered, and when."""
        text = canonical({"registered": self.registered, "late": self.late, **self.parts})
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def seal(self) -> str:
        """SHA-256 over all of it, the list of changes too."""
        return hashlib.sha256(canonical(self.data()).encode()).hexdigest()

    def data(self) -> dict[str, Any]:
        """The content of registration.json."""
        return {
            "hash": self.hash,
            "registered": self.registered,
            "late": self.late,
            "hashes": {key: hashlib.sha256(canonical(part).encode()).hexdigest() for key, part in self.parts.items()},
            "parts": self.parts,
            "changes": list(self.changes),
            **({"latest": self.latest} if self.latest != self.parts else {}),
        }

    def followed_to(self, study: Study, time: str) -> Registration:
        """The same with what differs in `study` listed as changes, found at `time`."""
        now = parts_of(study)
        found = tuple({"time": time, "text": text} for text in _changes(self.latest, now))
        return replace(self, latest=now, changes=(*self.changes, *found))

    def exploratory(self, study: Study, part: str) -> list[bool]:
        """For each hypothesis, or criterion, of the study: whether it was not registered as it now stands.

        Another scale of a response, or another primary one, makes what is claimed of it another claim.
        """
        registered = set(map(canonical, _with_responses(self.parts, part)))
        now = _with_responses(parts_of(study), part)
        return [self.late or canonical(entry) not in registered for entry in now]


def _checked(parts: Any) -> Parts:
    """Parts that can be compared with those of a study; an error where they were not written by `parts_of`."""
    found = {DESIGN: dict(parts[DESIGN]), **{key: list(parts[key]) for key in _KEYED}}
    for part in (CRITERIA, HYPOTHESES):
        _with_responses(found, part)
        _by_key(found, part)
    return found


def parts_of(study: Study) -> dict[str, Any]:
    """What is registered of a study, as plain data: only what differs from its defaults.

    Levels are what they come to, not how they are written, so the resolved study has the same parts.
    """
    bare = study.resolved()
    values = {name: _values(factor, bare) for name, factor in study.factors.items()}
    sections = {key: changed(getattr(study, key)) for key in _SECTIONS if getattr(study, key) is not None}
    for factor in study.factors.values():
        sections = remove(sections, factor.key)
    design = {
        **sections,
        "factors": {name: _registered(factor, values[name]) for name, factor in study.factors.items()},
        "design": _by_value(changed(study.design), values),
        "replicates": study.replicates,
        "seed": study.seed,
    }
    lists = {key: _by_value(changed(getattr(study, key)), values) for key in _KEYED}
    return {DESIGN: design, **lists}


def _registered(factor: Factor, values: Mapping[str, Any]) -> Any:
    """A factor: the list of its levels, for one that sets a key beside that."""
    levels = list(values.values())
    return levels if factor.family else {"sets": dotted(factor.key), "levels": levels}


def _values(factor: Factor, bare: Mapping[str, Any]) -> dict[str, Any]:
    """What each level comes to in the study `bare` of levels, by the text that tables and claims call it."""
    if factor.family is None:
        return {level.text: level.value for level in factor.levels}
    choice = LevelChoice(factor.family)
    filled = {level.text: get(fill(bare, [Assignment(factor, level)]), factor.key) for level in factor.levels}
    return {text: _named_level(choice.read(value)) for text, value in filled.items()}


def _named_level(level: Named | None) -> Any:
    """A level of a family: its name, with the parameters that differ from their defaults where there are any."""
    if level is None:
        return EMPTY
    found = changed(level)
    return found["name"] if found.keys() == {"name"} else found


def _by_value(node: Any, values: Mapping[str, Mapping[str, Any]], selects: bool = False) -> Any:
    """Claims, or a design, with each level that they select as what it comes to."""
    if isinstance(node, list):
        return [_by_value(item, values, selects) for item in node]
    if not isinstance(node, Mapping):
        return node
    if selects:
        return {name: values.get(name, {}).get(level, level) for name, level in node.items()}
    return {key: _by_value(item, values, key in _SELECTIONS) for key, item in node.items()}


def _with_responses(parts: Parts, part: str) -> list[Any]:
    """Entries with the responses that they are about written out."""
    known = {entry["name"]: entry for entry in parts[RESPONSES]}
    primary = parts[RESPONSES][0]["name"]
    return [
        [entry, [known.get(name) for name in sorted(set(_named(entry["claim"], primary)))]] for entry in parts[part]
    ]


def _named(claim: Any, primary: str) -> Iterator[str]:
    """The responses that a claim is about."""
    ((kind, body),) = claim.items()
    if kind == "all":
        for item in body:
            yield from _named(item, primary)
    elif kind not in ("gradients", "reproducible", "complete"):
        yield (body.get("response") if isinstance(body, Mapping) else None) or primary


def _changes(before: Parts, after: Parts) -> Iterator[str]:
    """One sentence for each difference."""
    yield from _differences((), before[DESIGN], after[DESIGN])
    for part, (_, noun) in _KEYED.items():
        yield from _entry_changes(_by_key(before, part), _by_key(after, part), noun)


def _differences(path: Path, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences((*path, key), before.get(key, MISSING), after.get(key, MISSING))
    elif before != after and [before, after] not in ([MISSING, {}], [{}, MISSING]):
        yield f"{dotted(path)}: {_short(before)} became {_short(after)}"


def _by_key(parts: Parts, part: str) -> dict[str, Any]:
    """The entries of a list by what tells them apart."""
    return {entry[_KEYED[part][0]]: entry for entry in parts[part]}


def _entry_changes(old: Mapping[str, Any], new: Mapping[str, Any], noun: str) -> Iterator[str]:
    for name, entry in old.items():
        if name not in new:
            yield f"the {noun} {name!r} was removed"
        elif new[name] != entry:
            yield from (f"the {noun} {name!r}: {text}" for text in _differences((), entry, new[name]))
    yield from (f"the {noun} {name!r} was added" for name in new if name not in old)
    kept = [name for name in old if name in new]
    if kept != [name for name in new if name in old] and noun == "response":
        yield f"the order of responses: {_short(list(old))} became {_short(list(new))}"


def _short(value: Any) -> str:
    """A value in a sentence; long ones are cut."""
    text = "nothing" if value is MISSING else canonical(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
