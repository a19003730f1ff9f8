"""The file `runs.sqlite`: its tables, its versions, and what is looked at before it is believed.

It is written in WAL mode. A file of an older version is brought up to date when it is opened; where it cannot be
written to, a copy in memory is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kdrun.errors import KdrunError, UsageError

FILE_NAME = "runs.sqlite"

# Bulky columns stand last: a scan that does not ask for them does not read their pages.
_VERSION_1 = """
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('treatment', 'teacher', 'comparator')),
  treatment INTEGER,
  replicate INTEGER NOT NULL,
  comparator TEXT,
  levels TEXT NOT NULL,
  needs TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('done', 'failed', 'diverged')),
  responses TEXT NOT NULL,
  parameters_sha256 TEXT NOT NULL,
  seconds REAL NOT NULL,
  error TEXT NOT NULL,
  sources TEXT NOT NULL,
  finished TEXT NOT NULL,
  spec TEXT NOT NULL,
  history BLOB NOT NULL,
  parameters BLOB
) STRICT;
CREATE TABLE gradient_checks (
  position INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  dtype TEXT NOT NULL,
  parameters INTEGER NOT NULL,
  max_relative_error REAL,
  tolerance REAL NOT NULL
) STRICT;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_VERSION_2 = """
CREATE TABLE running (run_id TEXT PRIMARY KEY, since TEXT NOT NULL) STRICT;
CREATE TABLE sources (fingerprint TEXT PRIMARY KEY, files TEXT NOT NULL) STRICT;
"""
# What brings a file from each version to the next; from the first one on it is never changed, only added to.
MIGRATIONS = (_VERSION_1, _VERSION_2)
SCHEMA_VERSION = len(MIGRATIONS)
FIRST_TABLES = {"runs", "gradient_checks", "facts"}


def created(path: Path) -> None:
    """An empty database, in place of one that is there; its folder is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name, so that a process killed here leaves no database without tables behind. Its log would
    # keep that other name, so there is none until everything stands in the file itself.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            _migrate(connection, 0)
            connection.execute("PRAGMA journal_mode = WAL")
        temporary.replace(path)
    except sqlite3.OperationalError as error:
        raise KdrunError(f"{path}: the database cannot be made: {error}; nothing was run") from error
    finally:
        temporary.unlink(missing_ok=True)


def connected(path: Path, read_only: bool) -> sqlite3.Connection:
    """A connection to a database that is there and sound; a damaged or newer one is refused."""
    _read_ahead(path)
    with _database_errors(path):
        return _checked_connection(path, read_only)


@contextlib.contextmanager
def writing(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """One transaction: all of it, or nothing where it fails."""
    try:
        with connection:
            yield
    except sqlite3.OperationalError as error:
        raise KdrunError(
            f"{path}: it cannot be written to: {error}. What was stored before is kept; mend this, such as by making"
            " room on the disk, and run the same command again to go on"
        ) from error


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database up to date in one transaction."""
    steps = "".join(MIGRATIONS[version:])
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _read_ahead(path: Path) -> None:
    """Read the file once from end to end: the check then finds its pages in memory.

    It walks them in the order of the tree; from a cold disk that took 3 to 40 s for 200 MB, against 0.7 s this way.
    """
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


@contextlib.contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UsageError(f"{path}: the database cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise UsageError(damaged(path, str(error))) from error


def damaged(path: Path, found: str) -> str:
    """What a user is told of a database that cannot be believed."""
    return (
        f"{path}: the database is damaged, or is none ({found}). Put back a copy of it, or delete the file and run"
        " the study again: runs are made again with the same bits"
    )


def _checked_connection(path: Path, read_only: bool) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        version = _checked_version(connection, path)
        if version < SCHEMA_VERSION:
            connection = _brought_up_to_date(connection, version)
        # A crash of the process loses nothing; one of the machine may lose the last runs, which are made again.
        connection.execute("PRAGMA query_only = ON" if read_only else "PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    """A reader opens the file for writing too, and then promises not to: only so is the log cleared away after it."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=60)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A folder that nobody can write to holds no log either, so the file alone is the whole database.
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


def _brought_up_to_date(connection: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A database of an older version as one of this version; a copy in memory where the file cannot be written to."""
    try:
        _migrate(connection, version)
    except sqlite3.OperationalError:
        copy = sqlite3.connect(":memory:")
        with contextlib.closing(connection):
            connection.backup(copy)
        _migrate(copy, version)
        return copy
    return connection


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a database, once it is known to be sound."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written by a newer kdrun (its format is {version}, this one reads up to {SCHEMA_VERSION});"
            " update kdrun"
        )
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise UsageError(damaged(path, problem))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version < 1 or not tables >= FIRST_TABLES:
        raise UsageError(damaged(path, "it holds no table of runs"))
    return version
