"""Sentences of the reports: which techniques matter, and how a study was judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from judged_studies import NAN, effects, judged

from kdrun.report.wording import judged as how_judged
from kdrun.report.wording import verdict_counts, what_matters
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


def test_aliased_effects_are_never_named_alone(analysis: Analysis) -> None:
    """A class of aliased terms is shown as it is called, without levels and without better or worse."""
    table = effects(("gradient + width:distillation", "", -0.2, -0.3, -0.1))
    (statement,) = what_matters(replace(analysis, effects=table)).shown
    assert statement.term == "gradient + width:distillation"
    assert statement.direction == ""
    assert statement.text.startswith(
        "these effects, which the design cannot tell apart, together multiply Eval MSE by 0.631"
    )


def test_equal_runs_are_called_identical(analysis: Analysis) -> None:
    """A term whose levels gave the same in every replicate says so."""
    table = effects(("gradient", "", 0.0, 0.0, 0.0))
    table["p_value"] = NAN
    (statement,) = what_matters(replace(analysis, effects=table)).not_shown
    assert statement.text == "identical in every replicate"


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
        ("Lenth", [False, False, True]),
        ("nothing is adjusted across hypotheses", [False, True, False]),
        ("analysis of variance is secondary", [False, True, False]),
        ("A diverged run is an outcome", [True, True, True]),
    ):
        assert [word in text for text in texts] == expected, word


def test_verdicts_are_counted() -> None:
    """Counts come in a fixed order, without those that are zero."""
    assert verdict_counts(pd.Series(["refuted", "supported", "refuted"])) == "1 supported, 2 refuted"
    assert verdict_counts([]) == ""
