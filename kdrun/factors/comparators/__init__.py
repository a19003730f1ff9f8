"""Comparators: networks made outside the factorial."""

from kdrun.factors.contract import Comparator, Family

FAMILY = Family(
    name="comparators",
    contract=Comparator,
    key="comparators",
    default=None,
    title="networks made outside the factorial",
)
