"""Temperatures: how soft the distributions are that soft targets compare."""

from kdrun.factors.contract import Family, HyperParameter

FAMILY = Family(
    name="temperature",
    contract=HyperParameter,
    key="student.temperature",
    default="fixed",
    title="how soft the distributions of soft targets are",
)
