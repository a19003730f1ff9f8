"""Pictures of designs that are not full factorials, and of studies with holes: they agree with the table of effects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
import pytest

from kdrun.records import Outcome, Run
from kdrun.report.plots import interactions, main_effects
from kdrun.report.plots.main_effects import level_means
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import styled
from kdrun.report.plots.wide import wide_of
from kdrun.stats.analysis import analyse
from kdrun.stats.scales import Layout, Response

Levels = dict[str, str]
FIVE = dict.fromkeys(("gradient", "distillation", "lr", "epochs", "width"), ("low", "high"))
MIXED = {"gradient": ("ste", "smooth", "plateau"), "width": ("4", "6"), "depth": ("1", "2")}


def study(
    factors: Mapping[str, tuple[str, ...]],
    treatments: Iterable[Levels],
    replicates: int = 4,
    screening: bool = False,
    lost: Iterable[tuple[int, int]] = (),
    value: Callable[[Levels], float] | None = None,
) -> Material:
    """Some treatments of a study, without the runs (replicate, treatment) that are `lost`."""
    draw = np.random.default_rng(3)
    runs, outcomes = [], {}
    for number, levels in enumerate(treatments, 1):
        fixed = draw.normal() if value is None else value(levels)
        for replicate in range(1, replicates + 1):
            run = Run(f"r{replicate}t{number}", "treatment", replicate, {}, (), number, None, levels)
            runs.append(run)
            y = fixed + 0.1 * replicate + (draw.normal(0, 0.2) if value is None else 0.0)
            if (replicate, number) not in set(lost):
                outcomes[run.run_id] = Outcome(run.run_id, "done", {"eval_mse": float(10**y)})
    layout = Layout(factors, (Response("eval_mse"),), ("eval_mse",), screening=screening)
    return Material(analyse(runs, outcomes, layout), None, ())


def every(factors: Mapping[str, tuple[str, ...]]) -> list[Levels]:
    return [dict(zip(factors, cell, strict=True)) for cell in itertools.product(*factors.values())]


def generated(**generators: tuple[int, str, str]) -> list[Levels]:
    """The treatments of five factors in which each of these is the signed product of two others."""
    sign = {"low": -1, "high": 1}
    return [
        levels
        for levels in every(FIVE)
        if all(sign[levels[name]] == s * sign[levels[a]] * sign[levels[b]] for name, (s, a, b) in generators.items())
    ]


CONFOUNDED = [
    levels
    for levels in every(MIXED)
    if (levels["gradient"], levels["width"]) != ("plateau", "6")
    and (levels["gradient"], levels["depth"]) != ("ste", "2")
]
RESOLUTION_III = generated(epochs=(-1, "gradient", "distillation"), width=(1, "gradient", "lr"))
RESOLUTION_V = [levels for levels in every(FIVE) if sum(level == "high" for level in levels.values()) % 2]
# The cyclic design of Plackett and Burman for twelve runs, its first five columns.
ROW = "++-+++---+-"
SHIFTS = [[ROW[(column - shift) % 11] for column in range(5)] for shift in range(11)] + [["-"] * 5]
SCREENING = [dict(zip(FIVE, ("high" if sign == "+" else "low" for sign in row), strict=True)) for row in SHIFTS]
# Gradient and lr always have the same level, and some combinations of epochs and width are left out.
TIED = [levels for levels in every(FIVE) if levels["gradient"] == levels["lr"] and levels["epochs"] <= levels["width"]]

DESIGNS: dict[str, Callable[[], Material]] = {
    "full": lambda: study(MIXED, every(MIXED)),
    "confounded": lambda: study(MIXED, CONFOUNDED),
    "confounded, with holes": lambda: study(MIXED, CONFOUNDED, 5, lost=[(2, 3), (5, 1)]),
    "confounded, one replicate": lambda: study(MIXED, CONFOUNDED, 1),
    "resolution III": lambda: study(FIVE, RESOLUTION_III),
    "resolution V": lambda: study(FIVE, RESOLUTION_V),
    "screening": lambda: study(FIVE, SCREENING, screening=True),
    "tied": lambda: study(FIVE, TIED),
    "no complete replicate": lambda: study(MIXED, CONFOUNDED, 4, lost=[(1, 3), (2, 1), (3, 2), (4, 4)]),
    "full, no complete replicate": lambda: study(MIXED, every(MIXED), 4, lost=[(1, 3), (2, 1), (3, 2), (4, 4)]),
}


@cache
def material_of(design: str) -> Material:
    return DESIGNS[design]()


def estimates(material: Material) -> dict[tuple[str, str], float]:
    """Estimates of the table by term and contrast; where there are holes, those that pictures are made of."""
    analysis, wide = material.analysis, material.wide
    complete = wide.replicates and len(analysis.complete_effects)
    table = analysis.complete_effects if complete else analysis.effects
    return {(row["term"], row["contrast"]): row["estimate"] for row in table.to_dict("records")}


@pytest.mark.parametrize("design", DESIGNS)
def test_levels_differ_by_the_effects_of_the_table(design):
    """In any design the later of two levels minus the earlier is the contrast of the table, with the alias's sign."""
    material = material_of(design)
    expected = estimates(material)
    found = level_means(material.wide)

    assert found
    for item in found:
        term = material.wide.term_of(item.factor)
        (sign,) = [member.sign for member in term.members if member.factors == (item.factor,)]
        for a, b in itertools.combinations(range(len(item.levels)), 2):
            contrast = f"{item.levels[b]} - {item.levels[a]}" if len(item.levels) > 2 else ""
            assert item.mean[b] - item.mean[a] == pytest.approx(sign * expected[term.name, contrast], rel=1e-9)


@pytest.mark.parametrize("design", ["full", "confounded", "resolution V", "no complete replicate"])
def test_pairs_differ_by_the_interactions_of_the_table(design):
    """Half the difference of differences is the contrast of the table, and means of rows are those of levels."""
    material = material_of(design)
    wide, expected = material.wide, estimates(material)
    told = [pair for pair in itertools.combinations(wide.levels, 2) if wide.tells_pair(*pair)]

    assert told
    for pair in told:
        means = wide.pair_means(*pair).mean(axis=0)
        names = [f"{levels[-1]} - {levels[0]}" if len(levels) > 2 else "" for levels in map(wide.levels.get, pair)]
        got = (means[-1, -1] - means[0, -1] - means[-1, 0] + means[0, 0]) / 2
        key = wide.term_of(*pair).name, " : ".join(name for name in names if name)
        assert got == pytest.approx(expected[key], rel=1e-9)
        np.testing.assert_allclose(means.mean(axis=1), wide.level_means(pair[0]).mean(axis=0), rtol=1e-9)


def test_a_factor_without_effect_is_flat_in_a_confounded_design():
    """Plain means of levels would show the effect of whatever stands beside them."""
    levels = {"4": 0.0, "6": 1.0}
    material = study(MIXED, CONFOUNDED, value=lambda treatment: levels[treatment["width"]])
    found = {item.factor: np.ptp(item.mean) for item in level_means(material.wide)}

    assert found["gradient"] == pytest.approx(0, abs=1e-9)
    assert found["depth"] == pytest.approx(0, abs=1e-9)
    assert found["width"] == pytest.approx(1)


@cache
def drawn(draw: Callable[[Material], Drawing | None], design: str) -> Drawing | None:
    with styled():
        return draw(material_of(design))


def test_aliased_main_effects_are_called_classes():
    """Each line of a fraction of resolution III is named by its whole class; resolution V needs no such words."""
    caption = drawn(main_effects.draw, "resolution III").caption

    assert "Lines are classes of effects that the design cannot tell apart, not factors alone: " in caption
    assert "Epochs − Gradient × Distillation + 2 more; " in caption
    assert "classes" not in drawn(main_effects.draw, "resolution V").caption


def test_screening_is_told_of():
    """Its lines hold shares of interactions, and none of those is drawn."""
    assert "each line is a class of its factor and shares of" in drawn(main_effects.draw, "screening").caption
    assert drawn(interactions.draw, "screening") is None


def test_only_interactions_that_are_terms_of_their_own_are_drawn():
    """Not those that share a class with a main effect or another pair, nor those that are refused."""
    assert drawn(interactions.draw, "resolution III") is None
    fraction = material_of("resolution V").wide
    assert all(fraction.tells_pair(*pair) for pair in itertools.combinations(FIVE, 2))
    confounded = drawn(interactions.draw, "confounded")
    assert len(confounded.figure.axes) == 1
    assert "2 of 3 pairs are not shown: these runs cannot tell their interactions" in confounded.caption


def test_a_refused_main_effect_has_no_panel():
    """The caption says which is left out."""
    found = drawn(main_effects.draw, "tied")

    assert [axes.get_xlabel() for axes in found.figure.axes] == ["Gradient", "Distillation", "Epochs", "Width"]
    assert "Lr is not shown: these runs cannot tell what it does." in found.caption


@pytest.mark.parametrize("draw", [main_effects.draw, interactions.draw])
def test_captions_say_that_means_are_modelled(draw):
    """Those of full factorials do not."""
    words = "the means that the table's model predicts over all combinations of levels"

    assert words in drawn(draw, "confounded").caption
    assert words not in drawn(draw, "full").caption


def test_captions_say_which_replicates_are_complete():
    """The table uses all runs, the means complete replicates, or the table's own model where there are none."""
    some, none = (
        drawn(main_effects.draw, name).caption for name in ("confounded, with holes", "no complete replicate")
    )

    assert "3 of 5 replicates are complete and make the means; the table of effects uses all runs." in some
    assert "None of the 4 replicates is complete: the means come from the table's model, fitted to all runs." in none
    assert "complete and" not in drawn(main_effects.draw, "confounded").caption


def test_a_factor_that_holes_hide_has_no_panel():
    """Where a treatment never ends well, what a full factorial cannot tell any more is not drawn."""
    material = study(MIXED, every(MIXED), 3, lost=[(replicate, 1) for replicate in (1, 2, 3)])

    assert np.isnan(wide_of(material.analysis).level_means("gradient")).any()
    with styled():
        assert main_effects.draw(material) is None
