"""Adam, over flat buffers."""

from __future__ import annotations

from kdrun.core.elementary import without_tiny
from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, fma, load, splat_like, square_root, store


@kernel
def adam_inplace(parameters, gradient, mean, square, powers, factor, lr, beta1, beta2, epsilon):
    """One step of Adam, the t-th.

    Equation, with g = factor·gradient and powers = (β₁ᵗ, β₂ᵗ), kept as products: a power function differs by machine
        mean ← β₁·mean + (1 − β₁)·g     square ← β₂·square + (1 − β₂)·g²
        both without what is tiny, which moves nothing beside epsilon: without gradients they would end subnormal
        parameters ← parameters − lr·(mean/(1 − β₁ᵗ))/(√(square/(1 − β₂ᵗ)) + epsilon)
        lr/(1 − β₁ᵗ) and 1/(1 − β₂ᵗ) are computed in float64 and rounded once, so that a number costs one division.
    Parameters
        parameters, gradient, mean, square: flat, one dtype, length a multiple of 16; all but gradient change in place.
        powers: float64 [2], those of step t − 1; multiplied by β₁ and β₂. factor: what the gradient is multiplied by.
    Source
        Kingma and Ba, "Adam", ICLR 2015, algorithm 1.
    """
    scale, floor = splat_like(factor, mean), splat_like(epsilon, mean)
    keep1, take1 = splat_like(beta1, mean), splat_like(1.0 - beta1, mean)
    keep2, take2 = splat_like(beta2, mean), splat_like(1.0 - beta2, mean)
    powers[0] *= beta1
    powers[1] *= beta2
    rate, unbias2 = splat_like(lr / (1.0 - powers[0]), mean), splat_like(1.0 / (1.0 - powers[1]), mean)
    for i in range(0, parameters.size, LANES):
        g = scale * load(gradient, i)
        m = without_tiny(fma(keep1, load(mean, i), take1 * g))
        v = without_tiny(fma(keep2, load(square, i), take2 * g * g))
        store(mean, i, m)
        store(square, i, v)
        step = rate * m / (square_root(unbias2 * v) + floor)
        store(parameters, i, load(parameters, i) - step)
