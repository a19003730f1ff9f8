"""A quantized network whose codes comparators change one at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kdrun.core.losses import mean_of
from kdrun.core.random import Stream
from kdrun.core.search import take_best_codes
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
            return self._pricing.loss()
        student = self._network.forward(self.quantized.weights, self._batch.inputs, self._loss.want)
        return float(mean_of(self._loss.evaluate(student, (), self._batch, self._context).value))

    def improve_column(self, tensor: str, column: int, loss: float) -> float:
        """Let each weight of a column in turn take its best code. Returns the loss of what is left."""
        if self._pricing is None:
            return take_best_codes(self, tensor, column, loss)
        codes, values = self.codes[tensor], self._values_of(tensor, column)
        taken = codes[:, column].astype(np.int64) + self.max_code
        loss = self._pricing.take_best(tensor, column, values, taken, loss)
        codes[:, column] = taken - self.max_code
        self.quantized.weights[tensor][:, column] = values[taken]
        return loss
