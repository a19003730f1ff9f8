"""The terms of a design: which main effects and interactions its treatments can tell, and by which contrasts.

A full factorial tells every term. A regular two-level fraction tells classes of aliased terms, never one of them alone;
a screening design tells main effects; any other selection of treatments tells what least squares can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, islice, pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrun.stats.scales import Floats, Layout
from kdrun.study.contrast import contrast_labels

Factors = tuple[str, ...]
# Interactions are looked through for aliases up to this many; a class then says that it has more.
MOST_PRODUCTS = 20_000
# Columns of a model matrix; beyond, only complete replicates of full factorials are analysed.
MOST_COLUMNS = 1024
ROUNDING = 1e-9


@dataclass(frozen=True)
class Member:
    """One of the effects that a term stands for, and its sign there."""

    factors: Factors
    sign: int = 1

    @property
    def name(self) -> str:
        """Its factors, joined: `gradient`, `gradient:width`, and so on."""
        return ":".join(self.factors)


@dataclass(frozen=True)
class Term:
    """A main effect, an interaction, or a class of aliased ones.

    `contrasts` are labels, the empty one for the only contrast of two-level factors. `members` begins with what the
    term is named after; `uncounted` says how many higher interactions stand behind it beside those listed.
    """

    members: tuple[Member, ...]
    contrasts: tuple[str, ...] = ("",)
    uncounted: int = 0

    @property
    def factors(self) -> Factors:
        """The factors of the effect that it is named after."""
        return self.members[0].factors

    @property
    def order(self) -> int:
        """1 for a main effect, 2 for a two-factor interaction, and so on."""
        return len(self.factors)

    @property
    def name(self) -> str:
        """`gradient:width`; aliased effects are named together: `gradient + width:depth`."""
        shown = [member for member in self.members if len(member.factors) <= 2]
        shown = shown if len(shown) > 1 else list(self.members[:2])
        more = len(self.members) - len(shown) + self.uncounted
        text = shown[0].name + "".join(f" {'+' if member.sign > 0 else '-'} {member.name}" for member in shown[1:])
        return f"{text} + {more} more" if more else text

    @property
    def two_level(self) -> bool:
        """Whether the term is a single contrast between two levels of each factor."""
        return self.contrasts == ("",)

    def means(self, factors: Sequence[str]) -> bool:
        """Whether the effect of these factors, in any order, is among its members."""
        return any(set(member.factors) == set(factors) for member in self.members)

    def seen_from(self, factors: Sequence[str]) -> Term:
        """The same class named after the effect of these factors; as it is where that is not among its members."""
        first = next((member for member in self.members if set(member.factors) == set(factors)), self.members[0])
        rest = [member for member in self.members if member is not first]
        relative = tuple(Member(member.factors, member.sign * first.sign) for member in (first, *rest))
        return Term(relative, self.contrasts, self.uncounted)

    def sign_of(self, factors: Sequence[str]) -> int:
        """The sign with which the effect of these factors is in the estimate of the term."""
        return next((member.sign for member in self.members if set(member.factors) == set(factors)), 1)


@dataclass(frozen=True)
class Terms:
    """The terms of a design of N treatments.

    `levels` maps each factor with more than one level to those that occur; `codes` [N, factors] are their positions.
    `full` says that every combination occurs. `refused` maps each term that cannot be estimated to the reason.
    """

    terms: tuple[Term, ...]
    levels: Mapping[str, tuple[str, ...]]
    codes: NDArray[np.int64]
    full: bool
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each term."""
        return tuple(term.name for term in self.terms)

    @cached_property
    def contrasts(self) -> tuple[tuple[int, str], ...]:
        """Every contrast, term by term: the position of its term, and its label."""
        return tuple((index, label) for index, term in enumerate(self.terms) for label in term.contrasts)

    @property
    def sizes(self) -> list[int]:
        """How many contrasts each term has."""
        return [len(term.contrasts) for term in self.terms]

    @property
    def treatments(self) -> int:
        """N."""
        return len(self.codes)

    def find(self, name: str) -> int | None:
        """The position of the term that is called so, or that has an effect of these factors among its members."""
        factors = name.split(":")
        return next((i for i, term in enumerate(self.terms) if name == term.name or term.means(factors)), None)

    def estimates(self, y: Floats) -> Floats:
        """The estimate [R, C] of every contrast inside each replicate, from y [R, N] without holes."""
        if not self.full:
            return y @ self.weights.T
        shape = tuple(len(levels) for levels in self.levels.values())
        cube = np.empty((len(y), *shape))
        cube[(slice(None), *self.codes.T)] = y
        found = dict(_effects(cube[:, None], tuple(self.levels), ()))
        parts = [found[term.factors] for term in self.terms]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(y), 0))

    @property
    def has_columns(self) -> bool:
        """Whether the model matrix is small enough to be made."""
        return len(self.contrasts) == 0 or self.treatments <= MOST_COLUMNS

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """The columns of the model matrix that each term has."""
        widths = [prod(len(self.levels[factor]) - 1 for factor in term.factors) for term in self.terms]
        ends = np.cumsum([0, *widths])
        return tuple(slice(int(start), int(end)) for start, end in pairwise(ends))

    @cached_property
    def columns(self) -> Floats:
        """The model matrix [N, p] in sum-to-zero coding, without intercept; ±1 for two-level factors."""
        coded = self._coded
        parts = [_products([coded[factor] for factor in term.factors]) for term in self.terms]
        return np.concatenate(parts, axis=1) if parts else np.empty((self.treatments, 0))

    @cached_property
    def _coded(self) -> dict[str, Floats]:
        names = list(self.levels)
        return {name: sum_codes(len(self.levels[name]))[self.codes[:, i]] for i, name in enumerate(names)}

    @cached_property
    def combinations(self) -> Floats:
        """Each contrast [C, p] as a combination of the model's coefficients."""
        matrix = np.zeros((len(self.contrasts), self.spans[-1].stop if self.spans else 0))
        row = 0
        for term, span in zip(self.terms, self.spans, strict=True):
            pairs = [_pair_differences(len(self.levels[factor])) for factor in term.factors]
            coded = [
                pair @ sum_codes(len(self.levels[factor])) for pair, factor in zip(pairs, term.factors, strict=True)
            ]
            block = _kron(coded) * 0.5 ** (term.order - 1)
            matrix[row : row + len(block), span] = block
            row += len(block)
        return matrix

    @cached_property
    def weights(self) -> Floats:
        """The weights [C, N] of treatments in each contrast, by least squares inside a replicate."""
        with_mean = np.column_stack([np.ones(self.treatments), self.columns])
        weights: Floats = self.combinations @ np.linalg.pinv(with_mean)[1:]
        return weights

    @property
    def orthogonal(self) -> bool:
        """Whether no contrast tells something of another one."""
        gram = self.weights @ self.weights.T if not self.full else np.eye(1)
        return bool(np.all(np.abs(gram - np.diag(np.diag(gram))) < ROUNDING))

    @property
    def variance_factor(self) -> Floats:
        """The variance [C] of each contrast inside one replicate, in units of that of a run."""
        if not self.full:
            squares: Floats = np.sum(self.weights**2, axis=1)
            return squares
        unused = [
            prod(len(levels) for name, levels in self.levels.items() if name not in term.factors) for term in self.terms
        ]
        factors = [2.0**term.order * 0.25 ** (term.order - 1) / n for term, n in zip(self.terms, unused, strict=True)]
        return np.repeat(factors, self.sizes)

    def partial_aliases(self) -> Iterator[tuple[str, str, float]]:
        """Of a design of two-level factors each main effect, a two-factor interaction in it, and its coefficient there.

        The estimate of the main effect is that effect plus the coefficient times the interaction, and so on for all.
        Interactions that a term names as its aliases are not repeated.
        """
        if any(len(levels) != 2 for levels in self.levels.values()):
            return
        signs = {name: codes[:, 0] for name, codes in self._coded.items()}
        mains = [(term, signs[term.factors[0]]) for term in self.terms if term.order == 1]
        for pair in combinations(signs, 2):
            column = signs[pair[0]] * signs[pair[1]]
            for term, main in mains:
                share = float(main @ column) / self.treatments
                if abs(share) > ROUNDING and not term.means(pair):
                    yield term.name, ":".join(pair), share


def terms_of(layout: Layout, treatments: Sequence[Mapping[str, str]]) -> Terms:
    """The terms that treatments, given as level by factor, can tell; in the order of the study's factors."""
    levels = {
        name: present
        for name, known in layout.factors.items()
        if len(present := tuple(level for level in known if any(t[name] == level for t in treatments))) > 1
    }
    place = {name: {level: position for position, level in enumerate(known)} for name, known in levels.items()}
    codes = np.array([[place[name][t[name]] for name in levels] for t in treatments], np.int64)
    codes = codes.reshape(len(treatments), len(levels))
    if len(treatments) in (0, prod(len(known) for known in levels.values())):
        return Terms(tuple(_term(levels, subset) for subset in _subsets(list(levels))), levels, codes, full=True)
    if layout.screening:
        return _screening(levels, codes)
    return _regular_fraction(levels, codes) or _selection(levels, codes)


def _subsets(names: Sequence[str]) -> Iterator[Factors]:
    """Every subset of factors but the empty one, by size and then as the factors stand."""
    return (subset for size in range(1, len(names) + 1) for subset in combinations(names, size))


def _term(levels: Mapping[str, tuple[str, ...]], factors: Factors) -> Term:
    return Term((Member(factors),), contrast_labels([levels[factor] for factor in factors]))


def _pair_differences(count: int) -> Floats:
    """Each pair of levels [pairs, L] as later minus earlier."""
    identity = np.eye(count)
    return np.array([identity[later] - identity[earlier] for earlier, later in combinations(range(count), 2)])


def sum_codes(count: int) -> Floats:
    """Sum-to-zero coding [L, L − 1]; −1 and +1 for two levels, so that a coefficient is half an effect."""
    return np.concatenate([-np.ones((1, count - 1)), np.eye(count - 1)])


def _products(columns: Sequence[Floats]) -> Floats:
    """Columns [N, q1·q2·…] of an interaction from those of its factors."""
    found = columns[0]
    for other in columns[1:]:
        found = (found[:, :, None] * other[:, None, :]).reshape(len(found), -1)
    return found


def _kron(matrices: Sequence[Floats]) -> Floats:
    found: Any = matrices[0]
    for other in matrices[1:]:
        found = np.kron(found, other)
    return np.asarray(found, np.float64)


def _effects(cube: Floats, names: Factors, chosen: Factors) -> Iterator[tuple[Factors, Floats]]:
    """Estimates [R, C] of every term that takes or averages each of `names`, the axes 2, 3, … of `cube` [R, C, L, …].

    Halving the cube at each factor makes all terms together cost about as much as reading it once per factor.
    """
    if not names:
        if chosen:
            yield chosen, cube
        return
    yield from _effects(cube.mean(axis=2), names[1:], chosen)
    first, second = zip(*combinations(range(cube.shape[2]), 2), strict=True)
    differences = (cube[:, :, list(second)] - cube[:, :, list(first)]) * (0.5 if chosen else 1.0)
    merged = differences.reshape(cube.shape[0], cube.shape[1] * len(first), *cube.shape[3:])
    yield from _effects(merged, names[1:], (*chosen, names[0]))


def _regular_fraction(levels: Mapping[str, tuple[str, ...]], codes: NDArray[np.int64]) -> Terms | None:
    """Classes of aliased terms; None where the treatments are no regular fraction of two-level factors."""
    if any(len(known) != 2 for known in levels.values()) or 2 ** len(levels) % len(codes):
        return None
    signs = {name: (2 * codes[:, i] - 1).astype(np.int8) for i, name in enumerate(levels)}
    classes: dict[bytes, list[Member]] = {}
    for subset in islice(_subsets(list(levels)), MOST_PRODUCTS):
        column = np.prod([signs[name] for name in subset], axis=0, dtype=np.int8)
        # A class is found by its column with a plus in front; the first treatment decides the sign.
        classes.setdefault((column * column[0]).tobytes(), []).append(Member(subset, int(column[0])))
    constant = np.ones(len(codes), np.int8).tobytes()
    found = [members for key, members in classes.items() if key != constant]
    columns = np.array([np.frombuffer(key, np.int8) for key in classes if key != constant], np.float64)
    gram = columns @ columns.T
    if len(found) != len(codes) - 1 or np.any(np.abs(gram - np.diag(np.diag(gram))) > ROUNDING):
        return None
    return Terms(tuple(_class(members, 2 ** len(levels) // len(codes)) for members in found), levels, codes, full=False)


def _screening(levels: Mapping[str, tuple[str, ...]], codes: NDArray[np.int64]) -> Terms:
    """Main effects alone; where the treatments are a regular fraction, each with what it cannot be told from."""
    regular = _regular_fraction(levels, codes)
    mains = tuple(_term(levels, (name,)) for name in levels)
    if regular is not None:
        mains = tuple(term for term in regular.terms if term.order == 1)
    return Terms(mains, levels, codes, full=False)


def _class(members: list[Member], size: int) -> Term:
    """Aliased terms, signs relative to the first one."""
    relative = tuple(Member(member.factors, member.sign * members[0].sign) for member in members)
    return Term(relative, uncounted=size - len(members))


def _selection(levels: Mapping[str, tuple[str, ...]], codes: NDArray[np.int64]) -> Terms:
    """The terms that least squares can tell from some treatments, lower orders first.

    A term is refused where its columns are not all new, or where a part of it was refused; what is estimated is then
    estimated as if refused terms were absent.
    """
    coded = {name: sum_codes(len(known))[codes[:, i]] for i, (name, known) in enumerate(levels.items())}
    basis = np.full((len(codes), 1), 1 / np.sqrt(len(codes)))
    kept: list[Term] = []
    refused: dict[str, str] = {}
    parts: list[set[str]] = []
    for subset in _subsets(list(levels)):
        name = ":".join(subset)
        if any(part <= set(subset) for part in parts):
            refused.setdefault(name, "a part of it cannot be estimated")
        else:
            new = _new_directions(basis, _products([coded[factor] for factor in subset]))
            if new is None:
                refused[name] = "its levels vary together with those of other terms"
                parts.append(set(subset))
            else:
                basis = np.column_stack([basis, new])
                kept.append(_term(levels, subset))
        if len(refused) >= MOST_COLUMNS:
            break
    return Terms(tuple(kept), levels, codes, full=False, refused=refused)


def _new_directions(basis: Floats, columns: Floats) -> Floats | None:
    """Orthonormal directions that columns add to a basis; None where one of them adds nothing."""
    rest = columns - basis @ (basis.T @ columns)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    enough = len(sizes) == columns.shape[1] and sizes.min() > ROUNDING * np.linalg.norm(columns)
    return left if enough else None
