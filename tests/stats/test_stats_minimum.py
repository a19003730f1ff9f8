"""Minimum detectable effects of the terms of a design, in units of a run's deviation and by a pilot."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from kdrun.stats.minimum import COLUMNS, minimum_effects, pilot_effects, power_warnings
from kdrun.stats.power import minimum_detectable, upper_deviation
from kdrun.stats.scales import Layout, Response
from kdrun.stats.terms import Terms, terms_of

Levels = dict[str, tuple[str, ...]]
TWO: Levels = {"a": ("x", "y"), "b": ("x", "y"), "c": ("x", "y")}
MSE = Response("mse", "log10")


def terms(levels: Levels, keep: int | None = None, screening: bool = False) -> Terms:
    rows = [dict(zip(levels, row, strict=True)) for row in product(*levels.values())][:keep]
    return terms_of(Layout(levels, (MSE,), ("mse",), screening=screening), rows)


def pilot(found: Terms, **columns: object) -> pd.DataFrame:
    rows = [(found.terms[index].name, label) for index, label in found.contrasts]
    table = pd.DataFrame(rows, columns=["term", "contrast"]).assign(response="mse", std_error=0.1, df=8.0)
    return table.assign(**columns)


def test_two_level_terms_vary_by_two_sigma_over_root_n() -> None:
    """σ_d = 2σ/√N for every term, and δ from the table of the power section: 1.00 σ_d at R = 10."""
    got = minimum_effects(terms(TWO), 10)
    assert tuple(got.columns) == COLUMNS
    assert got["term"].tolist() == ["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"]
    assert got["order"].tolist() == [1, 1, 1, 2, 2, 2, 3]
    np.testing.assert_allclose(got["deviation"], 2 / np.sqrt(8), rtol=1e-12)
    np.testing.assert_allclose(got["delta"], 1.00 * 2 / np.sqrt(8), rtol=5e-3)


def test_holm_asks_for_a_seventh_of_alpha() -> None:
    """The first step of Holm over seven terms tests each at 0.05/7."""
    got = minimum_effects(terms(TWO), 6)
    np.testing.assert_allclose(got["delta_holm"], minimum_detectable(6, 0.05 / 7) * 2 / np.sqrt(8), rtol=1e-12)
    assert (got["delta_holm"] > got["delta"]).all()


def test_contrasts_of_three_levels_have_rows_of_their_own() -> None:
    """A difference of two means of 2 runs each has the variance σ²/2 + σ²/2; one of the two-level factor 4σ²/6."""
    got = minimum_effects(terms({"a": ("x", "y"), "w": ("1", "2", "3")}), 8)
    assert got["contrast"].tolist()[:4] == ["", "2 - 1", "3 - 1", "3 - 2"]
    np.testing.assert_allclose(got["deviation"][:4] ** 2, [4 / 6, 1, 1, 1], rtol=1e-12)


def test_one_replicate_shows_nothing() -> None:
    """There is no test, so there is no size that it finds."""
    assert minimum_effects(terms(TWO), 1)[["delta", "delta_holm"]].isna().all(axis=None)


def test_a_pilot_gives_sizes_on_the_analysis_scale() -> None:
    """σ_d = std_error·√(df + 1) = 0.3 with nine replicates, its upper limit, and their ratios 10^δ."""
    found = terms(TWO)
    got = pilot_effects(found, 10, pilot(found), [MSE])
    np.testing.assert_allclose(got["deviation"], 0.3, rtol=1e-12)
    np.testing.assert_allclose(got["deviation_high"], upper_deviation(0.3, 9), rtol=1e-12)
    np.testing.assert_allclose(got["delta"], 0.3 * minimum_detectable(10), rtol=1e-12)
    np.testing.assert_allclose(got["delta_holm_high"], upper_deviation(0.3, 9) * minimum_detectable(10, 0.05 / 7))
    np.testing.assert_allclose(np.log10(got["ratio"]), got["delta"], rtol=1e-12)
    np.testing.assert_allclose(np.log10(got["ratio_holm_high"]), got["delta_holm_high"], rtol=1e-12)
    assert (got["deviation_high"] > got["deviation"]).all()


def test_ratios_stand_on_logarithmic_scales_only() -> None:
    """A difference of rates is no ratio."""
    found = terms(TWO)
    got = pilot_effects(found, 10, pilot(found), [Response("mse", "linear")])
    assert got["ratio"].isna().all()
    assert got["delta"].notna().all()


def test_what_a_pilot_does_not_tell_is_nan() -> None:
    """A term that it lacks, another response, its omnibus rows, and one replicate."""
    found = terms(TWO)
    known = pilot(found)
    got = pilot_effects(found, 10, known[known["term"] != "a:b"], [MSE]).set_index("term")["delta"]
    assert got.isna().to_dict() == {name: name == "a:b" for name in found.names}
    assert pilot_effects(found, 10, known.assign(response="other"), [MSE])["delta"].isna().all()
    assert pilot_effects(found, 10, known.assign(std_error=np.nan, df=np.nan), [MSE])["delta"].isna().all()
    several = terms({"a": ("x", "y"), "w": ("1", "2", "3")})
    omnibus = pilot(several, contrast="omnibus")
    assert pilot_effects(several, 10, omnibus, [MSE])["delta"].isna().all()


def test_contrasts_are_found_by_their_labels() -> None:
    """Each has the pilot's own deviation, and missing labels of a table that was read back are empty ones."""
    found = terms({"a": ("x", "y"), "w": ("1", "2", "3")})
    known = pilot(found)
    known["std_error"] = np.arange(1, len(known) + 1) / 10
    known["contrast"] = known["contrast"].replace("", None)
    got = pilot_effects(found, 10, known.iloc[::-1], [MSE])
    np.testing.assert_allclose(got["deviation"], 3 * np.arange(1, len(known) + 1) / 10, rtol=1e-12)


def test_each_response_has_its_rows() -> None:
    """In the order asked for."""
    found = terms(TWO)
    known = pd.concat([pilot(found), pilot(found, response="rate", std_error=0.2)])
    got = pilot_effects(found, 10, known, [Response("rate", "logit"), MSE])
    assert got["response"].tolist() == ["rate"] * 7 + ["mse"] * 7
    np.testing.assert_allclose(got["deviation"], [0.6] * 7 + [0.3] * 7, rtol=1e-12)
    np.testing.assert_allclose(np.log(got["ratio"][:7]), got["delta"][:7], rtol=1e-12)


@pytest.mark.parametrize(("replicates", "critical"), [(2, "89.1"), (3, "11.8"), (5, "5.07")])
def test_few_replicates_are_warned_of(replicates: int, critical: str) -> None:
    """With the first critical t of Holm over seven terms, as in the statistics page: 89, 11.8, 5.1."""
    (got,) = power_warnings(7, replicates)
    assert got == (f"{replicates} replicates: Holm over 7 terms asks for |t| above {critical} first; plan at least 6")


def test_six_replicates_are_not_warned_of() -> None:
    """The advised number is enough, and one has a warning of its own."""
    assert power_warnings(7, 6) == []
    assert power_warnings(7, 1) == ["one replicate: no intervals, no tests and no verdicts; plan at least 6"]
