"""Gates: which updates are kept."""

from kdrun.factors.contract import Family, Gate

FAMILY = Family(
    name="gate",
    contract=Gate,
    key="student.gate",
    default=None,
    title="which updates are kept",
)
