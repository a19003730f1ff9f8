"""A quantized network whose codes comparators change one at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kdrun.core.losses import mean_of
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.quantized import QuantizedParameters
from kdrun.factors.contract import Array, Batch, Context, Progress, Term
from kdrun.models.contract import Network, Pricing
from kdrun.tasks.losses import SquaredError


class Coded:
    """The quantized parameters of a network, judged by a task's loss on a calibration batch.

    What a candidate costs: where the loss is the plain squared error and the network has prices of single weights, the
    steps until it is known to be worse; else a whole forward pass and the loss.
    """

    def __init__(self, network: Network, quantized: QuantizedParameters, loss: Term, batch: Batch) -> None:
        self.quantized, self.max_code = quantized, quantized.quantizer.max_code
        self.codes: Mapping[str, Array] = {name: quantized.codes[name] for name in quantized.tensors}
        self._network, self._loss, self._batch = network, loss, batch
        self._context = Context({}, {}, Progress(0, 1), Stream(0, 0, "calibration"))
        self._values: dict[tuple[str, int], Array] = {}
        self._count = math.prod(batch.inputs.shape[:2])
        self._pricing = self._priced()

    def _priced(self) -> Pricing | None:
        if type(self._loss) is not SquaredError or self._batch.mask is not None:
            return None
        return self._network.pricing(self.quantized.weights, self._batch.inputs, self._batch.targets["y"])

    def set_code(self, tensor: str, row: int, column: int, code: float) -> None:
        """Change one code, and its effective weight."""
        self.codes[tensor][row, column] = code
        value = self._values_of(tensor, column)[int(code) + self.max_code]
        self.quantized.weights[tensor][row, column] = value
        if self._pricing is not None:
            self._pricing.change(tensor, row, column, value)

    def _values_of(self, tensor: str, column: int) -> Array:
        """The effective weight that each code has in one column [2·max_code + 1]; scales do not change here."""
        if (tensor, column) not in self._values:
            self._values[tensor, column] = self.quantized.values_of_codes(tensor, column)
        return self._values[tensor, column]

    def loss(self) -> float:
        """The task's loss on the calibration batch."""
        if self._pricing is not None:
            tensor = self.quantized.tensors[0]
            return self._as_loss(
                self._pricing.errors(tensor, 0, 0, self.quantized.weights[tensor][0, :1], np.inf).item()
            )
        student = self._network.forward(self.quantized.weights, self._batch.inputs, self._loss.want)
        return float(mean_of(self._loss.evaluate(student, (), self._batch, self._context).value))

    def losses(self, tensor: str, row: int, column: int, codes: Sequence[int], bound: float) -> Sequence[float]:
        """Losses with each of `codes` in one place; infinity where one is known to exceed `bound`."""
        if self._pricing is None:
            return self._losses_by_running(tensor, row, column, codes)
        values = self._values_of(tensor, column)[np.array(codes) + self.max_code]
        # A little above the bound, so that rounding cannot hide a candidate that is as good.
        limit = self._as_error(bound) * (1.0 + 1e-12)
        return [self._as_loss(error) for error in self._pricing.errors(tensor, row, column, values, limit).tolist()]

    def _losses_by_running(self, tensor: str, row: int, column: int, codes: Sequence[int]) -> list[float]:
        present, found = float(self.codes[tensor][row, column]), []
        for code in codes:
            self.set_code(tensor, row, column, code)
            found.append(self.loss())
        self.set_code(tensor, row, column, present)
        return found

    def _as_loss(self, error: float) -> float:
        """Half the mean squared error over steps and samples, from the sum of squared errors."""
        return 0.5 * error / self._count

    def _as_error(self, loss: float) -> float:
        return 2.0 * loss * self._count


def trained_arrays(latent: ParameterSet, quantized: QuantizedParameters | None) -> dict[str, Array]:
    """What a finished run stores: latent parameters, and where weights are quantized their scales and codes (int8)."""
    arrays = {name: latent[name].copy() for name in latent}
    if quantized is not None:
        arrays |= {name: array.copy() for name, array in quantized.stored.items()}
        arrays |= {f"codes.{name}": quantized.codes[name].astype("int8") for name in quantized.tensors}
    return arrays
