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
