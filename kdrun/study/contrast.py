"""How contrasts between levels are called, in studies and in tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product


def pair_labels(levels: Sequence[str]) -> tuple[str, ...]:
    """`later - earlier` for each pair of levels; two levels make one contrast, which goes without saying."""
    return ("",) if len(levels) == 2 else tuple(f"{later} - {earlier}" for earlier, later in combinations(levels, 2))


def contrast_labels(levels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The contrasts of a term from the levels of its factors: every product of their pairs."""
    labels = (pair_labels(each) for each in levels)
    return tuple(" : ".join(label for label in item if label) for item in product(*labels))
