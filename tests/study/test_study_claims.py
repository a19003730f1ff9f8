"""Claims of hypotheses and criteria: every mistake in one has its place and its remedy; a right one reads back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from kdrun.errors import StudyError
from kdrun.study.claims import CLAIMS, HYPOTHESIS_CLAIMS
from kdrun.study.load import load_study, study_text
from kdrun.study.schema import Study

Load = Callable[..., Study]
Mistakes = Callable[..., list[str]]

STUDY = """\
schema: 1
study: claims
task: {name: sine, steps: 50}
factors:
  gradient: [ste, smoothstep]
  distillation: [none, trajectory]
  width: {sets: model.hidden, levels: [16, 32]}
  rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2, 1e-1]}
replicates: 3
responses:
  - {name: eval_mse, scale: log10, better: lower}
  - {name: train_mse, scale: linear, better: lower}
comparators: [coordinate_search, post_training]
hypotheses:
  - {say: first, claim: {largest_effect: width}}
  - say: second
    claim: CLAIM
"""
RIGHT = [
    "{effect: {term: gradient, below: 0.9}}",
    "{effect: {term: gradient, above: 1, response: eval_mse}}",
    "{effect: {term: 'gradient:width', between: [0.5, 2]}}",
    "{effect: {term: rate, contrast: 1e-2 - 1e-3, below: 1}}",
    "{effect: {term: 'gradient:rate', contrast: 1e-1 - 1e-2, below: 1}}",
    "{effect: {term: width, between: [-1, 0], response: train_mse}}",
    "{response: {below: 0.01}}",
    "{response: {above: 1e-3, where: {}}}",
    "{response: {below: 0.01, where: {gradient: smoothstep, distillation: none, width: 32, rate: 0.001}}}",
    "{response: {above: -3, response: train_mse}}",
    "{some_treatment: {below: 0.05}}",
    "{some_treatment: {above: 0.05, where: {width: '16'}}}",
    "{better: {a: {width: 16}, b: {width: 32}}}",
    "{better: {a: {}, b: {width: 32}, response: train_mse}}",
    "{better: {a: {comparator: coordinate_search}, b: {comparator: post_training}}}",
    "{equivalent: {a: {rate: 1e-3}, b: {rate: 1e-2}, within: 1.05}}",
    "{equivalent: {a: {rate: 1e-3}, b: {comparator: post_training}, within: 0.1, response: train_mse}}",
    "{largest_effect: width}",
    "{largest_effect: {term: width}}",
    "{largest_effect: {term: rate, contrast: 1e-1 - 1e-3, response: train_mse}}",
    "{effect_rank: {term: distillation, rank: 3}}",
    "{effect_rank: {term: rate, contrast: 1e-1 - 1e-3, rank: 4}}",
    "{all: [{largest_effect: width}, {response: {below: 1}}, {better: {a: {}, b: {comparator: post_training}}}]}",
]

# A claim with ¦ where its one mistake is to be shown, and words of its text.
WRONG = {
    "unknown kind": (
        "{¦efect: {term: gradient, below: 1}}",
        "efect: unknown claim 'efect'; known: effect, response, some_treatment, better, equivalent, largest_effect, "
        "effect_rank, all. Did you mean 'effect'?",
    ),
    "gradients": ("{¦gradients: 1e-3}", "gradients: unknown claim 'gradients'; known: effect, "),
    "teacher": ("{¦teacher: 5e-3}", "teacher: unknown claim 'teacher'; known: effect, "),
    "reproducible": ("{¦reproducible: true}", "reproducible: unknown claim 'reproducible'; known: effect, "),
    "complete": ("{¦complete: true}", "complete: unknown claim 'complete'; known: effect, "),
    "two kinds": (
        "¦{largest_effect: width, response: {below: 1}}",
        "found the keys largest_effect, response; a mapping with one of the keys effect, ",
    ),
    "no kind": ("¦{}", "found an empty mapping; a mapping with one of the keys effect, "),
    "text": ("¦width is best", "found 'width is best'; a mapping with one of the keys effect, "),
    "nothing": ("¦~", "found nothing; a mapping with one of the keys effect, "),
    "list": ("¦[{largest_effect: width}]", "found a list; a mapping with one of the keys effect, "),
    "unknown factor": (
        "{effect: {term: ¦gradiant, below: 1}}",
        "effect.term: unknown factor 'gradiant'; known: gradient, distillation, width, rate. Did you mean 'gradient'?",
    ),
    "unknown factor of an interaction": (
        "{effect: {term: ¦'gradient:with', below: 1}}",
        "effect.term: unknown factor 'with'; known: gradient, distillation, width, rate. Did you mean 'width'?",
    ),
    "factor named twice": (
        "{effect: {term: ¦'width:width', below: 1}}",
        "effect.term: found 'width:width'; each factor of an interaction is named once",
    ),
    "term that is a number": ("{effect: {term: ¦5, below: 1}}", "effect.term: found 5; text is allowed"),
    "no term": ("{effect: ¦{below: 1}}", "effect.term: missing; text is needed"),
    "effect that is text": ("{effect: ¦width}", "effect: found 'width'; a mapping with the keys response, below, "),
    "unknown key": (
        "{effect: {term: width, ¦belo: 1, below: 2}}",
        "effect.belo: unknown key 'belo'; known: response, below, above, term, contrast, between. Did you mean 'below",
    ),
    "unknown response": (
        "{effect: {term: width, below: 1, response: ¦eval_mes}}",
        "effect.response: unknown response 'eval_mes'; known: eval_mse, train_mse. Did you mean 'eval_mse'?",
    ),
    "number of a response": ("{response: {below: 1, response: ¦3}}", "response.response: found 3; text is allowed"),
    "contrast of two levels": (
        "{effect: {term: width, ¦contrast: 32 - 16, below: 1}}",
        "effect.contrast: a term of two-level factors is one contrast; remove this key",
    ),
    "no contrast": (
        "{effect: {term: ¦rate, below: 1}}",
        "effect.term: this term has 3 contrasts; name one as contrast: 1e-2 - 1e-3, 1e-1 - 1e-3, 1e-1 - 1e-2",
    ),
    "unknown contrast": (
        "{effect: {term: rate, contrast: ¦1e-3 - 1e-2, below: 1}}",
        "effect.contrast: unknown contrast '1e-3 - 1e-2'; known: 1e-2 - 1e-3, ",
    ),
    "no bound": (
        "{effect: ¦{term: width}}",
        "effect: found no bound; one of below, above, between is needed",
    ),
    "two bounds": (
        "{effect: ¦{term: width, below: 1, above: 2}}",
        "effect: found below and above; one of below, above, between is needed",
    ),
    "two bounds of a mean": (
        "{response: ¦{below: 1, above: 2}}",
        "response: found below and above; one of below, above is needed",
    ),
    "no bound of some treatment": (
        "{some_treatment: ¦{}}",
        "some_treatment: found no bound; one of below, above is needed",
    ),
    "mean between": ("{response: {below: 1, ¦between: [1, 2]}}", "response.between: unknown key 'between'; known: "),
    "wrong order": (
        "{effect: {term: width, between: ¦[0.9, 0.5]}}",
        "effect.between: found [0.9, 0.5]; two numbers are allowed, the smaller one first",
    ),
    "the same twice": (
        "{effect: {term: width, between: ¦[0.5, 0.5]}}",
        "effect.between: found [0.5, 0.5]; two numbers are allowed, the smaller one first",
    ),
    "one of two": (
        "{effect: {term: width, between: ¦[0.5]}}",
        "effect.between: found a list; two numbers are allowed, the smaller one first",
    ),
    "no list": (
        "{effect: {term: width, between: ¦0.5}}",
        "effect.between: found 0.5; two numbers are allowed, the smaller one first",
    ),
    "text between": (
        "{effect: {term: width, between: ¦[0.5, x]}}",
        "effect.between: found 'x'; two numbers are allowed, the smaller one first",
    ),
    "truth between": (
        "{effect: {term: width, between: ¦[0.5, true]}}",
        "effect.between: found true; two numbers are allowed, the smaller one first",
    ),
    "ratio of 0": (
        "{effect: {term: width, below: ¦0}}",
        "effect.below: found 0; on the scale log10 a ratio above 0 is allowed",
    ),
    "ratios below 0": (
        "{effect: {term: width, between: ¦[-2, -1]}}",
        "effect.between: found -2; on the scale log10 a ratio above 0 is allowed",
    ),
    "mean of 0": (
        "{response: {below: ¦0}}",
        "response.below: found 0; on the scale log10 a number above 0 is allowed",
    ),
    "mean below 0": (
        "{some_treatment: {above: ¦-1e-3}}",
        "some_treatment.above: found -1e-3; on the scale log10 a number above 0 is allowed",
    ),
    "no number": ("{response: {below: ¦.nan}}", "response.below: found nan; a number is allowed"),
    "infinity": ("{response: {below: ¦.inf}}", "response.below: found inf; a number is allowed"),
    "text as a bound": ("{response: {below: ¦'1'}}", "response.below: found '1'; a number is allowed"),
    "truth as a bound": ("{response: {below: ¦true}}", "response.below: found true; a number is allowed"),
    "unknown factor in where": (
        "{response: {below: 1, where: {¦widht: 16}}}",
        "response.where.widht: unknown factor 'widht'; known: gradient, distillation, width, rate. "
        "Did you mean 'width'?",
    ),
    "unknown level": (
        "{response: {below: 1, where: {gradient: ¦smoth}}}",
        "response.where.gradient: unknown level 'smoth'; levels of 'gradient': ste, smoothstep. "
        "Did you mean 'smoothstep'?",
    ),
    "unknown number": (
        "{response: {below: 1, where: {width: ¦17}}}",
        "response.where.width: unknown level 17; levels of 'width': 16, 32",
    ),
    "level of another kind": (
        "{response: {below: 1, where: {width: ¦16.0}}}",
        "response.where.width: unknown level 16.0; levels of 'width': 16, 32",
    ),
    "several levels": (
        "{response: {below: 1, where: {gradient: ¦[ste]}}}",
        "response.where.gradient: found a list; a whole number or a number or true or false or text is allowed",
    ),
    "no level": (
        "{response: {below: 1, where: {gradient: ¦~}}}",
        "response.where.gradient: found nothing; a whole number or ",
    ),
    "list in where": (
        "{response: {below: 1, where: ¦[gradient]}}",
        "response.where: found a list; a mapping is allowed",
    ),
    "comparator in where": (
        "{response: {below: 1, where: {¦comparator: post_training}}}",
        "response.where.comparator: unknown factor 'comparator'; known: gradient, ",
    ),
    "unknown comparator": (
        "{better: {a: {comparator: ¦coordinate_serch}, b: {width: 16}}}",
        "better.a.comparator: unknown comparator 'coordinate_serch'; known: coordinate_search, post_training. "
        "Did you mean 'coordinate_search'?",
    ),
    "list of comparators": (
        "{better: {a: {comparator: ¦[post_training]}, b: {width: 16}}}",
        "better.a.comparator: found a list; a whole number or ",
    ),
    "comparator with a level": (
        "{better: {a: ¦{comparator: post_training, width: 16}, b: {width: 16}}}",
        "better.a: found width beside a comparator, which has no levels to choose; remove them",
    ),
    "a that is a number": ("{better: {a: ¦3, b: {width: 16}}}", "better.a: found 3; a mapping is allowed"),
    "no b": ("{better: ¦{a: {width: 16}}}", "better.b: missing; a mapping is needed"),
    "a thing and itself": (
        "{better: {a: {width: 16}, b: ¦{width: 16}}}",
        "better.b: a and b select the same; a claim compares two different things",
    ),
    "a thing and itself as text": (
        "{better: {a: {width: 16}, b: ¦{width: '16'}}}",
        "better.b: a and b select the same; a claim compares two different things",
    ),
    "a thing and itself in other digits": (
        "{equivalent: {a: {rate: 1e-3}, b: ¦{rate: 0.001}, within: 2}}",
        "equivalent.b: a and b select the same; a claim compares two different things",
    ),
    "a thing and itself in another order": (
        "{better: {a: {width: 16, gradient: ste}, b: ¦{gradient: ste, width: 16}}}",
        "better.b: a and b select the same; a claim compares two different things",
    ),
    "everything and itself": (
        "{better: {a: {}, b: ¦{}}}",
        "better.b: a and b select the same; a claim compares two different things",
    ),
    "a comparator and itself": (
        "{better: {a: {comparator: post_training}, b: ¦{comparator: post_training}}}",
        "better.b: a and b select the same; a claim compares two different things",
    ),
    "a thing and itself as a part": (
        "{all: [{largest_effect: width}, {better: {a: {width: 16}, b: ¦{width: '16'}}}]}",
        "all[1].better.b: a and b select the same; a claim compares two different things",
    ),
    "within 1": (
        "{equivalent: {a: {width: 16}, b: {width: 32}, within: ¦1}}",
        "equivalent.within: found 1; on the scale log10 a ratio above 1 is allowed",
    ),
    "within 0": (
        "{equivalent: {a: {width: 16}, b: {width: 32}, within: ¦0}}",
        "equivalent.within: found 0; a number above 0 is allowed",
    ),
    "no within": (
        "{equivalent: ¦{a: {width: 16}, b: {width: 32}}}",
        "equivalent.within: missing; a number above 0 is needed",
    ),
    "better within": (
        "{better: {a: {width: 16}, b: {width: 32}, ¦within: 2}}",
        "better.within: unknown key 'within'; known: response, a, b",
    ),
    "largest interaction": (
        "{largest_effect: ¦'gradient:width'}",
        "largest_effect.term: found 'gradient:width'; main effects are ranked, so one factor is allowed",
    ),
    "largest of three levels": (
        "{largest_effect: ¦rate}",
        "largest_effect.term: this term has 3 contrasts; name one as contrast: 1e-2 - 1e-3, ",
    ),
    "largest of nothing known": (
        "{largest_effect: ¦widht}",
        "largest_effect.term: unknown factor 'widht'; known: gradient, distillation, width, rate. "
        "Did you mean 'width'?",
    ),
    "largest number": (
        "{largest_effect: ¦5}",
        "largest_effect: found 5; a mapping with the keys response, term, contrast is allowed",
    ),
    "largest with a rank": (
        "{largest_effect: {term: width, ¦rank: 1}}",
        "largest_effect.rank: unknown key 'rank'; known: response, term, contrast",
    ),
    "rank too high": ("{effect_rank: {term: width, rank: ¦4}}", "effect_rank.rank: found 4; 3 main effects are ranked"),
    "rank 0": (
        "{effect_rank: {term: width, rank: ¦0}}",
        "effect_rank.rank: found 0; a whole number of at least 1 is allowed",
    ),
    "half a rank": (
        "{effect_rank: {term: width, rank: ¦1.5}}",
        "effect_rank.rank: found 1.5; a whole number of at least 1 is allowed",
    ),
    "no rank": ("{effect_rank: ¦{term: width}}", "effect_rank.rank: missing; a whole number of at least 1 is needed"),
    "all of one": ("{all: ¦[{largest_effect: width}]}", "all: found 1 of them; at least two claims are needed"),
    "all of none": ("{all: ¦[]}", "all: found 0 of them; at least two claims are needed"),
    "all of a mapping": ("{all: ¦{largest_effect: width}}", "all: found a mapping; a list is allowed"),
    "a part that is no claim": (
        "{all: [{largest_effect: width}, ¦3]}",
        "all[1]: found 3; a mapping with one of the keys effect, ",
    ),
    "all inside all": (
        "{all: [{largest_effect: width}, {¦all: [{largest_effect: width}, {response: {below: 1}}]}]}",
        "all[1].all: unknown claim 'all'; known: effect, ",
    ),
    "unknown kind inside all": (
        "{all: [{¦efect: 1}, {largest_effect: width}]}",
        "all[0].efect: unknown claim 'efect'; known: effect, ",
    ),
    "unknown factor inside all": (
        "{all: [{largest_effect: width}, {effect: {term: ¦widht, below: 1}}]}",
        "all[1].effect.term: unknown factor 'widht'; known: gradient, ",
    ),
    "bound off the scale inside all": (
        "{all: [{largest_effect: width}, {response: {below: ¦0}}]}",
        "all[1].response.below: found 0; on the scale log10 a number above 0 is allowed",
    ),
}  # fmt: skip


def with_claim(claim: str) -> str:
    """The study whose second hypothesis makes this claim."""
    return STUDY.replace("CLAIM", claim)


@pytest.mark.parametrize(("claim", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_a_claim_is_shown_once_at_its_place(mistakes: Mistakes, claim: str, words: str) -> None:
    """One line: its place, the key, what was found, what is allowed, and the nearest match."""
    before, mark, after = claim.partition("¦")
    assert mark
    column = len("    claim: ") + len(before) + 1
    got = mistakes(with_claim(before + after))
    assert len(got) == 1
    start = f"17:{column}: hypotheses[1].claim"
    assert got[0].startswith((f"{start}.{words}", f"{start}: {words}"))


@pytest.mark.parametrize(
    ("claim", "allowed"),
    [
        ("{response: {below: ¦0}}", "a number between 0 and 1"),
        ("{response: {below: ¦1}}", "a number between 0 and 1"),
        ("{some_treatment: {above: ¦1.5}}", "a number between 0 and 1"),
        ("{effect: {term: width, below: ¦0}}", "a ratio above 0"),
        ("{equivalent: {a: {width: 16}, b: {width: 32}, within: ¦0.5}}", "a ratio above 1"),
    ],
)
def test_bounds_of_rates_lie_on_their_scale(mistakes: Mistakes, claim: str, allowed: str) -> None:
    """On the logit scale means lie between 0 and 1, and effects are odds ratios."""
    before, _, after = claim.partition("¦")
    got = mistakes(with_claim(before + after).replace("scale: log10", "scale: logit"))
    assert len(got) == 1
    assert got[0].startswith(f"17:{len('    claim: ') + len(before) + 1}: hypotheses[1].claim.")
    assert got[0].endswith(f"; on the scale logit {allowed} is allowed")


def test_bounds_on_a_linear_scale_are_any_numbers(load: Load) -> None:
    """Differences and means may be negative there."""
    assert load(with_claim("{response: {below: -3}}").replace("scale: log10", "scale: linear"))


@pytest.mark.parametrize("claim", ["{largest_effect: width}", "{effect_rank: {term: width, rank: 1}}"])
def test_a_ranking_needs_something_to_compare_with(mistakes: Mistakes, claim: str) -> None:
    """With one factor, its effect is the largest one whatever the results are."""
    lines = with_claim(claim).splitlines(keepends=True)
    kept = [
        line for line in lines if not line.startswith(("  gradient", "  distillation", "  rate", "  - {say: first"))
    ]
    got = mistakes("".join(kept))
    assert len(got) == 1
    assert got[0].endswith(".term: there is no other two-level factor to compare it with")


@pytest.mark.parametrize(
    ("say", "words"),
    [
        ("¦first", "say: the hypothesis 'first' is given twice"),
        ("¦''", "say: found empty text; one line of text is allowed"),
        ("¦'  '", "say: found empty text; one line of text is allowed"),
        ("¦3", "say: found 3; text is allowed"),
        ('¦"a\\nb"', "say: found 'a\\nb'; one line of at most 200 letters is allowed"),
    ],
)
def test_a_hypothesis_says_one_thing_of_its_own(mistakes: Mistakes, say: str, words: str) -> None:
    """Reports and registrations tell hypotheses apart by what they say."""
    got = mistakes(with_claim("{largest_effect: width}").replace("say: second", f"say: {say[1:]}"))
    assert got == [f"16:10: hypotheses[1].{words}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{claim: {largest_effect: width}}", "15:5: hypotheses[0].say: missing; text is needed"),
        ("{say: x}", "15:5: hypotheses[0].claim: missing; a mapping is needed"),
        ("width", "15:5: hypotheses[0]: found 'width'; a mapping with the keys say, claim is allowed"),
    ],
)
def test_a_hypothesis_has_two_keys(mistakes: Mistakes, text: str, expected: str) -> None:
    """A sentence and a claim."""
    head = STUDY.partition("hypotheses:")[0]
    assert mistakes(f"{head}hypotheses:\n  - {text}\n")[0] == expected


def test_mistakes_of_several_claims_are_shown_together(mistakes: Mistakes) -> None:
    """Each hypothesis, and each part of one, at its own place."""
    claim = "{all: [{effect: {term: widht, below: 1}}, {better: {a: {width: 17}, b: {gradient: st}}}, {efect: 1}]}"
    got = mistakes(with_claim(claim).replace("largest_effect: width}}", "largest_effect: wide}}", 1))
    assert [line.split(": ")[0] for line in got] == ["15:42", "17:35", "17:75", "17:94", "17:102"]


def test_criteria_take_every_claim(load: Load, mistakes: Mistakes) -> None:
    """Those of hypotheses too, with the same mistakes at their own places."""
    head = STUDY.partition("hypotheses:")[0]
    lines = "".join(f"  - {{name: c{number}, claim: {claim}}}\n" for number, claim in enumerate(RIGHT))
    assert len(load(f"{head}criteria:\n{lines}").criteria) == len(RIGHT)
    got = mistakes(f"{head}criteria:\n  - {{name: x, claim: {{largest_effect: widht}}}}\n")
    assert got[0].startswith("15:39: criteria[0].claim.largest_effect.term: unknown factor 'widht'")


def test_every_kind_of_claim_is_among_the_right_ones() -> None:
    """A kind that joins is tested here as soon as it is there."""
    assert {claim.kind for claim in HYPOTHESIS_CLAIMS} == {claim[1:].partition(":")[0] for claim in RIGHT}
    assert {claim.kind for claim in CLAIMS} - {claim.kind for claim in HYPOTHESIS_CLAIMS} == {
        "gradients", "teacher", "reproducible", "complete",
    }  # fmt: skip


def with_right_claims() -> str:
    """The study with a hypothesis for every right claim."""
    head = STUDY.partition("hypotheses:")[0]
    return f"{head}hypotheses:\n" + "".join(f"  - {{say: 'h{n}', claim: {claim}}}\n" for n, claim in enumerate(RIGHT))


def test_claims_read_back_from_the_resolved_study(load: Load) -> None:
    """Every claim, through the text of the resolved study, is equal to what it was."""
    study = load(with_right_claims())
    again = load(study_text(study))
    assert len(study.hypotheses) == len(RIGHT)
    assert again.hypotheses == study.hypotheses
    assert again.resolved() == study.resolved()
    assert study_text(again) == study_text(study)


def test_claims_name_levels_as_tables_show_them(load: Load) -> None:
    """However the study writes them: `rate: 0.001` is the level 1e-3, `width: 16` the level 16."""
    claim = "{better: {a: {rate: 0.001, width: 16}, b: {comparator: post_training}}}"
    got = load(with_claim(claim)).resolved()["hypotheses"][1]["claim"]
    assert got == {"better": {"a": {"rate": "1e-3", "width": "16"}, "b": {"comparator": "post_training"}}}


def test_the_json_schema_accepts_every_claim(load: Load, editor: Draft202012Validator) -> None:
    """An editor shows no error in a right study."""
    editor.validate(json.loads(json.dumps(load(with_right_claims()).resolved())))


@pytest.mark.parametrize(
    "claim",
    [
        {"efect": {"term": "width", "below": 1}},
        {"effect": {"term": 5, "below": 1}},
        {"effect": {"term": "width", "belo": 1}},
        {"gradients": 1e-3},
        {"effect_rank": {"term": "width", "rank": 0}},
        {"better": {"a": {"width": 16}}},
        {"equivalent": {"a": {"width": 16}, "b": {"width": 32}, "within": 0}},
        {"response": {"below": 1, "where": ["width"]}},
        {"all": {"largest_effect": "width"}},
        {"all": [{"largest_effect": {"term": "width"}}, {"efect": 1}]},
        "width",
    ],
)
def test_the_json_schema_refuses_wrong_claims(load: Load, editor: Draft202012Validator, claim: Any) -> None:
    """An editor marks them while they are typed."""
    data = json.loads(json.dumps(load(with_claim("{largest_effect: width}")).resolved()))
    data["hypotheses"][1]["claim"] = claim
    with pytest.raises(ValidationError):
        editor.validate(data)


def test_the_json_schema_accepts_the_short_form_of_a_term(load: Load, editor: Draft202012Validator) -> None:
    """`largest_effect: width`, as the specification writes it."""
    data = json.loads(json.dumps(load(with_claim("{largest_effect: width}")).resolved()))
    data["hypotheses"][1]["claim"] = {"largest_effect": "width"}
    editor.validate(data)


KINDS = [*(claim.kind for claim in CLAIMS), "efect", "", "say"]
KEYS = ["term", "contrast", "below", "above", "between", "response", "where", "a", "b", "within", "rank", "gradient",
        "width", "rate", "comparator", "x", ""]  # fmt: skip
TEXTS = ["gradient", "width", "rate", "gradient:width", "width:width", "rate:width", ":", "ste", "16", "1e-3", "",
         "post_training", "1e-2 - 1e-3", "eval_mse", "train_mse", "treatments", "\x00", "é"]  # fmt: skip
ATOMS = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from([0, 1, 2, -1, 3, 16, 10**30, 0.0, -0.0, 1.5, 1e-3, 1e300, True, False, None]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
ANYTHING = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS + KINDS), inner, max_size=4)
    ),
    max_leaves=8,
)
BODY = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(ATOMS, st.dictionaries(st.sampled_from(KEYS), ATOMS, max_size=2), st.lists(ATOMS, max_size=3), ANYTHING),
    max_size=5,
)
ONE = st.dictionaries(st.sampled_from(KINDS), st.one_of(BODY, BODY, ANYTHING), min_size=1, max_size=1)
CLAIM = st.one_of(ONE, ONE, st.builds(lambda parts: {"all": parts}, st.lists(ONE, max_size=3)), ANYTHING)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("claims") / "study.yaml"


@settings(max_examples=250, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(claim=CLAIM, criterion=CLAIM)
def test_any_claim_gives_a_study_or_its_mistakes(path: Path, claim: Any, criterion: Any) -> None:
    """No traceback, whatever a claim is; what loads, loads again from its resolved form."""
    head = STUDY.partition("hypotheses:")[0]
    written = [json.dumps(item).replace("NaN", ".nan").replace("Infinity", ".inf") for item in (claim, criterion)]
    text = f"{head}hypotheses:\n  - say: x\n    claim: {written[0]}\ncriteria:\n  - name: y\n    claim: {written[1]}\n"
    path.write_text(text, encoding="utf-8")
    try:
        study = load_study(path)
    except StudyError as error:
        mistakes = list(error.mistakes)
        assert mistakes
        assert all("\n" not in str(mistake) and mistake.place for mistake in mistakes)
        return
    path.write_text(study_text(study), encoding="utf-8")
    assert load_study(path).resolved() == study.resolved()


@pytest.mark.parametrize(
    ("design", "claim", "expected"),
    [
        ("{exclude: [{gradient: ste, width: 16}]}", "{response: {where: {gradient: ste, width: 16}, below: 1}}",
         "response.where: no treatment of this design has these levels"),
        ("{exclude: [{gradient: ste, width: 32}]}",
         "{better: {a: {gradient: ste}, b: {gradient: ste, width: 16}}}",
         "better.b: a and b select the same treatments of this design; a claim compares two different things"),
    ],
)  # fmt: skip
def test_claims_are_about_treatments_that_are_run(load: Load, design: str, claim: str, expected: str) -> None:
    """A selection that a design leaves empty, or makes the same as another one, is a mistake."""
    text = STUDY.replace("CLAIM", claim)
    load(text)
    with pytest.raises(StudyError) as caught:
        load(text.replace("replicates: 3", f"design: {design}\nreplicates: 3"))
    assert expected in str(caught.value)


def test_a_screening_design_tells_no_interaction(load: Load) -> None:
    """A claim on one under Plackett-Burman is refused, a main effect is not."""
    text = STUDY.replace("levels: [1e-3, 1e-2, 1e-1]", "levels: [1e-3, 1e-2]")
    text = text.replace("replicates: 3", "design: plackett-burman\nreplicates: 3")
    load(text.replace("CLAIM", "{effect: {term: gradient, below: 1}}"))
    with pytest.raises(StudyError, match="a Plackett-Burman design tells main effects only; name one factor"):
        load(text.replace("CLAIM", "{effect: {term: 'gradient:width', below: 1}}"))


def test_a_part_that_stands_twice_is_a_mistake(load: Load) -> None:
    """The same claim twice in `all` is shown at its second place."""
    part = "{response: {below: 1}}"
    with pytest.raises(StudyError, match=r"claim\.all\[1\]: this part is given twice"):
        load(STUDY.replace("CLAIM", f"{{all: [{part}, {part}]}}"))
