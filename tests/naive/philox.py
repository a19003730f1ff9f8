"""Philox4x32-10 in Python integers, from the paper by Salmon et al. (SC 2011)."""

from __future__ import annotations

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 2**32
ROUNDS = 10


def philox4x32(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Four words of 32 bits from a counter of four and a key of two."""
    for number in range(ROUNDS):
        counter = _round(counter, tuple((k + number * weyl) % WORD for k, weyl in zip(key, WEYL, strict=True)))
    return counter


def _round(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    high_0, low_0 = divmod(MULTIPLIERS[0] * counter[0], WORD)
    high_1, low_1 = divmod(MULTIPLIERS[1] * counter[2], WORD)
    return (high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0)


def words(key: int, step: int, count: int) -> list[int]:
    """The first `count` words of one step of a stream: counter (block, step), low halves first."""
    drawn: list[int] = []
    for block in range(-(-count // 4)):
        counter = (block % WORD, block // WORD, step % WORD, step // WORD)
        drawn += philox4x32(counter, (key % WORD, key // WORD))
    return drawn[:count]
