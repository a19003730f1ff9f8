"""How near the kernels of the core come to what one core can do, in float32.

The ceiling is a loop of independent chains of fused multiply-adds that never leaves registers. Of a kernel only its
matrix products are counted, 2 FLOP for a multiply-add: a cell's sigmoids and the optimizer come on top, uncounted.
All uses of kernel signatures by benchmarks stand here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdrun.core.jit import kernel
from kdrun.core.matmul import outer_product_inplace, product_inplace
from kdrun.core.random import Stream
from kdrun.core.vector import LANES, fma, load, splat_like, store
from kdrun.models.cfc import CfcNetwork

STEPS, BATCH = 50, 10
CHAINS = 12
WIDTHS = (16, 32)
AT_LEAST = 0.05


@kernel
def multiply_add_chains(repeats, out):
    """`repeats` times twelve independent vector multiply-adds; out float32 [16], overwritten with their sum."""
    keep, add = splat_like(0.999, out), splat_like(0.001, out)
    a = b = c = d = e = f = g = h = i = j = k = m = load(out, 0)
    for _ in range(repeats):
        a, b, c, d = fma(a, keep, add), fma(b, keep, add), fma(c, keep, add), fma(d, keep, add)
        e, f, g, h = fma(e, keep, add), fma(f, keep, add), fma(g, keep, add), fma(h, keep, add)
        i, j, k, m = fma(i, keep, add), fma(j, keep, add), fma(k, keep, add), fma(m, keep, add)
    store(out, 0, a + b + c + d + e + f + g + h + i + j + k + m)


@kernel
def repeat_product(repeats, x, w, out):
    """One call from Python for many products: a call costs more than a small product."""
    for _ in range(repeats):
        product_inplace(x, w, out)


@kernel
def repeat_outer_product(repeats, x, d, out):
    """The same for outer products."""
    for _ in range(repeats):
        outer_product_inplace(x, d, out)


def measure() -> dict[str, Any]:
    """GFLOP/s: `peak`, and by kernel and width; with the FLOP of the matrix products of one epoch by width."""
    found: dict[str, Any] = {"peak": peak(), "kernels": {}, "epoch_flop": {}}
    for hidden in WIDTHS:
        found["epoch_flop"][hidden] = sum(flop for _, flop, _ in epoch_kernels(hidden))
        for name, flop, call in (*epoch_kernels(hidden), *product_kernels(hidden)):
            found["kernels"].setdefault(name, {})[hidden] = rate(flop, call)
    return found


def peak() -> float:
    """GFLOP/s of the chains."""
    out = np.zeros(LANES, np.float32)
    return rate(2.0 * LANES * CHAINS, lambda repeats: multiply_add_chains(repeats, out), repeats=100_000)


def rate(flop: float, call: Callable[[int], object], repeats: int = 1) -> float:
    """GFLOP/s of `call(repeats)`, `flop` each: repeats are doubled until they take long enough to be timed."""
    call(1)
    while True:
        start = time.perf_counter()
        call(repeats)
        seconds = time.perf_counter() - start
        if seconds >= AT_LEAST:
            return flop * repeats / seconds / 1e9
        repeats *= 2


def epoch_kernels(hidden: int) -> Iterator[tuple[str, float, Callable[[int], object]]]:
    """The passes of an epoch over time: name, FLOP of their products, and a function that makes them n times."""
    network = CfcNetwork(1, hidden, {"prediction": 1}, 0.1, np.float32)
    weights = network.initial_parameters(Stream(1, 1, "roofline"), np.float32)
    x, slope, nothing = drawn(STEPS, BATCH, 1), {"prediction": drawn(STEPS, BATCH, 1)}, frozenset[str]()
    gradients = weights.like()

    def forward(repeats: int) -> None:
        for _ in range(repeats):
            network.forward(weights, x, nothing)

    def backward(repeats: int) -> None:
        for _ in range(repeats):
            network.backward(weights, x, slope, gradients)

    forward(1)
    product = 2.0 * STEPS * BATCH * (hidden + 1) * 2 * hidden
    yield "forward pass", product, forward
    yield "backward pass", product + 2.0 * (STEPS - 1) * BATCH * 2 * hidden * hidden, backward


def product_kernels(hidden: int) -> Iterator[tuple[str, float, Callable[[int], object]]]:
    """The products by themselves: that of one step, and that of the weight gradient of all steps."""
    depth, rows = hidden + 1, STEPS * BATCH
    x, w, out = drawn(BATCH, depth), drawn(depth, 2 * hidden), zeros(BATCH, 2 * hidden)
    yield "product", 2.0 * BATCH * depth * 2 * hidden, lambda repeats: repeat_product(repeats, x, w, out)
    operands, d, dw = drawn(rows, depth), drawn(rows, 2 * hidden), zeros(depth, 2 * hidden)
    flop = 2.0 * rows * depth * 2 * hidden
    yield "outer product", flop, lambda repeats: repeat_outer_product(repeats, operands, d, dw)


def zeros(*shape: int) -> Any:
    """A float32 array."""
    return np.zeros(shape, np.float32)


def drawn(*shape: int) -> Any:
    """A float32 array of small numbers."""
    return np.random.default_rng(1).uniform(-0.3, 0.3, shape).astype(np.float32)


if __name__ == "__main__":
    print(measure())
