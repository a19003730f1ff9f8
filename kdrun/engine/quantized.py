"""Slots 1, 5 and 7 of a whole network: latent parameters, stored scales, codes, and the weights that run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.core.quantize import count_flips, multiply_columns_inplace
from kdrun.factors.contract import Array, Arrays, GradientShape, Granularity, Progress, Quantizer
from kdrun.models.contract import Network


@dataclass(slots=True)
class _Tensor:
    """One quantized matrix [fan_in, fan_out]: its arrays, and for each kind of scale what is stored and per column.

    `columns` and `dcolumns` are the scales of each column and their gradients, `stored` and `dtrained` those that the
    run keeps. Where every column has a stored scale of its own they are the same arrays, and nothing is spread or
    gathered. Scales that are measured anew have no gradients.
    """

    latent: Array
    codes: Array
    effective: Array
    mask: Array
    stored: dict[str, Array]
    dtrained: dict[str, Array]
    columns: dict[str, Array]
    dcolumns: dict[str, Array]
    is_shared: bool


class QuantizedParameters:
    """The quantized view of a network's latent parameters.

    `weights` is what the network runs on: effective weights of the tensors that are quantized, the latent arrays
    themselves of the others. `stored` holds all scales of the run, named `scale.tensor`: those that are trained are
    also in `trained`, their gradients in `dtrained`; the others are measured anew after every step.
    """

    def __init__(self, network: Network, latent: ParameterSet, quantizer: Quantizer, granularity: Granularity) -> None:
        self.quantizer, self.granularity, self.latent = quantizer, granularity, latent
        self._max_code = quantizer.max_code
        self.tensors = [name for name, tensor in network.tensors.items() if tensor.quantized]
        shapes = {name: latent[name].shape for name in self.tensors}
        dtype = latent.flat.dtype
        self.codes, effective = ParameterSet(shapes, dtype), ParameterSet(shapes, dtype)
        self._masks = ParameterSet(shapes, dtype)
        self._remeasures, self._pulls = bool(quantizer.measured_names), _pulls(quantizer)
        stored = self._stored_shapes(shapes)
        measured = {name: shape for name, shape in stored.items() if name.split(".")[0] in quantizer.measured_names}
        self.trained = ParameterSet({name: stored[name] for name in stored if name not in measured}, dtype)
        self.dtrained, self._trains = self.trained.like(), bool(self.trained)
        scales = {**self.trained, **ParameterSet(measured, dtype)}
        self.stored = {name: scales[name] for name in stored}
        self.weights: dict[str, Array] = {**latent, **effective}
        self._tensors = {name: self._tensor(name) for name in self.tensors}
        self._shared = [tensor for tensor in self._tensors.values() if tensor.is_shared]
        self.measure()

    def _stored_shapes(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {
            f"{scale}.{name}": self.granularity.stored_shape(shapes[name][1])
            for name in self.tensors
            for scale in self.quantizer.scale_names
        }

    def _tensor(self, name: str) -> _Tensor:
        scales, latent = self.quantizer.scale_names, self.latent[name]
        stored = {scale: self.stored[f"{scale}.{name}"] for scale in scales}
        dtrained = {s: self.dtrained[f"{s}.{name}"] for s in scales if s not in self.quantizer.measured_names}
        per_column = ParameterSet(dict.fromkeys(scales, latent.shape[1:]), latent.dtype)
        is_shared = not self.granularity.is_own
        if not is_shared and self.granularity.stored_shape(latent.shape[1]) != latent.shape[1:]:
            raise TypeError(
                f"granularity {self.granularity.name!r} stores other scales than one for each column, so it needs"
                " grouped, spread and gather of its own"
            )
        return _Tensor(
            latent=latent,
            codes=self.codes[name],
            effective=self.weights[name],
            mask=self._masks[name],
            stored=stored,
            dtrained=dtrained,
            columns=dict(per_column) if is_shared else stored,
            dcolumns={scale: np.zeros_like(per_column[scale]) for scale in dtrained} if is_shared else dtrained,
            is_shared=is_shared,
        )

    def measure(self) -> None:
        """Start the scales from the latent weights."""
        for tensor in self._tensors.values():
            self.quantizer.measure(self.granularity.grouped(tensor.latent), tensor.stored)

    def update(self) -> None:
        """What follows from the latent weights of a step: scales that are measured anew, codes, effective weights."""
        if self._remeasures:
            for tensor in self._tensors.values():
                self.quantizer.remeasure(self.granularity.grouped(tensor.latent), tensor.stored)
        self.quantize()

    def _spread(self) -> None:
        """Make the scales of columns from those that are stored."""
        for tensor in self._shared:
            for scale, columns in tensor.columns.items():
                self.granularity.spread(tensor.stored[scale], columns)

    def quantize(self) -> None:
        """Codes and effective weights from latent weights and scales."""
        if self._shared:
            self._spread()
        quantize = self.quantizer.quantize
        for tensor in self._tensors.values():
            quantize(tensor.latent, tensor.columns, tensor.codes, tensor.effective)

    def freeze(self) -> None:
        """Effective weights from scales and the codes that are."""
        self._spread()
        for tensor in self._tensors.values():
            self.quantizer.effective(tensor.codes, tensor.columns, tensor.effective)

    def values_of_codes(self, name: str, column: int) -> Array:
        """The effective weight of each code, from the smallest, in one column of one tensor [2·max_code + 1]."""
        tensor, high = self._tensors[name], self.quantizer.max_code
        scales = {scale: columns[column : column + 1] for scale, columns in tensor.columns.items()}
        codes = np.arange(-high, high + 1, dtype=tensor.codes.dtype)[:, np.newaxis]
        effective = np.empty_like(codes)
        self.quantizer.effective(codes, scales, effective)
        return effective[:, 0]

    def load(self, arrays: Arrays) -> None:
        """Take over scales and codes of a finished run."""
        self.assign_scales({name: arrays[name] for name in self.stored})
        self.codes.assign({name: arrays[f"codes.{name}"] for name in self.tensors})
        self.freeze()

    def assign_scales(self, scales: Arrays) -> None:
        """Copy values into the stored scales of the same names."""
        for name, array in scales.items():
            self.stored[name][...] = array

    def copied_scales(self) -> dict[str, dict[str, Array]]:
        """The scales of the columns as they are, by tensor and kind."""
        return {
            name: {scale: columns.copy() for scale, columns in tensor.columns.items()}
            for name, tensor in self._tensors.items()
        }

    def along_scales(self, start: Mapping[str, Arrays]) -> None:
        """Effective weights along which gradients of scales are declared: where scales moved to, from `start`."""
        self._spread()
        for name, tensor in self._tensors.items():
            self.quantizer.along_scales(tensor.latent, tensor.codes, start[name], tensor.columns, tensor.effective)

    def masks(self, shape: GradientShape, progress: Progress) -> dict[str, Array]:
        """m(w) of each quantized tensor; a tensor whose mask is 1 everywhere is left out."""
        return {name: tensor.mask for name, tensor in self._tensors.items() if self._shaped(tensor, shape, progress)}

    def _shaped(self, tensor: _Tensor, shape: GradientShape, progress: Progress) -> bool:
        """Write the mask of one tensor; False where it is 1 everywhere."""
        unit = self.quantizer.unit(tensor.latent, tensor.columns)
        return shape.mask(tensor.latent, unit, self._max_code, progress, tensor.mask)

    def unit(self, name: str) -> Array:
        """Width of a code's cell of one tensor [fan_out]."""
        self._spread()
        tensor = self._tensors[name]
        return self.quantizer.unit(tensor.latent, tensor.columns)

    def backward(self, gradient: Arrays) -> None:
        """Gradients of the scales, from those of the effective weights."""
        if not self._trains:
            return
        backward = self.quantizer.backward
        for name, tensor in self._tensors.items():
            backward(gradient[name], tensor.latent, tensor.codes, tensor.columns, tensor.dcolumns)
        for tensor in self._shared:
            for scale, dcolumns in tensor.dcolumns.items():
                self.granularity.gather(dcolumns, tensor.dtrained[scale])

    def shape_inplace(
        self, gradient: Arrays, shape: GradientShape, progress: Progress, places: Array, students: int
    ) -> None:
        """Turn gradients of effective weights into those of latent ones, for some of the students side by side."""
        for name, tensor in self._tensors.items():
            if self._shaped(tensor, shape, progress):
                multiply_columns_inplace(gradient[name], tensor.mask, places, tensor.latent.shape[1] // students)

    def project_inplace(self, progress: Progress) -> None:
        """Slot 7 of the quantizer."""
        if self._pulls:
            self._pull_inplace(progress)
        for tensor in self._tensors.values():
            self.quantizer.project_inplace(tensor.latent, tensor.stored, progress)

    def _pull_inplace(self, progress: Progress) -> None:
        """Draw latent weights, as the optimizer left them, to the effective ones that follow from them."""
        self.update()
        for tensor in self._tensors.values():
            self.quantizer.pull_inplace(tensor.latent, tensor.effective, progress)


def _pulls(quantizer: Quantizer) -> bool:
    """Whether a quantizer draws latent weights anywhere."""
    return type(quantizer).pull_inplace is not Quantizer.pull_inplace


class CodeFlips:
    """The share of each student's codes that are not what they were when that was asked before."""

    def __init__(self, codes: ParameterSet, students: int) -> None:
        self._codes, self._before, self._layout = codes, codes.copy(), codes.layout(students)
        self._own, self._flips = codes.size / students, np.zeros(students)

    def shares(self) -> Array:
        """float64 [students]; what the codes are now is what they will be compared with."""
        count_flips(self._codes.flat, self._before.flat, self._layout, self._flips)
        return self._flips / self._own
