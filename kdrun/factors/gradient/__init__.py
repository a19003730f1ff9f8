"""Gradient shapes: what a surrogate gradient multiplies the gradient of a quantized weight by."""

from kdrun.factors.contract import Family, GradientShape

FAMILY = Family(
    name="gradient",
    contract=GradientShape,
    key="student.gradient",
    default="ste",
    title="shape of the gradient through a quantizer",
)
