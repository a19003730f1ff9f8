"""What is registered of a study, what counts as a change of it, and which claims a change turns exploratory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from kdrun.study.load import study_text
from kdrun.study.register import CRITERIA, HYPOTHESES, Registration, parts_of
from kdrun.study.schema import Study

Load = Callable[..., Study]

STUDY = """\
schema: 1
study: registered
title: A title
task:    {name: sine, steps: 50}
student: {epochs: 100}
factors:
  gradient: [ste, {name: smoothstep, label: shaped, beta_end: 4}]
  width: {sets: model.hidden, levels: [16, 32]}
  rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2, 1e-1]}
replicates: 3
seed: 7
responses:
  - {name: eval_mse, scale: log10, better: lower, diverged: {value: 0.5}}
  - {name: train_mse, scale: log10, better: lower}
comparators: [post_training]
criteria:
  - {name: good enough, claim: {some_treatment: {below: 0.05}}, required: true}
  - {name: complete, claim: {complete: true}}
hypotheses:
  - {say: wide is good, claim: {response: {where: {width: 32, rate: 1e-3}, below: 1e-2}}}
  - {say: width matters most, claim: {largest_effect: width}}
  - {say: it trains, claim: {response: {where: {gradient: shaped}, below: 0.5, response: train_mse}}}
  - say: both
    claim:
      all:
        - {effect: {term: gradient, below: 1}}
        - {better: {a: {width: 32}, b: {rate: 1e-2}, response: train_mse}}
"""
SAYS = ("wide is good", "width matters most", "it trains", "both")
PRIMARY = ["wide is good", "width matters most", "both"]


def changed(*pairs: tuple[str, str]) -> str:
    """The study with some places changed."""
    text = STUDY
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


@pytest.fixture
def registered(load: Load) -> Registration:
    """The registration of the study as it is."""
    return Registration.take(load(STUDY), "2024-01-01")


@pytest.fixture
def after(load: Load, registered: Registration) -> Callable[..., tuple[list[str], list[str]]]:
    """The changes that a later text makes, and the hypotheses, or criteria, that are exploratory then."""

    def _after(text: str, part: str = HYPOTHESES) -> tuple[list[str], list[str]]:
        study = load(text)
        changes = [change["text"] for change in registered.followed_to(study, "2024-02-02").changes]
        names = [entry["name" if part == CRITERIA else "say"] for entry in study.resolved()[part]]
        flags = registered.exploratory(study, part)
        return changes, [name for name, flag in zip(names, flags, strict=True) if flag]

    return _after


COSMETIC = {
    "comments": changed(("seed: 7", "# What all comes from.\nseed: 7   # lucky")),
    "order of sections": changed(("seed: 7\n", "")).replace("study:", "seed: 7\nstudy:"),
    "order of keys": changed(("{sets: model.hidden, levels: [16, 32]}", "{levels: [16, 32], sets: model.hidden}")),
    "order of selected levels": changed(("{width: 32, rate: 1e-3}", "{rate: 1e-3, width: 32}")),
    "title": changed(("A title", "Another one")),
    "how a level is written": changed(("levels: [1e-3,", "levels: [0.001,"), ("rate: 1e-3}", "rate: 0.001}")),
    "how a level of b is written": changed(("[1e-3, 1e-2,", "[1e-3, 0.01,"), ("rate: 1e-2}", "rate: 0.01}")),
    "how a bound is written": changed(("below: 1e-2", "below: 0.010")),
    "how a whole bound is written": changed(("below: 1}", "below: 1.0}")),
    "a level as text": changed(("width: 32, rate", "width: '32', rate")),
    "the label of a level": changed(("label: shaped", "label: round"), ("gradient: shaped", "gradient: round")),
    "a default written out": changed(("epochs: 100", "epochs: 100, optimizer: {clip: 5.0}, quantizer: ternary")),
    "a level as a mapping": changed(("[ste,", "[{name: ste},")),
    "a term as a mapping": changed(("largest_effect: width", "largest_effect: {term: width}")),
    "blocks for braces": changed(
        ("  - {say: width matters most, claim: {largest_effect: width}}", "  - say: width matters most\n    claim:\n      largest_effect: width")  # noqa: E501
    ),
    "networks that are kept": STUDY + "keep: best\n",
}  # fmt: skip


@pytest.mark.parametrize("text", COSMETIC.values(), ids=COSMETIC.keys())
def test_a_cosmetic_edit_changes_nothing(text: str, load: Load, registered: Registration, after: Any) -> None:
    """The same parts and hash, no change listed, no hypothesis exploratory."""
    assert Registration.take(load(text), "2024-01-01").hash == registered.hash
    assert after(text) == ([], [])


def test_the_resolved_study_is_the_same_registration(load: Load, registered: Registration, after: Any) -> None:
    """`study.yaml` of a results folder has every default written out, and registers the same."""
    text = study_text(load(STUDY))
    assert Registration.take(load(text), "2024-01-01").hash == registered.hash
    assert after(text) == ([], [])


def test_the_order_of_hypotheses_changes_nothing(after: Any) -> None:
    """Hypotheses are told apart by what they say."""
    lines = STUDY.splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if "wide is good" in line)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]
    assert after("".join(lines)) == ([], [])


CHANGES = {
    "replicates": ("replicates: 3", "replicates: 4", "replicates: 3 became 4"),
    "seed": ("seed: 7", "seed: 8", "seed: 7 became 8"),
    "training": ("epochs: 100", "epochs: 101", "student.epochs: 100 became 101"),
    "task": ("steps: 50", "steps: 40", "task.steps: nothing became 40"),
    "a value switched off": (
        "epochs: 100",
        "epochs: 100, optimizer: {clip: null}",
        'student.optimizer: nothing became {"clip":null}',
    ),
    "a new level": ("1e-1]", "1e-1, 1]", "factors.rate.levels: [0.001,0.01,0.1] became [0.001,0.01,0.1,1]"),
    "the order of numbers": (
        "[1e-3, 1e-2, 1e-1]",
        "[1e-1, 1e-3, 1e-2]",
        "factors.rate.levels: [0.001,0.01,0.1] became [0.1,0.001,0.01]",
    ),
    "the order of levels": ("[16, 32]", "[32, 16]", "factors.width.levels: [16,32] became [32,16]"),
    "comparators": (
        "comparators: [post_training]",
        "comparators: [post_training, coordinate_search]",
        'comparators: [{"name":"post_training"}] became [{"name":"post_training"},{"name":"coordinate_search"}]',
    ),
    "design": (
        "seed: 7",
        "seed: 7\ndesign: {exclude: [{rate: 1e-1}]}",
        'design.exclude: nothing became [{"rate":0.1}]',
    ),
    "tolerance": ("seed: 7", "seed: 7\ngradcheck: {tolerance: 1e-4}", "gradcheck.tolerance: nothing became 0.0001"),
    "a criterion removed": (
        "  - {name: complete, claim: {complete: true}}\n",
        "",
        "the criterion 'complete' was removed",
    ),
    "a criterion made required": (
        "{complete: true}}",
        "{complete: true}, required: true}",
        "the criterion 'complete': required: nothing became true",
    ),
    "a hypothesis added": (
        "  - {say: width",
        "  - {say: new, claim: {largest_effect: gradient}}\n  - {say: width",
        "the hypothesis 'new' was added",
    ),
    "a hypothesis removed": (
        "  - {say: width matters most, claim: {largest_effect: width}}\n",
        "",
        "the hypothesis 'width matters most' was removed",
    ),
    "a bound": ("below: 1e-2", "below: 2e-2", "the hypothesis 'wide is good': claim.response.below: 0.01 became 0.02"),
    "a selected level": (
        "width: 32, rate",
        "width: 16, rate",
        "the hypothesis 'wide is good': claim.response.where.width: 32 became 16",
    ),
    "a part of a claim": ("gradient, below: 1}", "gradient, below: 0.9}", "the hypothesis 'both': claim.all: "),
    "a scale": (
        "train_mse, scale: log10",
        "train_mse, scale: linear",
        'the response \'train_mse\': scale: "log10" became "linear"',
    ),
    "a stand-in": ("value: 0.5", "value: 0.6", "the response 'eval_mse': diverged.value: 0.5 became 0.6"),
    "a stand-in removed": (
        ", diverged: {value: 0.5}",
        "",
        "the response 'eval_mse': diverged: {\"value\":0.5} became nothing",
    ),
}


@pytest.mark.parametrize(("old", "new", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_listed_in_one_sentence(
    load: Load, registered: Registration, after: Any, old: str, new: str, words: str
) -> None:
    """What it was and what it became; a registration of the changed study has another hash."""
    text = changed((old, new))
    changes, _ = after(text)
    assert len(changes) == 1
    assert changes[0].startswith(words)
    assert Registration.take(load(text), "2024-01-01").hash != registered.hash


def test_a_changed_sentence_is_another_hypothesis(after: Any) -> None:
    """The one that was registered is gone, and one that was not has come."""
    changes, exploratory = after(changed(("wide is good", "wide is best")))
    assert changes == ["the hypothesis 'wide is good' was removed", "the hypothesis 'wide is best' was added"]
    assert exploratory == ["wide is best"]


EXPLORATORY = {
    "claim": ([("below: 1e-2", "below: 2e-2")], ["wide is good"]),
    "kind of claim": ([("{largest_effect: width}", "{effect_rank: {term: width, rank: 1}}")], ["width matters most"]),
    "selected level": ([("width: 32, rate", "width: 16, rate")], ["wide is good"]),
    "part of a claim": ([("gradient, below: 1}", "gradient, below: 0.9}")], ["both"]),
    "what a selected level is": ([("beta_end: 4", "beta_end: 5")], ["it trains"]),
    "added": (
        [("  - {say: width", "  - {say: new, claim: {largest_effect: gradient}}\n  - {say: width")], ["new"]
    ),
    "removed": ([("  - {say: width matters most, claim: {largest_effect: width}}\n", "")], []),
    "scale of one response": ([("train_mse, scale: log10", "train_mse, scale: linear")], ["it trains", "both"]),
    "scale of the primary response": ([("eval_mse, scale: log10", "eval_mse, scale: linear")], PRIMARY),
    "direction": ([("better: lower, diverged", "better: higher, diverged")], PRIMARY),
    "stand-in": ([("value: 0.5", "value: 0.6")], PRIMARY),
    "stand-in removed": ([(", diverged: {value: 0.5}", "")], PRIMARY),
    "stand-in added": ([("lower}", "lower, diverged: {value: 0.5}}")], ["it trains", "both"]),
    "replicates": ([("replicates: 3", "replicates: 4")], []),
    "seed": ([("seed: 7", "seed: 8")], []),
    "a level that no claim selects": ([("1e-1]", "1e-1, 1]")], []),
}  # fmt: skip


@pytest.mark.parametrize(("pairs", "expected"), EXPLORATORY.values(), ids=EXPLORATORY.keys())
def test_what_was_not_registered_as_it_stands_is_exploratory(
    after: Any, pairs: list[tuple[str, str]], expected: list[str]
) -> None:
    """Those hypotheses, and no others."""
    assert after(changed(*pairs))[1] == expected


def test_a_parameter_beside_a_factor_belongs_to_its_levels(after: Any) -> None:
    """It changes what a level is, and so what a hypothesis that selects that level claims."""
    changes, exploratory = after(changed(("epochs: 100", "epochs: 100, gradient: {beta_start: 2}")))
    assert changes == [
        'factors.gradient: ["ste",{"beta_end":4.0,"name":"smoothstep"}] became ["ste",{"beta_end":4.0,"beta_start":2.0,'
        '"name":"smoothstep"}]',
        "the hypothesis 'it trains': claim.response.where.gradient.beta_start: nothing became 2.0",
    ]
    assert exploratory == ["it trains"]


def test_another_primary_response_changes_what_claims_are_about(after: Any) -> None:
    """A hypothesis that names its response stays confirmatory, those on the primary one do not."""
    lines = STUDY.splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if line.startswith("  - {name: eval_mse"))
    lines[place], lines[place + 1] = lines[place + 1], lines[place]
    changes, exploratory = after("".join(lines))
    assert changes == ['the order of responses: ["eval_mse","train_mse"] became ["train_mse","eval_mse"]']
    assert exploratory == PRIMARY


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("below: 0.05", "below: 0.06", ["good enough"]),
        ("{complete: true}}", "{complete: true}, required: true}", ["complete"]),
        ("eval_mse, scale: log10", "eval_mse, scale: linear", ["good enough"]),
    ],
)
def test_criteria_turn_exploratory_like_hypotheses(after: Any, old: str, new: str, expected: list[str]) -> None:
    """Their claims, whether they are required, and the response that they are about."""
    assert after(changed((old, new)), CRITERIA)[1] == expected


def test_a_registration_reads_back_from_its_json(load: Load, registered: Registration) -> None:
    """With its changes and its latest parts; the hash is that of the parts as registered."""
    followed = registered.followed_to(load(changed(("seed: 7", "seed: 8"))), "2024-02-02")
    again = Registration.read(json.loads(json.dumps(followed.data())))
    assert again == followed
    assert again.hash == registered.hash
    assert followed.data()["hash"] == registered.hash
    assert re.fullmatch("[0-9a-f]{64}", registered.hash)


def test_each_part_has_a_hash_of_its_own(load: Load, registered: Registration) -> None:
    """A reader sees which part of two registrations differs."""
    one, other = registered.data()["hashes"], parts_of(load(changed(("below: 1e-2", "below: 2e-2"))))
    two = Registration("", other, other).data()["hashes"]
    assert {key for key in one if one[key] != two[key]} == {"hypotheses"}
    assert set(one) == {"design", "responses", "criteria", "hypotheses"}


def test_the_hash_holds_when_it_was_registered(load: Load, registered: Registration) -> None:
    """A date put back, or the mark of a late registration taken away, shows."""
    study = load(STUDY)
    assert Registration.take(study, "2023-01-01").hash != registered.hash
    assert Registration.take(study, "2024-01-01", late=True).hash != registered.hash


def test_a_change_is_listed_once_and_taken_back_as_another(load: Load, registered: Registration) -> None:
    """Following the same study again adds nothing; going back to the first one is a change, with its own time."""
    other, study = load(changed(("seed: 7", "seed: 8"))), load(STUDY)
    followed = registered.followed_to(other, "t1").followed_to(other, "t2")
    back = followed.followed_to(study, "t3")
    assert followed.changes == ({"time": "t1", "text": "seed: 7 became 8"},)
    assert back.changes == (*followed.changes, {"time": "t3", "text": "seed: 8 became 7"})
    assert back.hash == registered.hash


def test_a_hypothesis_changed_back_is_confirmatory_again(load: Load, registered: Registration) -> None:
    """It is what was registered; the list of changes tells the rest."""
    followed = registered.followed_to(load(changed(("below: 1e-2", "below: 2e-2"))), "t1")
    assert followed.exploratory(load(STUDY), HYPOTHESES) == [False] * len(SAYS)


def test_a_late_registration_makes_everything_exploratory(load: Load) -> None:
    """Runs were there before anything was registered."""
    study = load(STUDY)
    late = Registration.take(study, "2024-01-01", late=True)
    assert late.exploratory(study, HYPOTHESES) == [True] * len(SAYS)
    assert late.exploratory(study, CRITERIA) == [True, True]
    assert Registration.read(late.data()).late


def test_long_values_are_cut_in_sentences(after: Any) -> None:
    """A sentence stays one that can be read."""
    levels = ", ".join(str(level) for level in range(2, 200))
    changes, _ = after(changed(("1e-1]", f"1e-1, {levels}]")))
    assert len(changes[0]) < 300
    assert changes[0].endswith("…")


@pytest.mark.parametrize(
    ("key", "value"),
    [("changes", 3), ("changes", ["x"]), ("parts", None), ("parts", []), ("parts", {}), ("latest", {}), ("latest", 3)],
)
def test_what_is_no_registration_is_refused(registered: Registration, key: str, value: Any) -> None:
    """Whoever reads it can say so in a sentence."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Registration.read({**registered.data(), key: value})


@pytest.mark.parametrize("part", ["design", "responses", "criteria", "hypotheses"])
@pytest.mark.parametrize("value", [None, 3, "x", [3], ["x"], [[]], [{}], [{"name": [], "say": []}], [{"claim": {}}]])
def test_parts_that_no_study_has_are_refused_or_compared(
    load: Load, registered: Registration, part: str, value: Any
) -> None:
    """A registration that somebody edited never ends in a failure of the code that compares it."""
    data = json.loads(json.dumps(registered.data()))
    data["parts"][part] = value
    study = load(STUDY)
    try:
        found = Registration.read(data)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return
    found.followed_to(study, "t")
    found.exploratory(study, HYPOTHESES)
    found.exploratory(study, CRITERIA)
