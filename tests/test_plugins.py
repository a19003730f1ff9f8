"""Tasks and levels of other packages: the example of docs/extending.md as a user has it, and packages with faults."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoints, PathDistribution
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np
import pytest

from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from tests.cli.command import ROOT, digest_of, kdrun
from tests.plugin.packages import EXAMPLE, FAULTS, SHAPE, install, install_faults, on_path

STUDY = ROOT / "tests" / "plugin" / "study.yaml"
WITH_EXAMPLE = on_path(EXAMPLE)
EXTENDING = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def example_module(monkeypatch) -> Any:
    """Imports modules of the example package."""
    monkeypatch.syspath_prepend(str(EXAMPLE))

    def imported(name: str) -> ModuleType:
        return import_module(f"kdrun_example.{name}")

    return imported


def listed(group: str, env: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What `kdrun list GROUP --json` says, by name."""
    done = kdrun("list", group, "--json", env=env)
    assert done.returncode == 0, done.stderr
    ((_, entries),) = json.loads(done.stdout).items()
    return {entry["name"]: entry for entry in entries}


def python(code: str, *arguments: object, env: dict[str, str]) -> Any:
    """What a program prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **env})
    return json.loads(done.stdout)


# ---------------------------------------------------------------------------------------------------- the example


def test_the_task_is_listed():
    """With its parameters and its source, as kdrun's own."""
    entry = listed("tasks", WITH_EXAMPLE)["triangle"]
    assert entry["parameters"] == {"steps": 32, "sequences": 8, "period": 16, "phases": 16}
    assert entry["source"] == "the example of docs/extending.md"


def test_the_level_is_listed_in_its_family():
    """In alphabetical order among kdrun's own."""
    shapes = listed("gradient", WITH_EXAMPLE)
    assert list(shapes)[:2] == ["biweight", "smoothstep"]
    assert shapes["biweight"]["parameters"] == {"reach": 0.5}
    assert "Beaton and Tukey" in shapes["biweight"]["source"]


def test_the_list_for_people_has_both():
    """Nothing is said on standard error."""
    done = kdrun("list", env=WITH_EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (" triangle ", " biweight ", "reach: 0.5", "period: 16", "Beaton and Tukey"):
        assert words in done.stdout


def test_without_the_package_nothing_is_listed():
    """kdrun alone knows neither."""
    assert "biweight" not in listed("gradient", {})
    assert "triangle" not in listed("tasks", {})


def test_the_schema_knows_both():
    """An editor accepts the study, and refuses a parameter out of bounds."""
    schema = json.loads(kdrun("schema", env=WITH_EXAMPLE).stdout)
    study: dict[str, Any] = {
        "schema": 1, "study": "a", "task": {"name": "triangle", "period": 8},
        "responses": [{"name": "eval_mse", "scale": "log10", "better": "lower"}],
        "factors": {"gradient": ["ste", {"name": "biweight", "reach": 0.3}]},
    }  # fmt: skip
    jsonschema.validate(study, schema)
    study["factors"]["gradient"][1]["reach"] = 0.6
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(study, schema)


def test_its_gradients_agree_with_what_it_declares(example_module):
    """The task as float teacher, and the shape on a quantized student, narrow and wide."""
    task, shape = example_module("triangle").Triangle.example(), example_module("biweight").Biweight
    students = [{"quantizer": Ternary(), "gradient": shape(reach=reach)} for reach in (0.5, 0.3)]
    rows = list(check([Combination(task, Cfc.example(), techniques) for techniques in ({}, *students)]))
    assert len(rows) == 12
    assert [row for row in rows if not row.passed] == []


@pytest.mark.slow
def test_the_whole_gradient_check_has_both():
    """`kdrun gradcheck` combines them with everything else, unasked."""
    done = kdrun("gradcheck", "--json", env=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr
    names = {row["name"] for row in json.loads(done.stdout)}
    assert "triangle, cfc: float teacher (start)" in names
    assert "triangle, cfc: ternary + trajectory + biweight (end)" in names
    assert "sine, cfc: ternary + biweight (end)" in names


def test_the_shape_is_what_its_equation_says(example_module, dtype):
    """Height 1 at a boundary between codes, (1 − ¼)² halfway, nothing beyond its reach; for any number of codes."""
    shape = example_module("biweight").Biweight(reach=0.4)
    distances = np.array([0.0, 0.2, -0.2, 0.4, 0.5, -0.5])
    w = np.concatenate([sign * (boundary + distances) for sign in (1, -1) for boundary in (0.5, 1.5)])
    w_latent = np.ascontiguousarray(np.outer(w, [1.0, 0.5]).astype(dtype))
    mask = np.empty_like(w_latent)
    assert shape.mask(w_latent, np.array([1.0, 0.5], dtype), 2, None, mask)
    expected = np.tile([1.0, 0.5625, 0.5625, 0.0, 0.0, 0.0], 4)
    np.testing.assert_allclose(mask, np.stack([expected, expected], axis=1), atol=1e-6)


def test_the_waves_are_triangles(example_module, dtype):
    """From 1 down to −1 in half a period and up again; targets are one step ahead."""
    batch = example_module("triangle").Triangle(steps=8, period=8).waves(np.array([0.0, 0.25], dtype))
    expected = np.array([1.0, 0.5, 0.0, -0.5, -1.0, -0.5, 0.0, 0.5, 1.0])
    np.testing.assert_array_equal(batch.inputs[:, 0, 0], expected[:-1])
    np.testing.assert_array_equal(batch.targets["y"][:, 0, 0], expected[1:])
    np.testing.assert_array_equal(batch.inputs[:4, 1, 0], expected[2:6])
    assert batch.inputs.dtype == dtype


# -------------------------------------------------------------------------------------------------------- a study


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[Path, str]:
    """A study of the example's task and shape, run by two workers: its folder, and the digest that was printed."""
    folder = tmp_path_factory.mktemp("plugin")
    done = kdrun("factorial", STUDY, "--results", folder, "--workers", 2, env=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 runs to do on 2 workers" in done.stderr
    return folder / "plugin", digest_of(done)


@pytest.mark.slow
def test_the_plan_has_the_runs_that_are_run(results):
    """Treatments and ids are the same before and after."""
    before = json.loads(kdrun("plan", STUDY, "--json", env=WITH_EXAMPLE).stdout)
    document = json.loads(kdrun("factorial", STUDY, "--results", results[0].parent, "--json", env=WITH_EXAMPLE).stdout)
    assert {run["gradient"] for run in before["runs"] if "gradient" in run} >= {"ste", "biweight"}
    assert document["study_digest"] == before["study_digest"]
    assert document["runs"] == {"done": 12, "failed": 0, "diverged": 0, "missing": 0}


def test_its_own_gradients_are_checked_first(tmp_path):
    """A float teacher and two shapes, at both ends of training, in both precisions."""
    done = kdrun("factorial", STUDY, "--results", tmp_path, "--replicates", 1, "--workers", 1, env=WITH_EXAMPLE)
    assert "gradients: 12 of 12 checks passed" in done.stderr


@pytest.mark.slow
def test_one_worker_gives_the_same_digest(results, tmp_path):
    """The bits do not hang on who did what."""
    done = kdrun("factorial", STUDY, "--results", tmp_path, "--workers", 1, env=WITH_EXAMPLE)
    assert digest_of(done) == results[1]


@pytest.mark.slow
def test_it_is_resumed(results, tmp_path):
    """Another replicate adds its runs alone; the same command again does nothing."""
    shutil.copytree(results[0], tmp_path / "plugin")
    more = ("factorial", STUDY, "--results", tmp_path, "--replicates", 3, "--workers", 2)
    done = kdrun(*more, env=WITH_EXAMPLE)
    assert "6 of 18 runs to do" in done.stderr
    again = kdrun(*more, env=WITH_EXAMPLE)
    assert (again.stderr, digest_of(again)) == ("", digest_of(done))


def test_it_is_verified(results):
    """Every run, done again in a fresh process, has the stored bits."""
    done = kdrun("verify", results[0], "--all", "--workers", 1, env=WITH_EXAMPLE)
    assert done.returncode == 0, done.stdout
    assert "equal, bit for bit: 12 of 12 runs" in done.stdout


def test_without_the_package_the_study_is_wrong():
    """Each name has its place; every name that is known is listed."""
    done = kdrun("factorial", STUDY)
    assert (done.returncode, done.stdout) == (2, "")
    known = "callable, command, copy, digits, lorenz, multifreq, regimes, series, sine"
    assert f"{STUDY}:4:19: task.name: unknown task 'triangle'; known: {known}" in done.stderr
    shapes = "ste, smoothstep, smoothstep_plateau, smoothstep_unit"
    assert f"{STUDY}:9:26: factors.gradient[1].name: unknown level 'biweight'; known: {shapes}\n" in done.stderr


def test_a_name_of_the_package_is_offered_for_a_mistake(tmp_path):
    """The nearest match is the package's."""
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.read_text().replace("name: biweight", "name: biwait"))
    assert "unknown level 'biwait'" in (text := kdrun("plan", study, env=WITH_EXAMPLE).stderr)
    assert text.endswith("Did you mean 'biweight'?\n")


@pytest.mark.slow
def test_a_worker_finds_what_the_command_has_found(tmp_path):
    """A package of the same name beside the study file stands back, in every process."""
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.read_text())
    install(tmp_path, "kdrun_example", "[kdrun.tasks]\n", {"kdrun_example": "raise ImportError"})
    done = kdrun("factorial", study, "--results", tmp_path, "--replicates", 1, "--workers", 1, env=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_worker_finds_what_a_session_in_the_current_folder_has_found(tmp_path):
    """Python without a script looks into the current folder first; its workers know that folder too."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "studies").mkdir()
    study = shutil.copy(STUDY, tmp_path / "studies")
    code = f"import kdrun; print(len(kdrun.run(kdrun.load_study({study!r}), 'out', workers=1).failed()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


# ------------------------------------------------------------------------------------------------------ its sources

SOURCES = """
import json, sys
from pathlib import Path
from kdrun.engine.sources import SourcesOfRuns
from kdrun.study.load import load_study
from kdrun.study.plan import plan

study = load_study(sys.argv[1])
sources = SourcesOfRuns(study.folder)
print(json.dumps([[run.levels, sorted(sources.of(run).files)] for run in plan(study).runs]))
"""


def study_of_sines(folder: Path, factor: str, levels: str) -> Path:
    """A tiny study of kdrun's own task with one factor."""
    text = f"""
    schema: 1
    study: sines
    task: {{name: sine, steps: 8, sequences: 2, eval: {{phases: 4, steps: 8}}}}
    model: {{cell: cfc, hidden: 3}}
    teacher: {{epochs: 5}}
    student: {{epochs: 5}}
    factors: {{{factor}: [{levels}]}}
    replicates: 2
    responses: [{{name: eval_mse, scale: log10, better: lower}}]
    """
    (folder / "sines.yaml").write_text(textwrap.dedent(text))
    return folder / "sines.yaml"


@pytest.mark.slow
def test_changed_sources_concern_the_runs_that_use_them(tmp_path):
    """The package changes: its runs are told apart and done again when asked; runs of kdrun alone are let be."""
    package, study = tmp_path / "package", study_of_sines(tmp_path, "gradient", "ste, biweight")
    shutil.copytree(EXAMPLE, package)
    command = ("factorial", study, "--results", tmp_path, "--workers", 1)
    first = kdrun(*command, env=on_path(package))
    assert "6 of 6 runs to do" in first.stderr
    with (package / "kdrun_example" / "__init__.py").open("a") as file:
        file.write("CHANGED = True\n")
    warned = kdrun(*command, env=on_path(package))
    assert "2 stored runs made by other code (kdrun_example): kept." in warned.stderr
    rerun = kdrun(*command, "--on-code-change", "rerun", env=on_path(package))
    assert "2 stored runs done again: their code changed: kdrun_example (--on-code-change rerun)" in rerun.stderr
    assert "2 of 6 runs to do" in rerun.stderr
    assert kdrun(*command, env=on_path(package)).stderr == ""
    assert digest_of(rerun) == digest_of(first)


def test_a_level_that_a_parameter_names_counts_among_the_sources(tmp_path):
    """Runs that differ in the granularity of their quantizer alone have the sources of their own granularity."""
    text = """
    from typing import ClassVar
    from kdrun.factors.granularity.per_row import PerRow

    class Again(PerRow):
        "Each row has a scale, again."
        name: ClassVar[str] = "again"
    """
    package = install(tmp_path, "again", "[kdrun.levels]\ngranularity.again = again:Again", {"again": text})
    study = study_of_sines(tmp_path, "granularity", "per_row, again")
    got = {levels["granularity"]: files for levels, files in python(SOURCES, study, env=on_path(package)) if levels}
    assert got == {"per_row": ["kdrun"], "again": ["again", "kdrun"]}


@pytest.mark.slow
def test_a_task_that_runs_other_code_has_its_own_among_the_sources(tmp_path):
    """What a package's task does with a file of the user's hangs on the package too, and on which file it is."""
    text = '''
    from pathlib import Path
    from typing import ClassVar
    from kdrun.tasks.contract import ExternalTask

    class Script(ExternalTask):
        """A script."""

        name: ClassVar[str] = "script"
        title: ClassVar[str] = "a script"
        source: ClassVar[str] = "tests"
        script: str

        def look(self, folder): ...
        def measure(self, seed): return {"length": float(len(self.script))}
        def sources(self, folder): return {self.script: folder / self.script}
    '''
    package = install(tmp_path, "scripts", "[kdrun.tasks]\nscript = scripts:Script", {"scripts": text})
    study = tmp_path / "study.yaml"
    study.write_text("""
    {schema: 1, study: a, task: {name: script}, replicates: 1,
     responses: [{name: length, scale: linear, better: lower}],
     factors: {which: {sets: task.script, levels: [one.txt, two.txt]}}}
    """)
    got = {levels["which"]: files for levels, files in python(SOURCES, study, env=on_path(package))}
    assert got == {"one.txt": ["one.txt", "scripts"], "two.txt": ["scripts", "two.txt"]}
    done = kdrun("factorial", study, "--results", tmp_path, env=on_path(package))
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Path:
    """A folder with a package for every fault."""
    return install_faults(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def listing(faulty) -> subprocess.CompletedProcess[str]:
    """`kdrun list --json` among all the faults, the example beside them."""
    return kdrun("list", "--json", env=on_path(faulty, EXAMPLE))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line(listing, name):
    """It names the package, what is wrong, and what to do, once and on standard error."""
    lines = [line for line in listing.stderr.splitlines() if f" of {name} 1.0 is left out: " in line]
    assert len(lines) == 1
    assert lines[0].startswith("kdrun: the ")
    assert f" of {name} 1.0 is left out: {FAULTS[name].words}" in lines[0]
    assert len(lines[0]) < 400


def test_no_fault_changes_what_there_is(listing):
    """With all of them, the catalogue is that of the example alone."""
    assert listing.returncode == 0
    assert listing.stdout == kdrun("list", "--json", env=WITH_EXAMPLE).stdout
    assert len(listing.stderr.splitlines()) == len(FAULTS)


@pytest.mark.slow
def test_no_fault_stops_a_study_that_does_not_use_it(faulty, results, tmp_path):
    """It has the same bits, and each warning comes once: none from a worker."""
    done = kdrun("factorial", STUDY, "--results", tmp_path, "--workers", 2, env=on_path(faulty, EXAMPLE))
    assert (done.returncode, digest_of(done)) == (0, results[1])
    assert done.stderr.count(" is left out: ") == len(FAULTS)


@pytest.mark.slow
def test_a_worker_does_not_warn(faulty, tmp_path):
    """What is kept of a worker that ends has no warning of packages in it."""
    (tmp_path / "mine.py").write_text("import os\n\ndef main(params, seed):\n    os._exit(7)\n")
    (tmp_path / "study.yaml").write_text("""
    {schema: 1, study: a, task: {name: callable, call: "mine:main"}, replicates: 1,
     responses: [{name: loss, scale: linear, better: lower}],
     factors: {rate: {sets: task.params.rate, levels: [1, 2]}}}
    """)
    kdrun("factorial", tmp_path / "study.yaml", "--results", tmp_path, "--workers", 1, env=on_path(faulty))
    code = "import json, sys, kdrun; print(json.dumps(kdrun.open_results(sys.argv[1]).failed()[0][1].error))"
    error = python(code, tmp_path / "a", env=on_path(faulty))
    assert "exit code 7" in error
    assert "left out" not in error


def test_a_study_that_names_what_is_left_out_is_told_why(faulty, tmp_path):
    """The mistake has its place as always, and says who offers the name and what is wrong."""
    study = tmp_path / "study.yaml"
    text = STUDY.read_text().replace("{name: biweight, reach: 0.4}", "no_import").replace("triangle", "no_methods")
    study.write_text(text)
    done = kdrun("plan", study, env=on_path(faulty))
    assert done.returncode == 2
    level = "9:19: factors.gradient[1]: unknown level 'no_import': no_import 1.0 offers it, but it cannot be imported: "
    assert f"{study}:{level}ModuleNotFoundError: No module named 'no_such_thing'; " in done.stderr
    assert "; known: ste, smoothstep" in done.stderr
    task = "4:19: task.name: unknown task 'no_methods': no_methods 1.0 offers it, but no_methods:Shape does not define"
    assert f"{study}:{task}" in done.stderr


def test_a_comparator_and_a_granularity_that_are_left_out_say_why(tmp_path):
    """Wherever a study names a level."""
    points = "[kdrun.levels]\ncomparators.mine = gone:Mine\ngranularity.mine = gone:Mine"
    package, study = install(tmp_path, "gone", points), study_of_sines(tmp_path, "granularity", "per_row, mine")
    study.write_text(study.read_text() + "comparators: [mine]\n")
    done = kdrun("plan", study, env=on_path(package))
    assert done.stderr.count("unknown level 'mine': gone 1.0 offers it, but it cannot be imported: ") == 1
    assert done.stderr.count("unknown comparator 'mine': gone 1.0 offers it, but it cannot be imported: ") == 1


def test_what_an_import_prints_is_not_among_the_results(tmp_path):
    """Standard output is one JSON document, whatever packages do."""
    modules = {"loud": "print('look at me')\n" + SHAPE.replace("NAME", "loud")}
    package = install(tmp_path, "loud", "[kdrun.levels]\ngradient.loud = loud:Shape", modules)
    done = kdrun("list", "gradient", "--json", env=on_path(package))
    assert "loud" in {entry["name"] for entry in next(iter(json.loads(done.stdout).values()))}
    assert done.stderr == "look at me\n"


@pytest.mark.parametrize("setting", ["error", "ignore"])
def test_it_stays_one_line_whatever_python_does_with_warnings(tmp_path, setting):
    """PYTHONWARNINGS concerns the warnings of programmers, and this one is for users."""
    package = install(tmp_path, "gone", "[kdrun.levels]\ngradient.gone = gone:Gone")
    done = kdrun("list", "--json", env={**on_path(package), "PYTHONWARNINGS": setting})
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert done.stderr.startswith("kdrun: the level gradient.gone of gone 1.0 is left out: ")


def test_of_one_package_in_two_places_the_first_counts(tmp_path):
    """As for Python's imports: an installed package under work is not its own rival."""
    modules = {"twice": SHAPE.replace("NAME", "twice")}
    folders = [
        install(tmp_path / name, "twice", "[kdrun.levels]\ngradient.twice = twice:Shape", modules) for name in "ab"
    ]
    done = kdrun("list", "gradient", "--json", env=on_path(*folders))
    assert (done.stderr, '"name": "twice"' in done.stdout) == ("", True)


# ---------------------------------------------------------------------------------------------------- documentation


def test_the_example_is_installed_as_its_pyproject_says():
    """The folder that stands for an installation has the entry points that pip would make."""
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    installed = PathDistribution(EXAMPLE / "kdrun_example-0.1.dist-info")
    points: EntryPoints = installed.entry_points
    got = {group: {point.name: point.value for point in points.select(group=group)} for group in points.groups}
    assert got == declared["entry-points"]
    assert (installed.name, installed.version) == (declared["name"], declared["version"])


@pytest.mark.parametrize("path", ["kdrun_example/biweight.py", "pyproject.toml"])
def test_the_page_shows_the_files_of_the_example(path):
    """Word for word; of the project's table its entry points."""
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", EXTENDING, flags=re.DOTALL)
    text = (EXAMPLE / path).read_text()
    assert any(block == text or (path.endswith("toml") and block in text) for block in blocks)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", EXTENDING))
def test_every_link_of_the_page_leads_somewhere(link):
    """Relative links name files of the repository."""
    assert link.startswith("http") or (ROOT / "docs" / link).exists()
