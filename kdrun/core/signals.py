"""Signals that tasks are made of, in portable bits."""

from __future__ import annotations

import numpy as np

from kdrun.core.elementary import sin
from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import LANES, load_part, splat_like, store_part


@inlined
def sine_waves(phases, dt, signal):
    """Sampled sine waves.

    Equation
        signal[t, b] = sin(t·dt + phases[b]), the product and the sum rounded to the dtype
    Parameters
        phases [B], in radians. dt: number. signal [T, B], overwritten. Arguments must stay within ±2¹³.
    """
    steps, batch = signal.shape
    for t in range(steps):
        angle = splat_like(t, phases) * splat_like(dt, phases)
        for b in range(0, batch, LANES):
            count = min(LANES, batch - b)
            store_part(signal, (t, b), sin(load_part(phases, b, count) + angle), count)


@kernel
def sine_wave_batches(phases, dt, signals):
    """`sine_waves` for several batches: phases [S, B], signals [S, T, B], overwritten."""
    for s in range(phases.shape[0]):
        sine_waves(phases[s], dt, signals[s])


@inlined
def sine_sums(starts, dt, frequencies, signal):
    """Sampled sums of sines of amplitude 1.

    Equation
        signal[t, b] = Σ_k sin((starts[b] + t·dt)·frequencies[k]), k in order, products and sums rounded to the dtype
    Parameters
        starts [B], times. dt: number. frequencies [K], K ≥ 1, in radians per unit of time. signal [T, B], overwritten.
        Arguments of the sines must stay within ±2¹³.
    """
    steps, batch = signal.shape
    for t in range(steps):
        passed = splat_like(t, starts) * splat_like(dt, starts)
        for b in range(0, batch, LANES):
            count = min(LANES, batch - b)
            time = load_part(starts, b, count) + passed
            total = sin(time * splat_like(frequencies[0], starts))
            for k in range(1, frequencies.size):
                total = total + sin(time * splat_like(frequencies[k], starts))
            store_part(signal, (t, b), total, count)


@kernel
def sine_sum_batches(starts, dt, frequencies, signals):
    """`sine_sums` for several batches: starts [S, B], signals [S, T, B], overwritten."""
    for s in range(starts.shape[0]):
        sine_sums(starts[s], dt, frequencies, signals[s])


@inlined
def _lorenz_slope(x, y, z, sigma, rho, beta):
    """(ẋ, ẏ, ż) of the Lorenz system."""
    return sigma * (y - x), x * (rho - z) - y, x * y - beta * z


@inlined
def _moved(point, slope, time):
    """point + time·slope, for three coordinates."""
    return point[0] + time * slope[0], point[1] + time * slope[1], point[2] + time * slope[2]


@inlined
def _lorenz_step(x, y, z, dt, like):
    """One step of the classical Runge–Kutta method for all lanes."""
    sigma, rho, beta = splat_like(10.0, like), splat_like(28.0, like), splat_like(8.0 / 3.0, like)
    whole, half = splat_like(dt, like), splat_like(0.5 * dt, like)
    two, sixth = splat_like(2.0, like), splat_like(dt / 6.0, like)
    first = _lorenz_slope(x, y, z, sigma, rho, beta)
    u, v, w = _moved((x, y, z), first, half)
    second = _lorenz_slope(u, v, w, sigma, rho, beta)
    u, v, w = _moved((x, y, z), second, half)
    third = _lorenz_slope(u, v, w, sigma, rho, beta)
    u, v, w = _moved((x, y, z), third, whole)
    fourth = _lorenz_slope(u, v, w, sigma, rho, beta)
    return (
        x + sixth * ((first[0] + fourth[0]) + two * (second[0] + third[0])),
        y + sixth * ((first[1] + fourth[1]) + two * (second[1] + third[1])),
        z + sixth * ((first[2] + fourth[2]) + two * (second[2] + third[2])),
    )


@kernel
def lorenz_orbits(starts, dt, burn_in, every, orbits):
    """Orbits of the Lorenz system, sampled after a burn-in.

    Equation
        ẋ = 10(y − x)     ẏ = x(28 − z) − y     ż = xy − (8/3)z
        One step is that of the classical Runge–Kutta method of order 4:
            p + (dt/6)·((k₁ + k₄) + 2(k₂ + k₃)), every product and sum rounded in the written order, without fma
        orbits[0] is where `burn_in` steps from the starting points lead, orbits[t] is `every` steps after orbits[t − 1]
    Parameters
        starts, float64 [3, N]: x, y, z of N starting points. dt: number > 0. burn_in ≥ 0 and every ≥ 1: integers.
        orbits, float64 [T, 3, N], overwritten.
    Errors
        None here: dt that is too large for the method gives numbers without bound. The task bounds it.
    Source
        Lorenz, Deterministic nonperiodic flow, J. Atmos. Sci. 20, 1963, equations 25 to 27.
    """
    for n in range(0, starts.shape[1], LANES):
        count = min(LANES, starts.shape[1] - n)
        x, y, z = load_part(starts, (0, n), count), load_part(starts, (1, n), count), load_part(starts, (2, n), count)
        for t in range(orbits.shape[0]):
            for _ in range(every if t else burn_in):
                x, y, z = _lorenz_step(x, y, z, dt, starts)
            store_part(orbits, (t, 0, n), x, count)
            store_part(orbits, (t, 1, n), y, count)
            store_part(orbits, (t, 2, n), z, count)


@kernel
def standardise(values, known, out):
    """Values in standard deviations from the mean, both of the first `known` values alone.

    Equation
        mean = (1/k) Σ_i values[i]     deviation = √((1/k) Σ_i (values[i] − mean)²)     out = (values − mean)/deviation
        The sums run over i < k = known, in order.
    Parameters
        values, float64 [n]. known: integer, 1 ≤ known ≤ n. out, float64 [n], overwritten.
    Errors
        None here: where the known values are equal, or too large for their squares, `out` is not finite.
    """
    total = 0.0
    for i in range(known):
        total += values[i]
    mean = total / known
    squares = 0.0
    for i in range(known):
        distance = values[i] - mean
        squares += distance * distance
    deviation = np.sqrt(squares / known)
    for i in range(values.size):
        out[i] = (values[i] - mean) / deviation
