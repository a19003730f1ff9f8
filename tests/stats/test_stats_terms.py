"""The terms of designs: full factorials, fractions, screening designs and selections of treatments."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from kdrun.stats.scales import Layout, Response
from kdrun.stats.terms import Terms, terms_of

Levels = dict[str, tuple[str, ...]]


def layout(factors: Levels, screening: bool = False) -> Layout:
    return Layout(factors, (Response("y"),), ("y",), screening=screening)


def combos(factors: Levels) -> list[dict[str, str]]:
    """Every treatment in standard order."""
    cells = product(*(factors[name] for name in reversed(factors)))
    return [dict(zip(factors, reversed(cell), strict=True)) for cell in cells]


def two_level(letters: str) -> Levels:
    return dict.fromkeys(letters, ("-", "+"))


def sign(treatment: dict[str, str], word: str) -> int:
    return int(np.prod([1 if treatment[letter] == "+" else -1 for letter in word]))


def fraction(letters: str, *words: str) -> list[dict[str, str]]:
    """The treatments whose product over each word is plus."""
    return [t for t in combos(two_level(letters)) if all(sign(t, word) == 1 for word in words)]


def test_a_half_fraction_names_each_effect_with_its_alias() -> None:
    """With E = ABCD every term is named with the one that it cannot be told from."""
    got = terms_of(layout(two_level("ABCDE")), fraction("ABCDE", "ABCDE"))
    assert len(got.terms) == 15
    assert got.names[0] == "A + B:C:D:E"
    assert got.names[-1] == "D:E + A:B:C"
    assert got.find("E") == got.find("A:B:C:D") == 4


def test_signs_of_aliases() -> None:
    """A generator with a minus turns the sign of the alias."""
    minus = [t for t in combos(two_level("ABC")) if sign(t, "ABC") == -1]
    assert terms_of(layout(two_level("ABC")), minus).names == ("A - B:C", "B - A:C", "C - A:B")


@pytest.mark.parametrize("words", [("ABCD",), ("ABD", "ACE"), ("ABCE", "BCDF"), ("ABCDEF",)])
def test_a_class_holds_exactly_what_has_its_column(words: tuple[str, ...]) -> None:
    """Members of a class have one column up to their sign, and all of them are there."""
    letters = "".join(sorted({letter for word in words for letter in word}))
    treatments = fraction(letters, *words)
    got = terms_of(layout(two_level(letters)), treatments)
    column = {
        subset: tuple(sign(t, "".join(subset)) for t in treatments)
        for size in range(1, len(letters) + 1)
        for subset in combinations(letters, size)
    }
    listed = []
    for term in got.terms:
        assert term.uncounted == 0
        first = column[term.members[0].factors]
        for member in term.members:
            assert column[member.factors] == tuple(member.sign * value for value in first)
            listed.append(member.factors)
    constant = {subset for subset, values in column.items() if abs(sum(values)) == len(treatments)}
    assert len(listed) == len(set(listed))
    assert set(listed) == set(column) - constant


def test_an_aliased_effect_is_never_named_alone() -> None:
    """However large the classes, a name has two effects at least, and says how many more there are."""
    got = terms_of(layout(two_level("ABCDEFG")), fraction("ABCDEFG", "ABD", "ACE", "BCF", "ABCG"))
    assert len(got.terms) == 7
    for term in got.terms:
        assert " + " in term.name or " - " in term.name
        assert len(term.members) == 16
    assert got.names[0] == "A + B:D + C:E + F:G + 12 more"


def test_estimates_of_a_fraction_are_signed_means() -> None:
    """The estimate of a class is (2/N)·Σ±y."""
    treatments = fraction("ABCD", "ABCD")
    got = terms_of(layout(two_level("ABCD")), treatments)
    y = np.random.default_rng(2).normal(size=(3, 8))
    for place, term in enumerate(got.terms):
        signs = np.array([sign(t, "".join(term.factors)) for t in treatments])
        np.testing.assert_allclose(got.estimates(y)[:, place], y @ signs * 2 / 8, atol=1e-14)


PLACKETT_BURMAN_12 = "++-+++---+-"


def plackett_burman(letters: str) -> list[dict[str, str]]:
    """The design of 12 treatments, from its published first row."""
    rows = [PLACKETT_BURMAN_12[-shift:] + PLACKETT_BURMAN_12[:-shift] for shift in range(11)] + ["-" * 11]
    return [dict(zip(letters, row, strict=False)) for row in rows]


def test_a_screening_design_tells_main_effects_and_names_what_leaks_into_them() -> None:
    """Of 12 treatments each main effect holds a third of every interaction of two others."""
    got = terms_of(layout(two_level("ABCDEFGHJKL"), screening=True), plackett_burman("ABCDEFGHJKL"))
    assert got.names == tuple("ABCDEFGHJKL")
    np.testing.assert_allclose(got.variance_factor, 4 / 12)
    leaks = list(got.partial_aliases())
    assert {round(abs(share), 9) for _, _, share in leaks} == {round(1 / 3, 9)}
    assert len(leaks) == 11 * 45
    assert not any(main in pair.split(":") for main, pair, _ in leaks)


def test_a_selection_refuses_what_it_cannot_tell() -> None:
    """Where two levels never meet, their interaction and all that holds it are refused, with reasons."""
    factors: Levels = {"A": ("a", "b"), "B": ("0", "1"), "C": ("x", "y", "z")}
    treatments = [t for t in combos(factors) if (t["A"], t["B"]) != ("b", "1")]
    got = terms_of(layout(factors), treatments)
    assert got.names == ("A", "B", "C", "A:C", "B:C")
    assert set(got.refused) == {"A:B", "A:B:C"}


def test_a_selection_is_fitted_by_least_squares() -> None:
    """Estimates are exact where the refused terms are absent, whatever treatments are left out."""
    factors = two_level("ABC")
    treatments = combos(factors)[:-1]
    got = terms_of(layout(factors), treatments)
    effects = {"A": 3.0, "B": -1.0, "C": 0.5, "A:B": 2.0, "A:C": 0.0, "B:C": -4.0}
    y = np.array([7 + sum(e / 2 * sign(t, name.replace(":", "")) for name, e in effects.items()) for t in treatments])
    assert dict(zip(got.names, got.estimates(y[None])[0].round(9).tolist(), strict=True)) == effects
    assert list(got.refused) == ["A:B:C"]


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2, 2), (4, 3), (2, 3, 4)])
def test_both_ways_to_estimate_agree(sizes: tuple[int, ...]) -> None:
    """Halving the cube of a full factorial gives what least squares gives, variances included."""
    factors = {letter: tuple(str(level) for level in range(size)) for letter, size in zip("ABC", sizes, strict=False)}
    treatments = combos(factors)
    np.random.default_rng(1).shuffle(treatments)  # type: ignore[arg-type]
    full = terms_of(layout(factors), treatments)
    by_weights: Terms = replace(full, full=False)
    y = np.random.default_rng(3).normal(size=(5, len(treatments)))
    np.testing.assert_allclose(full.estimates(y), by_weights.estimates(y), atol=1e-12)
    np.testing.assert_allclose(full.variance_factor, by_weights.variance_factor, rtol=1e-12)


def test_a_factor_with_one_level_has_no_term() -> None:
    """What does not vary has no effect."""
    got = terms_of(layout({"A": ("a", "b"), "B": ("only",)}), combos({"A": ("a", "b"), "B": ("only",)}))
    assert got.names == ("A",)


def test_a_screening_design_that_is_a_fraction_names_classes() -> None:
    """Five factors in eight treatments: every main effect is named with its aliases."""
    treatments = fraction("ABCDE", "ABD", "ACE")
    got = terms_of(layout(two_level("ABCDE"), screening=True), treatments)
    assert [term.factors for term in got.terms] == [(letter,) for letter in "ABCDE"]
    assert got.names[0].startswith("A + B:D + C:E")
    assert list(got.partial_aliases()) == []
