"""What students keep of their teachers' scores, and what their training takes, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_studies import Drawn

from kdrun.records import Outcome, Run
from kdrun.stats.analysis import analyse
from kdrun.stats.scales import Layout, Response
from kdrun.stats.students import with_students
from kdrun.stats.summary import treatment_summary

COMPRESSION = {1: 1.0, 2: 4.0}
NAN = float("nan")


def layout_of(response: Response) -> Layout:
    """One factor, one response."""
    return Layout({"quantizer": ("float", "int8")}, (response,), (response.name,))


def summary(drawn: Drawn, response: Response) -> Any:
    """The summary with the columns of students."""
    layout = layout_of(response)
    table = drawn.table(layout)
    return with_students(treatment_summary(table, layout), drawn.runs, table, layout, COMPRESSION)


def replicate(
    drawn: Drawn, number: int, teacher: float | None, values: list[float], seconds: list[float], name: str = "score"
) -> None:
    """One teacher and two students of it in one replicate; a teacher without a value is missing."""
    taught = Run(f"r{number}", "teacher", number, {})
    drawn.runs.append(taught)
    if teacher is not None:
        drawn.outcomes[taught.run_id] = Outcome(taught.run_id, "done", {name: teacher}, seconds=999.0)
    for treatment, (value, time) in enumerate(zip(values, seconds, strict=True), 1):
        run = Run(f"r{number}t{treatment}", "treatment", number, {}, (taught.run_id,), treatment, None)
        drawn.runs.append(run)
        drawn.outcomes[run.run_id] = Outcome(run.run_id, "done", {name: value}, seconds=time)


def test_higher_is_better(drawn: Drawn) -> None:
    """The student's score over that of its own replicate's teacher; the mean of the ratios, not the ratio of means."""
    replicate(drawn, 1, 0.8, [0.8, 0.6], [1, 1])
    replicate(drawn, 2, 0.5, [0.4, 0.5], [1, 1])
    got = summary(drawn, Response("score", "linear", "higher"))
    np.testing.assert_allclose(got["retention"], [100 * (1.0 + 0.8) / 2, 100 * (0.75 + 1.0) / 2], rtol=1e-12)


def test_lower_is_better(drawn: Drawn) -> None:
    """The teacher's error over the student's; on a logarithmic scale the geometric mean."""
    replicate(drawn, 1, 0.1, [0.1, 0.2], [1, 1])
    replicate(drawn, 2, 0.1, [0.4, 0.8], [1, 1])
    got = summary(drawn, Response("score", "log10", "lower"))
    np.testing.assert_allclose(got["retention"], [100 * np.sqrt(0.25), 100 * np.sqrt(0.5 * 0.125)], rtol=1e-12)


def test_errors_on_a_linear_scale_have_an_arithmetic_mean(drawn: Drawn) -> None:
    """Which mean it is follows from the scale alone."""
    replicate(drawn, 1, 1.0, [1.0, 2.0], [1, 1])
    replicate(drawn, 2, 1.0, [1.0, 8.0], [1, 1])
    got = summary(drawn, Response("score", "linear", "lower"))
    np.testing.assert_allclose(got["retention"], [100, 100 * (0.5 + 0.125) / 2], rtol=1e-12)


@pytest.mark.parametrize("teacher", [None, 0.0, -2.0])
@pytest.mark.parametrize(("better", "expected"), [("higher", [25.0, 50.0]), ("lower", [400.0, 200.0])])
def test_without_a_positive_teacher_there_is_no_retention(
    drawn: Drawn, teacher: float | None, better: Any, expected: list[float]
) -> None:
    """A ratio to nothing, or to less, says nothing; replicates that have one count."""
    replicate(drawn, 1, teacher, [1.0, 2.0], [1, 1])
    response = Response("score", "linear", better)
    assert summary(drawn, response)["retention"].isna().all()
    replicate(drawn, 2, 4.0, [1.0, 2.0], [1, 1])
    assert summary(drawn, response)["retention"].tolist() == expected


def test_an_error_of_zero_has_no_retention(drawn: Drawn) -> None:
    """Nothing is infinitely better than its teacher."""
    replicate(drawn, 1, 1.0, [0.0, 2.0], [1, 1])
    got = summary(drawn, Response("score", "linear", "lower"))["retention"]
    np.testing.assert_equal(got.to_numpy(), [NAN, 50.0])


def test_a_diverged_student_counts_with_its_stand_in(drawn: Drawn) -> None:
    """As everywhere else."""
    replicate(drawn, 1, 0.1, [0.1, 0.2], [1, 1])
    drawn.outcomes["r1t2"] = Outcome("r1t2", "diverged", {}, seconds=0.1)
    got = summary(drawn, Response("score", "log10", "lower", stand_in=0.5))
    np.testing.assert_allclose(got["retention"], [100.0, 20.0])


def test_cost_is_the_median_over_treatment_1(drawn: Drawn) -> None:
    """Seconds over those of treatment 1 of the same replicate; one slow run moves nothing."""
    for number, seconds in enumerate([[1.0, 2.0], [2.0, 6.0], [4.0, 400.0]], 1):
        replicate(drawn, number, 1.0, [1.0, 1.0], seconds)
    got = summary(drawn, Response("score"))
    assert got["training_cost"].tolist() == [1.0, 3.0]


def test_runs_that_ended_early_have_no_cost(drawn: Drawn) -> None:
    """A run that diverged did not take the time of a training, and neither did one that is missing."""
    replicate(drawn, 1, 1.0, [1.0, 1.0], [1.0, 2.0])
    replicate(drawn, 2, 1.0, [1.0, 1.0], [1.0, 9.0])
    drawn.outcomes["r2t2"] = Outcome("r2t2", "diverged", {}, seconds=0.1)
    replicate(drawn, 3, 1.0, [1.0, 1.0], [1.0, 9.0])
    del drawn.outcomes["r3t1"]
    assert summary(drawn, Response("score", stand_in=0.5))["training_cost"].tolist() == [1.0, 2.0]


def test_compression_is_as_it_was_given(drawn: Drawn) -> None:
    """By treatment, in the order of the table."""
    replicate(drawn, 1, 1.0, [1.0, 1.0], [1.0, 2.0])
    assert summary(drawn, Response("score"))["compression"].tolist() == [1.0, 4.0]


def test_without_compression_there_are_no_columns(drawn: Drawn) -> None:
    """The table of a study whose students are not quantized stays as it is."""
    replicate(drawn, 1, 1.0, [1.0, 1.0], [1.0, 2.0])
    layout = layout_of(Response("score"))
    expected = treatment_summary(drawn.table(layout), layout)
    for compression in ({}, None):
        got = analyse(drawn.runs, drawn.outcomes, layout, compression=compression)
        assert list(got.treatments.columns) == list(expected.columns)
        assert not got.has_students
