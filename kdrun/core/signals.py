"""Signals that tasks are made of, in portable bits."""

from __future__ import annotations

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
        signal[t, b] = Σ_k sin((starts[b] + t·dt)·frequencies[k]), k in order, all products and sums rounded to the dtype
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
