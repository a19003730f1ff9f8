"""Coarser and coarser: 8 bits, 4 bits, then the study's quantizer."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Progress, QuantizationSchedule


class Progressive(QuantizationSchedule):
    """A third of training with each; they share the granularity, and the kind of scale where they have it.

    Scales of int8 and int4 are learned where those of the study's quantizer are neither learned nor `absmax`.
    """

    name: ClassVar[str] = "progressive"
    equation: ClassVar[str] = "quantizer(p) = int8 for p < 1/3, int4 for p < 2/3, then the study's"
    source: ClassVar[str] = (
        "after Zhuang et al., Towards effective low-bitwidth convolutional neural networks, 2018 (arXiv 1711.00205),"
        " progressive quantization; equal thirds are kdrun's own"
    )

    def quantizer_names(self, final: str) -> tuple[str, ...]:
        """One for each third."""
        return ("int8", "int4", final)

    def quantizer_name(self, progress: Progress, final: str) -> str:
        """By whole numbers, so that a third begins at the same step everywhere."""
        names = self.quantizer_names(final)
        return names[min(progress.step * len(names) // progress.steps, len(names) - 1)]
