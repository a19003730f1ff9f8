"""Stored runs, run again: what is compared, what is said of it, and what is left as it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import kdrun
from kdrun.engine.train import Diverged, Trainer
from kdrun.errors import Interrupted, UsageError
from kdrun.listener import Listener, Work
from kdrun.records import Outcome, Run
from kdrun.report.verify import (
    RunAgain,
    Verification,
    conclusion_of_all,
    studies_document,
    verify_document,
    verify_rich,
)
from kdrun.results import Results
from kdrun.store.arrays import arrays_from_npz, npz_bytes
from kdrun.store.digest import DigestRow
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.verification import spread, verify
from tests.tiny_results import RUNS, tiny_results, without_workers

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_results(tmp_path_factory.mktemp("original"))


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with without_workers():
        yield


@pytest.fixture
def stored(original: Path, tmp_path: Path) -> Path:
    """A copy with its runs, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "stored"))


@pytest.fixture
def committed(original: Path, tmp_path: Path) -> Path:
    """A copy as a repository holds it: without the database."""
    return Path(shutil.copytree(original, tmp_path / "committed", ignore=shutil.ignore_patterns("runs.sqlite*")))


def change(folder: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(folder / "runs.sqlite") as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def value_of(folder: Path, column: str, run_id: str) -> Any:
    with sqlite3.connect(folder / "runs.sqlite") as connection:
        found = connection.execute(f"SELECT {column} FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
    connection.close()
    return found


def some_run(folder: Path, kind: str = "treatment") -> Run:
    return next(run for run in Results.open(folder).plan.runs if run.kind == kind)


def differing(found: Verification) -> dict[str, list[str]]:
    """What differs in each run that differs, by run id."""
    return {item.run.run_id: [difference.name for difference in item.differences] for item in found.different}


def text_of(found: Verification) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(verify_rich(found))
    return capture.get()


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """When each file was written, and what is in it."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


class Recorder(Listener):
    def __init__(self, stop_after: int | None = None) -> None:
        self.work: Work | None = None
        self.ran: list[str] = []
        self.said: list[str] = []
        self.has_ended = False
        self.stop_after = stop_after

    def starting(self, work: Work) -> None:
        self.work = work

    def finished(self, run: Run, outcome: Outcome) -> None:
        self.ran.append(run.run_id)
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt

    def noticed(self, text: str) -> None:
        self.said.append(text)

    def ended(self) -> None:
        self.has_ended = True


def test_all_runs_are_equal_and_nothing_is_written(stored: Path) -> None:
    """Every run is run again, the digest is that of the study, and each file is as it was."""
    before, recorder = tree(stored), Recorder()
    found = verify(stored, everything=True, listener=recorder)
    assert (found.equal, found.exit_code, found.complete, found.finished) == (True, 0, True, RUNS)
    assert found.digests == (kdrun.open_results(stored).results_digest,) * 2
    assert len(recorder.ran) == len(found.runs) == RUNS
    assert recorder.said == []
    assert recorder.has_ended
    assert found.same_sources
    assert tree(stored) == before
    assert text_of(found).splitlines()[-1].startswith("equal, bit for bit: 12 of 12 runs, run again and compared with")


def test_one_bit_of_a_response_is_found(stored: Path) -> None:
    """The run and its response are named with both values, and no other run differs."""
    run = some_run(stored)
    responses = json.loads(value_of(stored, "responses", run.run_id))
    value = float.fromhex(responses["eval_mse"])
    responses["eval_mse"] = math.nextafter(value, 1).hex()
    change(stored, "UPDATE runs SET responses = ? WHERE run_id = ?", json.dumps(responses), run.run_id)
    recorder = Recorder()
    found = verify(stored, everything=True, listener=recorder)
    assert (found.equal, found.exit_code) == (False, 5)
    assert differing(found) == {run.run_id: ["eval_mse"]}
    assert recorder.said == [f"{run.title} (id {run.run_id}) differs in eval_mse"]
    assert found.digests is not None
    assert found.digests[0] != found.digests[1]
    text = text_of(found)
    assert responses["eval_mse"] in text
    assert value.hex() in text
    assert text.splitlines()[-1].startswith("DIFFERENT: 1 run different: 12 of 12 runs")


def test_another_network_is_found_where_all_responses_are_equal(stored: Path) -> None:
    """By its digest; nothing else of the run differs."""
    run = some_run(stored)
    change(stored, "UPDATE runs SET parameters_sha256 = ? WHERE run_id = ?", "0" * 64, run.run_id)
    assert differing(verify(stored, everything=True)) == {run.run_id: ["trained network"]}


def test_an_erased_digest_is_a_difference(stored: Path) -> None:
    """What is not there is not taken for equal."""
    run = some_run(stored)
    change(stored, "UPDATE runs SET parameters_sha256 = '', responses = '' WHERE run_id = ?", run.run_id)
    found = differing(verify(stored, everything=True))
    assert found.keys() == {run.run_id}
    assert {"eval_mse", "trained network"} <= set(found[run.run_id])


@pytest.mark.parametrize("damage", ["other values", "no archive"])
def test_a_stored_network_that_is_not_the_one_of_its_digest_is_found(stored: Path, damage: str) -> None:
    """And it is handed to no run that needs it: the students of that teacher are equal."""
    teacher = some_run(stored, "teacher")
    data = value_of(stored, "parameters", teacher.run_id)
    changed = {name: array * 2 for name, array in arrays_from_npz(data).items()}
    data = npz_bytes(changed) if damage == "other values" else data[: len(data) // 2]
    change(stored, "UPDATE runs SET parameters = ? WHERE run_id = ?", data, teacher.run_id)
    assert differing(verify(stored, everything=True)) == {teacher.run_id: ["stored network"]}


def test_another_status_is_found(stored: Path) -> None:
    """A run that is done now and diverged then differs, whatever its responses."""
    run = some_run(stored)
    change(stored, "UPDATE runs SET status = 'diverged' WHERE run_id = ?", run.run_id)
    assert differing(verify(stored, everything=True)) == {run.run_id: ["status"]}


def test_diverged_runs_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To diverge again is to be equal."""
    evaluate = Trainer._evaluate

    def diverge_at_times(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.optimizer.lr == 1e-2:
            raise Diverged("the loss of epoch 3 is nan")
        return evaluate(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_evaluate", diverge_at_times)
    found = verify(tiny_results(tmp_path), everything=True)
    assert found.equal
    assert Counter(item.now.status for item in found.runs) == {"done": 8, "diverged": 4}


def test_a_sample_is_the_same_each_time_and_does_not_run_what_is_stored(stored: Path) -> None:
    """Every kind and both replicates are in it; teachers that are stored are handed in."""
    first, second = Recorder(), Recorder()
    found = verify(stored, 4, listener=first)
    assert verify(stored, 4, listener=second).chosen == found.chosen
    assert sorted(first.ran) == sorted(second.ran) == sorted(run.run_id for run in found.chosen)
    assert len(found.chosen) == 4
    assert {run.kind for run in found.chosen} == {"teacher", "treatment", "comparator"}
    assert {run.replicate for run in found.chosen} == {1, 2}
    assert (found.equal, found.complete) == (True, False)
    text = text_of(found)
    assert "equal, bit for bit: 4 of 12 runs, run again" in text
    assert all(run.title in text for run in found.chosen)


def test_a_sample_is_spread_over_levels_and_replicates() -> None:
    """Of a larger plan: as many of each level as can be, no treatment twice, few teachers."""
    runs = plan(load_study(ROOT / "experiments" / "sine_shapes.yaml")).runs
    chosen = spread(runs, 20)
    treatments = [run for run in chosen if run.kind == "treatment"]
    assert len(chosen) == 20
    assert len({run.treatment for run in treatments}) == len(treatments) >= 15
    for factor in treatments[0].levels:
        counts = Counter(run.levels[factor] for run in treatments)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert set(Counter(run.replicate for run in chosen).values()) == {2}
    assert spread(runs, 10**6) == list(runs)


def test_a_difference_shows_in_the_run_that_it_begins_in(stored: Path) -> None:
    """Students are run with the teacher that is stored, so another response of it makes none of them differ."""
    teacher = some_run(stored, "teacher")
    change(stored, "UPDATE runs SET responses = '{}' WHERE run_id = ?", teacher.run_id)
    assert differing(verify(stored, everything=True)) == {teacher.run_id: ["eval_mse", "train_mse"]}


def test_what_is_needed_and_not_stored_is_run_and_verified_too(tmp_path: Path) -> None:
    """With keep: none a student's teacher is run again, and a difference in it counts."""
    folder = tiny_results(tmp_path, "keep=none")
    found = verify(folder, 3)
    needed = {need for run in found.chosen for need in run.needs}
    assert needed - {run.run_id for run in found.chosen}
    assert {item.run.run_id for item in found.runs} == {run.run_id for run in found.chosen} | needed
    assert found.equal
    only_needed = next(iter(needed - {run.run_id for run in found.chosen}))
    change(folder, "UPDATE runs SET parameters_sha256 = ? WHERE run_id = ?", "0" * 64, only_needed)
    again = verify(folder, 3)
    assert differing(again) == {only_needed: ["trained network"]}
    assert again.exit_code == 5


def test_runs_that_cannot_be_done_any_more_are_no_equals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a teacher fails now, its students are named as not done; the reason is shown."""
    folder = tiny_results(tmp_path, "keep=none")

    def fail(trainer: Trainer, *arguments: Any) -> Any:
        raise MemoryError("too much")

    monkeypatch.setattr(Trainer, "_evaluate", fail)
    found = verify(folder, everything=True)
    teachers = {run.run_id for run in found.chosen if run.kind == "teacher"}
    assert differing(found).keys() == teachers
    assert len(found.undone) == RUNS - len(teachers)
    assert found.exit_code == 5
    text = text_of(found)
    assert "failed: MemoryError: too much" in text
    assert "10 runs could not be run again" in text


def test_failed_and_missing_runs_are_left_out(stored: Path) -> None:
    """They are counted, and what is equal is said of the others alone."""
    failed, missing = [run.run_id for run in Results.open(stored).plan.runs if run.kind == "comparator"]
    change(stored, "UPDATE runs SET status = 'failed', responses = '{}' WHERE run_id = ?", failed)
    change(stored, "DELETE FROM runs WHERE run_id = ?", missing)
    recorder = Recorder()
    found = verify(stored, everything=True, listener=recorder)
    assert found.equal
    assert found.left_out == {"failed": 1, "missing": 1}
    assert not {failed, missing} & set(recorder.ran)
    assert text_of(found).rstrip().endswith("left out: 1 failed and 1 missing")


def test_other_sources_are_told_where_something_differs(stored: Path) -> None:
    """They are a likely cause; where all is equal nobody needs to know."""
    change(stored, "UPDATE runs SET sources = 'older'")
    change(stored, "UPDATE facts SET value = ? WHERE key = 'environment'", json.dumps({"versions": {"numpy": "0.9"}}))
    equal = verify(stored, 1)
    assert equal.equal
    assert "other sources" not in text_of(equal)
    change(stored, "UPDATE runs SET parameters_sha256 = ?", "0" * 64)
    text = text_of(verify(stored, 1))
    assert "made by other sources than those that are here now" in text
    assert "0.9" in text


def test_an_interruption_says_how_far_it_came(stored: Path) -> None:
    """And the display is told that nothing more comes."""
    recorder = Recorder(stop_after=3)
    with pytest.raises(Interrupted, match="2 of 12 runs were run again, 0 of them differ") as caught:
        verify(stored, everything=True, listener=recorder)
    assert caught.value.exit_code == 130
    assert recorder.has_ended


def test_a_folder_without_its_runs_is_run_completely(committed: Path) -> None:
    """Its digest and every response in its table are compared, and nothing is written."""
    before = tree(committed)
    found = verify(committed)
    assert (found.equal, found.complete, len(found.runs)) == (True, True, RUNS)
    assert found.digests == (json.loads((committed / "manifest.json").read_text())["results_digest"],) * 2
    assert (found.against, found.notes) == ("manifest.json", ())
    assert tree(committed) == before


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_folder_without_its_runs_says_from_where_its_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows no path: a study that reads a file is verified from where the study stands."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no such file in .*call kdrun verify from the folder of the study"):
        verify(ROOT / "results" / "sunspots")


def test_another_digest_in_the_manifest_is_found(committed: Path) -> None:
    """Where every response is the same, it is networks that differ, and no run is blamed."""
    digest = json.loads((committed / "manifest.json").read_text())["results_digest"]
    edit(committed / "manifest.json", digest, "0" * 64)
    found = verify(committed)
    assert (found.exit_code, found.different) == (5, ())
    assert found.digests == ("0" * 64, digest)
    assert "trained networks differ" in text_of(found)
    assert text_of(found).splitlines()[-1].startswith("DIFFERENT: results digests differ")


def last_bit(folder: Path, ending: str) -> str:
    """Change one bit of a response in a table; returns the id of its run."""
    path = folder / "tables" / f"runs.{ending}"
    run = some_run(folder)
    if ending == "csv":
        line = next(line for line in path.read_text().splitlines() if line.startswith(run.run_id))
        value = kdrun.open_results(folder).runs.set_index("run_id").loc[run.run_id, "eval_mse"].item()
        edit(path, line, line.replace(f",{value!r},", f",{math.nextafter(value, 1)!r},", 1))
        return run.run_id
    table = pd.read_parquet(path)
    place = table["run_id"] == run.run_id
    table.loc[place, "eval_mse"] = math.nextafter(table.loc[place, "eval_mse"].item(), 1)
    table.to_parquet(path)
    (folder / "tables" / "runs.csv").unlink()
    return run.run_id


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_one_bit_of_a_table_is_found(committed: Path, ending: str) -> None:
    """The run and the response are named, though the digest is the manifest's."""
    run_id = last_bit(committed, ending)
    found = verify(committed)
    assert differing(found) == {run_id: ["eval_mse"]}
    assert found.digests is not None
    assert found.digests[0] == found.digests[1]
    assert found.exit_code == 5


def test_without_tables_the_digest_alone_is_compared(committed: Path) -> None:
    """It is enough for `equal`; where it differs, nobody can tell the run."""
    shutil.rmtree(committed / "tables")
    found = verify(committed)
    assert (found.equal, found.undone) == (True, ())
    edit(committed / "manifest.json", found.digests[0], "0" * 64)
    assert "nothing tells which runs differ" in text_of(verify(committed))
    with pytest.raises(UsageError, match=r"runs\.csv: a sample is compared with this table, which is not there"):
        verify(committed, 3)


def test_a_sample_of_a_folder_without_its_runs_claims_no_networks(committed: Path) -> None:
    """Chosen runs and what they need are compared with the table; there is no digest of some runs."""
    found = verify(committed, 2)
    assert (found.equal, found.digests, found.against) == (True, None, "tables/runs.csv")
    assert {need for run in found.chosen for need in run.needs} <= {item.run.run_id for item in found.runs}
    assert text_of(found).rstrip().endswith("compared with tables/runs.csv by status and responses")
    assert verify_document(found)["compared"] == ["status", "responses"]


def test_runs_that_a_committed_folder_never_had_are_not_run(stored: Path) -> None:
    """What was missing or failed when the digest was taken is so in it now."""
    failed, missing = [run.run_id for run in Results.open(stored).plan.runs if run.kind == "comparator"]
    change(stored, "UPDATE runs SET status = 'failed', responses = '{}', parameters_sha256 = ? WHERE run_id = ?",
           hashlib.sha256().hexdigest(), failed)  # fmt: skip
    change(stored, "DELETE FROM runs WHERE run_id = ?", missing)
    Results.open(stored).write()
    (stored / "runs.sqlite").unlink()
    recorder = Recorder()
    found = verify(stored, listener=recorder)
    assert found.equal
    assert found.left_out == {"failed": 1, "missing": 1}
    assert not {failed, missing} & set(recorder.ran)


def test_a_study_that_is_not_the_manifests_is_told(committed: Path) -> None:
    """More replicates than the folder has: they are not in its table, so they are not run, and it is said."""
    edit(committed / "study.yaml", "replicates: 2", "replicates: 3")
    found = verify(committed)
    assert found.left_out == {"missing": RUNS // 2}
    assert ["study digests differ" in note or "do not match: 0 runs only in the table, 6" in note
            for note in found.notes] == [True, True]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["runs.sqlite", "manifest.json"], r"there is neither runs\.sqlite nor manifest\.json"),
        (["runs.sqlite", "study.yaml"], r"there is no study\.yaml"),
    ],
)
def test_a_folder_with_nothing_to_compare_with_is_refused(stored: Path, names: list[str], words: str) -> None:
    """It says what is missing."""
    for name in names:
        (stored / name).unlink()
    with pytest.raises(UsageError, match=words):
        verify(stored)


def test_a_folder_whose_runs_are_of_another_study_is_refused(stored: Path) -> None:
    """Nothing was compared, so nothing is called equal."""
    edit(stored / "study.yaml", "seed: 42", "seed: 43")
    with pytest.raises(UsageError, match="there is nothing to verify"):
        verify(stored, everything=True)


@pytest.mark.parametrize(
    "content", ["", "run_id,status\n1f3a,done\n", "run_id,status,train_mse,eval_mse\nx,done,a,b\n"]
)
def test_a_damaged_table_is_a_usage_error(committed: Path, content: str) -> None:
    """It is no difference of the runs."""
    (committed / "tables" / "runs.csv").write_text(content)
    with pytest.raises(UsageError, match=r"no table of runs|nothing to verify"):
        verify(committed)


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"workers": 0}, {"sample": 3, "everything": True}])
def test_wrong_arguments_are_usage_errors(stored: Path, wrong: dict[str, Any]) -> None:
    """Nothing is run."""
    with pytest.raises(UsageError):
        verify(stored, **wrong)


def test_the_document_is_json_that_names_every_difference(stored: Path) -> None:
    """Strict JSON: digests, versions, and what differs as stored and as it is now."""
    run = some_run(stored)
    change(stored, "UPDATE runs SET responses = ? WHERE run_id = ?", '{"eval_mse":"nan"}', run.run_id)
    found = verify(stored, everything=True)
    got = json.loads(json.dumps(studies_document([found], {}), allow_nan=False))
    assert got["equal"] is False
    (study,) = got["studies"]
    assert (study["study"], study["against"], study["complete"]) == ("tiny", "runs.sqlite", True)
    (shown,) = [item for item in study["runs"] if item["differences"]]
    assert shown["run_id"] == run.run_id
    assert [item["name"] for item in shown["differences"]] == ["eval_mse", "train_mse"]
    assert shown["differences"][0]["stored"] == "nan (nan)"
    assert shown["differences"][1]["stored"] == "nothing"
    assert study["results_digests"] == list(found.digests or ())
    assert study["made_now"]["versions"]["kdrun"]


def test_several_studies_are_told_of_in_one_line_and_one_document(stored: Path) -> None:
    """Also of one that could not be compared: then not all are equal."""
    found = verify(stored, sample=1)
    assert conclusion_of_all([found, found], {}) == "2 of 2 studies equal"
    error = UsageError("no such file")
    assert conclusion_of_all([found], {"results/b": error}) == "1 of 2 studies equal; not compared: b"
    other = dataclasses.replace(found, undone=found.chosen)
    assert conclusion_of_all([found, other], {}) == "1 of 2 studies equal; different: tiny"
    assert studies_document([found], {})["equal"] is True
    document = studies_document([found], {"results/b": error})
    assert (document["equal"], len(document["studies"])) == (False, 1)
    assert document["not_compared"] == [{"results": "results/b", "error": "no such file"}]


def test_zero_and_minus_zero_are_different_bits() -> None:
    """Values are compared as bits, not as numbers."""
    row = DigestRow("x", "done", '{"eval_mse":"0x0.0p+0"}', "")
    now = DigestRow("x", "done", '{"eval_mse":"-0x0.0p+0"}', "")
    (difference,) = RunAgain(Run("x", "treatment", 1, {}), row, now).differences
    assert (difference.stored, difference.now) == ("0.0 (0x0.0p+0)", "-0.0 (-0x0.0p+0)")


def test_the_committed_smoke_study_is_the_one_of_the_experiments() -> None:
    """`make verify` runs what experiments/smoke.yaml asks for: all four shapes, both distillations, the searches."""
    folders = ROOT / "experiments" / "smoke.yaml", ROOT / "results" / "smoke" / "study.yaml"
    declared, kept = (load_study(path) for path in folders)
    assert [run.run_id for run in plan(declared).runs] == [run.run_id for run in plan(kept).runs]
    levels = {text.text for factor in declared.factors.values() for text in factor.levels}
    assert {"ste", "smoothstep", "smoothstep_plateau", "smoothstep_unit"} <= levels
    assert {"trajectory", "trajectory_decaying"} <= levels
    assert {run.comparator for run in plan(declared).runs} >= {"coordinate_search", "post_training_search"}
