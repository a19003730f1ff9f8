"""Features: hidden values of the teacher as targets of the student's."""

from kdrun.factors.contract import Family, Term

FAMILY = Family(
    name="feature",
    contract=Term,
    key="student.feature",
    default=None,
    title="what the student learns from the teacher's features",
)
