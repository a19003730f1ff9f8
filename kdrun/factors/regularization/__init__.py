"""Penalties on weights."""

from kdrun.factors.contract import Family, Penalty

FAMILY = Family(
    name="regularization",
    contract=Penalty,
    key="student.regularization",
    default=None,
    title="what holds weights small",
)
