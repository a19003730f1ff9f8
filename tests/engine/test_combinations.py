"""Which techniques the gradient check puts together: every two that can meet, in few combinations."""

from __future__ import annotations

import itertools

import pytest

from kdrun.engine.combinations import (
    CHECKED,
    _choices,
    all_combinations,
    covering,
    defaults,
    every_combination,
    is_meaningful,
    single_techniques,
    variants,
)
from kdrun.engine.probe import Probe
from kdrun.factors.activations.int8 import Int8
from kdrun.factors.contract import HyperParameter, Term
from kdrun.factors.discover import families, levels
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.quantizer.float import Float
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.factors.quantizer.twn import Twn
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.soft_targets.logit_mse import LogitMse
from kdrun.factors.temperature.ctkd import Ctkd
from kdrun.factors.temperature.fixed import Fixed
from kdrun.models.cfc import Cfc
from kdrun.models.discover import cells
from kdrun.models.mlp import Mlp
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.copy import Copy
from kdrun.tasks.discover import tasks
from kdrun.tasks.regimes import Regimes
from kdrun.tasks.sine import Sine

TASKS = [Probe(), *(cls.example() for cls in tasks().values() if issubclass(cls, TrainingTask))]
MODELS = [cell.example() for cell in cells().values()]
CHOICES = {
    "two by two": {"activations": [None, Int8()], "distillation": [None, Trajectory()]},
    "shapes of quantizers": {"gradient": [Ste(), Smoothstep()], "quantizer": [Float(), Ternary(), Twn()]},
    "three families": {
        "activations": [None, Int8()],
        "gradient": [Ste(), Smoothstep()],
        "quantizer": [Float(), Ternary(), Twn()],
    },
    "temperatures that some read": {
        "quantizer": [Float(), Ternary()],
        "soft_targets": [None, ForwardKl(), LogitMse()],
        "temperature": [Fixed(), Ctkd()],
    },
    "the reader comes last": {
        "temperature": [Ctkd(), Fixed()],
        "gradient": [Smoothstep(), Ste()],
        "quantizer": [Float(), Ternary()],
        "soft_targets": [None, ForwardKl()],
    },
    "temperatures that nobody reads": {
        "temperature": [Fixed(), Ctkd()],
        "quantizer": [Float(), Ternary(), Twn()],
        "activations": [None, Int8()],
        "soft_targets": [None, LogitMse()],
    },
    "one family": {"quantizer": [Float(), Ternary()]},
}
REAL = {
    f"{task.name}, {model.name}": _choices(task, model)
    for task in (Sine.example(), Regimes.example(), TASKS[[task.name for task in TASKS].index("digits")])
    for model in MODELS
    if task.has_time or not model.needs_time
}
every_choice = pytest.mark.parametrize("choices", [*CHOICES.values(), *REAL.values()], ids=[*CHOICES, *REAL])


def key(family, level):
    """A level by its family and all its parameters."""
    return family, repr(level)


def pairs_of(combination):
    """Every two levels of a combination."""
    return set(itertools.combinations([key(family, level) for family, level in combination.items()], 2))


def possible(choices):
    """Every meaningful combination of few levels, by brute force."""
    everything = (dict(zip(choices, levels, strict=True)) for levels in itertools.product(*choices.values()))
    return [one for one in everything if is_meaningful(one)]


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_every_pair_that_some_combination_has_is_covered(choices):
    """What brute force finds in any meaningful combination is in one that is chosen."""
    expected = set().union(*(pairs_of(one) for one in possible(choices)))
    got = set().union(*(pairs_of(one) for one in covering(choices)))
    assert got == expected


@pytest.mark.parametrize("choices", REAL.values(), ids=REAL)
def test_every_pair_of_real_levels_is_covered(choices):
    """Each two levels of different families that are meaningful together meet."""
    got = set().union(*(pairs_of(one) for one in covering(choices)))
    for first, second in itertools.combinations(choices, 2):
        for a, b in itertools.product(choices[first], choices[second]):
            if is_meaningful({first: a, second: b}):
                assert (key(first, a), key(second, b)) in got


@every_choice
def test_nothing_is_chosen_that_says_nothing(choices):
    """Every combination is meaningful, has a level of each family in its order, and is chosen once."""
    got = list(covering(choices))
    assert all(is_meaningful(one) for one in got)
    assert all(list(one) == list(choices) for one in got)
    assert all(level in choices[family] for one in got for family, level in one.items())
    assert len({repr(one) for one in got}) == len(got)


@every_choice
def test_choosing_is_deterministic(choices):
    """The same combinations in the same order."""
    assert [repr(one) for one in covering(choices)] == [repr(one) for one in covering(choices)]


def test_far_fewer_are_chosen_than_there_are():
    """About as many as the product of the two largest families, not of all."""
    for choices in REAL.values():
        sizes = sorted(map(len, choices.values()))
        assert sizes[-1] * sizes[-2] * 0.5 <= len(list(covering(choices))) <= 1.5 * sizes[-1] * sizes[-2]


@pytest.mark.parametrize(
    ("techniques", "expected"),
    [
        ({"quantizer": Float(), "gradient": Smoothstep()}, False),
        ({"quantizer": Float(), "gradient": Ste()}, True),
        ({"quantizer": Ternary(), "gradient": Smoothstep()}, True),
        ({"gradient": Smoothstep()}, True),
        ({"temperature": Ctkd()}, True),
        ({"temperature": Ctkd(), "soft_targets": None}, False),
        ({"temperature": Ctkd(), "soft_targets": LogitMse()}, False),
        ({"temperature": Ctkd(), "soft_targets": ForwardKl()}, True),
        ({"temperature": Fixed(), "soft_targets": None}, True),
        ({}, True),
    ],
)
def test_what_says_something_together(techniques, expected):
    """A float network has one shape, and a temperature needs a term that reads it, now or later."""
    assert is_meaningful(techniques) is expected


# ------------------------------------------------------------------------------------------------ all of it


@pytest.fixture(scope="module")
def everything():
    """What `kdrun gradcheck` checks."""
    return every_combination(TASKS, MODELS)


def checked_levels():
    """Every level that takes part in gradients as a key of the student section, by family and name."""
    return {
        (family.name, name)
        for family in families().values()
        if issubclass(family.contract, CHECKED)
        for name in levels(family.name)
    }


def test_every_level_that_takes_part_in_gradients_is_checked(everything):
    """Wherever a level of such a family is discovered, some combination has it."""
    got = {(family, level.name) for one in everything for family, level in one.techniques.items()}
    assert checked_levels() - got == set()
    assert len(got) > 25


def test_every_variant_of_a_level_is_checked(everything):
    """Each other word for a parameter that chooses among a few, too."""
    got = {repr(level) for one in everything for level in one.techniques.values()}
    expected = {repr(one) for family, name in checked_levels() for one in variants(levels(family)[name])}
    assert expected - got == set()
    assert len(expected) > len(checked_levels())


def test_every_two_techniques_meet_on_one_task(everything):
    """On the task and network with most to look at, pairs of all their levels are there, but for what no one reads."""
    host = Regimes.example()
    choices = _choices(host, MODELS[0])
    here = [one.techniques for one in everything if one.task == host and one.model == MODELS[0]]
    got = set().union(*(pairs_of({family: one.get(family) for family in choices}) for one in here))
    read = {family for family, found in choices.items() if any(isinstance(level, HyperParameter) for level in found)}
    for first, second in itertools.combinations([family for family in choices if family not in read], 2):
        for a, b in itertools.product(choices[first], choices[second]):
            if is_meaningful({first: a, second: b}):
                assert (key(first, a), key(second, b)) in got


def test_every_task_is_checked_on_every_network_that_suits_it(everything):
    """Its float teacher and a student, on sequences both kinds of network, on single examples one."""
    got = {(one.task.name, one.model.name, bool(one.techniques)) for one in everything}
    for task, model in itertools.product(TASKS, MODELS):
        suits = task.has_time or not model.needs_time
        for is_student in (False, True):
            assert ((task.name, model.name, is_student) in got) == suits


def test_no_combination_is_checked_twice(everything):
    """Neither by name nor by what it is."""
    assert len({one.name for one in everything}) == len(everything)
    assert len({repr(one) for one in everything}) == len(everything)


def test_techniques_look_only_at_what_the_task_gives(everything):
    """A term on logits is nowhere on a task without them."""
    for one in everything:
        given = {*one.task.heads, *one.model.layers_shown}
        for level in one.techniques.values():
            if isinstance(level, Term):
                assert level.want | level.teacher_want <= given


def test_a_float_teacher_is_checked_by_its_own_loss():
    """Of a task whose teachers learn more than its students."""
    first, *others = all_combinations(Regimes.example(), Cfc.example())
    assert (dict(first.techniques), first.loss().name) == ({}, "classes_and_valence")
    assert {one.loss().name for one in others} == {"cross_entropy"}


def test_single_techniques_change_one_family_each():
    """The default student, and every other level in the place of its family's default."""
    teacher, default, *others = single_techniques(Copy.example(), Mlp.example())
    assert teacher.techniques == {}
    for one in others:
        families_changed = [
            family
            for family in {*default.techniques, *one.techniques}
            if one.techniques.get(family) != default.techniques.get(family)
        ]
        assert len(families_changed) == 1


def test_defaults_are_two():
    """The float teacher and the default student."""
    got = [one.name for one in defaults(Sine.example(), Cfc.example())]
    assert got == ["sine, cfc: float teacher", "sine, cfc: ternary + ste"]
