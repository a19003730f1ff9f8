"""Hypotheses are registered before the first run: what a change of them, or of their registration, does afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kdrun
from kdrun.errors import Interrupted, UsageError
from kdrun.listener import Listener
from kdrun.results import Results
from kdrun.store.runs import Store
from tests.cli.command import kdrun as command

STUDY = """\
schema: 1
study: tiny
task: {name: sine, steps: 6, sequences: 2, eval: {phases: 4, steps: 6}}
model: {hidden: 3}
teacher: {epochs: 6}
student: {epochs: 5}
factors:
  gradient: [ste, {name: smoothstep, beta_end: 4}]
  rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2]}
replicates: 2
responses:
  - {name: eval_mse, scale: log10, better: lower}
criteria:
  - {name: complete, claim: {complete: true}}
hypotheses:
  - {say: the rate matters most, claim: {largest_effect: rate}}
  - {say: slow is bad, claim: {response: {where: {rate: 1e-3}, above: 1e-3}}}
"""
OTHER = STUDY.replace("above: 1e-3", "above: 2e-3")
CHANGE = "the hypothesis 'slow is bad': claim.response.above: 0.001 became 0.002"
RUNS = 2 * (1 + 4)
UNTOUCHED = ("runs", "treatments", "effects", "anova", "criteria")

Load = Callable[[str], Any]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads the study that a text is."""
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"

    def _load(text: str) -> Any:
        path.write_text(text)
        return kdrun.load_study(path)

    return _load


@pytest.fixture(scope="module")
def first(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of the study, run once."""
    results = tmp_path_factory.mktemp("first")
    return kdrun.run(load(STUDY), results, workers=1).folder


@pytest.fixture
def folder(first: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed."""
    return Path(shutil.copytree(first, tmp_path / "tiny"))


def registration(folder: Path) -> dict[str, Any]:
    """What stands in registration.json."""
    return json.loads((folder / "registration.json").read_text())


def tampered(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what stands in registration.json."""
    data = registration(folder)
    change(data)
    (folder / "registration.json").write_text(json.dumps(data))


def exploratory(folder: Path) -> dict[str, bool]:
    """Which hypotheses of the written table are exploratory."""
    table = pd.read_csv(folder / "tables" / "hypotheses.csv")
    return dict(zip(table["say"], table["exploratory"], strict=True))


def tables(folder: Path) -> dict[str, bytes]:
    """The tables that no hypothesis is in."""
    return {name: (folder / "tables" / f"{name}.csv").read_bytes() for name in UNTOUCHED}


def reported(folder: Path) -> Results:
    """What `kdrun report` does."""
    found = Results.open(folder)
    found.write()
    return found


def check_one_is_exploratory(folder: Path, first: Path) -> None:
    """The changed hypothesis is exploratory, and nothing else differs from the first results."""
    got, before = (pd.read_csv(each / "tables" / "hypotheses.csv", dtype=str) for each in (folder, first))
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": True}
    pd.testing.assert_frame_equal(got[:1], before[:1])
    assert tables(folder) == tables(first)
    manifests = [json.loads((each / "manifest.json").read_text()) for each in (folder, first)]
    assert manifests[0]["results_digest"] == manifests[1]["results_digest"]
    assert "0.001 became 0.002" in (folder / "report.md").read_text()
    assert (folder / "report.md").read_text().count("(exploratory)") == 1
    for key in ("hash", "registered", "parts", "late"):
        assert registration(folder)[key] == registration(first)[key]


def test_what_was_registered_is_confirmatory(first: Path) -> None:
    """No hypothesis is exploratory, and no change is listed."""
    assert exploratory(first) == {"the rate matters most": False, "slow is bad": False}
    assert registration(first)["changes"] == []
    assert "Changes since registration" not in (first / "report.md").read_text()


def test_a_report_of_the_unchanged_study_is_the_same(first: Path, folder: Path) -> None:
    """Made again from study.yaml, where every default is written out, no byte differs."""
    reported(folder)
    for name in ("report.md", "report.html", "tables/hypotheses.csv", "registration.json"):
        assert (folder / name).read_bytes() == (first / name).read_bytes()


def test_a_changed_hypothesis_turns_exploratory_and_nothing_else_does(load: Load, first: Path, folder: Path) -> None:
    """The runs stay, the other hypothesis stays confirmatory, the change is listed in registration.json."""
    kdrun.run(load(OTHER), folder.parent, workers=1)
    check_one_is_exploratory(folder, first)
    assert [change["text"] for change in registration(folder)["changes"]] == [CHANGE]
    assert "latest" in registration(folder)


def test_a_change_by_hand_in_the_results_folder_is_found_by_report(first: Path, folder: Path) -> None:
    """`kdrun report` takes study.yaml as it stands, and the registration as it was."""
    study = folder / "study.yaml"
    text = study.read_text()
    assert text.count("above: 0.001") == 1
    study.write_text(text.replace("above: 0.001", "above: 0.002"))
    done = command("report", folder)
    assert done.returncode == 0, done.stderr
    check_one_is_exploratory(folder, first)
    assert (folder / "registration.json").read_bytes() == (first / "registration.json").read_bytes()


def test_an_added_hypothesis_is_exploratory(load: Load, folder: Path) -> None:
    """It came after the results were there."""
    kdrun.run(load(STUDY + "  - {say: new, claim: {largest_effect: gradient}}\n"), folder.parent, workers=1)
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": False, "new": True}
    assert [change["text"] for change in registration(folder)["changes"]] == ["the hypothesis 'new' was added"]


def test_running_the_first_study_again_makes_it_confirmatory_again(load: Load, folder: Path) -> None:
    """Both changes stay listed, each once however often it is run."""
    for text in (OTHER, OTHER, STUDY):
        kdrun.run(load(text), folder.parent, workers=1)
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": False}
    back = CHANGE.replace("0.001 became 0.002", "0.002 became 0.001")
    assert [change["text"] for change in registration(folder)["changes"]] == [CHANGE, back]


def test_without_a_registration_everything_is_exploratory(folder: Path) -> None:
    """And the report says why."""
    (folder / "registration.json").unlink()
    found = reported(folder)
    assert set(exploratory(folder).values()) == {True}
    assert found.registered()["exploratory_criteria"] == ["complete"]
    for name in ("report.md", "report.html"):
        assert "registration.json is not there" in (folder / name).read_text()


def test_a_deleted_registration_is_not_made_up_again(load: Load, folder: Path) -> None:
    """The next run registers what there is, as late: everything stays exploratory."""
    (folder / "registration.json").unlink()
    for _ in range(2):
        kdrun.run(load(STUDY), folder.parent, workers=1)
        assert set(exploratory(folder).values()) == {True}
        assert registration(folder)["late"] is True
    assert "nothing was registered before the first run" in (folder / "report.md").read_text()


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a bound": lambda data: data["parts"]["hypotheses"][1]["claim"]["response"].update(above=2e-3),
    "a hypothesis added": lambda data: data["parts"]["hypotheses"].append(
        {"say": "new", "claim": {"largest_effect": {"term": "gradient"}}}
    ),
    "the time": lambda data: data.update(registered="2020-01-01T00:00:00+00:00"),
    "late": lambda data: data.update(late=True),
    "another design": lambda data: data["parts"]["design"].update(seed=1),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_registration_that_was_written_later_makes_everything_exploratory(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """What stands there has another hash than was stored before the first run, whatever hash stands beside it."""
    tampered(folder, change)
    found = Results.open(folder)
    assert found.verdicts["exploratory"].tolist() == [True, True]
    assert found.registered()["exploratory_criteria"] == ["complete"]


def test_a_run_does_not_mend_a_registration_that_was_written_later(load: Load, folder: Path) -> None:
    """Everything stays exploratory, and the report says why."""
    tampered(folder, TAMPERED["a bound"])
    kdrun.run(load(OTHER), folder.parent, workers=1)
    assert set(exploratory(folder).values()) == {True}
    for name in ("report.md", "report.html"):
        assert "registration.json was changed by hand" in (folder / name).read_text()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"changes": [], "parts": {}, "registered": "", "late": false}',
        b'{"changes": [], "registered": "", "late": false, "parts": {"design": {}, "responses": [], "criteria": [],'
        b' "hypotheses": [{"say": "x", "claim": {}}]}}',
    ],
)  # fmt: skip
def test_a_broken_registration_is_named(load: Load, folder: Path, content: bytes) -> None:
    """Neither a report nor a run goes on as if nothing were wrong, and the file stays as it is."""
    path = folder / "registration.json"
    path.write_bytes(content)
    words = r"registration\.json: this is no registration; put back a copy of it, or delete it"
    with pytest.raises(UsageError, match=words):
        Results.open(folder).analysis  # noqa: B018 (it is read for its error)
    with pytest.raises(UsageError, match=words):
        kdrun.run(load(OTHER), folder.parent, workers=1)
    assert path.read_bytes() == content


def test_a_broken_registration_ends_the_command_with_code_2(folder: Path) -> None:
    """One line, no traceback."""
    (folder / "registration.json").write_text("{")
    done = command("report", folder)
    assert done.returncode == 2
    assert done.stderr.startswith(f"kdrun: {folder / 'registration.json'}: this is no registration; ")
    assert len(done.stderr.splitlines()) == 1


class Stopper(Listener):
    """Interrupts once some runs are stored."""

    def __init__(self, after: int) -> None:
        self.left = after

    def finished(self, run: Any, outcome: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_study_keeps_its_first_registration(load: Load, tmp_path: Path) -> None:
    """Runs exist, so what was changed before the rest ran is a change."""
    with pytest.raises(Interrupted):
        kdrun.run(load(STUDY), tmp_path, workers=1, listener=Stopper(3))
    before = registration(tmp_path / "tiny")
    assert before["changes"] == []
    found = kdrun.run(load(OTHER), tmp_path, workers=1)
    after = registration(found.folder)
    assert (after["hash"], after["registered"]) == (before["hash"], before["registered"])
    assert [change["text"] for change in after["changes"]] == [CHANGE]
    assert exploratory(found.folder) == {"the rate matters most": False, "slow is bad": True}


def without_runs(folder: Path) -> None:
    """The folder as it is when a study was stopped before its first run was stored."""
    for path in folder.glob("runs.sqlite*"):
        path.unlink()
    Store.create(folder).close()


def test_before_the_first_run_hypotheses_are_free(load: Load, folder: Path) -> None:
    """Nothing was seen yet, so what is changed is registered anew, and no change is listed."""
    before = registration(folder)
    without_runs(folder)
    kdrun.run(load(OTHER), folder.parent, workers=1)
    after = registration(folder)
    assert after["hash"] != before["hash"]
    assert after["changes"] == []
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": False}


def test_fresh_registers_anew(load: Load, folder: Path) -> None:
    """The runs are gone; what differs from the registration that is gone with them is listed."""
    before = registration(folder)
    kdrun.run(load(OTHER), folder.parent, workers=1, fresh=True)
    after = registration(folder)
    assert after["hash"] != before["hash"]
    (change,) = after["changes"]
    assert change["text"] == f"started over; since what was registered at {before['registered']}, {CHANGE}"
    assert after["late"] is False
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": False}


def test_a_change_that_is_taken_off_the_list_is_noticed(load: Load, folder: Path) -> None:
    """Emptying the list of changes in registration.json makes everything exploratory."""
    kdrun.run(load(OTHER), folder.parent, workers=1)
    assert list(exploratory(folder).values()) == [False, True]
    tampered(folder, lambda data: data.update(changes=[]))
    assert Results.open(folder).verdicts["exploratory"].tolist() == [True, True]


def test_a_cosmetic_edit_of_the_file_changes_nothing(load: Load, first: Path, folder: Path) -> None:
    """Comments, the order of keys, and other ways to write a number; tables that show a level may write it so too."""
    text = STUDY.replace("{where: {rate: 1e-3}, above: 1e-3}", "{above: 0.001, where: {rate: 0.001}}")
    text = "# A comment.\n" + text.replace("levels: [1e-3, 1e-2]", "levels: [0.001, 0.01]")
    kdrun.run(load(text), folder.parent, workers=1)
    assert exploratory(folder) == {"the rate matters most": False, "slow is bad": False}
    assert (folder / "registration.json").read_bytes() == (first / "registration.json").read_bytes()
