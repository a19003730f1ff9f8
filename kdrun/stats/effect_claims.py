"""Claims on effects: where one lies, and how it ranks among the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdrun.stats.effects import Contrasts
from kdrun.stats.findings import Estimate, Finding, Known, Verdict, counted, difference_words, interval, number
from kdrun.stats.intervals import Intervals
from kdrun.stats.response_claims import difference_bound
from kdrun.stats.scales import Floats


def effect(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{effect: {term: F, below: x}}`, `above`, `between: [x, y]`: the interval of an effect lies there.

    On a log scale x and y are ratios.
    """
    chosen = known.response(argument)
    contrasts = known.contrasts(chosen.name)
    found = find_contrast(contrasts, argument["term"], argument.get("contrast"))
    if found is None:
        return Finding("inconclusive", f"{argument['term']} cannot be estimated in this design")
    estimate = found.estimate(alpha)
    low, high = (difference_bound(bound, chosen) if np.isfinite(bound) else bound for bound in _bounds(argument))
    shown = estimate.as_ratio(chosen)
    evidence = (
        f"{found.name} on {chosen.name}: {difference_words(chosen)} of {interval(*shown)} over"
        f" {counted(estimate.replicates)}, against {_limits(argument)}{estimate.obstacle}"
    )
    return Finding(estimate.verdict(low, high), evidence, *shown, estimate.replicates)


def _bounds(argument: Mapping[str, Any]) -> tuple[float, float]:
    if argument.get("between") is not None:
        low, high = argument["between"]
        return float(low), float(high)
    if argument.get("below") is not None:
        return -np.inf, float(argument["below"])
    return float(argument["above"]), np.inf


def _limits(argument: Mapping[str, Any]) -> str:
    low, high = _bounds(argument)
    if np.isfinite(low) and np.isfinite(high):
        return f"between {number(low)} and {number(high)}"
    return f"below {number(high)}" if np.isfinite(high) else f"above {number(low)}"


@dataclass(frozen=True)
class Chosen:
    """One contrast as a claim names it; `sign` is that of the named effect in an estimate shared with others."""

    contrasts: Contrasts
    place: int
    name: str
    sign: int = 1

    @property
    def combination(self) -> Floats:
        """The combination [C] of contrasts that it is."""
        return self.sign * self.contrasts.single(self.place)

    def estimate(self, alpha: float) -> Estimate:
        """Its estimate with an interval at level 1 − α."""
        return Estimate.of(self.contrasts.intervals(self.combination[None, :], 1 - alpha))


def find_contrast(contrasts: Contrasts, name: str, label: str | None) -> Chosen | None:
    """A contrast by the name of its term or of an effect in it, and its label; None where there is none."""
    index = contrasts.terms.find(name)
    if index is None:
        return None
    place = next((i for i, found in enumerate(contrasts.terms.contrasts) if found == (index, label or "")), None)
    term, factors = contrasts.terms.terms[index], name.split(":")
    shown = term.seen_from(factors).name
    return None if place is None else Chosen(contrasts, place, _labelled(shown, label), term.sign_of(factors))


def _labelled(name: str, label: str | None) -> str:
    return f"{name} ({label})" if label else name


def largest_effect(argument: str | Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{largest_effect: F}`: F is the largest in size among the main effects of two-level factors.

    Supported when |F| > |G| is shown at α for every other G; refuted when |G| > |F| is shown for some at α/(m − 1).
    """
    race = _race({"term": argument} if isinstance(argument, str) else argument, known)
    if race is None:
        return Finding("inconclusive", "the effect cannot be estimated in this design, or there is none beside it")
    larger, _ = race.shown(alpha)
    _, smaller = race.shown(alpha / (race.size - 1))
    verdict: Verdict = "supported" if len(larger) == race.size - 1 else "refuted" if smaller else "inconclusive"
    estimate, response = race.own.estimate(alpha), race.own.contrasts.response
    shown = estimate.as_ratio(response)
    evidence = (
        f"{race.own.name}: {difference_words(response)} of {interval(*shown)} over {counted(estimate.replicates)};"
        f" {race.words(larger, smaller)}{estimate.obstacle}"
    )
    return Finding(verdict, evidence, *shown, estimate.replicates)


def effect_rank(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{effect_rank: {term: F, rank: k}}`: F is the k-th largest in size among the main effects of two-level factors.

    All pairs at α/(m − 1): the rank interval is [1 + number shown larger, m − number shown smaller]; supported when it
    is {k}, refuted when it excludes k.
    """
    race = _race(argument, known)
    if race is None:
        return Finding("inconclusive", "the effect cannot be estimated in this design, or there is none beside it")
    larger, smaller = race.shown(alpha / (race.size - 1))
    low, high, rank = 1 + len(smaller), race.size - len(larger), int(argument["rank"])
    verdict: Verdict = "supported" if low == high == rank else "inconclusive" if low <= rank <= high else "refuted"
    estimate = race.own.estimate(alpha)
    if estimate.replicates < 2:
        evidence = f"{race.own.name} has rank {race.rank} of {race.size}{estimate.obstacle}"
        return Finding("inconclusive", evidence, float(race.rank), replicates=estimate.replicates)
    evidence = (
        f"{race.own.name} has rank {race.rank} of {race.size}, rank interval [{low}, {high}] over"
        f" {counted(estimate.replicates)}; {race.words(larger, smaller)}{estimate.obstacle}"
    )
    return Finding(verdict, evidence, float(race.rank), float(low), float(high), estimate.replicates)


@dataclass(frozen=True)
class _Race:
    """One effect, and the `others` that it is compared with in size."""

    own: Chosen
    others: tuple[Chosen, ...]

    @property
    def size(self) -> int:
        """m: how many effects are compared."""
        return 1 + len(self.others)

    @property
    def rank(self) -> int:
        """The rank of the estimate's size, 1 for the largest."""
        sizes = np.abs(self.own.contrasts.intervals().mean)
        return 1 + int(np.sum(sizes[[other.place for other in self.others]] > sizes[self.own.place]))

    def words(self, larger: list[str], smaller: list[str]) -> str:
        """What was compared, and what of it was shown."""
        pairs = (("larger than", larger), ("smaller than", smaller))
        parts = [f"{relation} {_and(names)}" for relation, names in pairs if names]
        shown = f"shown to be {_and(parts)}" if parts else "not shown to be larger or smaller"
        levels = self.own.contrasts.terms.levels
        apart = [name for name, known in levels.items() if len(known) > 2 and name not in self.own.name.split(" ")]
        rest = f"; not compared, for more than two levels: {_and(apart)}" if apart else ""
        return f"compared with {_and([other.name for other in self.others])} it is {shown}{rest}"

    def shown(self, alpha: float) -> tuple[list[str], list[str]]:
        """The others that the effect is shown to be larger than, and smaller than, each pair at level α.

        |F| > |G| is shown when the intervals of F + G and of F − G exclude 0 on the same side, |F| < |G| when on
        different sides.
        """
        f, others = self.own.combination, [other.combination for other in self.others]
        sums = self.own.contrasts.intervals(np.array([f + g for g in others]), 1 - alpha)
        differences = self.own.contrasts.intervals(np.array([f - g for g in others]), 1 - alpha)
        sides = _side(sums) * _side(differences)
        larger, smaller = ([g.name for g, side in zip(self.others, sides, strict=True) if side == s] for s in (1, -1))
        return larger, smaller


def _side(found: Intervals) -> Floats:
    """+1 or −1 for an interval on that side of 0, 0 for one that includes it or is none."""
    return np.where(found.low > 0, 1.0, np.where(found.high < 0, -1.0, 0.0))


def _race(argument: Mapping[str, Any], known: Known) -> _Race | None:
    """An effect among the main effects of two-level factors; None where it has no estimate or stands alone."""
    contrasts = known.contrasts(known.response(argument).name)
    own = find_contrast(contrasts, argument["term"], argument.get("contrast"))
    names = [name for name, levels in contrasts.terms.levels.items() if len(levels) == 2]
    found = [find_contrast(contrasts, name, None) for name in names]
    others = tuple(other for other in found if other is not None and (own is None or other.place != own.place))
    return _Race(own, others) if own is not None and others else None


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
