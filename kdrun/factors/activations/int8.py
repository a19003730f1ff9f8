"""Hidden values of eight bits."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Activations


class Int8(Activations):
    """Multiples of 1/127 from −1 to 1, the range of tanh and of a CfC's state: the scale needs no calibration."""

    name: ClassVar[str] = "int8"
    equation: ClassVar[str] = (
        "ĥ = clip(round(127·h), −127, 127)/127; ∂ĥ/∂h = 1 inside the clip range, where h always is"
    )
    source: ClassVar[str] = "Jacob et al., Quantization and training of neural networks, 2018 (arXiv 1712.05877)"

    @property
    def grid(self) -> int:
        """127."""
        return 127
