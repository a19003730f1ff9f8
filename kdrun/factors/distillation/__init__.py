"""Distillation of hidden states from the teacher."""

from kdrun.factors.contract import Family, Term

FAMILY = Family(
    name="distillation",
    contract=Term,
    key="student.distillation",
    default=None,
    title="what the student learns from the teacher's hidden states",
)
