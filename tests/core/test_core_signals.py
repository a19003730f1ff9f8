"""Signals against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.signals import lorenz_orbits, sine_sums, sine_waves
from tests.core.comparing import assert_bits, unchanged
from tests.naive import signals as naive


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (4, 16), (3, 17), (50, 3)])
def test_waves_are_those_of_the_equation(steps, batch, dtype, rng):
    """signal[t, b] = sin(t·dt + φ_b), to the rounding of its argument."""
    phases = rng.uniform(0, 2 * np.pi, batch).astype(dtype)
    got = np.full((steps, batch), np.nan, dtype)
    unchanged({"phases": phases}, lambda: sine_waves(phases, 0.1, got))
    expected = naive.sine_waves(phases, 0.1, steps)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if dtype == np.float32 else 3e-15)


def test_a_wave_does_not_depend_on_its_neighbours(dtype, rng):
    """A phase gives the same bits in any batch."""
    phases = rng.uniform(0, 2 * np.pi, 19).astype(dtype)
    together = np.empty((5, 19), dtype)
    sine_waves(phases, 0.1, together)
    for b in range(19):
        alone = np.empty((5, 1), dtype)
        sine_waves(phases[b : b + 1].copy(), 0.1, alone)
        assert_bits(alone[:, 0], together[:, b])


FREQUENCIES = [1.0, 2.0**0.5, 3.0]


@pytest.mark.parametrize("frequencies", [FREQUENCIES[:1], FREQUENCIES], ids=len)
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (4, 16), (3, 17)])
def test_sums_are_those_of_the_equation(steps, batch, frequencies, dtype, rng):
    """signal[t, b] = Σ_k sin(ω_k·(start_b + t·dt)), to the rounding of the arguments."""
    starts, given = rng.uniform(0, 9, batch).astype(dtype), np.array(frequencies)
    got = np.full((steps, batch), np.nan, dtype)
    unchanged({"starts": starts, "given": given}, lambda: sine_sums(starts, 0.1, given, got))
    expected = naive.sine_sums(starts, 0.1, frequencies, steps)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 if dtype == np.float32 else 3e-14)


def test_a_sum_does_not_depend_on_its_neighbours(dtype, rng):
    """A start time gives the same bits in any batch."""
    starts, given = rng.uniform(0, 9, 19).astype(dtype), np.array(FREQUENCIES)
    together = np.empty((5, 19), dtype)
    sine_sums(starts, 0.1, given, together)
    for b in range(19):
        alone = np.empty((5, 1), dtype)
        sine_sums(starts[b : b + 1].copy(), 0.1, given, alone)
        assert_bits(alone[:, 0], together[:, b])


@pytest.mark.parametrize("burn_in", [0, 1, 30])
@pytest.mark.parametrize(("steps", "every", "batch"), [(1, 3, 1), (4, 1, 16), (3, 10, 17)])
def test_orbits_are_those_of_the_method(steps, every, batch, burn_in, rng):
    """Runge–Kutta's four slopes, point by point; few enough steps for chaos not to show the rounding."""
    starts = rng.uniform(-10, 10, (3, batch)) + np.array([[0], [0], [25]])
    got = np.full((steps, 3, batch), np.nan)
    unchanged({"starts": starts}, lambda: lorenz_orbits(starts, 0.01, burn_in, every, got))
    for b in range(batch):
        expected = naive.lorenz_orbit(starts[:, b], 0.01, burn_in, every, steps)
        np.testing.assert_allclose(got[:, :, b], expected, rtol=0, atol=1e-11)


def test_an_orbit_does_not_depend_on_its_neighbours(rng):
    """A starting point gives the same bits in any batch."""
    starts = rng.uniform(-10, 10, (3, 19))
    together = np.empty((4, 3, 19))
    lorenz_orbits(starts, 0.01, 50, 10, together)
    for b in range(19):
        alone = np.empty((4, 3, 1))
        lorenz_orbits(starts[:, b : b + 1].copy(), 0.01, 50, 10, alone)
        assert_bits(alone[:, :, 0], together[:, :, b])
