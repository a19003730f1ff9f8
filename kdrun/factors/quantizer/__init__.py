"""Quantizers of weight matrices."""

from kdrun.factors.contract import Family, Quantizer

FAMILY = Family(
    name="quantizer",
    contract=Quantizer,
    key="student.quantizer",
    default="ternary",
    title="what values a weight may take",
)
