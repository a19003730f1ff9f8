"""Means over replicates: on the analysis scale, and ratios in pairs."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_studies import Drawn
from scipy import stats

from kdrun.records import Outcome, Run
from kdrun.stats.scales import Layout, Response
from kdrun.stats.summary import comparator_summary, run_counts, treatment_summary

LAYOUT = Layout({"width": ("16", "32")}, (Response("mse", stand_in=0.5),), ("mse",), ("vs_float", "vs_baseline"))


def test_columns_stand_as_the_interface_has_them(drawn: Drawn) -> None:
    """The columns are those of treatments.csv, in its order, also for an empty plan."""
    expected = ["treatment", "width", "replicates"]
    expected += [
        f"{name}_{key}" for name in ("mse", "vs_float", "vs_baseline") for key in ("mean", "ci_low", "ci_high")
    ]
    assert list(treatment_summary(drawn.table(LAYOUT), LAYOUT).columns) == expected
    drawn.treatments("mse", [[1, 2]], LAYOUT)
    assert list(treatment_summary(drawn.table(LAYOUT), LAYOUT).columns) == expected


def test_means_are_geometric_with_intervals_of_logarithms(drawn: Drawn) -> None:
    """On log10 the mean is geometric, and the interval is scipy's of the logarithms."""
    values = np.array([[1e-4, 3e-3], [4e-4, 1e-3], [2e-4, 8e-3]])
    drawn.treatments("mse", values.tolist(), LAYOUT)
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[1]
    expected = stats.ttest_1samp(np.log10(values[:, 1]), 0.0).confidence_interval()
    assert got["mse_mean"] == pytest.approx(stats.gmean(values[:, 1]), rel=1e-12)
    assert got["mse_ci_low"] == pytest.approx(10**expected.low, rel=1e-10)
    assert got["mse_ci_high"] == pytest.approx(10**expected.high, rel=1e-10)
    assert got["replicates"] == 3


def test_linear_means_are_arithmetic(drawn: Drawn) -> None:
    """On a linear scale zero and negative values have a mean."""
    layout = Layout(LAYOUT.factors, (Response("gain", "linear"),), ("gain",))
    drawn.treatments("gain", [[-1, 0], [3, 0]], layout)
    got = treatment_summary(drawn.table(layout), layout)
    assert got["gain_mean"].tolist() == [1.0, 0.0]


def test_ratios_are_paired_within_replicates(drawn: Drawn) -> None:
    """The ratio is 10^(mean d ± t s/√n) over replicates that have both runs, not the ratio of two means."""
    drawn.treatments("mse", [[1.0, 2.0], [100.0, 400.0], [7.0, 28.0]], LAYOUT)
    hole = Run("r4t2", "treatment", 4, {}, (), 2, None, {"width": "32"})
    drawn.add(hole, {"mse": 1e-9})
    table = treatment_summary(drawn.table(LAYOUT), LAYOUT)
    d = np.log10([2.0, 4.0, 4.0])
    expected = stats.ttest_1samp(d, 0.0).confidence_interval()
    got = table.iloc[1]
    assert got["vs_baseline_mean"] == pytest.approx(10 ** d.mean(), rel=1e-12)
    assert got["vs_baseline_ci_low"] == pytest.approx(10**expected.low, rel=1e-10)
    assert got["vs_baseline_ci_high"] == pytest.approx(10**expected.high, rel=1e-10)
    assert got["vs_baseline_mean"] > 50 * got["mse_mean"] / table["mse_mean"].iloc[0]


def test_the_baseline_against_itself_has_no_interval(drawn: Drawn) -> None:
    """Treatment 1 against itself is 1, a reference rather than a result."""
    drawn.treatments("mse", [[1.0, 2.0], [3.0, 4.0]], LAYOUT)
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[0]
    assert got["vs_baseline_mean"] == 1
    assert np.isnan([got["vs_baseline_ci_low"], got["vs_baseline_ci_high"]]).all()


def test_a_treatment_equal_to_the_baseline_is_identical(drawn: Drawn) -> None:
    """Another treatment with the same values in every replicate has the ratio 1 and the interval [1, 1]."""
    drawn.treatments("mse", [[0.3, 0.3], [0.7, 0.7]], LAYOUT)
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[1]
    assert got[[f"vs_baseline_{key}" for key in ("mean", "ci_low", "ci_high")]].tolist() == [1, 1, 1]


def test_a_constant_ratio_has_no_interval(drawn: Drawn) -> None:
    """A ratio that is the same in every replicate, but not 1, has no interval: replicates do not vary."""
    drawn.treatments("mse", [[0.1, 0.3], [0.7, 2.1], [0.9, 2.7]], LAYOUT)
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[1]
    assert got["vs_baseline_mean"] == pytest.approx(3.0)
    assert np.isnan(got["vs_baseline_ci_low"])


def test_diverged_runs_count_with_their_stand_in(drawn: Drawn) -> None:
    """A diverged run is in the mean with its registered value, and in the count of replicates."""
    drawn.treatments("mse", [[0.1, 0.5], [0.2, 0.5]], LAYOUT)
    broken = Run("r3t2", "treatment", 3, {}, (), 2, None, {"width": "32"})
    drawn.add(broken, {"mse": float("nan")}, status="diverged")
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[1]
    assert (got["replicates"], got["mse_mean"]) == (3, pytest.approx(0.5))


def test_ratios_of_diverged_runs_count_with_their_stand_in(drawn: Drawn) -> None:
    """A diverged run takes part in the ratio with its registered value over that of its own replicate."""
    drawn.treatments("mse", [[0.1, 0.2], [0.1, 0.3]], LAYOUT)
    drawn.outcomes["r2t2"] = Outcome("r2t2", "diverged", {"mse": float("inf")})
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT).iloc[1]
    assert got["vs_baseline_mean"] == pytest.approx(np.sqrt(0.2 / 0.1 * 0.5 / 0.1))


def test_one_replicate_has_means_alone(drawn: Drawn) -> None:
    """One replicate gives values and no intervals."""
    drawn.treatments("mse", [[0.1, 0.5]], LAYOUT)
    got = treatment_summary(drawn.table(LAYOUT), LAYOUT)
    np.testing.assert_allclose(got["mse_mean"], [0.1, 0.5])
    assert got.filter(like="_ci_").isna().all().all()


def test_treatments_come_by_number(drawn: Drawn) -> None:
    """Rows are ordered by number of treatment, however the runs are."""
    drawn.treatments("mse", [[0.1, 0.5], [0.1, 0.5]], LAYOUT)
    drawn.runs.reverse()
    assert treatment_summary(drawn.table(LAYOUT), LAYOUT)["treatment"].tolist() == [1, 2]


def test_comparators_have_rows_of_their_own(drawn: Drawn) -> None:
    """Each comparator is a row, in the order of the plan, with the levels that it was made at."""
    drawn.treatments("mse", [[0.1, 0.5], [0.2, 0.5]], LAYOUT)
    for replicate in (1, 2):
        for name in ("search", "plain"):
            run = Run(f"{name}{replicate}", "comparator", replicate, {}, (), None, name, {"width": "16"})
            drawn.add(run, {"mse": 0.1 * replicate * (2 if name == "search" else 3)})
    got = comparator_summary(drawn.table(LAYOUT), LAYOUT)
    assert got["comparator"].tolist() == ["search", "plain"]
    assert got["width"].tolist() == ["16", "16"]
    np.testing.assert_allclose(got["vs_baseline_mean"], [2.0, 3.0])


def test_counts_say_how_runs_ended(drawn: Drawn) -> None:
    """Every treatment has its number of runs by status, and planned runs without outcome are missing."""
    drawn.treatments("mse", [[0.1, 0.5], [0.2, 0.5]], LAYOUT)
    drawn.add(Run("d", "treatment", 3, {}, (), 2, None, {"width": "32"}), {}, status="diverged")
    drawn.add(Run("f", "treatment", 4, {}, (), 2, None, {"width": "32"}), {}, status="failed")
    drawn.runs.append(Run("m", "treatment", 5, {}, (), 2, None, {"width": "32"}))
    drawn.add(Run("t", "teacher", 1, {}, levels={"width": "16"}), {"mse": 0.1})
    got = run_counts(drawn.table(LAYOUT), LAYOUT)[["kind", "done", "failed", "diverged", "missing"]]
    expected = [["treatment", 2, 0, 0, 0], ["treatment", 2, 1, 1, 1], ["teacher", 1, 0, 0, 0]]
    assert got.to_numpy().tolist() == expected
