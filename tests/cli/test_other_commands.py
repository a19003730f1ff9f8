"""gradcheck, report, show, export, list, new, schema, --help and --version."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kdrun import api
from kdrun.cli import app
from kdrun.records import GradientCheck
from kdrun.study.load import load_study
from kdrun.study.schema import json_schema
from tests.cli.command import ROOT, kdrun
from tests.tiny_results import tiny_results, without_workers

COMMANDS = ("factorial", "plan", "gradcheck", "report", "compare", "show", "export", "list", "new", "schema")


def test_help_names_every_command():
    """Each command is listed, and has help of its own with an example."""
    overview = kdrun("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in overview
        assert f"Example: kdrun {command}" in " ".join(kdrun(command, "--help").stdout.split())


def test_help_imports_nothing_heavy():
    """Numba and pandas are left to the commands that need them."""
    code = "import sys, kdrun.cli; print(sorted({'numba', 'pandas', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version():
    """The version is that of the package."""
    import kdrun as package

    assert kdrun("--version").stdout == f"kdrun {package.__version__}\n"


def test_an_unknown_option_is_a_usage_error():
    """Code 2, without a traceback."""
    assert kdrun("factorial", "--frobnicate").returncode == 2


@pytest.mark.slow
def test_gradcheck_passes_for_everything_there_is():
    """Every float64 row is at most 1e-6, and every discovered level that gradients depend on is in a row."""
    done = kdrun("gradcheck", "--json")
    assert done.returncode == 0, done.stdout
    rows = json.loads(done.stdout)
    assert set(rows[0]) == {"name", "dtype", "parameters", "max_relative_error", "tolerance", "passed"}
    assert max(row["max_relative_error"] for row in rows if row["dtype"] == "float64") <= 1e-6
    names = " ".join(row["name"] for row in rows)
    families = ("activations", "distillation", "feature", "future_valence", "gradient", "quantizer", "regularization")
    families += ("sequence", "soft_targets", "temperature", "weighting")
    levels = [path.stem for family in families for path in (ROOT / "kdrun/factors" / family).glob("[a-z]*.py")]
    assert len(levels) >= 30
    # A float student is one whose name begins with no quantizer.
    assert [level for level in levels if not re.search(rf"[ :]{level}[ (]", names)] == []


def test_gradcheck_prints_a_table(monkeypatch):
    """One line and a verdict for each combination."""
    rows = [GradientCheck("sine, cfc: float teacher", "float64", 24, 1e-8, 1e-6)]
    monkeypatch.setattr(api, "check_all_gradients", lambda listener: rows)
    done = CliRunner().invoke(app, ["gradcheck"])
    assert done.exit_code == 0
    for words in ("Worst relative error", "sine, cfc: float teacher", "1.00e-08", "yes"):
        assert words in done.stdout


def test_report_remakes_what_was_deleted(smoke, tmp_path):
    """Tables and report come back from the database with the same bytes."""
    folder, output = smoke
    copy = tmp_path / "smoke"
    shutil.copytree(folder, copy)
    expected = {
        path.relative_to(copy): path.read_bytes()
        for path in copy.rglob("*")
        if path.suffix in (".csv", ".md", ".parquet")
    }
    shutil.rmtree(copy / "tables")
    (copy / "report.md").unlink()
    done = kdrun("report", copy)
    assert done.returncode == 0
    assert done.stdout.split()[-1] == output.split()[-1]
    assert {path: (copy / path).read_bytes() for path in expected} == expected


def test_report_indexes_a_folder_of_studies(smoke, tmp_path):
    """Studies without their runs are listed and left as they are."""
    folder, _ = smoke
    shutil.copytree(folder, tmp_path / "smoke")
    (tmp_path / "smoke" / "runs.sqlite").unlink()
    shutil.copytree(folder, tmp_path / "begun", ignore=shutil.ignore_patterns("tables", "report.*"))
    before = (tmp_path / "smoke" / "report.md").read_bytes()
    done = kdrun("report", tmp_path)
    assert done.returncode == 0
    told = f"not in the index: begun has no tables; kdrun report {tmp_path / 'begun'} says why"
    assert done.stderr.splitlines() == [told]
    assert "smoke" in done.stdout
    assert (tmp_path / "smoke" / "report.md").read_bytes() == before


def test_report_of_a_study_without_its_runs(smoke, tmp_path):
    """A committed folder shows its line of the index, and is left as it is."""
    folder, output = smoke
    shutil.copytree(folder, tmp_path / "smoke")
    (tmp_path / "smoke" / "runs.sqlite").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = kdrun("report", "smoke", cwd=tmp_path)
    assert (done.returncode, output.split()[-1][:12] in done.stdout) == (0, True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "command", [["report", "nowhere"], ["show", "nowhere", "abc"], ["export", "nowhere", "--run", "a", "-o", "x"]]
)
def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path, command):
    """Code 2, and the folder is named."""
    done = kdrun(*command, cwd=tmp_path)
    assert (done.returncode, "nowhere" in done.stderr) == (2, True)


def run_id_of(folder: Path, **where: object) -> str:
    runs = pd.read_csv(folder / "tables" / "runs.csv", dtype={"width": str})
    for column, value in where.items():
        runs = runs[runs[column] == value]
    return str(runs["run_id"].iloc[0])


def test_show_tells_everything_about_a_run(smoke):
    """Levels, responses, history and needs, from the first letters of an id."""
    folder, _ = smoke
    run_id = run_id_of(folder, treatment=4, replicate=2)
    done = kdrun("show", folder, run_id[:8])
    for words in (
        run_id,
        "treatment 4, replicate 2",
        "smoothstep",
        "trajectory",
        "eval_mse",
        "loss",
        "at epoch 0",
        "done",
    ):
        assert words in done.stdout


def test_a_run_that_the_study_asks_for_no_longer_is_shown_and_exported(tmp_path):
    """It is stored, and in no table."""
    folder = tiny_results(tmp_path)
    left = run_id_of(folder, treatment=1, replicate=2)
    with without_workers():
        api.run(load_study(tmp_path / "tiny.yaml", replicates=1), results=tmp_path, workers=1)
    shown = kdrun("show", folder, left[:10])
    assert (shown.returncode, "treatment 1, replicate 2" in shown.stdout) == (0, True)
    assert shown.stdout.splitlines()[-1] == "This run is stored, and in no table: the study asks for it no longer."
    planned = kdrun("show", folder, run_id_of(folder, treatment=1, replicate=1))
    assert "no longer" not in planned.stdout
    done = kdrun("export", folder, "--run", left, "--output", tmp_path / "network.npz")
    assert (done.returncode, (tmp_path / "network.npz").is_file()) == (0, True)


def test_a_network_that_cannot_be_written_is_a_usage_error(smoke):
    """Code 2, and the file is named as it was given."""
    folder, _ = smoke
    done = kdrun("export", folder, "--run", run_id_of(folder, treatment=1), "--output", "/proc/network.npz")
    assert done.returncode == 2
    assert done.stderr.startswith("kdrun: /proc/network.npz: it cannot be written: ")


def test_a_family_that_is_not_there_is_offered_its_nearest():
    """The same as in studies."""
    done = kdrun("list", "gradent")
    assert (done.returncode, "Did you mean 'gradient'?" in done.stderr) == (2, True)


def test_show_names_what_it_cannot_find(smoke):
    """An id that is not there is a usage error, and so is one that fits several runs."""
    folder, _ = smoke
    assert kdrun("show", folder, "zzzz").returncode == 2
    several = kdrun("show", folder, "")
    assert (several.returncode, "26 runs" in several.stderr) == (2, True)


def evaluate(network: dict[str, np.ndarray], phases: int, steps: int) -> float:
    """eval_mse of an exported network, by the equations of the study in float64."""

    def matrix(name: str) -> np.ndarray:
        if f"w_{name}" in network:
            return network[f"w_{name}"].astype(np.float64)
        return network[f"codes_{name}"].astype(np.float64) * network[f"scale_{name}"].astype(np.float64)[:, np.newaxis]

    w_gate, w_cand, w_out = matrix("gate"), matrix("cand"), matrix("out")
    b_gate, b_cand, b_out, tau = (network[name].astype(np.float64) for name in ("b_gate", "b_cand", "b_out", "tau"))
    dt = float(network["dt"])
    decay = np.exp(-dt / (np.abs(tau) + 1e-6))
    phase = 2 * np.pi * np.arange(phases) / phases
    h, total = np.zeros((phases, tau.size)), 0.0
    for t in range(steps):
        u = np.concatenate([np.sin(t * dt + phase)[:, np.newaxis], h], axis=1)
        gate, cand = 1 / (1 + np.exp(-(u @ w_gate.T + b_gate))), np.tanh(u @ w_cand.T + b_cand)
        h = (1 - gate) * decay * h + gate * cand
        y = (h @ w_out.T + b_out)[:, 0]
        total += float(((y - np.sin((t + 1) * dt + phase)) ** 2).sum())
    return total / (phases * steps)


@pytest.mark.parametrize(
    "where", [{"kind": "teacher"}, {"treatment": 1}, {"treatment": 8}, {"comparator": "post_training_search"}], ids=str
)
def test_an_exported_network_gives_the_stored_error(smoke, tmp_path, where):
    """Plain float64 numpy, by the equations of the study, agrees with eval_mse to 1e-3 relative."""
    folder, _ = smoke
    run_id = run_id_of(folder, **where)
    done = kdrun("export", folder, "--run", run_id, "--format", "npz", "--output", tmp_path / "network.npz")
    assert done.returncode == 0, done.stderr
    study = load_study(folder / "study.yaml").resolved()
    with np.load(tmp_path / "network.npz", allow_pickle=False) as archive:
        network = dict(archive)
    got = evaluate(network, study["task"]["eval"]["phases"], study["task"]["eval"]["steps"])
    runs = pd.read_csv(folder / "tables" / "runs.csv").set_index("run_id")
    assert got == pytest.approx(runs.loc[run_id, "eval_mse"], rel=1e-3)


def test_an_exported_ternary_network_has_codes_and_scales(smoke, tmp_path):
    """Codes are int8 in −1, 0, 1; there are no float weights beside them."""
    folder, _ = smoke
    kdrun("export", folder, "--run", run_id_of(folder, treatment=5), "--output", tmp_path / "network.npz")
    with np.load(tmp_path / "network.npz", allow_pickle=False) as archive:
        shapes = {name: (array.dtype.str, array.shape) for name, array in archive.items()}
        assert set(np.unique(archive["codes_gate"])) <= {-1, 0, 1}
    assert shapes == {
        "codes_gate": ("|i1", (6, 7)), "codes_cand": ("|i1", (6, 7)), "codes_out": ("|i1", (1, 6)),
        "scale_gate": ("<f4", (6,)), "scale_cand": ("<f4", (6,)), "scale_out": ("<f4", (1,)),
        "b_gate": ("<f4", (6,)), "b_cand": ("<f4", (6,)), "b_out": ("<f4", (1,)), "tau": ("<f4", (6,)),
        "dt": (shapes["dt"][0], ()),
    }  # fmt: skip


def test_list_shows_every_family_and_level():
    """Names, parameters with defaults, sources."""
    done = kdrun("list", "--json")
    groups = json.loads(done.stdout)
    names = {entry["name"] for entries in groups.values() for entry in entries}
    assert {"sine", "cfc", "ste", "smoothstep_plateau", "trajectory_decaying", "ternary", "coordinate_search"} <= names
    assert all(entry["source"] and entry["text"] for entries in groups.values() for entry in entries)
    smoothstep = next(entry for entries in groups.values() for entry in entries if entry["name"] == "smoothstep")
    assert smoothstep["parameters"] == {"beta_start": 1.0, "beta_end": 20.0}
    assert 0.0 < smoothstep["gradient"] <= 1e-6
    assert any("smoothstep against ste in sine" in effect for effect in smoothstep["effects"])
    assert "smoothstep" in kdrun("list", "gradient").stdout


def test_list_names_what_it_does_not_know():
    """An unknown family is a usage error that lists the known ones."""
    done = kdrun("list", "gradients")
    assert (done.returncode, "gradient" in done.stderr) == (2, True)


def test_every_template_is_a_study_that_loads(tmp_path):
    """What `new` writes can be run as it is."""
    names = kdrun("new").stdout.split()
    assert names
    for name in names:
        path = tmp_path / f"{name}.yaml"
        path.write_text(kdrun("new", name).stdout)
        assert load_study(path).factors


def test_new_does_not_overwrite(tmp_path):
    """A file that exists is kept."""
    (tmp_path / "mine.yaml").write_text("mine")
    done = kdrun("new", "sine", "--output", tmp_path / "mine.yaml")
    assert (done.returncode, (tmp_path / "mine.yaml").read_text()) == (2, "mine")


def test_an_unknown_template_is_a_usage_error():
    """It names the templates that there are."""
    done = kdrun("new", "sin")
    assert (done.returncode, "sine" in done.stderr) == (2, True)


def test_the_schema_is_printed():
    """Editors read it from a file; what it accepts and refuses is looked at where it is made."""
    assert json.loads(kdrun("schema").stdout) == json_schema()
