"""Sentences of the reports: which techniques matter, and how a study was judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from judged_studies import NAN, effects, half, judged, mixed

from kdrun.report.effect_tables import effects_sheet
from kdrun.report.judging import judged as how_judged
from kdrun.report.wording import promise, verdict_counts, what_matters
from kdrun.stats.analysis import Analysis
from kdrun.stats.lenth import Lenth
from kdrun.stats.scales import Response


def test_shown_effects_are_sentences_largest_first(analysis: Analysis) -> None:
    """A sentence says what against what and by how much; interactions have no better or worse."""
    table = effects(
        ("gradient", "", -0.2, -0.3, -0.1),
        ("distillation", "", 0.9, 0.7, 1.1),
        ("width", "", 0.1, -0.1, 0.3),
        ("gradient:width", "", 0.3, 0.2, 0.4),
    )
    got = what_matters(replace(analysis, effects=table))
    p = "p 0.00100, 0.0100 after Holm"
    assert [(part.term, part.direction, part.text) for part in got.shown] == [
        ("distillation", "worse", f"trajectory against none multiplies Eval MSE by 7.94 [5.01, 12.6]; {p}"),
        ("gradient:width", "", f"the effect of gradient depends on width: ratio 2.00 [1.58, 2.51]; {p}"),
        ("gradient", "better", f"smoothstep against ste multiplies Eval MSE by 0.631 [0.501, 0.794]; {p}"),
    ]
    assert [(part.term, part.text) for part in got.not_shown] == [("width", "1.26 [0.794, 2.00]")]


def test_what_holm_takes_back_is_said(analysis: Analysis) -> None:
    """An effect whose adjusted p is above 5% is marked."""
    table = effects(("gradient", "", -0.2, -0.3, -0.1), p_holm=0.2)
    (statement,) = what_matters(replace(analysis, effects=table)).shown
    assert statement.text.endswith("p 0.00100, 0.200 after Holm: no longer shown after that adjustment")


def on_scale(analysis: Analysis, response: Response) -> Analysis:
    """The same on another scale."""
    return replace(analysis, layout=replace(analysis.layout, responses=(response,), ratios=()))


def test_scales_and_directions(analysis: Analysis) -> None:
    """Differences on a linear scale, ratios of odds on logit; a rise of what should be high is better."""
    table = effects(("gradient", "", 0.2, 0.1, 0.3), ("gradient:distillation:width", "", 0.2, 0.1, 0.3))
    linear = what_matters(replace(on_scale(analysis, Response("eval_mse", "linear", "higher")), effects=table))
    assert (linear.shown[0].direction, linear.shown[0].text.split(";")[0]) == (
        "better",
        "smoothstep against ste changes Eval MSE by 0.200 [0.100, 0.300]",
    )
    assert linear.shown[1].text.startswith(
        "the effects of gradient, distillation and width depend on each other: difference 0.200"
    )
    logit = what_matters(replace(on_scale(analysis, Response("eval_mse", "logit", "lower")), effects=table))
    assert (logit.shown[0].direction, logit.shown[0].text.split(" by ")[0]) == (
        "worse",
        "smoothstep against ste multiplies the odds of Eval MSE",
    )
    assert "depend on each other: odds ratio 1.58" in logit.shown[1].text


def test_several_levels_have_their_contrasts(analysis: Analysis) -> None:
    """A term of three levels counts by its omnibus p and lists its clear contrasts, each for better or worse."""
    table = effects(
        ("gradient", "omnibus", NAN, NAN, NAN),
        ("gradient", "b - c - a", 0.1, -0.1, 0.2),
        ("gradient", "d - a", -0.3, -0.4, -0.2),
        ("gradient", "d - b - c", -0.4, -0.5, -0.3),
        ("width", "omnibus", NAN, NAN, NAN),
        ("width", "2 - 1", -0.4, -0.5, -0.3),
        ("gradient:width", "omnibus", NAN, NAN, NAN),
        ("gradient:width", "d - a : 2 - 1", 0.1, 0.05, 0.15),
    )
    table.loc[[0, 6], ["p_value", "p_holm"]] = 0.003
    table.loc[4, "p_value"] = 0.2
    layout = replace(analysis.layout, factors={"gradient": ("a", "b - c", "d"), "width": ("1", "2", "3")})
    got = what_matters(replace(analysis, layout=layout, effects=table))
    statement, interaction = got.shown
    assert interaction.text.startswith("the effect of gradient depends on width; omnibus p 0.00300")
    assert interaction.details == ("d - a : 2 - 1: ratio 1.26 [1.12, 1.41]; p 0.00100, 0.0100 after Holm",)
    assert statement.text == "its levels differ; omnibus p 0.00300, 0.00300 after Holm"
    assert [detail.split(" multiplies")[0] for detail in statement.details] == ["d against a", "d against b - c"]
    assert ", better; p 0.00100" in statement.details[0]
    assert [(part.term, part.text) for part in got.not_shown] == [("width", "omnibus p 0.200")]


def test_a_class_of_aliases_is_said_by_its_levels(make: Callable[..., Analysis]) -> None:
    """A class led by a main effect has its levels, is better or worse as a class, and is not said of the factor."""
    table = effects(("gradient + distillation:width", "", -0.2, -0.3, -0.1))
    (statement,) = what_matters(replace(make(chosen=half), effects=table)).shown
    assert statement.term == "gradient + distillation:width"
    assert statement.direction == "better as a class"
    assert statement.text.startswith(
        "smoothstep against ste, with what cannot be told from it, multiplies Eval MSE by 0.631 [0.501, 0.794]"
    )


def test_classes_of_interactions_have_no_better_or_worse(make: Callable[..., Analysis]) -> None:
    """Of two factors they say which pairs are compared; of more only that they cannot be told apart."""
    four = {"a": ("a1", "a2"), "b": ("b1", "b2"), "c": ("c1", "c2"), "d": ("d1", "d2")}
    table = effects(("a:b - c:d", "", -0.2, -0.3, -0.1))
    (pair,) = what_matters(replace(make(four, chosen=half), effects=table)).shown
    assert pair.direction == ""
    assert pair.text.startswith("a1 with b1 and a2 with b2, against the other two pairs, with what cannot be told from")
    assert " multiply Eval MSE by 0.631" in pair.text
    six = dict.fromkeys("abcdef", ("1", "2"))
    table = effects(("a:b:c - d:e:f", "", -0.2, -0.3, -0.1))
    (triple,) = what_matters(replace(make(six, chosen=half), effects=table)).shown
    assert triple.text.startswith("these effects, which the design cannot tell apart, together: ratio 0.631")


def test_a_screening_design_that_is_a_fraction_names_classes(make: Callable[..., Analysis]) -> None:
    """Where main effects are aliased with whole interactions, what is said is said of the class."""
    got = what_matters(make(chosen=half, screening=True))
    assert {statement.direction for statement in got.shown} <= {"better as a class", "worse as a class"}
    assert all("with what cannot be told from it" in statement.text for statement in got.shown)


def test_diverged_runs_without_a_value_are_a_caution(make: Callable[..., Analysis]) -> None:
    """Where effects leave out diverged runs, that is said before what matters; not where a value stands in."""
    (caution,) = what_matters(make(diverged=("r1t2",), stand_in=None)).cautions
    assert caution == (
        "1 diverged run (at gradient smoothstep, distillation none and width 16) is left out of the effects on Eval"
        " MSE, which biases them in favour of the levels at which it diverged: register a value (diverged: {value: x})."
    )
    assert what_matters(make(diverged=("r1t2",))).cautions == ()


def test_refused_intervals_show_nothing(make: Callable[..., Analysis]) -> None:
    """Where a treatment lacks too many runs nothing is shown to matter, and no paragraph speaks of intervals."""
    analysis = make(missing=("r1t1", "r2t1"))
    got = what_matters(analysis)
    assert (got.shown, got.not_shown) == ((), ())
    assert got.remarks[0] == "No interval can be given, so no effect is shown to matter."
    text = "\n".join(how_judged(analysis))
    assert "2 runs are missing or failed, so effects are estimated by least squares" in text
    assert "so no effect has an interval or a test" in text
    assert "95% t interval" not in text
    assert "Holm" not in text


def test_equal_runs_are_called_identical(analysis: Analysis) -> None:
    """A term whose levels gave the same in every replicate says so."""
    table = effects(("gradient", "", 0.0, 0.0, 0.0))
    table["p_value"] = NAN
    (statement,) = what_matters(replace(analysis, effects=table)).not_shown
    assert statement.text == "identical in every replicate"


def test_effects_that_do_not_vary_are_a_caution_and_no_verdict(analysis: Analysis) -> None:
    """They are neither shown to matter nor among those that are not; the table of effects says so as well."""
    table = effects(("gradient", "", 0.9, NAN, NAN), ("width", "", 0.5, NAN, NAN), ("distillation", "", 0.0, 0.0, 0.0))
    table["p_value"], table["std_error"] = NAN, 0.0
    found = replace(analysis, effects=table)
    got = what_matters(found)
    (caution,) = got.cautions
    assert caution.startswith(
        "Replicates do not vary in the effects of gradient and width: the same number in every one"
    )
    assert got.shown == ()
    assert [part.term for part in got.not_shown] == ["distillation"]
    assert caution in effects_sheet(found).notes
    alone = what_matters(replace(analysis, effects=table[:1]))
    assert alone.cautions[0].startswith("Replicates do not vary in the effect of gradient:")


def test_what_is_run_again_is_promised_by_who_computes() -> None:
    """kdrun's own bits are those of any CPU; for code of the user's own nobody knows."""
    assert promise({"task": {}, "student": {}}).endswith("the same results digest, on any CPU.")
    own = promise({"task": {}})
    assert "where the same versions run on the same kind of CPU." in own
    assert own.endswith("Put study.yaml where the study stood first: its code and files are looked for beside it.")
    assert promise({"task": {"file": "a.csv"}, "student": {}}).endswith("its data are looked for beside it.")


def test_one_replicate_is_judged_by_lenth(make: Callable[..., Analysis]) -> None:
    """Without intervals only Lenth's limits speak, and without them nothing is shown."""
    analysis = replace(make(replicates=1), lenth={}, notes=("why not",))
    table = effects(
        ("gradient", "", -0.2, NAN, NAN), ("width", "", 0.5, NAN, NAN), ("gradient:width", "", 0.1, NAN, NAN)
    )
    table["p_value"] = NAN
    nothing = what_matters(replace(analysis, effects=table))
    assert (nothing.shown, nothing.remarks[1]) == ((), "why not")
    limits = Lenth(7, 0.1, 0.05, 0.15, 0.4)
    got = what_matters(replace(analysis, effects=table, lenth={"eval_mse": limits}))
    assert [(part.term, part.text.split("limit for ")[1]) for part in got.shown] == [
        ("width", "all contrasts at once"),
        ("gradient", "one contrast, not for all at once"),
    ]


def test_how_it_was_judged_says_what_applies(make: Callable[..., Analysis]) -> None:
    """Holes, one replicate, verdicts and an analysis of variance are explained where there are any."""
    plain, holes = make(), make()
    holes = judged(replace(holes, complete_effects=holes.effects, effects=holes.effects.assign(df=1.9)))
    texts = [
        "\n".join(how_judged(study)) for study in (replace(plain, anova=plain.anova[:0]), holes, make(replicates=1))
    ]
    for word, expected in (
        ("estimated inside every replicate", [True, False, False]),
        ("CR2, Bell–McCaffrey", [False, True, False]),
        ("Holm", [True, True, False]),
        ("One replicate gives no intervals", [False, False, True]),
        ("every replicate holds every combination of levels", [True, True, True]),
        ("paired inside replicates", [True, True, False]),
        ("nothing is adjusted across hypotheses", [False, True, False]),
        ("analysis of variance is secondary", [False, True, False]),
        ("A diverged run is an outcome", [True, True, True]),
    ):
        assert [word in text for text in texts] == expected, word


def test_one_replicate_has_no_rules_for_intervals(make: Callable[..., Analysis]) -> None:
    """With one replicate nothing is said of intervals, ranks or pooling; Lenth is named where there are his limits."""
    analysis = judged(make(replicates=1))
    text = "\n".join(how_judged(analysis))
    for absent in ("95%", "rank", "pooled", "Holm", "1 replicates"):
        assert absent not in text, absent
    assert "stays inconclusive with one replicate" in text
    assert ("Lenth" in text) == bool(analysis.lenth)
    assert "Lenth" not in "\n".join(how_judged(replace(analysis, lenth={})))


def test_what_was_run_of_all_combinations_is_said(make: Callable[..., Analysis]) -> None:
    """A fraction, a screening design and a selection are called so; none of them holds every combination."""
    for analysis, start in (
        (make(chosen=half), "A fraction was run: 4 of the 8 combinations of levels, the same in every replicate"),
        (make(chosen=mixed, screening=True), "A screening design was run: 6 of the 8 combinations"),
        (make(chosen=lambda at: at != (1, 1, 1)), "A selection of treatments was run: 7 of the 8 combinations"),
    ):
        text = how_judged(analysis)[0]
        assert text.startswith(start)
        assert "every combination" not in text


def test_stand_ins_are_said_by_response(make: Callable[..., Analysis]) -> None:
    """A value counts for its own response; without one the rule for verdicts stands; a weak one is warned of."""
    analysis = make()
    layout = replace(analysis.layout, judged=("eval_mse", "train_mse"))
    both = how_judged(replace(analysis, layout=layout))[-1]
    assert "takes part with the value registered for it: Eval MSE 0.5." in both
    assert "No value is registered for it on Train MSE, and that of one response is none of another" in both
    assert "worst value seen" in both
    assert "worst value seen" not in how_judged(analysis)[-1]
    assert "takes part" not in how_judged(make(stand_in=None))[-1]
    weak = how_judged(make(stand_in=1e-5))[-1]
    assert "The registered value 1e-05 is better than the worst finished run of Eval MSE (0.0003" in weak
    assert weak.endswith("none diverged here.")


def test_verdicts_are_counted() -> None:
    """Counts come in a fixed order, without those that are zero."""
    assert verdict_counts(pd.Series(["refuted", "supported", "refuted"])) == "1 supported, 2 refuted"
    assert verdict_counts([]) == ""
