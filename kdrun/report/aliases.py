"""Which of all combinations of levels were run, and which effects they cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import prod
from typing import Literal

from kdrun.report.text import counted
from kdrun.stats.analysis import Analysis
from kdrun.stats.terms import Member, Term, Terms

MOST_ALIASES = 6
MOST_LINES = 60
Kind = Literal["full", "fraction", "screening", "selection"]


@dataclass(frozen=True)
class Apart:
    """What cannot be told apart: what that means for the estimates, and a line for each of them by its first effect."""

    remarks: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]


def design_kind(analysis: Analysis) -> Kind:
    """Whether all combinations of levels were run, a regular fraction, a screening design, or some selection."""
    if analysis.terms.full:
        return "full"
    if any(is_aliased(term) for term in analysis.terms.terms):
        return "fraction"
    return "screening" if analysis.layout.screening else "selection"


def design_words(analysis: Analysis) -> str:
    """What was run, in a sentence: every treatment, or which part of all combinations of levels."""
    kind = design_kind(analysis)
    if kind == "full":
        return (
            "The study is a randomized complete block design: every replicate holds every combination of levels once,"
            " on common random numbers."
        )
    levels = [len(known) for known in analysis.layout.factors.values()]
    part = {"fraction": "A fraction", "screening": "A screening design", "selection": "A selection of treatments"}[kind]
    return (
        f"{part} was run: {len(analysis.treatments):,} of the {counted(prod(levels), 'combination')} of levels, the"
        " same in every replicate, on common random numbers. It cannot tell every effect from every other one."
    )


def apart(analysis: Analysis) -> Apart | None:
    """What the design cannot tell apart; None where it tells every effect."""
    kind, terms = design_kind(analysis), analysis.terms
    if kind == "screening":
        return _screening(terms)
    if kind == "fraction":
        lines = [_parted(class_words(term)) for term in terms.terms if is_aliased(term)]
        return Apart((FRACTION_IS, *_more(lines)), tuple(lines[:MOST_LINES]))
    return Apart((SELECTION_IS,), tuple(_refused(terms.refused))) if terms.refused else None


FRACTION_IS = (
    "Each line has one estimate, for all of its effects together with their signs: nothing in these runs tells which of"
    " them it is."
)
SCREENING_IS = (
    "A screening design estimates main effects only. Each estimate is the main effect plus these shares of two-factor"
    " interactions, and shares of higher ones; it is that of the factor alone only where there are no interactions."
)
SELECTION_IS = "These effects cannot be estimated; what is estimated is estimated as if they were absent."


def _screening(terms: Terms) -> Apart | None:
    found = screened(terms)
    lines = [(name, listed([alias_words(*pair) for pair in pairs])) for name, pairs in found.items()]
    return Apart((SCREENING_IS, *_more(lines)), tuple(lines[:MOST_LINES])) if lines else None


def _refused(refused: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """For each reason why terms are refused, those terms."""
    for reason in dict.fromkeys(refused.values()):
        names = [name for name, why in refused.items() if why == reason]
        more = f", … and {len(names) - MOST_LINES:,} more" if len(names) > MOST_LINES else ""
        yield f"{reason[:1].upper()}{reason[1:]}:", f"{', '.join(names[:MOST_LINES])}{more}"


def _more(lines: Sequence[object]) -> tuple[str, ...]:
    more = len(lines) - MOST_LINES
    return (f"Shown: {MOST_LINES} of {len(lines):,}; kdrun plan --json lists all.",) if more > 0 else ()


def _parted(words: Sequence[str]) -> tuple[str, str]:
    return words[0], " ".join(words[1:])


def is_aliased(term: Term) -> bool:
    """Whether the term stands for more than one effect."""
    return len(term.members) > 1 or term.uncounted > 0


def class_words(term: Term) -> list[str]:
    """The effects that a term stands for: its name, then its first aliases with their signs, then how many more."""
    first, *others = term.members
    signed = [_signed(member) for member in others[:MOST_ALIASES]]
    more = len(others) - len(signed) + term.uncounted
    return [first.name, *signed, *([f"… and {more:,} more"] if more else [])]


def _signed(member: Member) -> str:
    return f"{'+' if member.sign > 0 else '-'} {member.name}"


def screened(terms: Terms) -> dict[str, list[tuple[str, float]]]:
    """For each main effect of a screening design the interactions in its estimate and their shares, largest first."""
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in terms.names}
    for term, alias, share in terms.partial_aliases():
        found[term].append((alias, share))
    by_size = {name: sorted(pairs, key=lambda pair: -round(abs(pair[1]), 9)) for name, pairs in found.items()}
    return {name: pairs for name, pairs in by_size.items() if pairs}


def alias_words(alias: str, share: float) -> str:
    """`- 1/3 gradient:width`."""
    return f"{'+' if share > 0 else '-'} {Fraction(abs(share)).limit_denominator(1000)} {alias}"


def listed(aliases: Iterable[str]) -> str:
    """The first aliases, and how many more there are."""
    found = list(aliases)
    more = [f"… and {len(found) - MOST_ALIASES:,} more"] if len(found) > MOST_ALIASES else []
    return " ".join([*islice(found, MOST_ALIASES), *more])
