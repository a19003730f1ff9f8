"""The same bits on every machine: one training of a tiny network as code for SSE2, AVX2 and the host."""

from __future__ import annotations

import pytest

from kdrun.core.jit import CACHE_FOLDER, JIT_DISABLED
from tests.core.processes import run_python

TRAIN = """
import hashlib
import numpy as np
from numba.core.registry import cpu_target
from kdrun.core.adam import adam_inplace
from tests.core.cells import KernelCell, Sizes, random_inputs, random_slopes, random_weights

sizes, digest = Sizes(6, 7, 1, 17, 1), hashlib.sha256()
weights, x = random_weights(sizes, np.float32), random_inputs(sizes, np.float32)
target = random_slopes(sizes, np.float32)[0]
cell = KernelCell(sizes, weights, np.float32)
moments = {name: np.zeros((4, -(-array.size // 16) * 16), np.float32) for name, array in weights.items()}
powers = {name: np.ones(2) for name in weights}
for step in range(1, 21):
    y, h = cell.forward(x)
    gradients = cell.backward(y - target, h)
    for name, array in weights.items():
        flat, gradient, mean, square = moments[name]
        flat[:array.size], gradient[:array.size] = array.ravel(), gradients[name].ravel()
        adam_inplace(flat, gradient, mean, square, powers[name], 0.5, 0.1, 0.9, 0.999, 1e-8)
        array[...] = flat[:array.size].reshape(array.shape)
        digest.update(array.tobytes())
print(digest.hexdigest(), cpu_target.target_context.codegen().magic_tuple()[1:])
"""


@pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")
def test_training_has_the_same_bits_on_every_kind_of_processor():
    """Twenty steps of forward, backward and Adam give one SHA-256 as SSE2, as AVX2 and as the host's own code."""
    got = [run_python(TRAIN, {})]
    for name in ("generic", "x86-64-v3"):
        environment = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "KDRUN_CACHE_DIR": str(CACHE_FOLDER / name)}
        got.append(run_python(TRAIN, environment))
    digests, targets = zip(*(text.split(maxsplit=1) for text in got), strict=True)
    assert len(set(targets)) == 3
    assert len(set(digests)) == 1


@pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")
def test_the_digest_tells_trainings_apart():
    """The digest covers what is trained: one more step gives another."""
    got = [run_python(TRAIN.replace("range(1, 21)", f"range(1, {end})"), {}).split()[0] for end in (21, 22)]
    assert got[0] != got[1]
