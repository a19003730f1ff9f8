"""Which of all combinations of levels a study runs: its key `design`, what can be wrong with it, and its rows.

A row holds the position of each factor's level. Rows come in standard order, the first factor fastest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from string import ascii_uppercase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from kdrun.study import fraction
from kdrun.study.claims import Section
from kdrun.study.factor import Factor
from kdrun.study.fraction import FractionError, Generator, Signs
from kdrun.study.levels import as_texts, level_problems
from kdrun.study.paths import Path
from kdrun.study.wording import Problem, did_you_mean, listed, printable, shown, unknown

MOST_TREATMENTS = 100_000
# Treatments that `include` brings before `exclude` takes some away: looking through more would take minutes.
MOST_CANDIDATES = 1_000_000
PLACKETT_BURMAN = "plackett-burman"
# The letters of factors in generators: I stands for the mean.
LETTERS = ascii_uppercase.replace("I", "")

Row = tuple[int, ...]
FractionName = Literal[
    "resolution-III", "resolution-IV", "resolution-V", "resolution-VI", "resolution-VII", "resolution-VIII",
    "plackett-burman",
]  # fmt: skip
LevelByFactor = dict[str, int | float | bool | str]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_fraction(value: Any) -> Any:
    return {"fraction": value} if isinstance(value, str) else value


_LIST = BeforeValidator(_as_tuple)
# `design: plackett-burman` is short for `design: {fraction: plackett-burman}`.
SHORTHAND = BeforeValidator(_as_fraction)


class Design(Section):
    """Which combinations of levels are run: all of them, a fraction for two-level factors, or some."""

    fraction: FractionName | None = Field(
        default=None, description="The smallest fraction of this resolution, or a design that screens main effects."
    )
    generators: Annotated[tuple[str, ...] | None, _LIST] = Field(
        default=None, description="A fraction by its generators, such as D=ABC; letters are factors in their order."
    )
    include: Annotated[tuple[LevelByFactor, ...] | None, _LIST] = Field(
        default=None, description="Run only treatments that match one of these: each a level by factor."
    )
    exclude: Annotated[tuple[LevelByFactor, ...] | None, _LIST] = Field(
        default=None, description="Do not run treatments that match one of these: each a level by factor."
    )

    @property
    def is_full(self) -> bool:
        """Whether every combination of levels is run."""
        return self == Design()

    @property
    def is_fraction(self) -> bool:
        """Whether the treatments are a two-level fraction or a screening design."""
        return self.fraction is not None or self.generators is not None

    @property
    def is_screening(self) -> bool:
        """Whether the design tells main effects only."""
        return self.fraction == PLACKETT_BURMAN


def chosen_rows(design: Design, factors: Mapping[str, Factor]) -> Iterable[Row]:
    """The treatments of a design without problems, in standard order."""
    if design.is_fraction:
        return _rows_of(signs_of(design, factors))
    if design.is_full:
        return _all_rows([range(len(factor.levels)) for factor in factors.values()])
    return _some_rows(design, factors)


def signs_of(design: Design, factors: Mapping[str, Factor]) -> Signs:
    """The matrix [N, k] of -1 and +1 of a fraction; a FractionError says why there is none."""
    if design.generators is not None:
        read = [_Letters(factors).read(text) for text in design.generators]
        return fraction.by_generators(len(factors), [item for item in read if isinstance(item, Generator)])
    if design.fraction == PLACKETT_BURMAN:
        return fraction.plackett_burman(len(factors))
    numeral = str(design.fraction).removeprefix("resolution-")
    return fraction.by_resolution(len(factors), fraction.NUMERALS.index(numeral) + 1, MOST_TREATMENTS)


def _rows_of(signs: Signs) -> list[Row]:
    return [tuple(int(sign > 0) for sign in row) for row in signs]


def _all_rows(choices: Sequence[Iterable[int]]) -> Iterator[Row]:
    """Every combination; the last factor of a product turns fastest, so factors are taken backwards."""
    return (row[::-1] for row in product(*reversed(choices)))


def _some_rows(design: Design, factors: Mapping[str, Factor]) -> list[Row]:
    """Rows that match a pattern of `include`, where that is given, and none of `exclude`."""
    included = [_positions(levels, factors) for levels in design.include or ({},)]
    excluded = [_positions(levels, factors) for levels in design.exclude or ()]
    matching = {row for pattern in included for row in _all_rows(_choices(pattern, factors))}
    kept = (row for row in matching if not any(_matches(row, pattern) for pattern in excluded))
    return sorted(kept, key=lambda row: row[::-1])


def _positions(levels: Mapping[str, Any], factors: Mapping[str, Factor]) -> dict[int, int]:
    """A partial treatment: position of the level by position of the factor."""
    names = list(factors)
    found = {names.index(name): (factors[name], factors[name].find(level)) for name, level in levels.items()}
    return {place: factor.levels.index(level) for place, (factor, level) in found.items() if level is not None}


def _choices(pattern: Mapping[int, int], factors: Mapping[str, Factor]) -> list[Iterable[int]]:
    return [
        (pattern[place],) if place in pattern else range(len(factor.levels))
        for place, factor in enumerate(factors.values())
    ]


def _matches(row: Row, pattern: Mapping[int, int]) -> bool:
    return all(row[place] == level for place, level in pattern.items())


def design_of(data: Any) -> Design | None:
    """The design of a study's plain data, the full factorial where it has none; None for what is malformed."""
    try:
        return Design.model_validate(_as_fraction(data), strict=True)
    except ValidationError:
        return None


def design_problems(data: Mapping[str, Any], factors: Mapping[str, Factor]) -> list[Problem]:
    """What is wrong between the design and the factors; what is malformed in itself is left to the schema."""
    design = design_of(data.get("design", {}))
    if design is None or not _are_whole(factors):
        return []
    if design.is_full:
        number = prod(len(factor.levels) for factor in factors.values())
        return _too_many(number, ("factors",))
    problems = [*_mixed(design), *_empty_lists(design)]
    if problems:
        return problems
    return _fraction_problems(design, factors) if design.is_fraction else list(_selection_problems(design, factors))


def _too_many(number: int, path: Path) -> list[Problem]:
    text = f"found {number:,} treatments; at most {MOST_TREATMENTS:,} are allowed"
    return [Problem(path, text, on_key=True)] if number > MOST_TREATMENTS else []


def _mixed(design: Design) -> Iterator[Problem]:
    given = list(design.model_dump(exclude_none=True))
    first = next((key for key in given if key in ("fraction", "generators")), None)
    for key in given:
        if first is not None and key != first:
            text = f"{key} cannot stand beside {first}: a fraction is a design of its own; remove one of them"
            yield Problem(("design", key), text, on_key=True)


def _empty_lists(design: Design) -> Iterator[Problem]:
    items = {"generators": "one generator", "include": "one mapping of levels", "exclude": "one mapping of levels"}
    for key, item in items.items():
        if getattr(design, key) == ():
            yield Problem(("design", key), f"found an empty list; at least {item} is needed, or remove this key")
        for index, entry in enumerate(getattr(design, key) or ()):
            if entry == {}:
                text = "found an empty mapping, which matches every treatment; at least one level is needed"
                yield Problem(("design", key, index), text)


def _fraction_problems(design: Design, factors: Mapping[str, Factor]) -> list[Problem]:
    key = "fraction" if design.fraction else "generators"
    problems = [
        Problem(
            ("factors", factor.name),
            f"found {len(factor.levels)} levels; design.{key} needs two-level factors, "
            "remove levels, or remove the design to run the full factorial",
            on_key=True,
        )
        for factor in factors.values()
        if len(factor.levels) != 2
    ]
    if design.generators:
        problems += _generator_problems(design.generators, factors)
    if problems:
        return problems
    try:
        signs = signs_of(design, factors)
    except FractionError as error:
        return [Problem(("design", key), str(error))]
    return list(_never_apart(signs, list(factors))) if design.generators else []


def _never_apart(signs: Signs, names: Sequence[str]) -> Iterator[Problem]:
    """Words of one or two factors: resolution I and II, which tell no main effect of these factors."""
    columns, _ = fraction.independent_columns(signs)
    for factor, pattern in enumerate(columns):
        if not pattern:
            yield Problem(("design", "generators"), f"{names[factor]} would not vary; define it by two factors or more")
    for first, second in fraction.cancelling(columns, 2):
        if columns[first]:
            text = (
                f"{names[first]} and {names[second]} would never vary apart, so their effects are one (resolution II)"
            )
            yield Problem(("design", "generators"), f"{text}; define one of them by other factors")


def _generator_problems(texts: Sequence[str], factors: Mapping[str, Factor]) -> list[Problem]:
    """What is wrong with each generator, and between them."""
    letters, names = _Letters(factors), list(factors)
    read = [letters.read(text) for text in texts]
    places: list[Path] = [("design", "generators", index) for index in range(len(texts))]
    problems = [Problem(place, item) for place, item in zip(places, read, strict=True) if isinstance(item, str)]
    found = [(place, item) for place, item in zip(places, read, strict=True) if isinstance(item, Generator)]
    defined: list[int] = []
    for place, item in found:
        if item.factor in defined:
            problems.append(Problem(place, f"{names[item.factor]} is defined twice; one generator defines a factor"))
        defined.append(item.factor)
    free = [name for position, name in enumerate(names) if position not in defined]
    for place, item in found:
        problems += [Problem(place, text) for text in _not_free(item, defined, names, free)]
    if not problems and 2 ** len(free) > MOST_TREATMENTS:
        problems += _too_many(2 ** len(free), ("design", "generators"))
    return problems


def _not_free(item: Generator, defined: Sequence[int], names: Sequence[str], free: Sequence[str]) -> Iterator[str]:
    for position in item.word:
        if position == item.factor:
            yield f"{names[position]} is defined by itself; define it by factors that vary freely: {listed(free)}"
        elif position in defined:
            yield (
                f"{names[item.factor]} is defined by {names[position]}, which a generator defines itself; "
                f"define it by factors that vary freely: {listed(free)}"
            )


class _Letters:
    """Reads generators: factors by letters in their order, I left out, or by their names joined by colons.

    Where a factor has a name of one letter, letters are names, so that no letter means two things.
    """

    def __init__(self, factors: Mapping[str, Factor]) -> None:
        self._names = list(factors)
        named = any(len(name) == 1 for name in self._names)
        self._letters = {} if named else dict(zip(LETTERS, range(len(self._names)), strict=False))

    def read(self, text: str) -> Generator | str:
        """The generator that `text` writes, or what is wrong with it."""
        left, equals, right = (part.strip() for part in text.partition("="))
        sign, right = (-1, right[1:]) if right.startswith("-") else (1, right.removeprefix("+"))
        if not equals or not left or not right.strip():
            return f"found {shown(text)}; a generator such as {self._example()} is allowed"
        positions: list[int] = []
        for part in (left, *self._parts(right)):
            position = self._position(part)
            if position is None:
                return self._unknown(part)
            positions.append(position)
        factor, *word = positions
        repeated = next((position for position in word if word.count(position) > 1), None)
        if repeated is not None:
            return f"{self._names[repeated]} stands twice in the product; name each factor once"
        return Generator(factor, tuple(word), sign)

    def _parts(self, text: str) -> list[str]:
        """The factors of a product: names between colons, one name, or letters."""
        names = [part.strip() for part in text.split(":")]
        if len(names) > 1 or names[0] in self._names:
            return names
        return re.findall(r"\S", text) if self._all_letters(text) else [text.strip()]

    def _all_letters(self, text: str) -> bool:
        """Whether the text can only be meant as letters: few enough, or each of them known."""
        letters = text.replace(" ", "")
        return letters.isupper() or all(self._position(letter) is not None for letter in letters)

    def _position(self, part: str) -> int | None:
        return self._names.index(part) if part in self._names else self._letters.get(part.upper())

    def _unknown(self, part: str) -> str:
        if len(part) > 1 or not self._letters:
            return unknown("factor", part, self._names)
        return f"unknown factor {shown(part)}; known: {self._legend()}{did_you_mean(part, self._names)}"

    def _legend(self) -> str:
        return listed([f"{letter}={self._names[position]}" for letter, position in self._letters.items()])

    def _example(self) -> str:
        if not self._letters:
            return f"{printable(self._names[-1])}={':'.join(self._names[:2])}"
        letters = list(self._letters)
        return f"{letters[-1]}={''.join(letters[: max(2, min(3, len(letters) - 1))])} ({self._legend()})"


def _selection_problems(design: Design, factors: Mapping[str, Factor]) -> Iterator[Problem]:
    lists = {key: getattr(design, key) or () for key in ("include", "exclude")}
    unread = [
        problem
        for key, entries in lists.items()
        for index, levels in enumerate(entries)
        for problem in level_problems(("design", key, index), levels, factors)
    ]
    if unread:
        yield from unread
        return
    patterns = [_positions(levels, factors) for levels in design.include or ({},)]
    candidates = sum(prod(len(list(choice)) for choice in _choices(pattern, factors)) for pattern in patterns)
    if candidates > MOST_CANDIDATES:
        text = f"found {candidates:,} treatments before any is excluded; at most {MOST_CANDIDATES:,} are looked through"
        yield Problem(("design",), text, on_key=True)
        return
    yield from _few_or_many(_some_rows(design, factors), factors)


def _few_or_many(rows: Sequence[Row], factors: Mapping[str, Factor]) -> Iterator[Problem]:
    if not rows:
        yield Problem(("design",), "no treatment is left; include more, or exclude less", on_key=True)
        return
    yield from _too_many(len(rows), ("design",))
    for place, factor in enumerate(factors.values()):
        left = {row[place] for row in rows}
        if len(left) == 1:
            text = f"only the level {shown(factor.levels[left.pop()].text)} of the factor {factor.name!r} is left"
            yield Problem(("design",), f"{text}; include another one, or remove the factor", on_key=True)


def with_level_texts(design: Any, factors: Mapping[str, Factor]) -> Any:
    """The plain data of a design with every level as tables show it, however the study writes it."""
    if not isinstance(design, dict):
        return design
    return {
        key: [as_texts(levels, factors) for levels in value]
        if key in ("include", "exclude") and isinstance(value, list)
        else value
        for key, value in design.items()
    }


def selected_rows(data: Mapping[str, Any], factors: Mapping[str, Factor]) -> list[Row]:
    """The rows of a study's plain data where its design selects some; none where it has all, or has problems."""
    design = design_of(data.get("design", {}))
    if design is None or design.is_full or not _are_whole(factors) or design_problems(data, factors):
        return []
    return list(chosen_rows(design, factors))


def _are_whole(factors: Mapping[str, Factor]) -> bool:
    """Whether every factor could be read; what is wrong with one is reported with it."""
    return bool(factors) and all(len(factor.levels) > 1 for factor in factors.values())
