"""CfC networks of many sizes, run through the core's kernels and through automatic differentiation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

from kdrun.core.cfc import block_rows, network_backward, network_forward, space_shapes
from kdrun.core.vector import width
from kdrun.core.views import cut, size_of

DT = 0.1
FIRST = np.array([0])


@dataclass(frozen=True)
class Sizes:
    """T steps, B sequences, D inputs, H hidden units, O outputs."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    outputs: int

    def __str__(self) -> str:
        return f"T{self.steps}-B{self.batch}-D{self.inputs}-H{self.hidden}-O{self.outputs}"


SIZES = (
    Sizes(1, 1, 1, 1, 1),
    Sizes(4, 1, 1, 1, 1),
    Sizes(1, 3, 2, 5, 2),
    Sizes(5, 1, 2, 16, 1),
    Sizes(3, 5, 1, 17, 2),
    Sizes(3, 6, 3, 33, 3),
    Sizes(7, 11, 1, 8, 1),
)
SMALL = tuple(sizes for sizes in SIZES if sizes.hidden <= 5)
LARGE = tuple(sizes for sizes in SIZES if sizes.hidden > 5)


def random_weights(sizes: Sizes, dtype: Any, seed: int = 5) -> dict[str, Any]:
    """Weights that float32 holds exactly, with time constants of both signs."""
    rng = np.random.default_rng(seed)
    depth = sizes.inputs + sizes.hidden
    weights = {
        "w": rng.uniform(-1.2, 1.2, (depth, 2 * sizes.hidden)) / np.sqrt(depth),
        "b": rng.uniform(-0.5, 0.5, 2 * sizes.hidden),
        "tau": rng.uniform(0.1, 1.5, sizes.hidden) * np.where(np.arange(sizes.hidden) % 2, 1.0, -1.0),
        "w_out": rng.uniform(-1.0, 1.0, (sizes.hidden, sizes.outputs)),
        "b_out": rng.uniform(-0.5, 0.5, sizes.outputs),
    }
    return {name: array.astype(np.float32).astype(dtype) for name, array in weights.items()}


def random_inputs(sizes: Sizes, dtype: Any, seed: int = 6) -> Any:
    """Inputs [T, B, D] that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    shape = (sizes.steps, sizes.batch, sizes.inputs)
    return rng.uniform(-1.0, 1.0, shape).astype(np.float32).astype(dtype)


def random_slopes(sizes: Sizes, dtype: Any, seed: int = 7) -> tuple[Any, Any]:
    """Gradients of some loss by the outputs [T, B, O] and, directly, by the hidden states [T, B, H]."""
    rng = np.random.default_rng(seed)
    dy = rng.uniform(-1.0, 1.0, (sizes.steps, sizes.batch, sizes.outputs))
    dhidden = rng.uniform(-1.0, 1.0, (sizes.steps, sizes.batch, sizes.hidden))
    return dy.astype(np.float32).astype(dtype), dhidden.astype(np.float32).astype(dtype)


class KernelCell:
    """The kernels with working space of their own."""

    def __init__(self, sizes: Sizes, weights: dict[str, Any], dtype: Any, block: int | None = None) -> None:
        self.sizes, self.weights = sizes, weights
        steps, batch, outputs = sizes.steps, sizes.batch, sizes.outputs
        self.units, self.block = width(sizes.hidden), block or block_rows(batch)
        shapes = space_shapes(steps, batch, sizes.inputs, self.units, outputs, self.block)
        self.spaces = np.zeros((1, size_of(shapes)), dtype)
        (
            self.w_rows, self.b_row, self.out_rows, self.decay, self.operands, self.gates, self.w_back, self.carry,
            self.dgates, self.dw_rows, self.db_row, self.dout_rows, self.ddecay,
        ) = cut(self.spaces[0], shapes)  # fmt: skip
        self.hidden, self.dhidden = (np.zeros((1, steps, batch, self.units), dtype) for _ in range(2))
        self.y = np.zeros((1, steps, batch, outputs), dtype)
        self.gradients = {name: np.full_like(array, np.nan) for name, array in weights.items()}

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Outputs [T, B, O] and the hidden states [T, B, H] of the true units."""
        network_forward(
            x, *(self.weights[name] for name in ("w", "b", "tau", "w_out", "b_out")), FIRST, DT, 0,
            self.sizes.steps, self.block, self.spaces, self.hidden, self.y,
        )  # fmt: skip
        return self.y[0].copy(), self.hidden[0, :, :, : self.sizes.hidden].copy()

    def backward(self, dy: Any, dhidden: Any) -> dict[str, Any]:
        """Gradients of every weight, in the layout of the weights, from those of the last forward pass."""
        sizes, gradients = self.sizes, self.gradients
        self.dhidden[0, :, :, : sizes.hidden] = dhidden
        network_backward(
            dy[np.newaxis], self.dhidden, self.weights["tau"], FIRST, DT, self.block, self.spaces,
            *(gradients[name] for name in ("w", "b", "tau", "w_out", "b_out")),
        )  # fmt: skip
        return gradients


def differentiable_outputs(weights: Any, x: Any, dt: float) -> tuple[Any, Any]:
    """y [T, B, O] and h [T, B, H] by the equations of the sine study, in numpy that autograd can follow."""
    hidden = weights["tau"].shape[0]
    decay = anp.exp(-dt / (anp.abs(weights["tau"]) + 1e-6))
    h, states = anp.zeros((x.shape[1], hidden)), []
    for step in x:
        a = anp.dot(anp.concatenate([step, h], axis=1), weights["w"]) + weights["b"]
        gate, candidate = 1.0 / (1.0 + anp.exp(-a[:, :hidden])), anp.tanh(a[:, hidden:])
        h = (1.0 - gate) * decay * h + gate * candidate
        states.append(h)
    states = anp.stack(states)
    return anp.dot(states, weights["w_out"]) + weights["b_out"], states


def automatic_gradients(weights: dict[str, Any], x: Any, dy: Any, dhidden: Any, dt: float = DT) -> dict[str, Any]:
    """Gradients of Σ dy·y + Σ dhidden·h by automatic differentiation, in float64."""

    def loss(candidate: dict[str, Any]) -> Any:
        y, h = differentiable_outputs(candidate, x, dt)
        return anp.sum(dy * y) + anp.sum(dhidden * h)

    return autograd.grad(loss)({name: array.astype(np.float64) for name, array in weights.items()})
