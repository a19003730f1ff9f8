"""Distillation of sequences."""

from kdrun.factors.contract import Family, Term

FAMILY = Family(
    name="sequence",
    contract=Term,
    key="student.sequence",
    default=None,
    title="what the student learns from sequences of the teacher's",
)
