"""The study's quantizer from the first step on."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import QuantizationSchedule


class Direct(QuantizationSchedule):
    """Nothing is switched."""

    name: ClassVar[str] = "direct"
    equation: ClassVar[str] = "quantizer(p) = the study's"
    source: ClassVar[str] = "textbook: quantization-aware training"
