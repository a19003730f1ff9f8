"""Trained in full precision, quantized once training is over."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Progress, QuantizationSchedule


class PostTraining(QuantizationSchedule):
    """Float until the very end; what is left then takes the study's quantizer, with scales as they are measured."""

    name: ClassVar[str] = "post_training"
    equation: ClassVar[str] = "quantizer(p) = float for p < 1, the study's at p = 1"
    source: ClassVar[str] = "textbook: round-to-nearest post-training quantization, without calibration"

    def quantizer_names(self, final: str) -> tuple[str, ...]:
        """Both."""
        return ("float", final)

    def quantizer_name(self, progress: Progress, final: str) -> str:
        """Float before the end."""
        return final if progress.step >= progress.steps else "float"
