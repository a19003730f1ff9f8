"""Comparators: networks made outside the factorial."""

from kdrun.factors.contract import Family, Comparator

FAMILY = Family(
    name="comparators",
    contract=Comparator,
    key="comparators",
    default=None,
    title="networks made outside the factorial",
)
