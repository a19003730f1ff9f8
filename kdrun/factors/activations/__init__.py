"""Activations: how hidden values are rounded."""

from kdrun.factors.contract import Activations, Family

FAMILY = Family(
    name="activations",
    contract=Activations,
    key="student.activations",
    default=None,
    title="how the student rounds its hidden values",
)
