"""A results folder on disk: what belongs to it, when it may be written to, and what stands in it before the first run.

study.yaml  registration.json  runs.sqlite                   what was claimed, and what happened
tables/  plots/  report.md  report.html  manifest.json       computed, and made again by `Results.write`
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from kdrun.errors import UsageError
from kdrun.files import is_unfinished, write_text
from kdrun.store.database import FILE_NAME, created
from kdrun.store.runs import Store
from kdrun.study.load import study_text
from kdrun.study.register import Registration
from kdrun.study.schema import Study

STUDY_FILE = "study.yaml"
REGISTRATION_FILE = "registration.json"
SEALS = "registration"
FILES = (STUDY_FILE, REGISTRATION_FILE, FILE_NAME, "report.md", "report.html", "manifest.json")
FOLDERS = ("tables", "plots")


def refuse_unfit(folder: Path, fresh: bool) -> None:
    """Refuse a folder that cannot hold runs: a file, or, unless `fresh`, one with something else in it."""
    if any(part.is_file() for part in (folder, *folder.parents)):
        raise UsageError(f"{folder}: results need a folder, but a file of that name is in the way")
    if not fresh and folder.exists() and not Store.exists(folder) and not all(map(is_unfinished, folder.iterdir())):
        raise UsageError(
            f"{folder}: this folder holds no {FILE_NAME}, only results without their runs, or something else. "
            f"Choose another place with --results DIR, or start over here with --fresh."
        )
    if not fresh:
        refuse_strange(folder)


def refuse_strange(folder: Path) -> None:
    """Refuse to write where something else has the name of what is written.

    A folder that is a link leads out of the results: what would be written and removed there is somebody else's.
    """
    for name in FILES:
        if (folder / name).is_dir():
            raise UsageError(f"{folder / name}: this is a folder, where kdrun keeps a file; move it away")
    for name in FOLDERS:
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            kind = "a link" if path.is_symlink() else "a file"
            raise UsageError(f"{path}: this is {kind}, where kdrun keeps a folder; move it away")


def prepare_folder(folder: Path, study: Study, fresh: bool) -> None:
    """Make the folder ready to hold runs of `study`, emptied first where `fresh`, and write the study that runs."""
    refuse_unfit(folder, fresh)
    earlier = _earlier(folder) if fresh else None
    if fresh:
        clear(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        if not Store.exists(folder):
            Store.create(folder).close()
        _register(folder, study, earlier)
        write_text(folder / STUDY_FILE, study_text(study))
    except OSError as error:
        raise UsageError(f"{folder}: results cannot be written there: {error.strerror}; nothing was run") from None


def read_registration(folder: Path) -> Registration | None:
    """The registration of a results folder; None where it has none."""
    path = folder / REGISTRATION_FILE
    if not path.is_file():
        return None
    try:
        return Registration.read(json.loads(path.read_text("utf-8")))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{path}: this is no registration; put back a copy of it, or delete it, and every hypothesis is exploratory"
        ) from None


def _earlier(folder: Path) -> Registration | None:
    """The registration that starting over makes void; None where there is none that can be read."""
    try:
        return read_registration(folder)
    except UsageError:
        return None


def _register(folder: Path, study: Study, earlier: Registration | None) -> None:
    """Write what a study claims before its first run; afterwards, what was changed.

    The store keeps the seals of the file as it was and as it will be, so that an edit by hand is noticed. It is told
    before the file changes: a process killed in between leaves a file that it knows.
    """
    with Store.open(folder) as store:
        before, seals, has_runs = read_registration(folder), store.fact(SEALS, []), bool(store.statuses())
        if before is None or not has_runs:
            found = Registration.take(study, _now(), late=has_runs, earlier=earlier)
            store.set_fact(SEALS, [found.seal])
        else:
            found = before.followed_to(study, _now())
            # What follows from a file that was edited is not sealed: that would hide the edit.
            if before.seal in seals:
                store.set_fact(SEALS, [before.seal, found.seal])
        write_text(folder / REGISTRATION_FILE, _content(found))


def _content(registration: Registration) -> str:
    return json.dumps(registration.data(), indent=2, ensure_ascii=False) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def clear(folder: Path) -> None:
    """Remove what kdrun writes into a results folder, and nothing else.

    The runs go in one step, for an empty database takes the place of theirs: a process killed here leaves the old study
    or an empty one, and never a folder whose runs are gone.
    """
    if (folder / FILE_NAME).is_dir():
        _remove(folder / FILE_NAME)
    if Store.exists(folder):
        for log in (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
            _remove(folder / log)
        created(folder / FILE_NAME)
    for name in (*FILES, *FOLDERS):
        if name != FILE_NAME:
            _remove(folder / name)
    sweep(folder)


def _remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a killed process was writing into a results folder, which nobody else works on."""
    for place in (folder, folder / "tables", folder / "plots"):
        for path in place.iterdir() if place.is_dir() else ():
            if is_unfinished(path) and path.is_file():
                path.unlink()
