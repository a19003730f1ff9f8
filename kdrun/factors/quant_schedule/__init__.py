"""Schedules of quantization: which quantizer is in force when."""

from kdrun.factors.contract import Family, QuantizationSchedule

FAMILY = Family(
    name="quant_schedule",
    contract=QuantizationSchedule,
    key="student.quant_schedule",
    default="direct",
    title="which quantizer is in force during training",
)
