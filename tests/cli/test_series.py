"""A study of the user's own numbers, as a user runs it: its template, its mistakes, and its file when that changes."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import digest_of, kdrun

SHORT = ("--set", "teacher.epochs=3", "--set", "student.epochs=2", "--set", "task.steps=5", "--replicates", "1")


@pytest.fixture
def place(tmp_path):
    """A folder with the study that `kdrun new` prints and the file that it names."""
    (tmp_path / "study.yaml").write_text(kdrun("new", "series").stdout)
    write(tmp_path, [t * t % 11 for t in range(60)])
    return tmp_path


def write(place, cells):
    (place / "data.csv").write_text("t,value\n" + "".join(f"{t},{cell}\n" for t, cell in enumerate(cells)))


def factorial(place, *options):
    """Run the study from another folder."""
    return kdrun(
        "factorial",
        place / "study.yaml",
        "--results",
        place / "out",
        "--workers",
        1,
        *SHORT,
        *options,
        cwd=place.parent,
    )


@pytest.mark.slow
def test_the_template_runs_from_anywhere_and_is_verified(place):
    """The path is seen from the study's folder, by `factorial`, `plan` and `verify`; `report` needs no file."""
    planned = kdrun("plan", place / "study.yaml", *SHORT, cwd=place.parent)
    assert (planned.returncode, "would refuse" in planned.stderr) == (0, False)
    done = factorial(place)
    assert done.returncode == 0, done.stderr
    verified = kdrun("verify", place / "out" / "my_series", "--all", "--workers", 1, cwd=place.parent)
    assert (verified.returncode, "5 of 5 runs" in verified.stdout) == (0, True)
    (place / "data.csv").unlink()
    reported = kdrun("report", place / "out" / "my_series", cwd=place.parent)
    assert (reported.returncode, digest_of(reported)) == (0, digest_of(done))


def test_mistakes_of_the_file_are_refused_with_their_lines(place):
    """Exit code 2, all of them at once, nothing is written; `plan` warns of the first thing that would stop it."""
    write(place, [*range(20), "", *range(20), "1_0"])
    done = factorial(place)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("kdrun: data.csv:22: 'value' is empty")
    assert lines[1].startswith("data.csv:43: 'value' is '1_0'")
    assert lines[-1].endswith("nothing was run")
    assert not (place / "out" / "my_series" / "runs.sqlite").exists()
    planned = kdrun("plan", place / "study.yaml", *SHORT, "--json", cwd=place.parent)
    assert planned.returncode == 0
    assert any("would refuse this study: data.csv:22" in text for text in json.loads(planned.stdout)["warnings"])


def test_a_file_that_is_not_there_is_refused(place):
    """Exit code 2, with the folder that was looked in and the nearest name."""
    done = factorial(place, "--set", "task.file=dota.csv")
    assert done.returncode == 2
    assert f"dota.csv: there is no such file in {place}. Did you mean 'data.csv'?" in done.stderr


def test_every_file_of_a_factor_is_looked_at(place):
    """One that only some treatments read is refused as well."""
    study = (place / "study.yaml").read_text().replace("  file: data.csv", "  # file: data.csv")
    files = "  file: {sets: task.file, levels: [data.csv, other.csv]}\n"
    (place / "study.yaml").write_text(study.replace("  gradient:", f"{files}  gradient:"))
    done = factorial(place)
    assert (done.returncode, "other.csv: there is no such file" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_changed_file_is_noticed(place):
    """Stored runs are kept with a word of what changed, and done again when that is asked for."""
    first = digest_of(factorial(place))
    write(place, [t * t % 13 for t in range(60)])
    kept = factorial(place)
    assert digest_of(kept) == first
    assert "5 stored runs made by other code (data.csv): kept" in kept.stderr
    more = factorial(place, "--replicates", 2, "--quiet")
    assert (more.returncode, more.stderr) == (0, "")
    report = (place / "out" / "my_series" / "report.md").read_text()
    assert "**Not all runs were made by the same version of data.csv: differences between them need not be" in report
    assert "Not all runs were made by the same version of data.csv" in (place / "out/my_series/report.html").read_text()
    again = factorial(place, "--on-code-change", "rerun")
    assert digest_of(again) != first
    assert "their code changed: data.csv" in again.stderr
    assert "Not all runs" not in (place / "out" / "my_series" / "report.md").read_text()
