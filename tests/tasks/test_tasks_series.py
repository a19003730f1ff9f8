"""A column of the user's: how it is split and scaled, what is drawn, what is judged, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.core.signals import standardise
from kdrun.engine.sources import SourcesOfRuns
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.tasks.contract import RunFailed
from kdrun.tasks.series import Series
from tests.core.comparing import unchanged
from tests.naive import series as naive

SUNSPOTS = Path(__file__).parents[2] / "experiments" / "data" / "sunspots.csv"
DOUBLE = np.dtype("float64")


def stream(purpose: str) -> Stream:
    return Stream(5, 2, purpose)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of a study, in which its runs work."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(place, values, name="data.csv"):
    (place / name).write_text("t,x\n" + "".join(f"{t},{float(value)!r}\n" for t, value in enumerate(values)))


def series(**parameters):
    return Series(**{"file": "data.csv", "column": "x", "steps": 4, "sequences": 3, **parameters})


def test_the_parts_of_a_real_series_are_those_of_naive_code(place):
    """Yearly sunspot numbers: read, split after four fifths, standardised by the first part."""
    task = Series(file=str(SUNSPOTS), column="SUNACTIVITY")
    expected, known = naive.standardised(naive.column(SUNSPOTS.read_text(), "SUNACTIVITY"), 0.8)
    got = task.parts()
    assert got.known == known == 247
    np.testing.assert_allclose(got.values, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("known", [1, 2, 7, 9])
def test_only_known_values_standardise(known, rng):
    """Mean and deviation of the first values; later ones are moved by them and change nothing."""
    values = rng.normal(5, 3, 9)
    got = np.empty(9)
    unchanged({"values": values}, lambda: standardise(values, known, got))
    with np.errstate(all="ignore"):
        expected = (values - values[:known].mean()) / values[:known].std()
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    later = values.copy()
    later[known:] += 100.0
    again = np.empty(9)
    standardise(later, known, again)
    np.testing.assert_array_equal(again[:known], got[:known])


def test_what_comes_later_changes_nothing_of_training(place, dtype, rng):
    """Other values after the split leave every bit of training and calibration as it was."""
    values = rng.normal(0, 1, 50)
    written(place, values)
    task = series()
    before = [task.training_data(stream, dtype).batch(step).inputs for step in range(20)]
    calibration = task.calibration_batch(stream, dtype)
    values[40:] = rng.normal(30, 9, 10)
    written(place, values)
    for step, inputs in enumerate(before):
        batch = task.training_data(stream, dtype).batch(step)
        np.testing.assert_array_equal(batch.inputs, inputs)
    np.testing.assert_array_equal(task.calibration_batch(stream, dtype).targets["y"], calibration.targets["y"])


def test_windows_are_pieces_of_the_training_part(place):
    """Targets are inputs one step on; over many epochs every window of the training part comes, and no other."""
    values = np.arange(20.0) ** 1.5
    written(place, values)
    task = series(train_share=0.5)
    known = list(task.parts().values[:10])
    data, found = task.training_data(stream, DOUBLE), set()
    for step in range(60):
        batch = data.batch(step)
        for b in range(3):
            window = [*batch.inputs[:, b, 0], batch.targets["y"][-1, b, 0]]
            np.testing.assert_array_equal(batch.targets["y"][:-1, b, 0], window[1:-1])
            start = known.index(window[0])
            assert window == known[start : start + 5]
            found.add(start)
    assert found == set(range(6))


def test_every_later_value_is_foreseen_once_and_in_order(place):
    """The network sees the last window of the training part, then each value before the next is judged."""
    values = np.arange(20.0) ** 1.5
    written(place, values)
    task = series(train_share=0.5)
    standard, _ = naive.standardised(list(values), 0.5)
    batch, first = task.evaluation_batch(DOUBLE)
    np.testing.assert_allclose(batch.inputs[:, 0, 0], standard[6:19])
    np.testing.assert_allclose(batch.targets["y"][first:, 0, 0], standard[10:])


@pytest.mark.parametrize(("offset", "expected"), [(0.0, 0.0), (0.5, 0.25)])
def test_the_error_is_that_of_later_values_alone(place, offset, expected):
    """What a network says of the training part is not judged."""
    values = np.arange(20.0) ** 1.5
    written(place, values)
    task = series(train_share=0.5)
    batch, first = task.evaluation_batch(DOUBLE)
    prediction = batch.targets["y"] + offset
    prediction[:first] = 1e6
    got = task.evaluate(lambda inputs, want: {"prediction": prediction}, stream, DOUBLE)
    persistence = naive.persistence(*naive.standardised(list(values), 0.5))
    assert got["eval_mse"] == pytest.approx(expected)
    assert got["vs_persistence"] == pytest.approx(expected / persistence)


def test_answering_the_last_value_is_as_good_as_persistence(place, rng):
    """A ratio of 1."""
    written(place, rng.normal(0, 1, 60))
    got = series().evaluate(lambda inputs, want: {"prediction": inputs}, stream, DOUBLE)
    assert got["vs_persistence"] == 1.0


@pytest.mark.parametrize(
    ("values", "parameters", "expected"),
    [
        (range(5), {}, r"data.csv, column 'x': found 5 values, of which train_share 0.8 leaves 4 .* needs 5"),
        (range(0), {}, "found 0 values"),
        ([3.0] * 20, {}, "the training part is 3 throughout"),
        ([*range(16), 15, 15, 15, 15], {}, "the evaluation part is 15 throughout"),
        ([1e300, -1e300] * 10, {}, "too large, or too far apart"),
        ([*([0.0, 1e-30] * 8), 1e20, 1, 2, 3], {}, "too large, or too far apart"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused(place, values, parameters, expected):
    """Before the first run; the text says what is needed."""
    written(place, list(values))
    with np.errstate(all="ignore"), pytest.raises(RunFailed, match=expected):
        series(**parameters).look(place)


def test_the_shortest_series_is_used(place):
    """One window to train on, and one value to foresee."""
    written(place, [1.0, 2.0, 4.0, 3.0, 5.0, 7.0])
    task = series(train_share=0.84)
    task.look(place)
    assert task.training_data(stream, DOUBLE).batch(0).inputs.shape == (4, 3, 1)
    got = task.evaluate(lambda inputs, want: {"prediction": inputs}, stream, DOUBLE)
    assert got["vs_persistence"] == 1.0


@pytest.mark.parametrize("delimiter", ["", "ab", "a", "1", ".", "-", '"', "\n", " "])
def test_a_delimiter_that_numbers_or_quotes_need_is_refused(delimiter):
    """One other character, or tab."""
    with pytest.raises(ValidationError, match="one character such as ';', or tab, is allowed"):
        series(delimiter=delimiter)


def test_runs_on_other_numbers_are_known_to_be_others(place, rng):
    """A changed file changes the sources of a run, by the name that the study gives it, and no run id."""
    study = (
        "schema: 1\nstudy: s\ntask: {name: series, file: data.csv, column: x}\nfactors: {gradient: [ste, smoothstep]}\n"
    )
    (place / "s.yaml").write_text(f"{study}responses: [{{name: eval_mse, scale: log10, better: lower}}]\n")
    values = rng.normal(0, 1, 90)
    found = []
    for last in (1.0, 2.0):
        written(place, [*values, last])
        run = plan(load_study(place / "s.yaml")).runs[0]
        found.append((run.run_id, SourcesOfRuns(place).of(run)))
    (first_id, first), (second_id, second) = found
    assert first_id == second_id
    assert first.fingerprint != second.fingerprint
    changed = {name for name in first.files if first.files[name] != second.files[name]}
    assert changed == {"data.csv"}
    assert "kdrun" in first.files
