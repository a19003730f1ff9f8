"""Two tables of runs beside each other: paired and Welch differences against SciPy, and what counts as identical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdrun.errors import KdrunError
from kdrun.stats.compare import Comparison, comparison_table
from kdrun.stats.scales import Response, ScaleName

LOG = Response("mse", "log10", "lower", stand_in=0.5)
LINEAR = Response("mse", "linear", "lower")
NUMBERS = ["estimate", "ci_low", "ci_high", "p_value", "ratio", "ratio_low", "ratio_high"]


def runs(
    values: Any,
    level: str = "ste",
    status: str = "done",
    kind: str = "treatment",
    factor: str = "gradient",
    first: int = 1,
) -> pd.DataFrame:
    """The runs of one treatment, a replicate each."""
    values = np.asarray(values, np.float64)
    replicates = range(first, first + len(values))
    return pd.DataFrame(
        {
            "run_id": [f"{kind}-{level}-{replicate}" for replicate in replicates],
            "kind": kind,
            "replicate": replicates,
            "comparator": level if kind == "comparator" else "",
            factor: "" if kind == "comparator" else level,
            "status": status,
            "mse": values,
        }
    )


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    """Several treatments below each other."""
    return pd.concat(parts, ignore_index=True)


def compared(
    a: pd.DataFrame,
    b: pd.DataFrame,
    response: Response = LOG,
    paired: bool = True,
    factors: tuple[str, ...] = ("gradient",),
) -> pd.DataFrame:
    """The comparison of one response."""
    return comparison_table(a, b, factors, [response], paired)


def only(found: pd.DataFrame) -> pd.Series[Any]:
    """The one row of a comparison."""
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture
def draw(rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Positive values that vary."""
    return lambda count: np.exp(rng.normal(-3, 1, count))


@pytest.mark.parametrize("scale", ["log10", "linear", "logit"])
def test_paired_differences_are_those_of_the_paired_t_test(draw: Any, scale: ScaleName) -> None:
    """Estimate, interval and p of B minus A on the analysis scale, as SciPy has them."""
    a, b = draw(7) / 100, draw(7) / 100
    transform = {"log10": np.log10, "linear": np.asarray, "logit": lambda p: np.log(p / (1 - p))}[scale]
    expected = stats.ttest_rel(transform(b), transform(a))
    interval = expected.confidence_interval(0.95)
    got = only(compared(runs(a), runs(b), Response("mse", scale)))
    np.testing.assert_allclose(got["estimate"], np.mean(transform(b) - transform(a)), rtol=1e-12)
    np.testing.assert_allclose([got["ci_low"], got["ci_high"]], [interval.low, interval.high], rtol=1e-10)
    np.testing.assert_allclose(got["p_value"], expected.pvalue, rtol=1e-10)


@pytest.mark.parametrize(("scale", "counts"), [("log10", (6, 6)), ("linear", (4, 9)), ("log10", (2, 3))])
def test_unpaired_differences_are_welchs(draw: Any, scale: ScaleName, counts: tuple[int, int]) -> None:
    """With other seeds the replicates of A and B are independent, and need not be as many."""
    a, b = (draw(count) for count in counts)
    transform = np.log10 if scale == "log10" else np.asarray
    expected = stats.ttest_ind(transform(b), transform(a), equal_var=False)
    interval = expected.confidence_interval(0.95)
    got = only(compared(runs(a), runs(b), Response("mse", scale), paired=False))
    np.testing.assert_allclose(got["estimate"], transform(b).mean() - transform(a).mean(), rtol=1e-12)
    np.testing.assert_allclose([got["ci_low"], got["ci_high"]], [interval.low, interval.high], rtol=1e-10)
    np.testing.assert_allclose(got["p_value"], expected.pvalue, rtol=1e-10)


def test_differences_on_a_log_scale_are_ratios_of_geometric_means(draw: Any) -> None:
    """10 to the power of the difference, and its bounds; means are those of the analysis scale."""
    a, b = draw(5), draw(5)
    got = only(compared(runs(a), runs(b)))
    np.testing.assert_allclose([got["mean_a"], got["mean_b"]], [stats.gmean(a), stats.gmean(b)], rtol=1e-12)
    np.testing.assert_allclose(got["ratio"], stats.gmean(b) / stats.gmean(a), rtol=1e-12)
    np.testing.assert_allclose([got["ratio_low"], got["ratio_high"]], 10 ** got[["ci_low", "ci_high"]].astype(float))


def test_differences_of_rates_are_odds_ratios() -> None:
    """On the logit scale."""
    got = only(compared(runs([0.5, 0.4]), runs([0.8, 0.7]), Response("mse", "logit")))
    expected = np.sqrt((0.8 / 0.2) / (0.5 / 0.5) * (0.7 / 0.3) / (0.4 / 0.6))
    np.testing.assert_allclose(got["ratio"], expected, rtol=1e-12)


def test_a_linear_scale_has_no_ratios(draw: Any) -> None:
    """There a difference is a difference."""
    got = only(compared(runs(draw(4)), runs(draw(4)), LINEAR))
    assert np.isnan(got[["ratio", "ratio_low", "ratio_high"]].astype(float)).all()


def test_the_same_runs_are_identical(draw: Any) -> None:
    """Whatever the order of rows; the difference is 0, in [0, 0], without a p."""
    a = table(runs(draw(3)), runs(draw(3), "smoothstep"), runs(draw(3), "search", kind="comparator"))
    found = compared(a, a.iloc[::-1])
    assert list(found["verdict"]) == ["identical"] * 3
    assert list(found["replicates"]) == [3, 3, 3]
    np.testing.assert_array_equal(found[["estimate", "ci_low", "ci_high"]].to_numpy(float), 0)
    np.testing.assert_array_equal(found[["ratio", "ratio_low", "ratio_high"]].to_numpy(float), 1)
    assert found["p_value"].isna().all()
    assert Comparison(("a", "b"), ("x", "x"), ("gradient",), (LOG,), True, found).identical


def test_the_last_bit_makes_a_difference() -> None:
    """Identical means every bit, of every replicate."""
    a = [0.1, 0.2, 0.3]
    found = compared(runs(a), runs([0.1, np.nextafter(0.2, 1), 0.3]))
    assert only(found)["verdict"] == "different"
    assert not Comparison(("a", "b"), ("x", "y"), ("gradient",), (LOG,), True, found).identical


def test_minus_zero_is_another_zero() -> None:
    """Its bits differ, its value does not: different, with a difference of 0."""
    got = only(compared(runs([0.0, 1.0]), runs([-0.0, 1.0]), LINEAR))
    assert got["verdict"] == "different"
    assert (got["estimate"], got["ci_low"], got["ci_high"]) == (0, 0, 0)


def test_runs_without_a_value_are_the_same_where_their_status_is() -> None:
    """Missing here and failed there is a difference, missing in both is none."""
    values = [0.1, np.nan, 0.3]
    a = runs(values)
    a["status"] = ["done", "missing", "done"]
    b = a.copy()
    assert only(compared(a, b))["verdict"] == "identical"
    b["status"] = ["done", "failed", "done"]
    assert only(compared(a, b))["verdict"] == "different"


def test_two_runs_without_a_value_are_the_same_whatever_their_nan_is() -> None:
    """A table that was read from a file may hold nan with another sign."""
    a, b = (runs([0.1, value]) for value in (np.nan, np.copysign(np.nan, -1)))
    assert only(compared(a, b))["verdict"] == "identical"


def test_a_diverged_run_differs_from_one_that_reached_the_stand_in() -> None:
    """The value is the same, what happened is not."""
    a, b = runs([0.1, 0.5]), runs([0.1, 0.5])
    b["status"] = ["done", "diverged"]
    got = only(compared(a, b))
    assert got["verdict"] == "different"
    assert got["estimate"] == 0


def test_diverged_runs_take_part_with_their_stand_in() -> None:
    """With the registered value, not with what was measured last; the mean too."""
    a, b = runs([0.1, 0.2, 0.3]), runs([0.1, 0.3, 999.0])
    b["status"] = ["done", "done", "diverged"]
    expected = stats.ttest_rel(np.log10([0.1, 0.3, 0.5]), np.log10([0.1, 0.2, 0.3]))
    got = only(compared(a, b))
    np.testing.assert_allclose(got["p_value"], expected.pvalue, rtol=1e-10)
    np.testing.assert_allclose(got["mean_b"], stats.gmean([0.1, 0.3, 0.5]), rtol=1e-12)


def test_diverged_runs_without_a_stand_in_are_left_out() -> None:
    """With their pair."""
    a, b = runs([0.1, 0.2, 0.3]), runs([0.1, 0.3, np.nan])
    b["status"] = ["done", "done", "diverged"]
    got = only(compared(a, b, Response("mse", "log10")))
    np.testing.assert_allclose(got["estimate"], np.log10([1, 1.5]).mean(), rtol=1e-12)
    np.testing.assert_allclose(got["mean_b"], stats.gmean([0.1, 0.3]), rtol=1e-12)


def test_a_missing_run_takes_its_pair_with_it(draw: Any) -> None:
    """The difference is over the replicates that have both."""
    a, b = draw(5), draw(5)
    holes = b.copy()
    holes[2] = np.nan
    kept = [0, 1, 3, 4]
    got = only(compared(runs(a), runs(holes)))
    assert got["verdict"] == "different"
    np.testing.assert_allclose(got["p_value"], stats.ttest_rel(np.log10(b[kept]), np.log10(a[kept])).pvalue, rtol=1e-10)
    np.testing.assert_allclose(got["mean_a"], stats.gmean(a), rtol=1e-12)


def test_more_replicates_on_one_side_are_counted(draw: Any) -> None:
    """Pairs are made by their number; the rest is told, and makes the treatment different."""
    a, b = draw(3), draw(4)
    got = only(compared(runs(a), runs(b, first=2)))
    assert (got["verdict"], got["replicates"], got["only_a"], got["only_b"]) == ("different", 2, 1, 2)
    expected = stats.ttest_rel(np.log10(b[:2]), np.log10(a[1:]))
    np.testing.assert_allclose(got["p_value"], expected.pvalue, rtol=1e-10)


def test_the_same_replicates_and_one_more_are_identical_where_they_meet(draw: Any) -> None:
    """What both have is compared, means too; the study with more is another one all the same."""
    a = draw(4)
    found = compared(runs(a[:3]), runs(a))
    got = only(found)
    assert (got["verdict"], got["replicates"], got["only_a"], got["only_b"]) == ("identical", 3, 0, 1)
    assert got["mean_a"] == got["mean_b"]
    assert not Comparison(("a", "b"), ("1", "1"), (), (), True, found).identical
    assert (got["estimate"], got["ci_low"], got["ci_high"]) == (0, 0, 0)


@pytest.mark.parametrize("paired", [True, False])
def test_treatments_of_one_side_stand_alone(draw: Any, paired: bool) -> None:
    """With their mean and replicates, in the order of A, then B; nothing is compared."""
    a = table(runs(draw(2), "ste"), runs(draw(2), "smoothstep"))
    b = table(runs(draw(3), "other"), runs(draw(3), "ste"))
    found = compared(a, b, paired=paired).set_index("gradient")
    assert list(found.index) == ["ste", "smoothstep", "other"]
    assert list(found["verdict"]) == ["different", "only in A", "only in B"]
    assert found.loc["smoothstep", "only_a"] == 2
    assert found.loc["other", "only_b"] == 3
    np.testing.assert_allclose(found.loc["other", "mean_b"], stats.gmean(b["mse"][:3]), rtol=1e-12)
    assert found.loc[["smoothstep", "other"], NUMBERS].isna().all(axis=None)
    assert np.isnan(found.loc["other", "mean_a"])


def test_studies_with_other_factors_have_no_treatment_in_common(draw: Any) -> None:
    """A factor that a study does not have is empty there, and its treatments are others."""
    a, b = runs(draw(2)), runs(draw(2), "16", factor="width")
    found = compared(a, b, factors=("gradient", "width"))
    assert found[["gradient", "width", "verdict"]].to_numpy().tolist() == [
        ["ste", "", "only in A"],
        ["", "16", "only in B"],
    ]


def test_teachers_and_comparators_are_compared_with_their_like(draw: Any) -> None:
    """A teacher is no treatment, even where their levels are the same."""
    values = draw(2)
    found = compared(table(runs(values), runs(values, kind="teacher")), runs(values))
    assert list(found["kind"]) == ["treatment", "teacher"]
    assert list(found["verdict"]) == ["identical", "only in A"]


def test_a_constant_difference_has_no_interval() -> None:
    """Replicates that do not vary tell nothing of how much they might."""
    got = only(compared(runs([1.0, 2.0, 3.0]), runs([1.5, 2.5, 3.5]), LINEAR))
    assert got["estimate"] == 0.5
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


def test_a_constant_ratio_has_no_interval() -> None:
    """Logarithms that differ by rounding alone do not vary."""
    a = np.array([0.1, 0.037, 0.0021])
    got = only(compared(runs(a), runs(3 * a)))
    np.testing.assert_allclose(got["ratio"], 3)
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


def test_differences_that_vary_by_rounding_alone_have_no_interval() -> None:
    """Small constant differences of large numbers."""
    a = np.array([1000.1, 1000.2, 1000.7])
    got = only(compared(runs(a), runs(a + 1e-10), LINEAR))
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


def test_constants_of_other_seeds_have_no_interval() -> None:
    """Nor have two samples of which neither varies."""
    got = only(compared(runs([1.0, 1.0]), runs([2.0, 2.0]), LINEAR, paired=False))
    assert got["estimate"] == 1
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


@pytest.mark.parametrize("value", [0.1, 0.7, 1e-3])
def test_constants_whose_mean_is_rounded_have_no_interval(value: float) -> None:
    """Logarithms of one value are one value, whatever rounding their mean brings."""
    got = only(compared(runs([value] * 3), runs([2 * value] * 7), paired=False))
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


@pytest.mark.parametrize("paired", [True, False])
def test_one_replicate_has_no_interval(paired: bool) -> None:
    """There is an estimate, and nothing to judge it by."""
    got = only(compared(runs([1.0]), runs([2.0]), LINEAR, paired=paired))
    assert got["estimate"] == 1
    assert np.isnan([got["ci_low"], got["ci_high"], got["p_value"]]).all()


@pytest.mark.parametrize("paired", [True, False])
def test_one_side_may_have_no_value_at_all(draw: Any, paired: bool) -> None:
    """No estimate then, and no warning."""
    b = runs([np.nan] * 3, status="failed")
    got = only(compared(runs(draw(3)), b, paired=paired))
    assert got["verdict"] == "different"
    assert np.isnan(got[["mean_b", *NUMBERS]].astype(float)).all()


def test_no_replicate_in_common_has_no_estimate(draw: Any) -> None:
    """There is nothing to pair."""
    got = only(compared(runs(draw(2)), runs(draw(2), first=3)))
    assert (got["verdict"], got["replicates"], got["only_a"], got["only_b"]) == ("different", 0, 2, 2)
    assert np.isnan(got[NUMBERS].astype(float)).all()


def test_every_response_has_its_rows(draw: Any) -> None:
    """In the order of the responses."""
    a, b = runs(draw(2)), runs(draw(2))
    for each in (a, b):
        each["other"] = 1.0
    found = comparison_table(a, b, ["gradient"], [LOG, Response("other", "linear")], True)
    assert list(found["response"]) == ["mse", "other"]
    assert list(found["verdict"]) == ["different", "identical"]


def test_a_value_that_the_scale_has_no_place_for_names_its_run(draw: Any) -> None:
    """As everywhere in the analysis."""
    with pytest.raises(KdrunError, match=r"run treatment-ste-2 .*mse is 0\.0, but on the scale log10"):
        compared(runs(draw(2)), runs([0.1, 0.0]))


def test_nothing_is_changed_in_the_tables(draw: Any) -> None:
    """What was read is left as it was."""
    a, b = runs(draw(2)), runs(draw(2), "16", factor="width")
    before = a.copy(), b.copy()
    compared(a, b, factors=("gradient", "width"))
    pd.testing.assert_frame_equal(a, before[0])
    pd.testing.assert_frame_equal(b, before[1])
