"""Random streams: a counter-based generator keyed by (seed, replicate, purpose).

Every number is a pure function of its key and its position, so neither the order of runs nor the number of workers
can change it. The generator is Philox4x32-10; its raw integers become floats here and nowhere else.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kdrun.core.jit import inlined, kernel

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_ROUNDS = 10


@inlined
def _philox_block(counter_0, counter_1, counter_2, counter_3, key_0, key_1):
    """Ten rounds over one counter; all words are uint64 that hold 32 bits."""
    for _ in range(_ROUNDS):
        product_0 = counter_0 * _MULTIPLIER_0
        product_1 = counter_2 * _MULTIPLIER_1
        counter_0, counter_1, counter_2, counter_3 = (
            (product_1 >> _HALF) ^ counter_1 ^ key_0,
            product_1 & _LOW,
            (product_0 >> _HALF) ^ counter_3 ^ key_1,
            product_0 & _LOW,
        )
        key_0 = (key_0 + _WEYL_0) & _LOW
        key_1 = (key_1 + _WEYL_1) & _LOW
    return counter_0, counter_1, counter_2, counter_3


@inlined
def philox_fill(key, step, words):
    """Fill `words` with the raw integers of one step of a stream.

    Equation
        words[4i .. 4i+3] = Philox4x32-10(counter = (i mod 2³², i div 2³², step mod 2³², step div 2³²), key)
    Parameters
        key: uint64, the stream's key. step: uint64, position of the stream. words: uint32 [n], overwritten.
    Source
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
    """
    key_0, key_1 = key & _LOW, key >> _HALF
    step_0, step_1 = step & _LOW, step >> _HALF
    for block in range((words.size + 3) // 4):
        index = np.uint64(block)
        drawn = _philox_block(index & _LOW, index >> _HALF, step_0, step_1, key_0, key_1)
        start = 4 * block
        for lane in range(min(4, words.size - start)):
            words[start + lane] = np.uint32(drawn[lane])


@inlined
def uniform_from_words(words, low, high, largest, out):
    """Numbers in [low, high) from raw integers.

    Equation
        out = min(low + (high − low)·(words >> 8)·2⁻²⁴, largest), every operation rounded to the dtype of `out`
    Parameters
        words: uint32 [n]. low, high: numbers. largest: the number just below `high`, for the sum may round up to it.
        out: float32 or float64 [n], overwritten.
    """
    kind = out.dtype.type
    start, width, unit, last = kind(low), kind(high) - kind(low), kind(2.0**-24), kind(largest)
    for i in range(out.size):
        out[i] = min(start + width * (kind(words[i] >> np.uint32(8)) * unit), last)


@kernel
def uniform_steps(key, first, words, low, high, largest, out):
    """Numbers in [low, high) for consecutive steps of a stream: `philox_fill`, then `uniform_from_words`, row by row.

    Parameters
        key: uint64. first: uint64, the step of the first row. words: uint32 [S, n], overwritten. low, high, largest: as
        above. out: float32 or float64 [S, n], overwritten.
    """
    for step in range(words.shape[0]):
        philox_fill(key, first + np.uint64(step), words[step])
        uniform_from_words(words[step], low, high, largest, out[step])


@dataclass(frozen=True)
class Stream:
    """The random numbers of one purpose in one replicate. Nothing is consumed: a step has its own numbers for ever."""

    seed: int
    replicate: int
    purpose: str

    @cached_property
    def key(self) -> np.uint64:
        """64 bits that no other (seed, replicate, purpose) shares, but for a chance of 2⁻⁶⁴."""
        text = f"kdrun:{self.seed}:{self.replicate}:{self.purpose}"
        return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))

    def child(self, purpose: str) -> Stream:
        """A stream for a part of this purpose."""
        return Stream(self.seed, self.replicate, f"{self.purpose}/{purpose}")

    def uniform(self, step: int, shape: tuple[int, ...], low: float, high: float, dtype: DTypeLike) -> NDArray[Any]:
        """Numbers in [low, high) with 24 random bits each, so that both precisions see the same ones."""
        return self.uniform_steps(step, 1, shape, low, high, dtype).reshape(shape)

    def uniform_steps(
        self, first: int, steps: int, shape: tuple[int, ...], low: float, high: float, dtype: DTypeLike
    ) -> NDArray[Any]:
        """The numbers of `steps` steps from `first` on, [steps, *shape]: each step has those that it has alone."""
        count = math.prod(shape)
        words, out = np.empty((steps, count), np.uint32), np.empty((steps, count), dtype)
        kind = out.dtype.type
        largest = float(np.nextafter(kind(high), kind(low)))
        uniform_steps(self.key, np.uint64(first), words, low, high, largest, out)
        return out.reshape(steps, *shape)


def outside_seed(seed: int, replicate: int) -> int:
    """The seed, 0 ≤ s < 2³², of random numbers that are not kdrun's own, such as those of a user's training code.

    Replicates up to 2³² of one study have different seeds: four Feistel rounds on the halves of the replicate's number,
    (l, r) ← (r, l ⊕ h(round, r)), h the first 16 bits of a SHA-256, are a permutation (Luby and Rackoff, 1988).
    """
    left, right = divmod(replicate % 2**32, 2**16)
    for step in range(4):
        mixed = hashlib.sha256(f"kdrun:{seed}:outside:{step}:{right}".encode()).digest()
        left, right = right, left ^ int.from_bytes(mixed[:2], "little")
    return left * 2**16 + right
