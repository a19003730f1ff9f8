"""What is known of a study before it is run: stored runs, expected time, a pilot's deviations, aliases, warnings."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from kdrun.errors import UsageError
from kdrun.folder import prepare_folder
from kdrun.planning import outlook_of
from kdrun.records import Outcome, Run
from kdrun.report.plan import Outlook, alias_lines, duration, head_lines, minimum_sheet, plan_document, plan_rich
from kdrun.report.plan import treatments_sheet as treatments_of
from kdrun.stats.power import minimum_detectable
from kdrun.store.runs import Store
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.study.schema import Study

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "tests" / "smoke.yaml"
SECONDS = {"teacher": 8.0, "treatment": 2.0, "comparator": 1.0}
Seconds = Callable[[Run], float]


def smoke(*overrides: str, replicates: int = 6, seed: int | None = None) -> Study:
    return load_study(SMOKE, overrides, replicates, seed)


def by_kind(run: Run) -> float:
    return SECONDS[run.kind]


def store(folder: Path, study: Study, runs: Iterable[Run], seconds: Seconds = by_kind, status: str = "done") -> None:
    """Outcomes of runs as a study would leave them, drawn instead of trained."""
    prepare_folder(folder / study.name, study, fresh=False)
    generator = np.random.default_rng(7)
    pairs = [
        (run, Outcome(run.run_id, status, {"train_mse": 0.1, "eval_mse": float(np.exp(generator.normal()))}, {}, {},
                      seconds(run), "")) for run in runs
    ]  # fmt: skip
    with Store.open(folder / study.name) as found:
        found.commit(pairs)


def text_of(outlook: Outlook) -> str:
    written = StringIO()
    Console(width=120, file=written).print(plan_rich(outlook))
    return written.getvalue()


# --- time and stored runs --------------------------------------------------------------------------------------------


def test_nothing_stored_leaves_the_time_unknown(tmp_path: Path) -> None:
    """Every run is missing, and there is nothing to tell the time by."""
    got = outlook_of(smoke(), tmp_path)
    assert (got.missing, len(got.plan), got.seconds) == (78, 78, None)
    assert "time for 78 missing runs: unknown" in text_of(got)
    assert list(tmp_path.iterdir()) == []


def test_stored_runs_tell_the_time_of_missing_ones(tmp_path: Path) -> None:
    """One replicate of two teachers, eight treatments and three comparators is stored, five are missing."""
    study = smoke()
    store(tmp_path, study, plan(study).replicate(1))
    got = outlook_of(study, tmp_path, workers=2)
    assert got.missing == 65
    assert got.seconds == pytest.approx(5 * (2 * 8 + 8 * 2 + 3 * 1) / 2)
    assert got.stored == {run.run_id: "done" for run in plan(study).replicate(1)}
    assert "13 of them stored in" in text_of(got)


def test_each_kind_of_run_has_its_own_time(tmp_path: Path) -> None:
    """The mean of a treatment's stored runs counts for its missing ones, not that of all treatments."""
    study = smoke(replicates=4)
    runs = [*plan(study).replicate(1), *plan(study).replicate(3)]
    store(tmp_path, study, runs, lambda run: float((run.treatment or 0) * run.replicate))
    got = outlook_of(study, tmp_path, workers=1)
    assert got.seconds == pytest.approx(2 * sum(number * 2 for number in range(1, 9)))


def test_a_kind_of_run_that_was_never_timed_leaves_the_time_unknown(tmp_path: Path) -> None:
    """Half a time would be read as the whole one."""
    study = smoke()
    store(tmp_path, study, [run for run in plan(study).replicate(1) if run.treatment != 5])
    assert outlook_of(study, tmp_path).seconds is None


def test_failed_runs_are_missing_and_tell_no_time(tmp_path: Path) -> None:
    """They are tried again; diverged ones are outcomes."""
    study = smoke()
    first, second = list(plan(study).replicate(1)), list(plan(study).replicate(2))
    store(tmp_path, study, first, status="diverged")
    store(tmp_path, study, second, lambda run: 1000.0, status="failed")
    got = outlook_of(study, tmp_path, workers=1)
    assert got.missing == 65
    assert got.seconds == pytest.approx(5 * (2 * 8 + 8 * 2 + 3 * 1))


def test_a_complete_study_takes_no_time(tmp_path: Path) -> None:
    """Nothing is missing, so nothing has to be known of the time."""
    study = smoke(replicates=2)
    store(tmp_path, study, plan(study).runs)
    got = outlook_of(study, tmp_path)
    assert (got.missing, got.seconds) == (0, 0.0)
    assert "time for 0 missing runs: nothing on" in text_of(got)


def test_a_pilot_tells_the_time_whatever_its_seed(tmp_path: Path) -> None:
    """Runs of equal length are those that do the same; the seed is no part of it, the number of epochs is."""
    pilot = smoke(seed=7, replicates=2)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    folder = tmp_path / "pilot" / "smoke"
    got = outlook_of(smoke(), tmp_path, pilot=folder, workers=1)
    assert got.missing == 78
    assert got.seconds == pytest.approx(6 * (2 * 8 + 8 * 2 + 3 * 1))
    assert outlook_of(smoke("student.epochs=4000"), tmp_path, pilot=folder).seconds is None


def test_stored_runs_go_before_a_pilot(tmp_path: Path) -> None:
    """Their times were taken on this machine."""
    study, pilot = smoke(), smoke(seed=7, replicates=2)
    store(tmp_path / "pilot", pilot, plan(pilot).runs, lambda run: 500.0)
    store(tmp_path, study, plan(study).replicate(1))
    got = outlook_of(study, tmp_path, pilot=tmp_path / "pilot" / "smoke", workers=1)
    assert got.seconds == pytest.approx(5 * 35)


def test_stored_replicates_beyond_the_plan_do_not_count(tmp_path: Path) -> None:
    """A study that asks for fewer replicates than are stored is complete, and not more than that."""
    study = smoke(replicates=4)
    store(tmp_path, study, plan(study).runs)
    got = outlook_of(smoke(replicates=2), tmp_path)
    assert (len(got.stored), got.missing, got.seconds) == (len(got.plan), 0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "nothing"), (0.4, "under a second"), (1.2, "about 1 s"), (89, "about 89 s"), (185, "about 3 min"),
        (5399, "about 90 min"), (9000, "about 2.5 h"), (90_000, "about 25 h"), (260_000, "about 3.0 days"),
        (8_640_000, "about 100 days"), (86_400_000_000, "about 1,000,000 days"),
    ],
)  # fmt: skip
def test_times_are_written_for_people(seconds: float, expected: str) -> None:
    """Two digits at most matter."""
    assert duration(seconds) == expected


# --- effects ---------------------------------------------------------------------------------------------------------


def test_effects_are_in_units_of_sigma_without_a_pilot(tmp_path: Path) -> None:
    """2/√8 of what one contrast needs, and the reader is told of the shared teachers."""
    got = outlook_of(smoke(), tmp_path)
    np.testing.assert_allclose(got.minimum["delta"], minimum_detectable(6) * 2 / np.sqrt(8))
    assert minimum_sheet(got).headings == ("Term", "α = 0.05", "α = 0.05/7")
    assert "In units of σ" in text_of(got)
    assert [line for line in got.warnings if line.startswith("width: ")]


def test_a_pilot_gives_its_own_deviations(tmp_path: Path) -> None:
    """As its effects have them: σ_d = std_error·√R."""
    pilot = smoke(seed=7, replicates=4)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    folder = tmp_path / "pilot" / "smoke"
    got = outlook_of(smoke(), tmp_path, pilot=folder)
    from kdrun.results import Results

    expected = Results.open(folder).effects["std_error"].to_numpy() * 2
    np.testing.assert_allclose(got.minimum["deviation"], expected)
    assert got.pilot == str(folder)
    assert minimum_sheet(got).headings[:2] == ("Term", "σ_d")
    assert "Ratio" in minimum_sheet(got).headings
    assert not [line for line in got.warnings if line.startswith("width: ")]


def test_a_pilot_of_one_replicate_tells_no_deviation(tmp_path: Path) -> None:
    """Effects stay in units of σ, with a warning."""
    pilot = smoke(seed=7, replicates=1)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    got = outlook_of(smoke(), tmp_path, pilot=tmp_path / "pilot" / "smoke")
    assert got.pilot is None
    assert any("tells the deviation of no effect" in line for line in got.warnings)


def test_a_pilot_with_other_levels_or_terms_is_warned_of(tmp_path: Path) -> None:
    """What it does not tell is left open, and other levels are named."""
    pilot = smoke("factors.width.levels=[4, 8]", seed=7, replicates=3)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    folder = tmp_path / "pilot" / "smoke"
    got = outlook_of(smoke(), tmp_path, pilot=folder)
    assert "the pilot has other levels of width: 4, 8, the study 4, 6" in got.warnings
    other = outlook_of(smoke("design.generators=[C=AB]"), tmp_path, pilot=folder)
    assert any("tells the deviation of no effect" in line for line in other.warnings)
    three = outlook_of(smoke("factors.width.levels=[4, 6, 8]"), tmp_path, pilot=folder)
    assert any(f"the pilot {folder} does not tell 12 of 15 effects" in line for line in three.warnings)


def test_a_pilot_on_another_scale_is_refused(tmp_path: Path) -> None:
    """Its deviation is in other units."""
    pilot = smoke("responses=[{name: eval_mse, scale: linear, better: lower}]", replicates=2)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    with pytest.raises(UsageError, match="the pilot analyses eval_mse on the scale linear, the study on log10"):
        outlook_of(smoke(), tmp_path, pilot=tmp_path / "pilot" / "smoke")


def test_a_pilot_that_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    """A folder without a study tells nothing."""
    with pytest.raises(UsageError, match=r"there is no study\.yaml"):
        outlook_of(smoke(), tmp_path, pilot=tmp_path)


# --- designs, warnings, what is shown --------------------------------------------------------------------------------


def test_the_aliases_of_a_fraction_are_shown(tmp_path: Path) -> None:
    """Resolution, defining relation and every class, with signs."""
    got = outlook_of(smoke("design.generators=[C=-AB]"), tmp_path)
    assert alias_lines(got) == [
        "Aliases: resolution III, I = -gradient:distillation:width",
        "  gradient - distillation:width",
        "  distillation - gradient:width",
        "  width - gradient:distillation",
    ]
    document = plan_document(got)
    assert document["resolution"] == "III"
    assert document["defining_relation"] == ["-gradient:distillation:width"]
    assert document["aliases"]["gradient - distillation:width"] == ["gradient", "-distillation:width"]
    np.testing.assert_allclose(got.minimum["deviation"], 2 / np.sqrt(4))


DESIGNS = ROOT / "docs" / "designs.md"
FIVE_FACTORS = re.findall(r"```yaml\n(.*?)```", DESIGNS.read_text(), re.DOTALL)[0]


def nine_factors(folder: Path, design: str) -> Study:
    """The smoke study with six more two-level factors."""
    keys = {"task.dt": "[0.1, 0.2]", "task.steps": "[10, 11]", "task.sequences": "[4, 5]", "student.epochs": "[40, 41]",
            "teacher.epochs": "[60, 61]", "student.init": "[teacher, random]"}  # fmt: skip
    factors = [f"factors.f{n}={{sets: {key}, levels: {levels}}}" for n, (key, levels) in enumerate(keys.items())]
    text = SMOKE.read_text()
    for given in (" steps: 10, sequences: 4,", "epochs: 60, ", "epochs: 40, "):
        text = text.replace(given, "")
    (folder / "study.yaml").write_text(text)
    return load_study(folder / "study.yaml", [*factors, f"design={design}"], 6)


def test_the_partial_aliases_of_a_screening_design_are_shown(tmp_path: Path) -> None:
    """±1/3 at N = 12; main effects are the only terms."""
    study = nine_factors(tmp_path, "plackett-burman")
    got = outlook_of(study, tmp_path / "results")
    assert len(got.plan.treatments) == 12
    assert len(got.minimum) == 9
    shares = {(term, alias): share for term, alias, share in got.partial_aliases()}
    assert {abs(round(share, 12)) for share in shares.values()} == {round(1 / 3, 12)}
    head, *lines = alias_lines(got)
    assert "shares of two-factor interactions" in head
    assert [line.split()[0] for line in lines] == list(study.factors)
    for line in lines:
        term, *words = line.removesuffix("… and 22 more").split()
        assert len(words) == 18
        for sign, part, alias in zip(words[::3], words[1::3], words[2::3], strict=True):
            assert (part, sign) == ("1/3", "+" if shares[term, alias] > 0 else "-")
    assert len(plan_document(got)["partial_aliases"]) == 9 * 28


def test_claims_on_what_cannot_be_estimated_are_told(tmp_path: Path) -> None:
    """Alone, and as a part; those on other effects are not."""
    (tmp_path / "study.yaml").write_text(FIVE_FACTORS)
    inside = "{effect: {term: 'gradient:distillation', above: 1}}"
    plain = "{say: a, claim: {effect: {term: gradient, above: 1}}}"
    part = f"{{say: b, claim: {{all: [{{largest_effect: {{term: width}}}}, {inside}]}}}}"
    settings = [
        "design={exclude: [{gradient: smoothstep, distillation: trajectory}]}",
        f"hypotheses=[{plain}, {part}]",
    ]
    got = outlook_of(load_study(tmp_path / "study.yaml", settings), tmp_path / "results").warnings
    (told,) = [text for text in got if "claim" in text]
    assert told.startswith(
        "a claim is about gradient:distillation, which cannot be estimated (its levels vary together"
    )


def test_a_screening_design_that_is_a_fraction_shows_its_classes(tmp_path: Path) -> None:
    """With eight treatments whole interactions, not shares of them, stand in the estimate of a main effect."""
    (tmp_path / "study.yaml").write_text(FIVE_FACTORS)
    got = outlook_of(load_study(tmp_path / "study.yaml", ["design=plackett-burman"]), tmp_path / "results")
    head, *lines = alias_lines(got)
    assert head == "Aliases: each line has one estimate, for all of its effects"
    assert [line.split()[0] for line in lines] == list(got.plan.study.factors)
    assert all(len(line.split()) > 2 for line in lines)


def test_the_designs_of_the_documentation_have_its_numbers_of_treatments(tmp_path: Path) -> None:
    """Every row of its table, on the study that it shows."""
    (tmp_path / "study.yaml").write_text(FIVE_FACTORS)
    rows = re.findall(r"^\| `?([^|`]+)`? \| (\d+) \|", DESIGNS.read_text(), re.MULTILINE)
    assert len(rows) == 8
    for design, number in rows:
        settings = [] if design == "left out" else [f"design={design}"]
        assert len(plan(load_study(tmp_path / "study.yaml", settings)).treatments) == int(number), design


def test_aliases_of_higher_interactions_are_left_to_json(tmp_path: Path) -> None:
    """Classes that begin with three factors or more hold nothing that a study is about."""
    got = outlook_of(nine_factors(tmp_path, "resolution-IV"), tmp_path / "results")
    head, *lines = alias_lines(got)
    assert head.startswith("Aliases: resolution IV, I = ")
    assert head.endswith(f"… and {len(got.words) - 6} more")
    assert {line.split()[0].count(":") for line in lines} == {0, 1}
    assert len(plan_document(got)["aliases"]) == 31 > len(lines)
    assert all(line.endswith("… and 9 more") for line in lines)


def test_a_full_factorial_has_no_aliases(tmp_path: Path) -> None:
    """Nothing is shown of them."""
    got = outlook_of(smoke(), tmp_path)
    document = plan_document(got)
    assert alias_lines(got) == []
    assert (document["aliases"], document["partial_aliases"], document["resolution"]) == ({}, [], None)
    assert "Aliases" not in text_of(got)


def test_terms_that_cannot_be_estimated_are_named(tmp_path: Path) -> None:
    """Without two of the eight treatments two terms are gone, and treatment 1 is another one."""
    got = outlook_of(smoke("design.exclude=[{gradient: ste, width: 4}]"), tmp_path)
    assert list(plan_document(got)["refused"]) == ["gradient:width", "gradient:distillation:width"]
    assert "gradient:width cannot be estimated: " in text_of(got)
    assert any(
        line == "the treatment of all first levels is not run; the baseline, treatment 1, is gradient=smoothstep, "
        "distillation=none, width=4"
        for line in got.warnings
    )


def test_few_replicates_are_warned_of(tmp_path: Path) -> None:
    """Below six."""
    assert any("plan at least 6" in line for line in outlook_of(smoke(replicates=5), tmp_path).warnings)
    assert not any("plan at least 6" in line for line in outlook_of(smoke(replicates=6), tmp_path).warnings)


def test_a_folder_that_would_be_refused_is_warned_of(tmp_path: Path) -> None:
    """`factorial` writes nothing beside what it did not make; planning there is allowed."""
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "thesis.tex").write_text("dear")
    assert any("kdrun factorial would refuse this place" in line for line in outlook_of(smoke(), tmp_path).warnings)


def test_treatments_are_shown_with_their_ids(tmp_path: Path) -> None:
    """In standard order, with the run of replicate 1."""
    got = outlook_of(smoke(), tmp_path)
    sheet = treatments_of(got)
    ids = [run.run_id for run in got.plan.replicate(1) if run.kind == "treatment"]
    assert sheet.headings == ("Treatment", "Gradient", "Distillation", "Width", "Run in replicate 1")
    assert [row[-1] for row in sheet.rows] == ids
    assert sheet.rows[1][:4] == ("2", "smoothstep", "none", "4")
    assert sheet.notes == ()


def test_long_tables_are_cut(tmp_path: Path) -> None:
    """Fifty rows, and how many more there are; JSON has all of them."""
    levels = ", ".join(str(level) for level in range(4, 19))
    got = outlook_of(smoke(f"factors.width.levels=[{levels}]"), tmp_path)
    assert len(treatments_of(got).rows) == 50
    assert treatments_of(got).notes == ("… and 10 more; --json lists all",)
    assert len(minimum_sheet(got).rows) == 50
    assert minimum_sheet(got).notes[0] == f"… and {len(got.minimum) - 50} more; --json lists all"
    assert len(plan_document(got)["treatments"]) == 60


def test_the_document_lists_every_run(tmp_path: Path) -> None:
    """In order, with ids, levels and status; it is JSON without nan."""
    study = smoke(replicates=1)
    store(tmp_path, study, list(plan(study).replicate(1))[:2])
    got = plan_document(outlook_of(study, tmp_path))
    assert [run["run_id"] for run in got["runs"]] == [run.run_id for run in plan(study).runs]
    assert [run["status"] for run in got["runs"]] == ["done"] * 2 + ["missing"] * 11
    assert got["runs"][3] == {
        "run_id": plan(study).runs[3].run_id, "kind": "treatment", "treatment": 2, "replicate": 1, "comparator": None,
        "gradient": "smoothstep", "distillation": "none", "width": "4", "status": "missing",
    }  # fmt: skip
    assert got["runs"][0]["gradient"] == ""
    assert got["minimum_detectable"][0]["delta"] is None
    assert (got["seed"], got["replicates"], got["missing"]) == (42, 1, 11)
    json.dumps(got, allow_nan=False)


def test_text_of_a_study_is_no_markup(tmp_path: Path) -> None:
    """A title shows as it is written, whatever Rich would make of it."""
    got = text_of(outlook_of(smoke("title='[bold]5 [red'"), tmp_path))
    assert got.startswith("[bold]5 [red\n")


def test_millions_of_replicates_are_planned_without_making_their_runs(tmp_path: Path) -> None:
    """Only replicates that are stored are looked at."""
    study = smoke(replicates=1_000_000)
    store(tmp_path, study, plan(study).replicate(4))
    got = outlook_of(study, tmp_path, workers=1)
    assert (len(got.plan), got.missing) == (13_000_000, 12_999_987)
    assert got.seconds == pytest.approx(999_999 * 35)
    assert "× 1,000,000 replicates = 13,000,000 runs" in head_lines(got)[1]


def test_planning_changes_no_file(tmp_path: Path) -> None:
    """Neither in the results nor in the pilot; both may be read-only copies."""
    study, pilot = smoke(), smoke(seed=7, replicates=2)
    store(tmp_path, study, plan(study).replicate(1))
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    outlook_of(study, tmp_path, pilot=tmp_path / "pilot" / "smoke")
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_pilot_without_its_database_is_enough(tmp_path: Path) -> None:
    """The project's own results are kept as tables."""
    pilot = smoke(seed=7, replicates=2)
    store(tmp_path / "pilot", pilot, plan(pilot).runs)
    folder = tmp_path / "pilot" / "smoke"
    from kdrun.results import Results

    Results.open(folder).write()
    with_runs = outlook_of(smoke(), tmp_path, pilot=folder)
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("runs.sqlite*"))
    without = outlook_of(smoke(), tmp_path, pilot=tmp_path / "copy")
    assert without.seconds == with_runs.seconds is not None
    np.testing.assert_allclose(without.minimum["delta"], with_runs.minimum["delta"])
