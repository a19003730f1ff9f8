"""Granularities: how many scales a matrix has."""

from kdrun.factors.contract import Family, Granularity

FAMILY = Family(
    name="granularity",
    contract=Granularity,
    key="student.quantizer.granularity",
    default="per_row",
    title="how many scales a matrix has",
)
