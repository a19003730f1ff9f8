"""Ternary weight networks: threshold and scale follow from the weights, nothing else is trained."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.quantizer import MeanThresholded


class Twn(MeanThresholded):
    """Codes by a threshold of 0.7 mean magnitudes, times the mean magnitude beyond it, both new after every step."""

    name: ClassVar[str] = "twn"
    equation: ClassVar[str] = "ŵ = s·q, q = sign(w)·[|w| > Δ], Δ = 0.7·mean|w|, s = mean of |w| over |w| > Δ"
    source: ClassVar[str] = (
        "Li et al., Ternary weight networks, 2016 (arXiv 1605.04711); one scale for a layer there, which is"
        " granularity per_tensor"
    )
