"""A quantized network whose codes comparators change one at a time."""

from __future__ import annotations

from collections.abc import Mapping

from kdrun.core.losses import mean_of
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.quantized import QuantizedParameters
from kdrun.factors.contract import Array, Batch, Context, Progress, Term
from kdrun.models.contract import Network


class Coded:
    """The quantized parameters of a network, judged by a task's loss on a calibration batch."""

    def __init__(self, network: Network, quantized: QuantizedParameters, loss: Term, batch: Batch) -> None:
        self.quantized, self.max_code = quantized, quantized.quantizer.max_code
        self.codes: Mapping[str, Array] = {name: quantized.codes[name] for name in quantized.tensors}
        self._network, self._loss, self._batch = network, loss, batch
        self._context = Context({}, {}, Progress(0, 1), Stream(0, 0, "calibration"))

    def set_code(self, tensor: str, row: int, column: int, code: float) -> None:
        """Change one code, and its effective weight through the quantizer."""
        self.codes[tensor][row, column] = code
        self.quantized.refresh_column(tensor, column)

    def loss(self) -> float:
        """The task's loss on the calibration batch."""
        student = self._network.forward(self.quantized.weights, self._batch.inputs, self._loss.want)
        return float(mean_of(self._loss.evaluate(student, (), self._batch, self._context).value))


def trained_arrays(latent: ParameterSet, quantized: QuantizedParameters | None) -> dict[str, Array]:
    """What a finished run stores: latent parameters, and where weights are quantized their scales and codes (int8)."""
    arrays = {name: latent[name].copy() for name in latent}
    if quantized is not None:
        arrays |= {name: quantized.stored[name].copy() for name in quantized.stored}
        arrays |= {f"codes.{name}": quantized.codes[name].astype("int8") for name in quantized.tensors}
    return arrays
