"""Designs: two-level fractions with the resolution that was asked for, screening designs, chosen treatments."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from math import prod

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrun.errors import StudyError
from kdrun.study import fraction, selection
from kdrun.study.design import treatments
from kdrun.study.fraction import FractionError, Generator
from kdrun.study.load import study_text
from kdrun.study.plan import plan, study_digest
from kdrun.study.schema import Study, json_schema
from tests.study.test_study_mistakes import marked

Load = Callable[..., Study]
Mistakes = Callable[..., list[str]]
Change = Callable[[str, str], str]

MOST = 100_000


def naive_resolution(signs: np.ndarray) -> int | None:
    """The smallest number of columns whose product is the same in every row; None for no such set."""
    rows = signs.tolist()
    for size in range(1, len(rows[0]) + 1):
        for chosen in combinations(range(len(rows[0])), size):
            if len({prod(row[column] for column in chosen) for row in rows}) == 1:
                return size
    return None


def with_design(text: str, design: str) -> str:
    return text.replace("replicates: 3", f"design: {design}\nreplicates: 3")


def levels_of(study: Study) -> list[tuple[str, ...]]:
    return [tuple(treatment.levels.values()) for treatment in treatments(study)]


def wide(sine: str, factors: int) -> str:
    """The sine study with so many two-level factors."""
    keys = ["task.steps", "task.sequences", "task.eval.phases", "task.eval.steps", "model.hidden", "student.epochs"]
    lines = "".join(f"  f{n}: {{sets: {key}, levels: [11, 12]}}\n" for n, key in enumerate(keys[:factors]))
    start, end = sine.index("  gradient:"), sine.index("replicates")
    return f"{sine[:start]}{lines}{sine[end:]}".replace(", steps: 50, eval: {phases: 32}", "")


# --- fractions by resolution -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [3, 4, 5])
@pytest.mark.parametrize("factors", range(4, 13))
def test_a_fraction_has_at_least_the_resolution_that_was_asked_for(factors: int, resolution: int) -> None:
    """No product of fewer columns is constant, by trying every one; all treatments are distinct and balanced."""
    got = fraction.by_resolution(factors, resolution, MOST)
    assert (got[0] == -1).all()
    found = naive_resolution(got)
    assert found is None or found >= resolution
    assert len({tuple(row) for row in got.tolist()}) == len(got)
    assert not got.sum(axis=0).any()


# Box, Hunter & Hunter, table 12.15: treatments of the smallest two-level fractions.
SMALLEST = {
    3: {3: 4, 4: 8, 5: 8, 6: 8, 7: 8, 8: 16, 11: 16},
    4: {4: 8, 5: 16, 6: 16, 7: 16, 8: 16, 9: 32, 11: 32},
    5: {5: 16, 6: 32, 7: 64, 8: 64, 9: 128, 10: 128, 11: 128},
}


@pytest.mark.parametrize(
    ("resolution", "factors", "expected"),
    [(resolution, factors, size) for resolution, sizes in SMALLEST.items() for factors, size in sizes.items()],
)
def test_a_fraction_is_as_small_as_the_tables_say(resolution: int, factors: int, expected: int) -> None:
    """No more treatments than the resolution takes."""
    assert len(fraction.by_resolution(factors, resolution, MOST)) == expected


def test_a_wrong_fraction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pydoe gives is checked: a fraction of lower resolution is never taken for what was asked."""
    import pydoe

    monkeypatch.setattr(pydoe, "fracfact_by_res", lambda n, res: pydoe.fracfact("a b c d e abc"))
    with pytest.raises(FractionError, match="has resolution IV, not V"):
        fraction.by_resolution.__wrapped__(6, 5, MOST)


@pytest.mark.parametrize(
    "rows",
    [
        [[-1, -1, 1], [1, -1, -1], [-1, 1, -1]],
        [[-1, -1, 1], [1, -1, -1], [-1, 1, -1], [-1, 1, -1]],
        [[-1, -1, 1], [1, -1, -1], [-1, 1, -1], [1, 0, 1]],
        [[-1, -1], [1, -1], [-1, 1], [1, 1]],
        [[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
    ],
    ids=["a row is missing", "a row stands twice", "no sign", "a column is missing", "one factor at a time"],
)
def test_what_is_no_fraction_is_refused(rows: list[list[int]]) -> None:
    """Each way in which a matrix fails to be a regular fraction of three factors, or a screening design."""
    signs = np.array(rows, np.int8)
    with pytest.raises(FractionError):
        fraction.verified_fraction(signs, 3, 3)
    with pytest.raises(FractionError):
        fraction.verified_screening(signs, 3)


def test_a_screening_design_that_repeats_its_treatments_is_refused() -> None:
    """Its columns are balanced and orthogonal all the same."""
    once = fraction.plackett_burman(3)
    with pytest.raises(FractionError, match="has a treatment twice"):
        fraction.verified_screening(np.concatenate([once, once]), 3)


def test_a_fraction_that_nobody_could_run_is_refused_before_it_is_made() -> None:
    """Rao's bound tells without a search."""
    with pytest.raises(FractionError, match=r"60 factors need at least 523,686 treatments; at most 100,000"):
        fraction.by_resolution(60, 9, MOST)


def test_the_bound_is_reached_where_designs_are_known_to_be_tight() -> None:
    """Seven factors of resolution III in 8 treatments, eight of IV in 16; five of V need more than 1 + 5 + 10 − 1."""
    assert fraction._least_treatments(7, 3) == 8
    assert fraction._least_treatments(8, 4) == 16
    assert fraction._least_treatments(5, 5) == 16


# --- Plackett-Burman -------------------------------------------------------------------------------------------------

# Sizes that pydoe can make: 2^e, 12·2^e, 20·2^e.
AVAILABLE = sorted(base * 2**e for base in (4, 12, 20) for e in range(6))


@pytest.mark.parametrize("factors", range(3, 61))
def test_a_screening_design_is_orthogonal_and_small(factors: int) -> None:
    """XᵀX = N·1, columns are balanced, no treatment stands twice, N is the next size that there is."""
    got = fraction.plackett_burman(factors).astype(int)
    assert got.shape == (next(size for size in AVAILABLE if size > factors), factors)
    assert (got.T @ got == len(got) * np.eye(factors)).all()
    assert not got.sum(axis=0).any()
    assert len({tuple(row) for row in got.tolist()}) == len(got)


def test_a_screening_design_has_the_first_levels_as_treatment_1() -> None:
    """Its signs are those of Plackett and Burman, whose last row is all minus."""
    for factors in (3, 7, 11, 19, 25):
        assert (fraction.plackett_burman(factors)[0] == -1).all()


def test_main_effects_of_twelve_treatments_are_aliased_by_a_third() -> None:
    """The known partial aliases of Plackett-Burman with N = 12: ±1/3, and none with the factors' own interactions."""
    signs = fraction.plackett_burman(11).astype(int)
    for one, other in combinations(range(11), 2):
        shares = signs.T @ (signs[:, one] * signs[:, other]) / 12
        assert sorted({abs(round(share, 9)) for share in shares}) == [0.0, round(1 / 3, 9)]
        assert shares[one] == shares[other] == 0


# --- generators and words --------------------------------------------------------------------------------------------


@st.composite
def generated(draw: st.DrawFn) -> tuple[int, list[Generator]]:
    """Up to six factors of which some are products of the others, in any order and with any sign."""
    factors = draw(st.integers(3, 6))
    order = draw(st.permutations(range(factors)))
    free = order[: draw(st.integers(2, factors - 1))]
    words = [word for size in range(2, len(free) + 1) for word in combinations(free, size)]
    return factors, [
        Generator(factor, draw(st.sampled_from(words)), draw(st.sampled_from([-1, 1]))) for factor in order[len(free) :]
    ]


def in_fraction(row: tuple[int, ...], generators: list[Generator]) -> bool:
    return all(row[item.factor] == item.sign * prod(row[factor] for factor in item.word) for item in generators)


@given(generated())
@settings(max_examples=60, deadline=None)
def test_a_generated_fraction_is_the_treatments_that_its_generators_allow(drawn: tuple[int, list[Generator]]) -> None:
    """Row by row and in standard order those of the full factorial for which every generator holds."""
    factors, generators = drawn
    got = [tuple(row) for row in fraction.by_generators(factors, generators).tolist()]
    everything = (row[::-1] for row in product((-1, 1), repeat=factors))
    assert got == [row for row in everything if in_fraction(row, generators)]
    assert len(got) == 2 ** (factors - len(generators))


@given(generated())
@settings(max_examples=60, deadline=None)
def test_the_defining_relation_is_every_constant_product(drawn: tuple[int, list[Generator]]) -> None:
    """Words and their signs agree with multiplying every set of columns."""
    signs = fraction.by_generators(*drawn)
    sets = [chosen for size in range(1, drawn[0] + 1) for chosen in combinations(range(drawn[0]), size)]
    values = {chosen: {prod(row[f] for f in chosen) for row in signs.tolist()} for chosen in sets}
    expected = [(chosen, found.pop()) for chosen, found in values.items() if len(found) == 1]
    assert [(word.factors, word.sign) for word in fraction.defining_relation(signs)] == expected
    columns, rank = fraction.independent_columns(signs)
    assert len(signs) == 2**rank
    shortest = fraction.shortest_word(columns, drawn[0])
    assert (None if shortest is None else len(shortest)) == naive_resolution(signs)


def test_a_design_without_words_has_no_defining_relation() -> None:
    """A full factorial, and Plackett-Burman with N = 12, whose aliases are partial."""
    assert fraction.defining_relation(fraction.by_generators(3, [])) == []
    assert fraction.defining_relation(fraction.plackett_burman(10)) == []
    assert [len(word.factors) for word in fraction.defining_relation(fraction.plackett_burman(11))] == [11]


def test_very_many_words_are_told_by_their_generators() -> None:
    """31 factors in 32 treatments have 2^26 - 1 words."""
    words = fraction.defining_relation(fraction.by_resolution(31, 3, MOST))
    assert len(words) == 26
    assert all(len(word.factors) == 3 or len(word.factors) > 3 for word in words)
    assert len(words[0].factors) == 3


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("{generators: [C=AB]}", [("smoothstep", "none", "16"), ("ste", "trajectory", "16"), ("ste", "none", "32"),
                                  ("smoothstep", "trajectory", "32")]),
        ("{generators: [C=-AB]}", [("ste", "none", "16"), ("smoothstep", "trajectory", "16"),
                                   ("smoothstep", "none", "32"), ("ste", "trajectory", "32")]),
        ("{generators: [A=BC]}", [("smoothstep", "none", "16"), ("ste", "trajectory", "16"), ("ste", "none", "32"),
                                  ("smoothstep", "trajectory", "32")]),
        ("{generators: ['width=gradient:distillation']}", [("smoothstep", "none", "16"), ("ste", "trajectory", "16"),
                                                           ("ste", "none", "32"), ("smoothstep", "trajectory", "32")]),
        ("{generators: [' width = - gradient : B ']}", [("ste", "none", "16"), ("smoothstep", "trajectory", "16"),
                                                        ("smoothstep", "none", "32"), ("ste", "trajectory", "32")]),
        ("{generators: [c = +a b]}", [("smoothstep", "none", "16"), ("ste", "trajectory", "16"), ("ste", "none", "32"),
                                      ("smoothstep", "trajectory", "32")]),
        ("plackett-burman", [("ste", "none", "16"), ("smoothstep", "trajectory", "16"), ("smoothstep", "none", "32"),
                             ("ste", "trajectory", "32")]),
        ("{include: [{width: 16, gradient: ste}, {distillation: trajectory}]}",
         [("ste", "none", "16"), ("ste", "trajectory", "16"), ("smoothstep", "trajectory", "16"),
          ("ste", "trajectory", "32"), ("smoothstep", "trajectory", "32")]),
        ("{exclude: [{width: '16', gradient: ste}, {distillation: trajectory, width: 32}]}",
         [("smoothstep", "none", "16"), ("smoothstep", "trajectory", "16"), ("ste", "none", "32"),
          ("smoothstep", "none", "32")]),
        ("{include: [{width: 16}, {gradient: ste}], exclude: [{gradient: ste, distillation: none}]}",
         [("smoothstep", "none", "16"), ("ste", "trajectory", "16"), ("smoothstep", "trajectory", "16"),
          ("ste", "trajectory", "32")]),
    ],
)  # fmt: skip
def test_the_treatments_of_a_design(load: Load, sine: str, design: str, expected: list[tuple[str, ...]]) -> None:
    """Worked by hand; numbered from 1 in standard order of those that run."""
    study = load(with_design(sine, design))
    got = levels_of(study)
    order = {
        level: n for factor in study.factors.values() for n, level in enumerate(item.text for item in factor.levels)
    }
    assert got == sorted(expected, key=lambda row: [order[level] for level in reversed(row)])
    assert [treatment.number for treatment in treatments(study)] == list(range(1, len(got) + 1))


def test_letters_leave_out_i() -> None:
    """The ninth factor is J: I stands for the mean."""
    assert selection.LETTERS.startswith("ABCDEFGHJK")


def test_letters_are_names_where_a_factor_has_a_name_of_one_letter(load: Load, mistakes: Mistakes, sine: str) -> None:
    """So no letter means two things."""
    text = sine.replace("width:", "A:")
    got = levels_of(load(with_design(text, "{generators: ['A=gradient:distillation']}")))
    assert got[0] == ("smoothstep", "none", "16")
    found = mistakes(with_design(text, "{generators: ['A=BC']}"))
    assert "design.generators[0]: unknown factor 'B'; known: gradient, distillation, A" in found[0]


# --- the study -------------------------------------------------------------------------------------------------------

DESIGNS = [
    "{fraction: resolution-III}", "{generators: [C=-AB]}", "plackett-burman", "{exclude: [{width: 16, gradient: ste}]}",
    "{include: [{width: 16}, {gradient: ste}]}",
]  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS)
def test_a_treatment_has_the_id_that_it_has_in_the_full_factorial(load: Load, sine: str, design: str) -> None:
    """What a run is does not depend on which others there are, so a fraction can be completed later."""
    everything = {(run.kind, str(run.levels)): run for run in plan(load(sine)).replicate(2)}
    some = plan(load(with_design(sine, design)))
    found = [run for run in some.replicate(2) if run.kind != "comparator"]
    assert len(found) > 4
    for run in found:
        full = everything[(run.kind, str(run.levels))]
        assert (run.run_id, run.needs, run.spec) == (full.run_id, full.needs, full.spec)


def test_comparators_start_from_treatment_1_of_the_design(load: Load, sine: str) -> None:
    """Coordinate search improves what is trained, and the all-first treatment is not."""
    study = load(with_design(sine, "{exclude: [{width: 16, gradient: ste}]}"))
    runs = list(plan(study).replicate(1))
    search = next(run for run in runs if run.comparator == "coordinate_search")
    first = next(run for run in runs if run.treatment == 1)
    assert first.levels == {"gradient": "smoothstep", "distillation": "none", "width": "16"}
    assert set(search.needs) <= {first.run_id, *first.needs}


@pytest.mark.parametrize("design", DESIGNS)
def test_a_resolved_design_reads_back(load: Load, sine: str, design: str) -> None:
    """Written out and loaded again it gives the same data, runs and digest."""
    study = load(with_design(sine, design))
    again = load(study_text(study))
    assert again.resolved() == study.resolved()
    assert again.design == study.design
    assert [run.run_id for run in plan(again).runs] == [run.run_id for run in plan(study).runs]
    assert study_digest(again) == study_digest(study)
    assert list(study.resolved()).index("design") == list(study.resolved()).index("factors") + 1


def test_the_full_factorial_leaves_no_trace(load: Load, sine: str) -> None:
    """Without a design, or with an empty one, plan, digest and the resolved study are as they were."""
    plain, empty = load(sine), load(with_design(sine, "{}"))
    assert "design" not in plain.resolved()
    assert empty.resolved() == plain.resolved()
    assert study_digest(empty) == study_digest(plain)
    assert [run.run_id for run in plan(empty).runs] == [run.run_id for run in plan(plain).runs]


def test_each_design_has_its_own_digest(load: Load, sine: str) -> None:
    """Also a fraction that is as large as the full factorial: it was registered as another design."""
    designs = [*DESIGNS, "{}", "{generators: [C=AB]}", "{fraction: resolution-IV}"]
    assert len({study_digest(load(with_design(sine, design))) for design in designs}) == len(designs)
    assert levels_of(load(with_design(sine, "{fraction: resolution-IV}"))) == levels_of(load(sine))


def test_levels_by_value_and_by_text_are_one_design(load: Load, sine: str) -> None:
    """16 and '16' name the same level, so they give the same registration."""
    one, other = (
        load(with_design(sine, f"{{exclude: [{{width: {level}, gradient: ste}}]}}")) for level in (16, "'16'")
    )
    assert study_digest(one) == study_digest(other)


@pytest.mark.parametrize("text", ["design.fraction=resolution-III", "design=resolution-III"])
def test_a_design_can_be_set_from_outside(load: Load, sine: str, text: str) -> None:
    """As a key, or as the shorthand; also over a shorthand in the file."""
    assert len(levels_of(load(sine, text))) == 4
    assert len(levels_of(load(with_design(sine, "plackett-burman"), text))) == 4
    assert levels_of(load(with_design(sine, "plackett-burman"), text)) == levels_of(load(sine, text))


def test_screening_thirty_factors_makes_no_full_factorial(load: Load, lonely: str) -> None:
    """2^30 combinations are never looked at."""
    factors = "".join(f"  f{n}: {{sets: task.extra.k{n}, levels: [1, 2]}}\n" for n in range(30))
    text = lonely.replace("  effort: {sets: task.effort, levels: [1, 2]}\n", factors) + "design: plackett-burman\n"
    assert len(treatments(load(text))) == 32


def test_an_impossible_combination_can_be_left_out(load: Load, mistakes: Mistakes, change: Change) -> None:
    """Also that of all first levels: what is not run is not checked, and treatment 1 is the first that is."""
    text = change("width: {sets: model.hidden, levels: [16, 32]}", "dt: {sets: task.dt, levels: [9.5, 1]}")
    text = text.replace("steps: 50, ", "").replace(
        "  distillation: [none, trajectory]", "  steps: {sets: task.steps, levels: [5000, 50]}"
    )
    assert mistakes(text)
    study = load(with_design(text, "{exclude: [{dt: 9.5, steps: 5000}]}"))
    assert levels_of(study)[0] == ("ste", "50", "9.5")
    assert study.resolved()["task"].get("steps") is None
    assert study.task.steps == 50  # type: ignore[attr-defined]


def test_a_level_that_is_run_nowhere_near_treatment_1_is_still_checked(mistakes: Mistakes, sine: str) -> None:
    """A fraction does not run treatment 1 with one other level; that level's mistakes are shown at it."""
    text, place = marked(with_design(sine, "plackett-burman").replace("[16, 32]", "[16, ¦99999]"))
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith(f"{place}: factors.width.levels[1]: found 99999")


def test_equal_levels_are_found_in_a_fraction(mistakes: Mistakes, sine: str) -> None:
    """Treatments of a fraction never differ in one factor alone, levels are compared all the same."""
    text = with_design(sine, "plackett-burman").replace(
        "[ste, smoothstep]", "[smoothstep, {name: smoothstep, beta_end: 20}]"
    )
    assert "is the same as 'smoothstep'" in mistakes(text)[0]


# What stands at `design`, with ¦ where the mistake is to be shown, and its text.
ONE_MISTAKE = {
    "unknown fraction": (
        "{fraction: ¦resolution-iv}",
        "design.fraction: found 'resolution-iv'; one of resolution-III, resolution-IV, resolution-V, resolution-VI, "
        "resolution-VII, resolution-VIII, plackett-burman is allowed. Did you mean 'resolution-IV'?",
    ),
    "unknown shorthand": ("¦plackett", "design.fraction: found 'plackett'; one of resolution-III, "),
    "unknown key": (
        "{¦fracton: resolution-V}",
        "design.fracton: unknown key 'fracton'; known: fraction, generators, include, exclude. "
        "Did you mean 'fraction'?",
    ),
    "no design": ("¦3", "design: found 3; a mapping with the keys fraction, generators, include, exclude is allowed"),
    "generators beside a fraction": (
        "{fraction: resolution-III, ¦generators: [C=AB]}",
        "design.generators: generators cannot stand beside fraction: a fraction is a design of its own",
    ),
    "include beside a fraction": (
        "{¦include: [{width: 16}], fraction: resolution-III}",
        "design.include: include cannot stand beside fraction",
    ),
    "exclude beside generators": (
        "{generators: [C=AB], ¦exclude: [{width: 16}]}",
        "design.exclude: exclude cannot stand beside generators",
    ),
    "no generator": ("{generators: ¦[]}", "design.generators: found an empty list; at least one generator is needed"),
    "generators that are no list": ("{generators: ¦C=AB}", "design.generators: found 'C=AB'; a list is allowed"),
    "generator that is no text": ("{generators: [¦3]}", "design.generators[0]: found 3; text is allowed"),
    "generator without =": (
        "{generators: [¦ABC]}",
        "design.generators[0]: found 'ABC'; a generator such as C=AB (A=gradient, B=distillation, C=width) is allowed",
    ),
    "generator without a product": ("{generators: [¦C=-]}", "design.generators[0]: found 'C=-'; a generator such as"),
    "generator without a factor": ("{generators: [¦=AB]}", "design.generators[0]: found '=AB'; a generator such as"),
    "letter of no factor": (
        "{generators: [¦D=AB]}",
        "design.generators[0]: unknown factor 'D'; known: A=gradient, B=distillation, C=width",
    ),
    "letter of no factor in the product": ("{generators: [¦C=AD]}", "design.generators[0]: unknown factor 'D'; known:"),
    "letter i": ("{generators: [¦C=AI]}", "design.generators[0]: unknown factor 'I'; known:"),
    "name of no factor": (
        "{generators: [¦'widht=gradient:distillation']}",
        "design.generators[0]: unknown factor 'widht'; known: gradient, distillation, width. Did you mean 'width'?",
    ),
    "name of no factor in the product": (
        "{generators: [¦'width=gradeint:distillation']}",
        "design.generators[0]: unknown factor 'gradeint'; known: gradient, distillation, width. "
        "Did you mean 'gradient'?",
    ),
    "factor twice in a product": (
        "{generators: [¦C=AAB]}",
        "design.generators[0]: gradient stands twice in the product; name each factor once",
    ),
    "factor defined twice": (
        "{generators: [C=AB, ¦C=-AB]}",
        "design.generators[1]: width is defined twice; one generator defines a factor",
    ),
    "factor defined by itself": (
        "{generators: [¦C=AC]}",
        "design.generators[0]: width is defined by itself; define it by factors that vary freely: "
        "gradient, distillation",
    ),
    "factor defined by one that is defined": (
        "{generators: [B=A, ¦C=AB]}",
        "design.generators[1]: width is defined by distillation, which a generator defines itself; define it by "
        "factors that vary freely: gradient",
    ),
    "resolution II": (
        "{generators: ¦[C=-A]}",
        "design.generators: gradient and width would never vary apart, so their effects are one (resolution II)",
    ),
    "unknown factor": (
        "{exclude: [{width: 16, gradient: ste}, {¦widht: 16}]}",
        "design.exclude[1].widht: unknown factor 'widht'; known: gradient, distillation, width. Did you mean 'width'?",
    ),
    "unknown level": (
        "{include: [{gradient: ¦smoothstp}]}",
        "design.include[0].gradient: unknown level 'smoothstp'; levels of 'gradient': ste, smoothstep. "
        "Did you mean 'smoothstep'?",
    ),
    "level of the wrong kind": ("{include: [{width: ¦[16]}]}", "design.include[0].width: found a list; "),
    "levels that are no mapping": ("{include: [¦width]}", "design.include[0]: found 'width'; a mapping is allowed"),
    "one mapping for a list": ("{exclude: ¦{width: 16}}", "design.exclude: found a mapping; a list is allowed"),
    "no levels": ("{exclude: [¦{}]}", "design.exclude[0]: found an empty mapping, which matches every treatment"),
    "nothing included": ("{include: ¦[]}", "design.include: found an empty list; at least one mapping of levels is"),
    "nothing left": (
        "{include: [{width: 16}], exclude: [{width: 16}]}",
        "design: no treatment is left; include more, or exclude less",
    ),
    "one level left": (
        "{exclude: [{width: 16}]}",
        "design: only the level '32' of the factor 'width' is left; include another one, or remove the factor",
    ),
}


@pytest.mark.parametrize(("design", "words"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_a_mistake_in_a_design_is_shown_once_at_its_place(
    sine: str, mistakes: Mistakes, design: str, words: str
) -> None:
    """One line: its place, the key, what was found and what is allowed."""
    text = with_design(sine, design)
    text, place = marked(text if "¦" in text else text.replace("design:", "¦design:"))
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith(f"{place}: {words}")


@pytest.mark.parametrize("design", ["plackett-burman", "{fraction: resolution-III}", "{generators: [C=AB]}"])
def test_a_fraction_needs_factors_of_two_levels(mistakes: Mistakes, sine: str, design: str) -> None:
    """Each factor with more is shown."""
    key = "generators" if "gen" in design else "fraction"
    got = mistakes(
        with_design(sine, design).replace("[16, 32]", "[16, 32, 64]").replace("eval_mse: 5e-3", "eval_mse: 5")
    )
    assert got == [
        f"10:3: factors.width: found 3 levels; design.{key} needs two-level factors, remove levels, or remove the "
        "design to run the full factorial"
    ]


def test_two_generated_factors_that_never_vary_apart_are_named(mistakes: Mistakes, sine: str) -> None:
    """Equal generators, and opposite ones, give resolution II though each is long enough."""
    for sign in ("", "-"):
        got = mistakes(with_design(wide(sine, 5), f"{{generators: [D=AB, E={sign}AB]}}"))
        assert len(got) == 1
        assert "f3 and f4 would never vary apart, so their effects are one (resolution II)" in got[0]


@pytest.mark.parametrize("design", ["plackett-burman", "{fraction: resolution-V}"])
def test_a_fraction_of_two_factors_is_refused(mistakes: Mistakes, sine: str, design: str) -> None:
    """There is nothing to leave out."""
    got = mistakes(with_design(wide(sine, 2), design))
    assert len(got) == 1
    assert "found 2 factors; a fraction needs at least 3" in got[0]


def test_a_design_counts_what_it_runs(load: Load, mistakes: Mistakes, change: Change) -> None:
    """Two million combinations may stand behind an include of some; too many of them are refused by number."""
    levels = ", ".join(str(level) for level in range(1, 201))
    more = "".join(f"  {key}: {{sets: task.{key}, levels: [{levels}]}}\n" for key in ("sequences", "steps"))
    text = change("replicates: 3", f"{more}replicates: 3").replace("steps: 50, ", "")
    few = "{include: [{sequences: 1, steps: 1}, {sequences: 2, steps: 7}]}"
    assert len(levels_of(load(with_design(text, few)))) == 16
    many = "{include: [{gradient: ste, width: 16}, {distillation: none}]}"
    assert "design: found 200,000 treatments; at most 100,000 are allowed" in mistakes(with_design(text, many))[0]


def test_a_search_through_too_many_treatments_is_refused(mistakes: Mistakes, change: Change) -> None:
    """`exclude` alone looks at every combination."""
    levels = ", ".join(str(level) for level in range(1, 1001))
    more = "".join(f"  {key}: {{sets: task.{key}, levels: [{levels}]}}\n" for key in ("sequences", "steps"))
    text = change("replicates: 3", f"{more}replicates: 3").replace("steps: 50, ", "")
    got = mistakes(with_design(text, "{exclude: [{gradient: ste, width: 16}]}"))
    assert len(got) == 1
    assert "design: found 8,000,000 treatments before any is excluded; at most 1,000,000" in got[0]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3), max_size=4),
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1, max_size=3), max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_chosen_treatments_are_those_that_match(include: list[dict[str, int]], exclude: list[dict[str, int]]) -> None:
    """Compared with asking every combination of three factors of three levels."""
    from kdrun.study.factor import Factor, FactorLevel

    levels = tuple(FactorLevel(f"level{n}", n, ()) for n in range(3))
    factors = {name: Factor(name, ("task", name), None, levels, None) for name in "abc"}
    design = selection.Design(include=tuple(include) or None, exclude=tuple(exclude) or None)
    everything = (row[::-1] for row in product(range(3), repeat=3))

    def matches(row: tuple[int, ...], patterns: list[dict[str, int]]) -> bool:
        return any(all(row["abc".index(name)] == level for name, level in pattern.items()) for pattern in patterns)

    expected = [row for row in everything if (not include or matches(row, include)) and not matches(row, exclude)]
    assert list(selection.chosen_rows(design, factors)) == expected


def test_the_schema_describes_designs(sine: str, load: Load) -> None:
    """Editors offer every key with its description, the shorthand, and refuse what is unknown."""
    schema = json_schema()
    entry = schema["properties"]["design"]
    assert entry["description"]
    keys = schema["$defs"]["Design"]["properties"]
    assert list(keys) == ["fraction", "generators", "include", "exclude"]
    assert all(key["description"] for key in keys.values())
    base = load(sine).resolved()
    for design in (
        {"fraction": "resolution-V"},
        "plackett-burman",
        {"generators": ["C=AB"]},
        {"exclude": [{"width": 16}]},
    ):
        jsonschema.validate({**base, "design": design}, schema)
    for design in ({"fracton": "resolution-V"}, "plackett", {"generators": "C=AB"}, {"exclude": [{"width": [1]}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**base, "design": design}, schema)


def test_studies_without_a_fraction_do_not_import_pydoe() -> None:
    """It imports SciPy's statistics, over a second."""
    import subprocess
    import sys

    code = "import sys, kdrun.study.plan; print('pydoe' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_impossible_combinations_of_a_fraction_are_named(load: Load, change: Change) -> None:
    """A treatment that cannot be is an error with its number in the fraction."""
    text = change("width: {sets: model.hidden, levels: [16, 32]}", "dt: {sets: task.dt, levels: [1, 9.5]}")
    text = text.replace("steps: 50, ", "").replace(
        "  distillation: [none, trajectory]", "  steps: {sets: task.steps, levels: [50, 5000]}"
    )
    with pytest.raises(StudyError, match=r"treatment 4 \(gradient=smoothstep, steps=5000, dt=9.5\): "):
        treatments(load(with_design(text, "{generators: [C=AB]}")))
