"""The table of runs: what was planned beside what came of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from drawn_studies import Drawn

from kdrun.errors import KdrunError
from kdrun.records import Outcome, Run
from kdrun.stats.frame import runs_table
from kdrun.stats.scales import Layout, Response, analysis_values, from_analysis, ratio, to_analysis

LAYOUT = Layout(
    factors={"gradient": ("ste", "shaped"), "width": ("16", "32")},
    responses=(Response("train_mse"), Response("eval_mse", stand_in=0.5)),
    judged=("eval_mse",),
    ratios=("vs_float", "vs_baseline"),
)


def teacher(replicate: int, width: str = "16") -> Run:
    """A teacher of one width."""
    return Run(f"teacher{replicate}w{width}", "teacher", replicate, {}, levels={"width": width})


def student(treatment: int, replicate: int, needs: tuple[str, ...] = (), **levels: str) -> Run:
    """A run of a treatment."""
    return Run(f"r{replicate}t{treatment}", "treatment", replicate, {}, needs, treatment, None, levels)


def test_columns_stand_as_the_interface_has_them() -> None:
    """The columns are those of runs.csv, in its order."""
    expected = ["run_id", "kind", "treatment", "replicate", "comparator", "gradient", "width", "status", "train_mse"]
    expected += ["eval_mse", "vs_float", "vs_baseline", "seconds", "error"]
    assert list(runs_table([], {}, LAYOUT).columns) == expected
    assert list(runs_table([student(1, 1)], {}, LAYOUT).columns) == expected


def test_planned_runs_without_outcome_are_missing() -> None:
    """A run that nothing came of is a row with status missing and no values."""
    got = runs_table([student(3, 2, gradient="ste", width="16")], {}, LAYOUT).iloc[0]
    assert (got["status"], got["treatment"], got["replicate"], got["width"]) == ("missing", 3, 2, "16")
    assert got[["train_mse", "eval_mse", "vs_float", "vs_baseline", "seconds"]].isna().all()


def test_levels_are_text_and_empty_where_they_do_not_apply(drawn: Drawn) -> None:
    """A teacher fills the factors that it depends on; levels stay as they are written."""
    drawn.add(teacher(1), {"eval_mse": 1e-4})
    got = drawn.table(LAYOUT).iloc[0]
    assert (got["gradient"], got["width"], got["comparator"]) == ("", "16", "")
    assert pd.isna(got["treatment"])


def test_ratios_use_the_teacher_and_baseline_of_the_replicate(drawn: Drawn) -> None:
    """vs_float divides by the teacher that a run comes from, also through another run; vs_baseline by treatment 1."""
    for replicate, scale in ((1, 1.0), (2, 10.0)):
        drawn.add(teacher(replicate), {"eval_mse": 1.0 * scale})
        drawn.add(teacher(replicate, "32"), {"eval_mse": 2.0 * scale})
        drawn.add(student(1, replicate, (f"teacher{replicate}w16",)), {"eval_mse": 4.0 * scale})
        drawn.add(student(2, replicate, (f"teacher{replicate}w32",)), {"eval_mse": 16.0})
        searched = Run(f"c{replicate}", "comparator", replicate, {}, (f"r{replicate}t1",), None, "search")
        drawn.add(searched, {"eval_mse": 8.0 * scale})
    got = drawn.table(LAYOUT)
    np.testing.assert_array_equal(got["vs_float"], [np.nan, np.nan, 4, 8, 8, np.nan, np.nan, 4, 0.8, 8])
    np.testing.assert_array_equal(got["vs_baseline"], [np.nan, np.nan, 1, 4, 2, np.nan, np.nan, 1, 0.4, 2])


def test_a_diverged_run_keeps_its_measure_and_has_the_ratios_of_its_stand_in(drawn: Drawn) -> None:
    """The measured column shows what was measured; ratios use the value registered for diverged runs."""
    drawn.add(teacher(1), {"eval_mse": 0.25})
    drawn.add(student(1, 1, ("teacher1w16",)), {"eval_mse": math.inf}, status="diverged")
    got = drawn.table(LAYOUT).iloc[1]
    assert (got["eval_mse"], got["vs_float"], got["vs_baseline"]) == (math.inf, 2.0, 1.0)


def test_a_failed_run_has_no_ratio(drawn: Drawn) -> None:
    """A failed run takes no part, even where it left a number behind."""
    drawn.add(teacher(1), {"eval_mse": 0.25})
    drawn.add(student(1, 1, ("teacher1w16",)), {"eval_mse": 1.0}, status="failed")
    assert drawn.table(LAYOUT)[["vs_float", "vs_baseline"]].iloc[1].isna().all()


@pytest.mark.parametrize("value", [0.0, -1e-9, math.inf])
def test_a_value_without_logarithm_names_its_run(drawn: Drawn, value: float) -> None:
    """A response of zero, below zero or infinite on log10 is an error that names the run."""
    drawn.add(student(1, 4), {"eval_mse": value})
    with pytest.raises(KdrunError, match=r"run r4t1 \(treatment, replicate 4\): eval_mse is .*above 0"):
        analysis_values(drawn.table(LAYOUT), LAYOUT.primary)


def test_diverged_and_failed_runs_on_the_analysis_scale(drawn: Drawn) -> None:
    """Diverged runs take their stand-in, or are left out where none is registered; failed ones are left out."""
    drawn.add(student(1, 1), {"eval_mse": 0.0, "train_mse": 1.0}, status="diverged")
    drawn.add(student(2, 1), {"eval_mse": -1.0}, status="failed")
    drawn.add(student(3, 1), {"eval_mse": 0.01})
    table = drawn.table(LAYOUT)
    np.testing.assert_allclose(analysis_values(table, LAYOUT.response("eval_mse")), [np.log10(0.5), np.nan, -2.0])
    assert np.isnan(analysis_values(table, LAYOUT.response("train_mse"))).all()


@pytest.mark.parametrize(("scale", "value"), [("log10", 2e-4), ("linear", -3.0), ("logit", 0.9)])
def test_scales_have_inverses(scale: str, value: float) -> None:
    """What goes to the analysis scale comes back."""
    assert from_analysis(to_analysis(value, scale), scale) == pytest.approx(value, rel=1e-14)  # type: ignore[arg-type]


def test_ratios_of_differences() -> None:
    """A difference is a ratio on log10, an odds ratio on logit, and none on a linear scale."""
    odds = to_analysis(0.8, "logit") - to_analysis(0.5, "logit")
    assert ratio(np.array(0.5), "log10") == pytest.approx(10**0.5)
    assert ratio(odds, "logit") == pytest.approx(4.0)
    assert np.isnan(ratio(np.array(0.5), "linear"))


def test_needs_outside_the_plan_are_no_teachers() -> None:
    """A run whose teacher is not planned has no ratio to it."""
    run = student(1, 1, ("gone",))
    got = runs_table([run], {run.run_id: Outcome(run.run_id, "done", {"eval_mse": 1.0})}, LAYOUT)
    assert np.isnan(got["vs_float"].iloc[0])
