"""Coordinate search from the quantized teacher."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.comparators import Search


class PostTrainingSearch(Search):
    """Search over the codes of the teacher, quantized as it is."""

    name: ClassVar[str] = "post_training_search"
    equation: ClassVar[str] = "q_i ← argmin over codes of L_calibration(q), from q = quantize(w_teacher)"
    source: ClassVar[str] = "the sine study: coordinate search as a baseline that needs no gradient"
    starts_from: ClassVar[str] = "teacher"
