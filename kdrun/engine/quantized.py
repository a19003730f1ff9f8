"""Slots 1, 5 and 7 of a whole network: latent parameters, stored scales, codes, and the weights that run."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.core.quantize import multiply_into
from kdrun.factors.contract import Array, Arrays, GradientShape, Granularity, Progress, Quantizer
from kdrun.models.contract import Network


class QuantizedParameters:
    """The quantized view of a network's latent parameters.

    `weights` is what the network runs on: effective weights of the tensors that are quantized, the latent arrays
    themselves of the others. `stored` holds the scales that are trained, named `scale.tensor`.
    """

    def __init__(self, network: Network, latent: ParameterSet, quantizer: Quantizer, granularity: Granularity) -> None:
        self.quantizer, self.granularity, self.latent = quantizer, granularity, latent
        self.tensors = [name for name, tensor in network.tensors.items() if tensor.quantized]
        shapes = {name: latent[name].shape for name in self.tensors}
        dtype = latent.flat.dtype
        self.codes, self._effective = ParameterSet(shapes, dtype), ParameterSet(shapes, dtype)
        self._mask = ParameterSet(shapes, dtype)
        self._columns = {name: self._column_arrays(shapes[name][1], dtype) for name in self.tensors}
        self._dcolumns = {name: self._column_arrays(shapes[name][1], dtype) for name in self.tensors}
        self.stored = ParameterSet(self._stored_shapes(shapes), dtype)
        self.weights: dict[str, Array] = {**latent, **self._effective}
        self.measure()

    def _column_arrays(self, fan_out: int, dtype: np.dtype[Any]) -> dict[str, Array]:
        return {scale: np.empty(fan_out, dtype) for scale in self.quantizer.scale_names}

    def _stored_shapes(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {
            f"{scale}.{name}": self.granularity.stored_shape(shapes[name][1])
            for name in self.tensors
            for scale in self.quantizer.scale_names
        }

    def measure(self) -> None:
        """Start the scales from the latent weights."""
        for name in self.tensors:
            self.quantizer.measure(self.latent[name], self._columns[name])
            for scale, columns in self._columns[name].items():
                self.granularity.pool(columns, self.stored[f"{scale}.{name}"], self.quantizer.pools_largest)

    def _spread(self, name: str) -> Arrays:
        for scale, columns in self._columns[name].items():
            self.granularity.spread(self.stored[f"{scale}.{name}"], columns)
        return self._columns[name]

    def quantize(self) -> None:
        """Codes and effective weights from latent weights and scales."""
        for name in self.tensors:
            self.quantizer.quantize(self.latent[name], self._spread(name), self.codes[name], self._effective[name])

    def freeze(self) -> None:
        """Effective weights from scales and the codes that are."""
        for name in self.tensors:
            self.quantizer.effective(self.codes[name], self._spread(name), self._effective[name])

    def refresh_column(self, name: str, column: int) -> None:
        """Effective weights of one column of one tensor, from scales and the codes that are."""
        scales = {scale: columns[column : column + 1] for scale, columns in self._columns[name].items()}
        codes = self.codes[name][:, column : column + 1].copy()
        effective = codes.copy()
        self.quantizer.effective(codes, scales, effective)
        self._effective[name][:, column : column + 1] = effective

    def load(self, arrays: Arrays) -> None:
        """Take over scales and codes of a finished run."""
        self.stored.assign({name: arrays[name] for name in self.stored})
        self.codes.assign({name: arrays[f"codes.{name}"] for name in self.tensors})
        self.freeze()

    def masks(self, shape: GradientShape, progress: Progress) -> dict[str, Array]:
        """m(w) of each quantized tensor; a tensor whose mask is 1 everywhere is left out."""
        found = {}
        for name in self.tensors:
            unit = self.quantizer.unit(self.latent[name], self._columns[name])
            if shape.mask(self.latent[name], unit, self.quantizer.max_code, progress, self._mask[name]):
                found[name] = self._mask[name]
        return found

    def unit(self, name: str) -> Array:
        """Width of a code's cell of one tensor [fan_out]."""
        return self.quantizer.unit(self.latent[name], self._spread(name))

    def backward_inplace(
        self, gradient: Arrays, dstored: Arrays, shape: GradientShape | None, progress: Progress
    ) -> None:
        """Gradients of the scales; then `gradient` of effective weights becomes that of the latent ones."""
        for name in self.tensors:
            dcolumns = self._dcolumns[name]
            self.quantizer.backward(gradient[name], self.latent[name], self.codes[name], self._columns[name], dcolumns)
            for scale, columns in dcolumns.items():
                self.granularity.gather(columns, dstored[f"{scale}.{name}"])
        for name, mask in self.masks(shape, progress).items() if shape is not None else ():
            multiply_into(gradient[name], mask, gradient[name])

    def project_inplace(self, progress: Progress) -> None:
        """Slot 7 of the quantizer."""
        for name in self.tensors:
            stored = {scale: self.stored[f"{scale}.{name}"] for scale in self.quantizer.scale_names}
            self.quantizer.project_inplace(self.latent[name], stored, progress)
