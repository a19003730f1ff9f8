"""kdrun from Python: load, run, open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kdrun
from kdrun.api import check_gradients
from kdrun.engine.run import execute_all, execute_each
from kdrun.errors import Interrupted, KdrunError, UsageError
from kdrun.factors.comparators.post_training import PostTraining
from kdrun.listener import Listener
from kdrun.results import layout_of
from kdrun.store.runs import Store
from tests.tiny_results import RUNS, TINY, AtOnce, without_workers


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def in_this_process() -> Iterator[None]:
    """For tests that are not about workers."""
    with without_workers():
        yield


class Recorder(Listener):
    def __init__(self, stop_after: int | None = None) -> None:
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.stop_after = stop_after

    def noticed(self, text) -> None:
        self.texts.append(text)

    def finished(self, run, outcome) -> None:
        assert outcome.status == "done", outcome.error
        self.titles.append(run.title)
        if len(self.titles) == self.stop_after:
            raise KeyboardInterrupt


def test_a_study_runs_and_its_results_open(tiny, tmp_path):
    """What `run` returns and what `open_results` reads later are the same tables."""
    recorder = Recorder()
    results = kdrun.run(kdrun.load_study(tiny), results=tmp_path / "out", workers=1, listener=recorder)
    again = kdrun.open_results(tmp_path / "out" / "tiny")
    assert len(recorder.titles) == RUNS == len(results.runs)
    assert results.exit_code == 0
    assert again.results_digest == results.results_digest
    assert again.effects.equals(results.effects)
    assert set(results.effects["term"]) == {"gradient", "rate", "gradient:rate"}


@pytest.mark.usefixtures("in_this_process")
def test_levels_are_shown_as_the_study_writes_them(tiny, tmp_path):
    """1e-3 stays 1e-3 in the table of runs."""
    results = kdrun.run(kdrun.load_study(tiny), results=tmp_path / "out")
    assert set(results.runs.query("kind == 'treatment'")["rate"]) == {"1e-3", "1e-2"}


def test_an_interruption_keeps_what_is_finished(tiny, tmp_path):
    """After Ctrl-C the stored runs stay, and the next call does the others, with the bits of an undisturbed study."""
    study = kdrun.load_study(tiny)
    with pytest.raises(Interrupted, match=r"\d+ of 12 runs") as interrupted:
        kdrun.run(study, results=tmp_path / "out", workers=1, listener=Recorder(stop_after=5))
    stored = int(re.search(r"(\d+) of 12", str(interrupted.value))[1])
    assert 5 <= stored < RUNS
    rest = Recorder()
    resumed = kdrun.run(study, results=tmp_path / "out", workers=1, listener=rest)
    assert len(rest.titles) == RUNS - stored
    assert resumed.results_digest == kdrun.run(study, results=tmp_path / "other", workers=1).results_digest


def networks_in(folder: Path) -> set[str]:
    with Store.open(folder, read_only=True) as store:
        return store.with_parameters()


@pytest.mark.usefixtures("in_this_process")
def test_keep_says_which_networks_stay(tiny, tmp_path):
    """All of them, the best of each treatment, or none; the digest is the same."""
    digests = set()
    for keep, count in (("all", RUNS), ("best", 4), ("none", 0)):
        results = kdrun.run(kdrun.load_study(tiny, [f"keep={keep}"]), results=tmp_path / keep)
        assert len(networks_in(results.folder)) == count
        digests.add(results.results_digest)
    assert len(digests) == 1


@pytest.mark.slow
def test_a_teacher_whose_network_was_let_go_is_trained_again(tiny, tmp_path):
    """With keep: none a new level needs the teachers once more, and their bits are the same."""
    first = kdrun.run(kdrun.load_study(tiny, ["keep=none"]), results=tmp_path, workers=1)
    more = kdrun.load_study(tiny, ["keep=none", "factors.gradient=[ste, smoothstep, smoothstep_unit]"])
    recorder = Recorder()
    second = kdrun.run(more, results=tmp_path, workers=1, listener=recorder)
    assert sum(title.startswith("teacher") for title in recorder.titles) == 2
    old = first.runs.set_index("run_id")["eval_mse"]
    new = second.runs.set_index("run_id")["eval_mse"]
    np.testing.assert_array_equal(new[old.index.intersection(new.index)], old[old.index.intersection(new.index)])


def test_a_folder_that_is_no_results_folder_is_refused(tmp_path):
    """It says what is missing."""
    with pytest.raises(UsageError, match=r"study\.yaml"):
        kdrun.open_results(tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_with_something_else_in_it_is_not_touched(tiny, tmp_path):
    """Files that are not kdrun's are neither overwritten nor removed, not even by `fresh`."""
    folder = tmp_path / "out" / "tiny"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="fresh"):
        kdrun.run(kdrun.load_study(tiny), results=tmp_path / "out")
    kdrun.run(kdrun.load_study(tiny), results=tmp_path / "out", fresh=True)
    assert (folder / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(("study", "workers"), [("tiny.yaml", 1), (None, 0)])
def test_wrong_arguments_are_usage_errors(tiny, tmp_path, study, workers):
    """A path in place of a study, or no workers, is told in a sentence; nothing is written."""
    with pytest.raises(UsageError):
        kdrun.run(study or kdrun.load_study(tiny), results=tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("in_this_process")
def test_deleted_tables_are_made_again(tiny, tmp_path):
    """Where nothing is missing but a table, the table comes back."""
    study = kdrun.load_study(tiny)
    results = kdrun.run(study, results=tmp_path)
    (results.folder / "tables" / "effects.csv").unlink()
    recorder = Recorder()
    kdrun.run(study, results=tmp_path, listener=recorder)
    assert (results.folder / "tables" / "effects.csv").is_file()
    assert recorder.titles == []


def test_only_the_combinations_of_the_study_are_checked(tiny):
    """Its float teacher and its two shapes, at two ends of training, in two precisions."""
    rows = check_gradients(kdrun.load_study(tiny))
    assert len(rows) == 3 * 2 * 2
    assert all(row.passed for row in rows)


@pytest.mark.usefixtures("in_this_process")
def test_a_failed_run_is_told_and_tried_again_where_that_is_asked_for(tiny, tmp_path, monkeypatch):
    """A run that raises is `failed` with its traceback, code 1; the others are done."""
    study = kdrun.load_study(tiny)

    def broken(self, network):
        raise ValueError("no such code")

    with monkeypatch.context() as patch:
        patch.setattr(PostTraining, "refine", broken)
        results = kdrun.run(study, results=tmp_path)
    failed = results.runs.query("status == 'failed'")
    assert set(failed["kind"]) == {"comparator"}
    assert failed["error"].str.contains("ValueError: no such code").all()
    assert results.exit_code == 1
    assert kdrun.run(study, results=tmp_path).exit_code == 1
    assert kdrun.run(study, results=tmp_path, retry_failed=True).exit_code == 0


@pytest.mark.parametrize(("timeout", "expected"), [(None, execute_all), (100.0, execute_each)])
def test_runs_whose_time_is_limited_are_done_one_after_another(tiny, tmp_path, monkeypatch, timeout, expected):
    """Only so each has the time that it may take."""
    done, submit = [], AtOnce.submit

    def watched(self, function, /, *arguments, **named):
        done.append(function)
        return submit(self, function, *arguments, **named)

    monkeypatch.setattr(AtOnce, "submit", watched)
    with without_workers():
        kdrun.run(kdrun.load_study(tiny), tmp_path / "results", timeout=timeout)
    assert {function for function in done if function in (execute_all, execute_each)} == {expected}


ZERO = """
schema: 1
study: zero
task: {name: callable, call: "measured_zero:main"}
factors: {a: {sets: task.params.a, levels: [1, 2]}}
replicates: 2
responses: [{name: loss, scale: log10, better: lower}, {name: more, scale: linear, better: lower}]
"""


@pytest.mark.usefixtures("in_this_process")
def test_what_has_no_place_on_its_scale_is_told_at_once_and_loses_nothing(tmp_path, monkeypatch):
    """Once, when the first run has it; what was measured is written though nothing of it can be analysed."""
    (tmp_path / "measured_zero.py").write_text(
        "def main(params, seed): return {'loss': float(params['a'] - 1), 'more': 0.0}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zero.yaml").write_text(ZERO)
    listener = Recorder()
    with pytest.raises(KdrunError, match=r"loss is 0\.0, but on the scale log10.*runs\.csv has what was measured"):
        kdrun.run(kdrun.load_study(tmp_path / "zero.yaml"), results=tmp_path, listener=listener)
    expected = "treatment 1, replicate 1: loss is 0.0, but on the scale log10 it must be above 0 and finite: no effects"
    (told,) = listener.texts
    assert told.startswith(expected)
    runs = pd.read_csv(tmp_path / "zero" / "tables" / "runs.csv")
    assert runs["loss"].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert (tmp_path / "zero" / "tables" / "history.parquet").is_file()


@pytest.mark.parametrize("scale", ["log10", "logit", "linear"])
def test_responses_that_a_study_does_not_name_are_shown_as_they_are(tmp_path, scale):
    """Errors and losses as geometric means where the first response is one; a share has none above 1."""
    better = "lower" if scale == "log10" else "higher"
    name = "cross_entropy" if scale == "log10" else "accuracy"
    study = f"""
schema: 1
study: shown
task: {{name: regimes}}
factors: {{gradient: [ste, smoothstep]}}
responses: [{{name: {name}, scale: {scale}, better: {better}}}]
"""
    (tmp_path / "study.yaml").write_text(study)
    layout = layout_of(kdrun.load_study(tmp_path / "study.yaml"))
    found = {response.name: response.scale for response in layout.responses if not response.declared}
    errors = {"train_loss", "cross_entropy", "weighted_cross_entropy", "valence_mse"} - {name}
    assert {known for known, own in found.items() if own == "log10"} == (errors if scale == "log10" else set())
    assert set(found.values()) <= {"log10", "linear"}
