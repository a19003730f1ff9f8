"""Two-level designs as matrices of -1 (first level) and +1 (second level), each checked before it is used.

Fractions by resolution and Plackett-Burman designs come from pydoe, fractions by generators are made here. What pydoe
gives is never trusted: words of every length below the resolution are tried, and columns are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int8]

FEWEST_FACTORS = 3
LARGEST_WORD_GROUP = 16
NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")


class FractionError(ValueError):
    """There is no such design, or what was made is not what was asked for; the text says why."""


@dataclass(frozen=True)
class Generator:
    """A factor that is set to `sign` times the product of others; all of them as positions."""

    factor: int
    word: tuple[int, ...]
    sign: int = 1


@dataclass(frozen=True)
class Word:
    """Factors, as positions, whose product is `sign` in every treatment: their effect is aliased with the mean."""

    factors: tuple[int, ...]
    sign: int


@lru_cache(maxsize=8)
def by_resolution(factors: int, resolution: int, most: int) -> Signs:
    """The smallest regular fraction [N, k] with no word shorter than `resolution`, in standard order.

    A FractionError where none has at most `most` treatments, or pydoe gives something else than what was asked for.
    """
    _refuse_few(factors)
    least = _least_treatments(factors, resolution)
    if least > most:
        raise FractionError(f"{factors} factors need at least {least:,} treatments; at most {most:,} are allowed")
    # pydoe imports much of SciPy, over a second: only a study that needs it pays.
    import pydoe

    try:
        made = pydoe.fracfact_by_res(factors, resolution)
    except ValueError as error:
        raise FractionError(f"there is no such fraction of {factors} factors: {error}") from None
    if len(made) > most:
        raise FractionError(f"{factors} factors need {len(made):,} treatments; at most {most:,} are allowed")
    # Signs turned so that the study's first levels are among its treatments: they are what others are compared with.
    return verified_fraction(_in_standard_order(-made[0] * made), factors, resolution)


@lru_cache(maxsize=8)
def plackett_burman(factors: int) -> Signs:
    """The smallest Plackett-Burman design [N, k] that pydoe has for so many factors, in standard order.

    pydoe knows N = 2^e, 12·2^e and 20·2^e, and raises for sizes between (28, 36, 44, 52, 56, …): the next size is
    taken, and its first columns. Signs are those of Plackett and Burman, whose last row has all first levels, so the
    study's first levels are among its treatments; pydoe has the opposite signs.
    """
    _refuse_few(factors)
    import pydoe

    next_size = 4 * (factors // 4 + 1)
    for size in (factors, *range(next_size, 2 * next_size, 4)):
        try:
            made = pydoe.pbdesign(size)
        except ValueError:
            continue
        return verified_screening(_in_standard_order(-made[:, :factors]), factors)
    raise FractionError(f"pydoe has no Plackett-Burman design for {factors} factors")


def by_generators(factors: int, generators: Sequence[Generator]) -> Signs:
    """The fraction [2^(k - p), k] of k factors that p generators define, in standard order.

    Every word is of factors that no generator defines. A FractionError names two factors that never vary apart, and a
    factor that does not vary.
    """
    defined = {generator.factor for generator in generators}
    free = [factor for factor in range(factors) if factor not in defined]
    bits = np.arange(2 ** len(free))
    signs = np.empty((len(bits), factors), np.int8)
    for position, factor in enumerate(free):
        signs[:, factor] = np.where(bits >> position & 1, 1, -1)
    for generator in generators:
        signs[:, generator.factor] = generator.sign * signs[:, list(generator.word)].prod(axis=1, dtype=np.int8)
    return verified_fraction(_in_standard_order(signs), factors, resolution=1)


def _refuse_few(factors: int) -> None:
    if factors < FEWEST_FACTORS:
        raise FractionError(
            f"found {factors} factor{'s'[: factors != 1]}; a fraction needs at least {FEWEST_FACTORS}; "
            "remove the design"
        )


def _least_treatments(factors: int, resolution: int) -> int:
    """Rao's bound: main effects and interactions up to half the strength are orthogonal columns, so they must fit."""
    half, odd = divmod(resolution - 1, 2)
    return sum(comb(factors, order) for order in range(half + 1)) + (comb(factors - 1, half) if odd else 0)


def _in_standard_order(signs: NDArray[np.generic]) -> Signs:
    """Rows sorted as treatments are numbered: the first factor turns fastest, so the last one sorts first."""
    whole = np.asarray(signs).astype(np.int8)
    ordered: Signs = whole[np.lexsort(whole.T)]
    return ordered


def verified_fraction(signs: Signs, factors: int, resolution: int) -> Signs:
    """`signs` [N, k], if it is a regular fraction without a word shorter than `resolution`; else a FractionError.

    A regular fraction's treatments are all distinct and as many as their rank says. Then every product of columns
    is constant or balanced, so trying all short products shows the resolution.
    """
    _refuse_broken(signs, factors)
    columns, rank = independent_columns(signs)
    if len(signs) != 2**rank or len(np.unique(signs, axis=0)) != len(signs):
        raise FractionError("the design that was made is no regular fraction")
    word = shortest_word(columns, longest=resolution - 1)
    if word is not None:
        found, asked = (NUMERALS[length - 1] for length in (len(word), resolution))
        raise FractionError(f"the design that was made has resolution {found}, not {asked}")
    return signs


def verified_screening(signs: Signs, factors: int) -> Signs:
    """`signs` [N, k], if every factor is balanced, every two are orthogonal, and no treatment stands twice."""
    _refuse_broken(signs, factors)
    products = signs.astype(np.int64).T @ signs
    if signs.sum(axis=0, dtype=np.int64).any() or (products != len(signs) * np.eye(factors, dtype=np.int64)).any():
        raise FractionError("the columns of the design that was made are not balanced and orthogonal")
    if len(np.unique(signs, axis=0)) != len(signs):
        raise FractionError("the design that was made has a treatment twice")
    return signs


def _refuse_broken(signs: Signs, factors: int) -> None:
    if signs.ndim != 2 or signs.shape[1] != factors or not len(signs) or (np.abs(signs) != 1).any():
        raise FractionError(f"the design that was made has no column of two levels for each of {factors} factors")


def independent_columns(signs: Signs) -> tuple[list[int], int]:
    """One bit pattern per factor such that a product of factors is constant where their patterns cancel; the rank.

    A product of columns changes between two treatments when an odd number of its factors do, which is linear over
    GF(2) in the rows. So it is constant over all treatments if it is over a basis of their differences from the first.
    """
    basis: dict[int, int] = {}
    for row in (signs != signs[0]).astype(np.uint8):
        rest = int("".join(map(str, row)), 2)
        while rest and rest.bit_length() in basis:
            rest ^= basis[rest.bit_length()]
        if rest:
            basis[rest.bit_length()] = rest
    patterns = [0] * signs.shape[1]
    for place, difference in enumerate(basis.values()):
        for factor in range(signs.shape[1]):
            patterns[factor] |= (difference >> (signs.shape[1] - 1 - factor) & 1) << place
    return patterns, len(basis)


def shortest_word(columns: Sequence[int], longest: int) -> tuple[int, ...] | None:
    """The first of the smallest sets of factors whose patterns cancel, by trying all sets of up to `longest`."""
    return next((word for size in range(1, longest + 1) for word in cancelling(columns, size)), None)


def cancelling(columns: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Every set of `size` factors whose patterns cancel."""
    for chosen in combinations(range(len(columns)), size):
        total = 0
        for factor in chosen:
            total ^= columns[factor]
        if not total:
            yield chosen


def defining_relation(signs: Signs) -> list[Word]:
    """Every word of a two-level design [N, k], the shortest first; only generators of them where there are very many.

    Empty for a full factorial. Of a design that is not regular, such as Plackett-Burman with N = 12, words say little.
    """
    columns, _ = independent_columns(signs)
    group = _null_words(columns)
    if len(group) <= LARGEST_WORD_GROUP:
        products = [0]
        for word in group:
            products += [word ^ other for other in products]
        group = products[1:]
    factors = range(signs.shape[1])
    sets = sorted((tuple(f for f in factors if word >> f & 1) for word in group), key=lambda word: (len(word), word))
    return [Word(word, int(signs[0, list(word)].prod())) for word in sets]


def _null_words(columns: Iterable[int]) -> list[int]:
    """Generators of all sets of columns that cancel, as bit patterns of factors: elimination over GF(2)."""
    basis: dict[int, tuple[int, int]] = {}
    words = []
    for factor, pattern in enumerate(columns):
        rest, members = pattern, 1 << factor
        while rest and rest.bit_length() in basis:
            other, with_it = basis[rest.bit_length()]
            rest, members = rest ^ other, members ^ with_it
        if rest:
            basis[rest.bit_length()] = (rest, members)
        else:
            words.append(members)
    return words
