"""Study files: YAML with the place of everything in it. The only module that knows YAML.

Scalars follow the core schema of YAML 1.2: `1e-3` is a number, `no` is text. Tags, duplicate keys and aliases that
blow up are refused; nothing that a file says is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Final

import yaml

from kdrun.errors import Mistake, StudyError
from kdrun.study.check import InvalidStudyError, read_study
from kdrun.study.factor import Factor, read_factors
from kdrun.study.paths import Path, dotted, get, parse_path, put
from kdrun.study.schema import Study
from kdrun.study.wording import Problem, did_you_mean, nearest, printable, shown

LARGEST_FILE: Final = 1_000_000
MOST_NODES: Final = 50_000
DEEPEST: Final = 40
LONGEST_NUMBER: Final = 400


class WrittenFloat(float):
    """A float that remembers how the file writes it, so that tables can show a level as its author does."""

    text: str

    def __new__(cls, text: str) -> WrittenFloat:
        """The number that `text` writes."""
        number = super().__new__(cls, text)
        number.text = text
        return number


_PLAIN: Final[tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...]] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), WrittenFloat),
    (re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"), lambda text: float(text.replace(".", ""))),
)


@dataclass(frozen=True, order=True)
class _Place:
    """A place in the file, or (line 0) what stands for it; places sort in the order in which they are shown."""

    override: int
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class _StopError(Exception):
    """The file cannot be read on from here."""


@dataclass(frozen=True)
class _Anchored:
    """What an alias stands for: its data, how many nodes and levels it has."""

    data: Any
    nodes: int
    depth: int


class _Document:
    """Plain data built from the events of one YAML text, the places of all keys and values, and mistakes on the way."""

    def __init__(self, text: str, source: str, override: int = 0) -> None:
        self.values: dict[Path, _Place] = {}
        self.keys: dict[Path, _Place] = {}
        self.mistakes: list[tuple[_Place, str]] = []
        self._source, self._override = source, override
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0
        self._events = self._parsed(text)

    def read(self) -> Any:
        """The data; None for an empty text. `_StopError` when the text is no YAML that a study can be."""
        self._expect(yaml.StreamStartEvent)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        data, _ = self._node(next(self._events), (), 1)
        self._expect(yaml.DocumentEndEvent)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._stop(event.start_mark, "found a second document; a study is one document")
        return data

    def _expect(self, kind: type[yaml.Event]) -> None:
        if not isinstance(next(self._events), kind):
            raise _StopError

    def _parsed(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as error:
            line, column = _line_and_column(text, error.position)
            self._add(self._place(line, column), f"found the character {chr(error.character)!r}; text is allowed")
            raise _StopError from None
        except yaml.MarkedYAMLError as error:
            self._stop(error.problem_mark or error.context_mark, _syntax_words(error))

    def _place(self, line: int, column: int) -> _Place:
        if self._override:
            return _Place(self._override, 0, 0, self._source)
        return _Place(0, line, column, self._source)

    def _marked(self, mark: Any) -> _Place:
        return self._place(mark.line + 1, mark.column + 1) if mark else self._place(1, 1)

    def _add(self, place: _Place, text: str) -> None:
        self.mistakes.append((place, text))

    def _stop(self, mark: Any, text: str) -> None:
        self._add(self._marked(mark), text)
        raise _StopError

    def _node(self, event: Any, path: Path, depth: int) -> tuple[Any, int]:
        """The data of the node that `event` begins, and how many levels it has."""
        self.values.setdefault(path, self._marked(event.start_mark))
        self._count(1, depth, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        anchor, before = event.anchor, self._nodes
        if anchor:
            self._anchors[anchor] = None
        data, inner = self._content(event, path, depth)
        if anchor:
            self._anchors[anchor] = _Anchored(data, self._nodes - before, inner)
        return data, inner

    def _count(self, nodes: int, depth: int, mark: Any) -> None:
        """Aliases count as what they stand for, so a short file cannot become long data."""
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            self._stop(mark, f"found more than {MOST_NODES:,} values; a study is smaller than that")
        if depth > DEEPEST:
            self._stop(mark, f"found more than {DEEPEST} levels of nesting; a study is flatter than that")

    def _alias(self, event: Any, depth: int) -> tuple[Any, int]:
        if event.anchor not in self._anchors:
            text = f"found the alias *{event.anchor}; no anchor &{event.anchor} comes before it"
            self._add(self._marked(event.start_mark), text + did_you_mean(event.anchor, self._anchors))
            return None, 1
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._stop(event.start_mark, f"the alias *{event.anchor} stands inside its own anchor")
        assert anchored is not None
        self._count(anchored.nodes, depth + anchored.depth - 1, event.start_mark)
        return anchored.data, anchored.depth

    def _content(self, event: Any, path: Path, depth: int) -> tuple[Any, int]:
        if event.tag is not None:
            text = f"found the tag {event.tag.replace('tag:yaml.org,2002:', '!!')!r}; tags are not allowed, remove it"
            self._add(self._marked(event.start_mark), text)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event), 1
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._mapping(path, depth)

    def _scalar(self, event: Any) -> Any:
        if event.style is not None:
            return event.value
        if len(event.value) > LONGEST_NUMBER and not isinstance(plain_scalar(event.value[:LONGEST_NUMBER]), str):
            self._add(self._marked(event.start_mark), f"found a number of {len(event.value)} digits; that is too long")
            return 0
        return plain_scalar(event.value)

    def _sequence(self, path: Path, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        deepest = 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item, inner = self._node(event, (*path, len(found)), depth + 1)
            found.append(item)
            deepest = max(deepest, inner)
        return found, deepest + 1

    def _mapping(self, path: Path, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        deepest = 0
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path, found)
            inside = (*path, key) if key is not None else (*path, 0, "")
            value, inner = self._node(next(self._events), inside, depth + 1)
            if key is not None:
                found.setdefault(key, value)
            deepest = max(deepest, inner)
        return found, deepest + 1

    def _key(self, event: Any, path: Path, found: dict[str, Any]) -> str | None:
        """The text of a key; None, with a mistake, for what is no key of a study."""
        place = self._marked(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
            self._add(place, f"{_at(path)}a key is plain text here, without anchor, alias or tag")
            if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                self._skip()
            return None
        key = event.value if event.style is not None else plain_scalar(event.value)
        if not isinstance(key, str):
            self._add(
                place, f"{_at(path)}found {shown(key)} as a key; keys are text, write it in quotes if it is meant"
            )
            return None
        if key in found:
            self._add(
                place, f"{dotted((*path, key))}: the key is given twice; first at line {self.keys[(*path, key)].line}"
            )
            return None
        self.keys[(*path, key)] = place
        return key

    def _skip(self) -> None:
        """Pass over the rest of a list or mapping that was begun."""
        open_nodes = 1
        while open_nodes:
            event = next(self._events)
            open_nodes += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


def plain_scalar(text: str) -> Any:
    """What unquoted text means in the core schema of YAML 1.2."""
    return next((read(text) for pattern, read in _PLAIN if pattern.fullmatch(text)), text)


def _at(path: Path) -> str:
    return f"{dotted(path)}: " if path else ""


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")


_SYNTAX = (
    ("cannot start any token", "found {found}, which cannot begin a value; put text that begins with it in quotes"),
    ("mapping values are not allowed", "found ':' where no key can be; put text that contains ': ' in quotes"),
    ("could not find expected ':'", "found a line that is no 'key: value'"),
    ("expected <block end>", "found something that does not belong here; look at the indentation"),
    ("expected ',' or", "found a list or mapping in brackets that is not closed, or that lacks a comma"),
)


def _syntax_words(error: yaml.MarkedYAMLError) -> str:
    """What is wrong with the YAML, in words that need no grammar."""
    problem = error.problem or error.context or "it cannot be read"
    if "\\t" in problem:
        return "found a tab; indent with spaces"
    found = problem.partition("found character ")[2].partition(" that")[0]
    words = next((words for start, words in _SYNTAX if start in problem), "this is not valid YAML: {problem}")
    return words.format(found=found, problem=problem)


@dataclass(frozen=True)
class Override:
    """One key of a study set from outside: `place` is how messages show it, such as `--set seed=1`."""

    path: Path
    value: Any
    place: str


def parse_override(text: str) -> Override:
    """The override that `PATH=VALUE` writes; VALUE is read like a value in a study file."""
    place = f"--set {printable(text)}"
    written, equals, value = text.partition("=")
    if not equals:
        raise StudyError([Mistake(place, "found no '='; write PATH=VALUE, such as student.epochs=100")])
    try:
        return Override(parse_path(written.strip()), _read_value(value, place), place)
    except ValueError as error:
        raise StudyError([Mistake(place, str(error))]) from None


def _read_value(text: str, place: str) -> Any:
    document = _Document(text, place, override=1)
    try:
        data = document.read()
    except _StopError:
        data = None
    if document.mistakes:
        raise StudyError([Mistake(place, text) for _, text in document.mistakes])
    return data


class _Source:
    """The data of a study and where each part of it was written: in the file, or by an override."""

    def __init__(self, name: str, data: Any, document: _Document) -> None:
        self.data = data
        self.overrides: list[Override] = []
        self._document = document
        self._start = _Place(0, 1, 1, name)
        self._overridden: dict[Path, _Place] = {}

    def override(self, override: Override) -> None:
        """Set one key; the last one to set it wins."""
        before = self.data
        try:
            self.data = put(self.data, override.path, override.value)
        except ValueError as error:
            raise StudyError([Mistake(override.place, f"{dotted(override.path)}: {error}")]) from None
        self.overrides.append(override)
        changed = self._first_changed(before, override.path)
        kept = {path: place for path, place in self._overridden.items() if path[: len(changed)] != changed}
        self._overridden = {**kept, changed: _Place(len(self.overrides), 0, 0, override.place)}

    def _first_changed(self, before: Any, path: Path) -> Path:
        """The outermost part of the path that was no mapping before, such as a bare name, and is the override's now."""
        lengths = range(1, len(path))
        return next((path[:n] for n in lengths if not isinstance(get(before, path[:n]), dict | list)), path)

    def place(self, problem: Problem) -> _Place:
        """The key or value that a problem is about, or the nearest thing around it that was written."""
        around = [problem.path[:length] for length in range(len(problem.path), -1, -1)]
        overridden = next((self._overridden[path] for path in around if path in self._overridden), None)
        if overridden:
            return overridden
        if problem.on_key and problem.path in self._document.keys:
            return self._document.keys[problem.path]
        return next((self._document.values[path] for path in around if path in self._document.values), self._start)

    def set_by_factors(self) -> list[tuple[_Place, str]]:
        """Overrides of keys that a factor sets: they would change nothing."""
        factors, _ = read_factors(self.data.get("factors"))
        return [
            (_Place(number, 0, 0, override.place), _factor_sets(override.path, factor))
            for number, override in enumerate(self.overrides, start=1)
            for factor in factors.values()
            if override.path == factor.key or (not factor.family and override.path[: len(factor.key)] == factor.key)
        ]


def _factor_sets(path: Path, factor: Factor) -> str:
    levels = f"factors.{factor.name}" + ("" if factor.family else ".levels")
    return f"{dotted(path)}: the factor {factor.name!r} sets this key; set its levels instead, {levels}=[…]"


def load_study(
    path: str | File, overrides: Sequence[str] = (), replicates: int | None = None, seed: int | None = None
) -> Study:
    """The study in a file, with overrides `PATH=VALUE` applied in order; `replicates` and `seed` are overrides too.

    Every mistake is in the StudyError that is raised, in the order of the file. Nothing is executed or written.
    """
    name = printable(str(path))
    source, mistakes = _parse(name, _read_text(File(path), name))
    for override in (*map(parse_override, overrides), *_numbers(replicates=replicates, seed=seed)):
        source.override(override)
    mistakes += source.set_by_factors()
    blamed = {place for place, _ in mistakes if place.override}
    try:
        study = read_study(source.data)
    except InvalidStudyError as error:
        found = [(source.place(problem), f"{_at(problem.path)}{problem.text}") for problem in error.problems]
        mistakes += [(place, text) for place, text in found if place not in blamed]
    if mistakes:
        raise StudyError([Mistake(str(place), text) for place, text in sorted(mistakes, key=lambda item: item[0])])
    return study.found_in(File(path).parent)


def _numbers(**numbers: int | None) -> list[Override]:
    return [Override((name,), value, f"--{name} {value}") for name, value in numbers.items() if value is not None]


def _parse(name: str, text: str) -> tuple[_Source, list[tuple[_Place, str]]]:
    """The data of a study file and the mistakes in its YAML; without data, the mistakes are raised at once."""
    document = _Document(text, name)
    try:
        data = document.read()
    except _StopError:
        raise StudyError([Mistake(str(place), text) for place, text in sorted(document.mistakes)]) from None
    if data is None:
        raise StudyError([Mistake(name, "the file is empty; `kdrun new minimal` prints a study to start from")])
    if not isinstance(data, dict):
        place = document.values[()]
        raise StudyError(
            [Mistake(str(place), f"found {shown(data)}; a study is a mapping of keys, such as 'schema: 1'")]
        )
    return _Source(name, data, document), document.mistakes


def _read_text(path: File, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise StudyError([Mistake(name, f"no such file{_similar_file(path)}")]) from None
    except IsADirectoryError:
        raise StudyError([Mistake(name, "this is a folder; give the path of a study file")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError([Mistake(name, f"the file cannot be read: {reason}")]) from None
    if len(content) > LARGEST_FILE:
        raise StudyError([Mistake(name, f"the file is larger than {LARGEST_FILE:,} bytes; no study is")])
    return _decoded(content, name)


def _similar_file(path: File) -> str:
    """The end of a sentence that offers a file of that folder with a similar name."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return f"; there is no folder {str(path.parent)!r} to look in"
    match = nearest(path.name, names)
    return f". Did you mean {str(path.with_name(match))!r}?" if match else ""


def _decoded(content: bytes, name: str) -> str:
    if b"\0" in content:
        raise StudyError([Mistake(name, "this is no text file; a study is YAML in UTF-8")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        line, column = _line_and_column(before, len(before))
        text = f"found the byte 0x{content[error.start]:02x}, which is not UTF-8; save the file as UTF-8"
        raise StudyError([Mistake(f"{name}:{line}:{column}", text)]) from None


def study_text(study: Study) -> str:
    """The resolved study as a study file, with every default written out; loaded again it gives an equal study."""
    return str(
        yaml.dump(
            study.resolved(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
        )
    )


class _Dumper(yaml.SafeDumper):
    """Writes what `plain_scalar` reads; text that this or YAML 1.1 would take for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: a study shares nothing."""
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag that a plain scalar is taken to have."""
        usual = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if kind is not yaml.ScalarNode or not implicit[0]:
            return usual
        meant = _TAGS[type(plain_scalar(value))]
        return usual if meant == _TAGS[str] else meant


_TAGS: Final[dict[type, str]] = {
    kind: f"tag:yaml.org,2002:{name}"
    for kind, name in (
        (str, "str"), (int, "int"), (float, "float"), (WrittenFloat, "float"), (bool, "bool"), (type(None), "null"),
    )
}  # fmt: skip


def _written_node(dumper: _Dumper, number: WrittenFloat) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TAGS[float], number.text)


_Dumper.add_representer(WrittenFloat, _written_node)
