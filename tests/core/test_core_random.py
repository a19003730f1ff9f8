"""Random streams: known answers of the generator, and what makes streams independent and portable."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from kdrun.core.random import Stream, philox_fill, uniform_from_words
from tests.core.comparing import assert_bits
from tests.naive.philox import philox4x32, words

# Known answers of the authors' Random123 library: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def drawn(key, step, count):
    """Words by the kernel."""
    got = np.empty(count, np.uint32)
    philox_fill(np.uint64(key), np.uint64(step), got)
    return got


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_reference_gives_known_answers(counter, key, expected):
    """The naive generator gives the vectors that the algorithm's authors publish."""
    got = philox4x32(counter, key)
    assert got == expected


def test_the_first_known_answer_is_a_stream_of_the_kernel():
    """Key 0, step 0 begins with the published words of counter 0."""
    got = drawn(0, 0, 4)
    assert tuple(got) == KNOWN[0][2]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 33])
@pytest.mark.parametrize("step", [0, 1, 2**32 - 1, 2**32, 2**63 + 5])
def test_words_are_those_of_the_reference(count, step):
    """Keys and steps of 64 bits, and counts that end inside a block, give the words of the reference."""
    key = 0x299F31D0A4093822
    got = drawn(key, step, count)
    assert list(got) == words(key, step, count)


@pytest.mark.parametrize("key", [0, 2**64 - 1, 0x299F31D0A4093822])
def test_every_bit_of_the_key_counts(key):
    """Flipping any one bit of the key changes the words."""
    got = {tuple(drawn(key ^ (1 << bit), 7, 4)) for bit in range(64)}
    assert len(got | {tuple(drawn(key, 7, 4))}) == 65


def test_a_longer_draw_begins_with_the_shorter():
    """How many numbers are drawn changes none of them."""
    stream = Stream(1, 2, "phases")
    got = drawn(stream.key, 3, 100)
    np.testing.assert_array_equal(got[:37], drawn(stream.key, 3, 37))


def test_a_step_has_the_same_numbers_whatever_was_drawn_before():
    """Nothing is consumed: steps may be drawn in any order, or again."""
    stream = Stream(1, 2, "phases")
    forwards = [drawn(stream.key, step, 5) for step in range(4)]
    backwards = [drawn(stream.key, step, 5) for step in reversed(range(4))]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_a_key_is_the_hash_that_is_written_down():
    """The key is the first eight bytes of SHA-256 of seed, replicate and purpose, little end first."""
    got = int(Stream(42, 3, "init").key)
    digest = hashlib.sha256(b"kdrun:42:3:init").digest()
    assert got == sum(byte << (8 * i) for i, byte in enumerate(digest[:8]))


def test_streams_of_different_names_share_nothing():
    """Seed, replicate, purpose, step and child each give numbers of their own."""
    base = Stream(1, 1, "init")
    streams = [
        base,
        Stream(2, 1, "init"),
        Stream(1, 2, "init"),
        Stream(1, 1, "phases"),
        base.child("w"),
        base.child("b"),
    ]
    draws = [tuple(drawn(stream.key, step, 8)) for stream in streams for step in range(3)]
    assert len(set(draws)) == len(draws)
    assert len({word for draw in draws for word in draw}) == 8 * len(draws)


def test_a_child_is_a_purpose_below_its_own():
    """A child is the stream of the longer purpose."""
    got = Stream(1, 2, "init").child("w")
    assert got == Stream(1, 2, "init/w")


def test_streams_are_uncorrelated():
    """Numbers of two replicates, and of two steps, are as uncorrelated as chance allows."""
    first = Stream(9, 0, "phases").uniform(0, (4000,), -1.0, 1.0, "float64")
    others = [Stream(9, 1, "phases").uniform(0, (4000,), -1.0, 1.0, "float64")]
    others += [Stream(9, 0, "phases").uniform(1, (4000,), -1.0, 1.0, "float64")]
    got = [abs(np.corrcoef(first, other)[0, 1]) for other in others]
    assert max(got) < 4 / np.sqrt(4000)


def test_numbers_fill_their_range_evenly():
    """A hundred bins of 10,000 numbers pass a chi-squared test at four standard deviations."""
    numbers = Stream(5, 0, "phases").uniform(0, (10_000,), 0.0, 1.0, "float32")
    counts = np.histogram(numbers, bins=100, range=(0.0, 1.0))[0]
    got = ((counts - 100.0) ** 2 / 100.0).sum()
    assert abs(got - 99) < 4 * np.sqrt(2 * 99)


def test_both_precisions_see_the_same_numbers():
    """From 0 to 1, float32 and float64 hold exactly the same numbers of 24 bits."""
    stream = Stream(1, 2, "phases")
    single = stream.uniform(0, (1000,), 0.0, 1.0, "float32")
    double = stream.uniform(0, (1000,), 0.0, 1.0, "float64")
    assert_bits(single.astype(np.float64), double)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_are_made_as_written(kind):
    """out = low + (high − low)·(word >> 8)·2⁻²⁴, each operation rounded to the dtype."""
    raw = np.array([0, 255, 256, 0x80000000, 0xFFFFFFFF, 0x12345678], np.uint32)
    got = np.empty(raw.size, kind)
    uniform_from_words(raw, -0.3, 0.7, 0.7, got)
    number = np.dtype(kind).type
    steps = [number(int(word) >> 8) * number(2.0**-24) for word in raw]
    assert_bits(got, np.array([number(-0.3) + (number(0.7) - number(-0.3)) * step for step in steps]))


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (0.0, 2 * np.pi), (1.0, 2.0), (100.0, 101.0)]
)
def test_numbers_stay_within_their_range(low, high, kind):
    """The smallest word gives the lower end, and the largest a number below the upper end: [low, high)."""
    got = np.empty(2, kind)
    largest = float(np.nextafter(np.dtype(kind).type(high), np.dtype(kind).type(low)))
    uniform_from_words(np.array([0, 0xFFFFFFFF], np.uint32), low, high, largest, got)
    assert got[0] == np.dtype(kind).type(low)
    assert got[1] < np.dtype(kind).type(high)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 3)])
def test_numbers_come_in_the_shape_that_is_asked_for(shape):
    """A shape is filled in the order of memory."""
    stream = Stream(1, 2, "phases")
    got = stream.uniform(4, shape, 0.0, 1.0, "float64")
    assert got.shape == shape
    assert_bits(got.reshape(-1), stream.uniform(4, (max(got.size, 1),), 0.0, 1.0, "float64"))


def test_words_are_only_read():
    """Making floats leaves the raw integers alone."""
    raw = drawn(5, 0, 9)
    before = raw.copy()
    uniform_from_words(raw, 0.0, 1.0, 1.0, np.empty(9))
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize("first", [0, 7, 2**32 - 2])
def test_steps_drawn_together_have_the_bits_of_each_alone(first, dtype):
    """Five steps in one call are the numbers of five calls, also where a step passes 2³² and a block ends early."""
    stream, shape = Stream(3, 1, "phases"), (3, 7)
    got = stream.uniform_steps(first, 5, shape, -0.5, 2.0, dtype)
    assert got.shape == (5, *shape)
    for place in range(5):
        assert_bits(got[place], stream.uniform(first + place, shape, -0.5, 2.0, dtype))


@pytest.mark.parametrize(("steps", "shape"), [(0, (3,)), (2, (0,)), (2, ())], ids=str)
def test_no_steps_no_numbers_and_one_number_are_drawn_too(steps, shape):
    """Shapes without elements, and the shape of one number."""
    got = Stream(3, 1, "phases").uniform_steps(4, steps, shape, 0.0, 1.0, "float32")
    assert got.shape == (steps, *shape)
    assert ((got >= 0.0) & (got < 1.0)).all()
