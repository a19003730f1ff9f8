"""The teacher, quantized as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kdrun.core.search import CodedNetwork
from kdrun.factors.contract import Comparator


class PostTraining(Comparator):
    """Quantization without any training: what the techniques have to beat."""

    name: ClassVar[str] = "post_training"
    equation: ClassVar[str] = "q = quantize(w_teacher)"
    source: ClassVar[str] = "the sine study"
    starts_from: ClassVar[str] = "teacher"

    def refine(self, network: CodedNetwork) -> Mapping[str, list[float]]:
        """Leave the codes as they are."""
        return {}
