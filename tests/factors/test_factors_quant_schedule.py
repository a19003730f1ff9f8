"""Schedules of quantizers: a battery over every level, and each by hand."""

from __future__ import annotations

import itertools

import pytest

from kdrun.factors.contract import Progress, QuantizationSchedule
from kdrun.factors.discover import levels
from kdrun.factors.quant_schedule.direct import Direct
from kdrun.factors.quant_schedule.post_training import PostTraining
from kdrun.factors.quant_schedule.progressive import Progressive
from tests.factors.discovered import battery


def names_of(level, steps, final="twn"):
    """The quantizer of each step, and of what is left."""
    return [level.quantizer_name(Progress(step, steps), final) for step in range(steps + 1)]


@battery(QuantizationSchedule)
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_training_ends_with_the_studys_quantizer(level, steps):
    """Whatever came before, what is left is what the study asks for."""
    assert names_of(level, steps)[-1] == "twn"


@battery(QuantizationSchedule)
def test_every_quantizer_is_named_before(level):
    """`quantizer_names` has each one that is ever in force, in order, and quantizers that there are."""
    got = [name for name, _ in itertools.groupby(names_of(level, 600))]
    assert tuple(got) == level.quantizer_names("twn")
    assert set(got) <= set(levels("quantizer"))


def test_direct_names_the_studys_quantizer_alone():
    """From the first step on."""
    assert names_of(Direct(), 3) == ["twn"] * 4


def test_progressive_takes_equal_thirds():
    """Of nine steps three each, and the last one is what is left."""
    assert names_of(Progressive(), 9) == ["int8"] * 3 + ["int4"] * 3 + ["twn"] * 4


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, ["int8"]), (2, ["int8", "int4"]), (4, ["int8", "int8", "int4", "twn"])]
)
def test_progressive_thirds_of_few_steps(steps, expected):
    """A third begins at the first step that is not before it."""
    assert names_of(Progressive(), steps)[:-1] == expected


def test_post_training_is_float_until_the_very_end():
    """The last step is still taken in full precision."""
    assert names_of(PostTraining(), 3) == ["float", "float", "float", "twn"]
