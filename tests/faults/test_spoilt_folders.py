"""Results folders that are cut, emptied, overwritten or swapped: a line that says so, and nothing else hurt."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command import kdrun
from tests.faults.commands import called, own_study, stored_rows
from tests.tiny_results import without_workers

CODE = """
def main(params, seed):
    return {"score": params["a"] + seed / 2**32}
"""
LEVELS = "a: {sets: task.params.a, levels: [1, 2]}, b: {sets: task.params.b, levels: [x, y]}"
CODES = (0, 1, 2, 3, 4, 5, 130)
COMMANDS = ("report", "plan", "compare", "verify", "show", "export", "factorial")
# What nothing can be made again from.
KEPT = ("study.yaml", "registration.json", "runs.sqlite")
FILES = (*KEPT, "manifest.json", "report.md", "tables/runs.csv", "tables/runs.parquet", "plots/pareto.svg")


def listing(place: Path, but: Path | None = None) -> dict[str, str]:
    """Every file below a folder with a hash of what is in it, and where links lead, except below `but`."""
    found = {}
    for path in sorted(place.rglob("*")):
        if but is not None and path.is_relative_to(but):
            continue
        kind = f"-> {path.readlink()}" if path.is_symlink() else "a folder" if path.is_dir() else ""
        found[str(path)] = kind or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's code and its finished results, in `code` and `out/own`, never changed."""
    place = tmp_path_factory.mktemp("whole")
    study = own_study(place / "code", CODE, LEVELS, replicates=2)
    assert kdrun("factorial", study, "--results", place / "out").returncode == 0
    return place


@pytest.fixture(autouse=True)
def in_this_process(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs find the study's code here, where there are no workers."""
    monkeypatch.syspath_prepend(str(whole / "code"))
    with without_workers():
        yield


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil, with another file beside the results."""
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / "out" / "beside.txt").write_text("of somebody else")
    return tmp_path / "copy"


def arguments(command: str, place: Path, whole: Path) -> list[str]:
    folder, run = place / "out" / "own", next(iter(stored_rows(whole / "out" / "own")))
    found = {
        "plan": [place / "code" / "study.yaml", "--results", place / "out"],
        "factorial": [place / "code" / "study.yaml", "--results", place / "out", "--workers", 1, "--quiet"],
        "compare": [folder, whole / "out" / "own"],
        "show": [folder, run],
        "export": [folder, "--run", run, "--output", place / "network.npz"],
    }.get(command, [folder])
    return [command, *map(str, found)]


def emptied(path: Path, where: Path) -> None:
    path.write_bytes(b"")


def cut(part: float) -> Callable[[Path, Path], None]:
    def _cut(path: Path, where: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])

    return _cut


def noise(path: Path, where: Path) -> None:
    path.write_bytes(random.Random(path.name).randbytes(5000))


def other_text(path: Path, where: Path) -> None:
    path.write_text('{"a": [1, null], "study": {"b": "c"}}\n')


def a_folder(path: Path, where: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "kept").write_text("inside")


def a_link_outside(path: Path, where: Path) -> None:
    target = where / f"outside-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def a_link_to_nothing(path: Path, where: Path) -> None:
    path.unlink()
    path.symlink_to(where / "nowhere" / "at" / "all")


def a_link_to_itself(path: Path, where: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def gone(path: Path, where: Path) -> None:
    path.unlink()


SPOILS: dict[str, Callable[[Path, Path], None]] = {
    "gone": gone,
    "emptied": emptied,
    "cut to a tenth": cut(0.1),
    "cut in half": cut(0.5),
    "cut at its end": cut(0.98),
    "noise": noise,
    "other text": other_text,
    "a folder": a_folder,
    "a link outside": a_link_outside,
    "a link to nothing": a_link_to_nothing,
    "a link to itself": a_link_to_itself,
}


def spoil_and_call(whole: Path, place: Path, file: str, kind: str, command: str) -> None:
    """Spoil one file, run one command: no traceback, a code that is documented, a word about it, nothing else hurt."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    (place / "out" / "beside.txt").write_text("of somebody else")
    folder = place / "out" / "own"
    SPOILS[kind](folder / file, place)
    before, inside = listing(place, but=folder), listing(folder)
    code, said = called(arguments(command, place, whole))
    context = (file, kind, command, code, said)
    assert code in CODES, context
    assert said.strip(), context
    assert "Traceback" not in said, context
    # A linked database has its log where it is.
    outside = {str(place / f"outside-{Path(file).name}{end}") for end in ("", "-wal", "-shm")}
    assert without(listing(place, but=folder), outside) == without(before, outside), context
    if command in ("plan", "compare", "show", "export"):
        # SQLite leaves an empty log beside a database that it cannot read.
        logs = {str(folder / f"runs.sqlite{end}") for end in ("-wal", "-shm")}
        assert without(listing(folder), logs) == without(inside, logs), context
    if code == 2:
        kept = {str(folder / name) for name in KEPT}
        assert {name: listing(folder).get(name) for name in kept} == {name: inside.get(name) for name in kept}, context
        assert str(folder) in said or "keeps no trained network" in said, context


def without(found: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: content for name, content in found.items() if name not in names}


@pytest.mark.parametrize("command", ["report", "plan", "show", "export", "factorial"])
def test_a_spoilt_file_is_met_with_a_word(whole: Path, tmp_path: Path, command: str) -> None:
    """Each file of a results folder in one way, which is another one for each command."""
    kinds, first = list(SPOILS), COMMANDS.index(command)
    for number, file in enumerate(FILES):
        spoil_and_call(whole, tmp_path / "copy", file, kinds[(first + 3 * number) % len(kinds)], command)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_spoilt_file_is_met_with_a_word(whole: Path, tmp_path: Path, command: str) -> None:
    """Every file of a results folder in every way."""
    folder = whole / "out" / "own"
    for path in sorted(folder.rglob("*")):
        for kind in SPOILS if path.is_file() else ():
            spoil_and_call(whole, tmp_path / "copy", str(path.relative_to(folder)), kind, command)


@pytest.mark.parametrize(
    ("command", "name"),
    [("report", "plots"), ("factorial", "tables"), pytest.param("factorial --fresh", "plots", marks=pytest.mark.slow)],
)
def test_a_folder_that_leads_outside_is_not_written_to(whole: Path, place: Path, name: str, command: str) -> None:
    """What lies there is neither changed nor removed; starting over removes the link alone."""
    elsewhere = place / "elsewhere"
    (place / "out" / "own" / name).rename(elsewhere)
    (elsewhere / "mine.svg").write_text("of somebody else")
    (place / "out" / "own" / name).symlink_to(elsewhere)
    before = listing(elsewhere)
    command, *more = command.split()
    changed = ["--set", "seed=8"] if command == "factorial" else []
    code, said = called(arguments(command, place, whole) + changed + [*more, *(["--yes"] if more else [])])
    assert listing(elsewhere) == before
    assert code == (0 if more else 2), said
    if not more:
        assert f"{name}: this is a link, where kdrun keeps a folder" in said


@pytest.mark.parametrize("name", ["../up", "/abs", "..", ".", "", "a/b", "a\\0b", "x" * 65])
def test_a_name_that_is_no_folder_of_its_own_is_refused(whole: Path, place: Path, name: str) -> None:
    """In an override, and in a study.yaml of a results folder that was edited by hand: nothing is written anywhere."""
    study = place / "out" / "own" / "study.yaml"
    study.write_text(study.read_text().replace("study: own", f'study: "{name}"'))
    before = listing(place)
    for command in COMMANDS:
        setting = ["--set", f"study={name}"] if command in ("plan", "factorial") else []
        code, said = called(arguments(command, place, whole) + setting)
        assert code == 2, said
        assert "study" in said
    assert listing(place) == before


def test_a_study_file_edited_into_another_study_is_taken_as_it_is(whole: Path, place: Path) -> None:
    """Its runs are missing there, and the report says so; the stored runs of the first one stay."""
    study = place / "out" / "own" / "study.yaml"
    study.write_text(study.read_text().replace("seed: 42", "seed: 43").replace("study: own", "study: other"))
    rows = stored_rows(place / "out" / "own")
    code, said = called(["report", str(place / "out" / "own")])
    assert code == 0, said
    assert stored_rows(place / "out" / "own") == rows
    assert (place / "out" / "own" / "tables" / "runs.csv").read_text().count("missing") == 8
    assert not (place / "out" / "other").exists()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{'abcdefghi'[i]}: &{'abcdefghi'[i]} [{', '.join(['*' + 'abcdefghi'[i - 1]] * 10)}]\n" for i in range(1, 9)
)
BOMBS = {
    "aliases": BOMB,
    "an alias of itself": "a: &a [*a]\n",
    "deep": "[" * 10_000,
    "deep mappings": "{a: " * 10_000,
    "long": "a: [" + "1," * 60_000 + "]\n",
    "a long number": "seed: " + "9" * 900_000 + "\n",
    "merge keys": "x: &x {a: 1}\ny: {<<: *x}\n",
    "a tag that calls": "a: !!python/object/apply:os.system ['touch ran']\n",
}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k == "long" else k for k in BOMBS])
def test_a_file_that_would_blow_up_is_refused_at_once(whole: Path, place: Path, kind: str) -> None:
    """As a study, as the study of a results folder, and in an override."""
    study = place / "out" / "own" / "study.yaml"
    study.write_text(BOMBS[kind])
    begin = time.monotonic()
    for given in (["plan", str(study)], arguments("report", place, whole)):
        code, said = called(given)
        assert code == 2
        assert str(study) in said
        assert len(said) < 2000
    value = BOMBS[kind].partition(": ")[2] or BOMBS[kind]
    assert called([*arguments("plan", place, whole), "--set", f"title={value[:20_000]}"])[0] == 2
    assert time.monotonic() - begin < 30
    assert not (place / "ran").exists()
