"""Optimizers."""

from kdrun.factors.contract import Family, Optimizer

FAMILY = Family(
    name="optimizer",
    contract=Optimizer,
    key="student.optimizer",
    default="adam",
    title="how parameters follow their gradients",
)
