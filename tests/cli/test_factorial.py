"""`kdrun factorial`: exit codes, output, results folder, resumption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from kdrun import load_study, run
from tests.cli.command import KDRUN, ROOT, SMOKE, digest_of, kdrun

# Criteria have no part in the bits; without them nothing is run a second time, and one worker starts sooner than two.
PLAIN = ("--set", "criteria=[]", "--workers", "1")
RUNS_COLUMNS = [
    "run_id", "kind", "treatment", "replicate", "comparator", "gradient", "distillation", "width", "status",
    "train_mse", "eval_mse", "vs_float", "vs_baseline", "seconds", "error",
]  # fmt: skip


def runs_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / "runs.csv", dtype={"width": str})


def test_the_table_the_checklist_and_the_digest_are_printed(smoke):
    """A finished study prints treatments, comparators, effects, criteria, and last the digest."""
    _, output = smoke
    for words in ("Treatment", "vs Baseline", "post_", "Effects", "Criteria", "geometric means"):
        assert words.lower() in output.lower()
    assert re.fullmatch(r"results_digest [0-9a-f]{64}", output.strip().splitlines()[-1])


def test_the_results_folder_holds_what_the_interface_promises(smoke):
    """Study, database, tables in two formats, history, report and manifest are there."""
    folder, _ = smoke
    expected = ["study.yaml", "runs.sqlite", "report.md", "manifest.json", "tables/history.parquet"]
    expected += [
        f"tables/{name}.{kind}" for name in ("runs", "treatments", "effects", "criteria") for kind in ("csv", "parquet")
    ]
    assert [name for name in expected if not (folder / name).is_file()] == []


def test_runs_csv_has_its_columns_and_every_run(smoke):
    """Two teachers, eight treatments and three comparators in each of two replicates."""
    folder, _ = smoke
    runs = runs_of(folder)
    assert list(runs.columns) == RUNS_COLUMNS
    assert runs.groupby("kind").size().to_dict() == {"comparator": 6, "teacher": 4, "treatment": 16}
    assert set(runs["width"]) == {"4", "6"}


def test_treatments_are_numbered_with_the_first_factor_fastest(smoke):
    """The order is that of the seed's table."""
    folder, _ = smoke
    table = pd.read_csv(folder / "tables" / "treatments.csv", dtype=str)
    got = table[["treatment", "gradient", "distillation", "width"]].to_numpy().tolist()
    expected = [
        [str(1 + g + 2 * d + 4 * w), ("ste", "smoothstep")[g], ("none", "trajectory")[d], ("4", "6")[w]]
        for w in (0, 1)
        for d in (0, 1)
        for g in (0, 1)
    ]
    assert got == expected


def test_ratios_are_taken_inside_the_replicate(smoke):
    """vs_float divides by the teacher of the same replicate and width, vs_baseline by treatment 1 of the replicate."""
    folder, _ = smoke
    runs = runs_of(folder)
    teachers = runs[runs["kind"] == "teacher"].set_index(["replicate", "width"])["eval_mse"]
    baselines = runs[runs["treatment"] == 1].set_index("replicate")["eval_mse"]
    for row in runs[runs["kind"] == "treatment"].itertuples():
        assert row.vs_float == pytest.approx(row.eval_mse / teachers[row.replicate, row.width], rel=1e-12)
        assert row.vs_baseline == pytest.approx(row.eval_mse / baselines[row.replicate], rel=1e-12)


def test_the_stored_study_has_every_default_and_runs_the_same(smoke, tmp_path):
    """study.yaml, run somewhere else, gives the same digest."""
    folder, output = smoke
    assert "beta_start: 1.0" in (folder / "study.yaml").read_text()
    done = kdrun("factorial", folder / "study.yaml", "--results", tmp_path, "--quiet", *PLAIN)
    assert digest_of(done) == output.strip().split()[-1]


def test_the_manifest_names_digests_versions_and_no_place(smoke):
    """Nothing in it tells whose machine it was."""
    folder, output = smoke
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["results_digest"] == output.strip().split()[-1]
    assert {"kdrun", "python", "numpy", "numba"} <= set(manifest["versions"])
    assert str(ROOT) not in json.dumps(manifest)


def test_running_again_does_nothing(smoke):
    """Where nothing is missing, nothing is made again: not a run, not a file."""
    folder, output = smoke
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "sqlite" not in path.name}
    done = kdrun("factorial", SMOKE, "--results", folder.parent)
    assert "runs to do" not in done.stderr
    assert done.stdout == output
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "sqlite" not in path.name} == before


def copy_of(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place / folder.name)
    return place / folder.name


def test_only_what_is_missing_is_run(smoke, tmp_path):
    """A run taken out of the database is done again, alone, with the same bits."""
    folder, output = smoke
    copy = copy_of(folder, tmp_path)
    with sqlite3.connect(copy / "runs.sqlite") as connection:
        connection.execute("DELETE FROM runs WHERE treatment = 5 AND replicate = 2")
    done = kdrun("factorial", SMOKE, "--results", tmp_path)
    assert "1 of 26 runs to do" in done.stderr
    assert digest_of(done) == output.strip().split()[-1]


@pytest.mark.slow
def test_more_replicates_keep_the_bits_of_the_others(smoke, tmp_path):
    """Replicates 1 and 2 are the same rows when a third joins them."""
    folder, _ = smoke
    copy = copy_of(folder, tmp_path)
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--replicates", 3)
    assert "13 of 39 runs to do" in done.stderr
    columns = ["run_id", "train_mse", "eval_mse"]
    got = runs_of(copy).query("replicate < 3")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(got, runs_of(folder)[columns], check_exact=True)


def test_a_new_level_adds_runs_and_a_removed_one_keeps_them(smoke, tmp_path):
    """With a level less the runs stay stored, unreported; back again, nothing is missing."""
    folder, output = smoke
    copy = copy_of(folder, tmp_path)
    less = kdrun("factorial", SMOKE, "--results", tmp_path, "--set", "factors.gradient=[ste, smoothstep_unit]", *PLAIN)
    assert "8 of 26 runs to do" in less.stderr
    assert set(runs_of(copy).query("kind == 'treatment'")["gradient"]) == {"ste", "smoothstep_unit"}
    back = kdrun("factorial", SMOKE, "--results", tmp_path, *PLAIN)
    assert "runs to do" not in back.stderr
    assert digest_of(back) == output.strip().split()[-1]


@pytest.mark.slow
def test_another_seed_gives_another_digest(smoke, tmp_path):
    """The seed reaches the bits."""
    _, output = smoke
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--seed", 7, "--quiet", *PLAIN)
    assert digest_of(done) != output.strip().split()[-1]


@pytest.mark.slow
def test_the_number_of_workers_does_not_reach_the_bits(smoke, tmp_path):
    """One worker gives the digest of two."""
    _, output = smoke
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--workers", 1, "--quiet")
    assert digest_of(done) == output.strip().split()[-1]


def test_json_is_one_document_and_nothing_else(smoke):
    """Standard output parses, without nan, and holds what the interface names."""
    folder, output = smoke
    done = kdrun("factorial", SMOKE, "--results", folder.parent, "--json")
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert set(document) == {
        "study", "results", "study_digest", "results_digest", "runs", "treatments", "criteria", "hypotheses",
    }  # fmt: skip
    assert document["runs"] == {"done": 26, "failed": 0, "diverged": 0, "missing": 0}
    assert document["treatments"][0]["gradient"] == "ste"
    assert document["results_digest"] == output.strip().split()[-1]


def test_comparators_have_no_training_loss(smoke):
    """They have no last epoch: train_mse is empty, eval_mse is not."""
    folder, _ = smoke
    comparators = runs_of(folder).query("kind == 'comparator'")
    assert comparators["train_mse"].isna().all()
    assert comparators["eval_mse"].notna().all()


@pytest.mark.parametrize("place", ["/proc/none", "a file"])
def test_a_place_that_cannot_be_written_to_is_a_usage_error(tmp_path, place):
    """Code 2, because nothing was run."""
    target = Path(place) if place.startswith("/") else tmp_path / place
    if place == "a file":
        target.write_text("mine")
    done = kdrun("factorial", SMOKE, "--results", target, *PLAIN)
    assert done.returncode == 2, done.stderr
    assert str(target) in done.stderr


def test_quiet_prints_the_digest_alone(smoke):
    """No progress and no table."""
    folder, output = smoke
    done = kdrun("factorial", SMOKE, "--results", folder.parent, "--quiet")
    assert (done.stdout, done.stderr) == (output.splitlines()[-1] + "\n", "")


def test_a_teacher_that_misses_leaves_its_students_missing(tmp_path):
    """Code 4 says how far off each teacher was; no student is trained, and nothing counts as failed."""
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--set", "teacher.accept.eval_mse=1e-9")
    assert done.returncode == 4
    assert re.search(
        r"teacher \(width=4\), replicate 1: eval_mse is \S+, which misses 1e-09 by a factor of", done.stderr
    )
    statuses = runs_of(tmp_path / "smoke").groupby(["kind", "status"]).size().to_dict()
    assert statuses == {("comparator", "missing"): 6, ("teacher", "done"): 4, ("treatment", "missing"): 16}


@pytest.mark.slow
def test_a_teacher_that_diverges_missed_its_acceptance_too(tmp_path):
    """Code 4, and no student is trained."""
    steep = ("--set", "teacher.optimizer.lr=1000", "--set", "teacher.optimizer.clip=1e30", "--replicates", 1)
    done = kdrun("factorial", SMOKE, "--results", tmp_path, *steep, *PLAIN)
    runs = runs_of(tmp_path / "smoke")
    assert done.returncode == 4, done.stderr
    assert set(runs.query("kind == 'treatment'")["status"]) == {"missing"}


def test_one_teacher_that_misses_does_not_stop_the_others(smoke, tmp_path):
    """Where only some teachers reach the bound, their students are trained."""
    runs = runs_of(smoke[0])
    teachers = runs[runs["kind"] == "teacher"].sort_values("eval_mse")
    bound = float(teachers["eval_mse"].iloc[1] + teachers["eval_mse"].iloc[2]) / 2
    done = kdrun(
        "factorial", SMOKE, "--results", tmp_path / "some", "--set", f"teacher.accept.eval_mse={bound!r}", *PLAIN
    )
    assert done.returncode == 4
    found = runs_of(tmp_path / "some" / "smoke")
    trained = found[(found["kind"] == "treatment") & (found["status"] == "done")]
    accepted = teachers[teachers["eval_mse"] <= bound]
    expected = {(row.replicate, row.width) for row in accepted.itertuples()}
    assert {(row.replicate, row.width) for row in trained.itertuples()} == expected


def test_a_failed_gradient_check_trains_nothing(tmp_path):
    """Code 3, the combinations that failed, and an empty folder."""
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--set", "gradcheck.tolerance=1e-12")
    assert done.returncode == 3
    assert "nothing was trained" in done.stderr
    assert "float32" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_runs_the_treatments_asked_for(tmp_path):
    """--only width=4 leaves the other width's teachers and treatments missing."""
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--only", "width=4", "--replicates", 1, "--workers", 1)
    runs = runs_of(tmp_path / "smoke")
    assert set(runs[runs["status"] == "done"]["width"]) == {"4"}
    assert set(runs[runs["status"] == "missing"]["width"]) == {"6"}
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("only", "words"),
    [("height=4", "no factor 'height'"), ("width=5", "unknown level '5'"), ("width", "FACTOR=LEVEL")],
)
def test_only_names_what_it_does_not_know(tmp_path, only, words):
    """A factor or level that is not there is refused, with what is known."""
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--only", only)
    assert (done.returncode, words in done.stderr) == (2, True)


@pytest.mark.slow
def test_fresh_asks_first(smoke, tmp_path):
    """Without a terminal and without --yes nothing is removed; with --yes everything is run again."""
    folder, output = smoke
    copy = copy_of(folder, tmp_path)
    refused = kdrun("factorial", SMOKE, "--results", tmp_path, "--fresh")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert (copy / "runs.sqlite").exists()
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--fresh", "--yes", *PLAIN)
    assert "26 of 26 runs to do" in done.stderr
    assert digest_of(done) == output.strip().split()[-1]


def test_a_folder_without_its_runs_is_not_written_to(smoke, tmp_path):
    """Committed results are refused, and stay as they are."""
    folder, _ = smoke
    copy = copy_of(folder, tmp_path)
    (copy / "runs.sqlite").unlink()
    before = (copy / "report.md").read_bytes()
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--seed", 5)
    assert done.returncode == 2
    assert "--fresh" in done.stderr
    assert (copy / "report.md").read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path):
    """Ctrl-C ends with code 130 and how to go on; done again, it has the digest of an undisturbed run."""
    options = ("--set", "student.epochs=2000", *PLAIN)
    command = [KDRUN, "factorial", SMOKE, "--results", tmp_path, *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs this in the background has it ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads here
    )
    assert process.stderr is not None
    said = ""
    while "[1/26]" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    stored = re.search(r"Interrupted: (\d+) of 26 runs are stored. Go on with: kdrun factorial", errors)
    assert stored, errors
    assert 0 < int(stored[1]) < 26
    resumed = kdrun("factorial", SMOKE, "--results", tmp_path, *options)
    assert f"{26 - int(stored[1])} of 26 runs to do" in resumed.stderr
    undisturbed = run(load_study(SMOKE, ["student.epochs=2000", "criteria=[]"]), tmp_path / "other", workers=1)
    assert digest_of(resumed) == undisturbed.results_digest
