"""The truth about a study: `runs.sqlite`, one row per run with all that came of it.

Outcomes are committed in whole transactions in WAL mode: a process that dies loses at most what it had not yet
committed, and never leaves half a row. One thread uses one store.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kdrun.errors import UsageError
from kdrun.records import GradientCheck, Outcome, Run
from kdrun.store.arrays import (
    HistoryColumns,
    arrays_from_npz,
    history_bytes,
    history_columns,
    history_from_bytes,
    npz_bytes,
)
from kdrun.store.digest import DigestRow, parameters_digest, responses_text, results_digest

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "runs.sqlite"
SCHEMA_VERSION = 1

# Bulky columns stand last: a scan that does not ask for them does not read their pages.
SCHEMA = """
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

# Rows that are read at once; what is not asked for is the same nothing everywhere. Both for the sake of memory.
MANY = 5_000
NOTHING: Mapping[str, Any] = {}
INSERT = f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * 17)})"
# One bound value carries any number of ids; SQLite bounds the number of separate ones.
CHOSEN = "run_id IN (SELECT value FROM json_each(?))"
FRAME_COLUMNS = (
    "run_id", "kind", "treatment", "replicate", "comparator", "status", "seconds", "error", "sources", "finished",
    "parameters_sha256",
)  # fmt: skip


class Store:
    """The runs of one results folder. Use it as a context manager, or `close` it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds runs."""
        return (folder / FILE_NAME).exists()

    @classmethod
    def create(cls, folder: Path) -> Store:
        """An empty store in a folder that holds none; the folder is made where it is not there."""
        path = folder / FILE_NAME
        if path.exists():
            raise UsageError(f"{path}: there are runs already; open them, or start over with --fresh")
        folder.mkdir(parents=True, exist_ok=True)
        # Made under another name, so that a process killed here leaves no database without tables behind.
        temporary = folder / f".{FILE_NAME}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        temporary.replace(path)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, read_only: bool = False) -> Store:
        """The store of a folder. A file that is missing, damaged, no database or from a newer kdrun is refused."""
        path = folder / FILE_NAME
        if not path.is_file():
            raise UsageError(f"{folder}: there is no {FILE_NAME}, so this folder holds no runs")
        _read_ahead(path)
        with _database_errors(path):
            connection = _checked_connection(path, read_only)
        return cls(connection, path)

    def close(self) -> None:
        """Close the file; SQLite then folds its log into it."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def commit(self, pairs: Iterable[tuple[Run, Outcome]], keep_parameters: bool = True, sources: str = "") -> None:
        """Store outcomes, all or none; an earlier outcome of the same run is replaced.

        The digest of trained parameters is stored even where the parameters are not.
        """
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [_row(run, outcome, keep_parameters, sources, finished) for run, outcome in pairs]
        with self._connection:
            self._connection.executemany(INSERT, rows)

    def drop_parameters(self, run_ids: Iterable[str]) -> None:
        """Remove the trained networks of runs; their digests stay."""
        with self._connection:
            self._connection.execute(f"UPDATE runs SET parameters = NULL WHERE {CHOSEN}", (_ids(run_ids),))

    def sources(self) -> dict[str, int]:
        """How many runs were made by which sources."""
        return dict(self._connection.execute("SELECT sources, count(*) FROM runs GROUP BY sources"))

    def with_parameters(self) -> set[str]:
        """Ids of the runs whose trained networks are stored."""
        found = self._connection.execute("SELECT run_id FROM runs WHERE parameters IS NOT NULL")
        return {run_id for (run_id,) in found}

    def statuses(self) -> dict[str, str]:
        """Status by run id, of all stored runs."""
        return dict(self._connection.execute("SELECT run_id, status FROM runs"))

    def outcomes(self, run_ids: Iterable[str], parameters: bool = False, history: bool = False) -> dict[str, Outcome]:
        """Outcomes by run id, in the order asked for; a run that is not stored is left out."""
        order = list(run_ids)
        columns = f"run_id, status, responses, seconds, error, {_or_null('parameters', parameters)}"
        columns += f", {_or_null('history', history)}"
        found: dict[str, Outcome] = {}
        for rows in _batches(self._chosen(columns, order)):
            responses = _objects(row[2] for row in rows)
            found |= {row[0]: _outcome(row, measured) for row, measured in zip(rows, responses, strict=True)}
        return {run_id: found[run_id] for run_id in order if run_id in found}

    def outcome(self, run_id: str) -> Outcome:
        """Everything that came of one run."""
        found = self.outcomes([run_id], parameters=True, history=True)
        if run_id not in found:
            raise UsageError(f"{self.path}: there is no run {run_id}; {_nearby(run_id, self.statuses())}")
        return found[run_id]

    def spec(self, run_id: str) -> dict[str, Any]:
        """The resolved values that a stored run depends on."""
        row = self._connection.execute("SELECT spec FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise UsageError(f"{self.path}: there is no run {run_id}; {_nearby(run_id, self.statuses())}")
        return cast(dict[str, Any], json.loads(row[0]))

    def results_digest(self, run_ids: Iterable[str]) -> str:
        """The digest of the results of these runs (the plan's); see store/digest.py."""
        return results_digest(self.digest_rows(run_ids))

    def digest_rows(self, run_ids: Iterable[str]) -> Iterator[DigestRow]:
        """What the digest reads of those of these runs that are stored, in no order."""
        columns = "run_id, status, responses, parameters_sha256"
        return (DigestRow(*row) for row in self._chosen(columns, list(run_ids)))

    def _chosen(self, columns: str, run_ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Some columns, the first of them run_id, of the runs that are asked for and stored.

        Many are found faster by reading the whole table in its own order than one by one.
        """
        if len(run_ids) < MANY:
            yield from self._connection.execute(f"SELECT {columns} FROM runs WHERE {CHOSEN}", (_ids(run_ids),))
            return
        wanted = set(run_ids)
        yield from (row for row in self._connection.execute(f"SELECT {columns} FROM runs") if row[0] in wanted)

    def runs_frame(self) -> pd.DataFrame:
        """All stored runs, ordered by run id, whatever the plan now is.

        Columns: run_id, kind, treatment, replicate, comparator, status, seconds, error, sources, finished,
        parameters_sha256, kept (whether the network is), then one per factor (text) and one per response.
        """
        import pandas as pd

        query = (
            f"SELECT {', '.join(FRAME_COLUMNS)}, parameters IS NOT NULL, levels, responses FROM runs ORDER BY run_id"
        )
        rows = self._connection.execute(query).fetchall()
        frame = pd.DataFrame(rows, columns=[*FRAME_COLUMNS, "kept", "levels", "responses"])
        levels, responses = _objects(frame.pop("levels")), _objects(frame.pop("responses"))
        frame = frame.astype({"treatment": "Int64", "kept": bool, "comparator": "str"})
        measured = pd.DataFrame(responses, index=frame.index)
        numbers = measured.apply(lambda column: column.map(float.fromhex, na_action="ignore").astype(float))
        factors = pd.DataFrame(levels, index=frame.index)
        return cast("pd.DataFrame", pd.concat([frame, factors, numbers], axis=1))

    def histories(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """The series of runs, one row per point. Columns: run_id, epoch (int64), name, value (float64)."""
        query = f"SELECT run_id, history FROM runs WHERE {CHOSEN} ORDER BY run_id"
        rows = self._connection.execute(query, (_ids(run_ids),)).fetchall()
        return _history_frame([run_id for run_id, _ in rows], [history_columns(history) for _, history in rows])

    def save_gradient_checks(self, rows: Sequence[GradientCheck]) -> None:
        """Store the rows of the gradient check in place of any before."""
        values = [
            (position, row.name, row.dtype, int(row.parameters), float(row.max_relative_error), float(row.tolerance))
            for position, row in enumerate(rows)
        ]
        with self._connection:
            self._connection.execute("DELETE FROM gradient_checks")
            self._connection.executemany("INSERT INTO gradient_checks VALUES (?, ?, ?, ?, ?, ?)", values)

    def gradient_checks(self) -> list[GradientCheck]:
        """The rows of the last gradient check, in its order."""
        query = "SELECT name, dtype, parameters, max_relative_error, tolerance FROM gradient_checks ORDER BY position"
        return [
            # SQLite keeps nan as NULL.
            GradientCheck(name, dtype, parameters, float("nan") if error is None else error, tolerance)
            for name, dtype, parameters, error, tolerance in self._connection.execute(query)
        ]

    def set_fact(self, key: str, value: Any) -> None:
        """Keep one piece of JSON data under a key."""
        with self._connection:
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def facts(self) -> dict[str, Any]:
        """Everything that `set_fact` kept."""
        return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM facts")}

    def fact(self, key: str, default: Any = None) -> Any:
        """What `set_fact` kept under the key, else `default`."""
        row = self._connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])


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
        raise UsageError(_damaged(path, str(error))) from error


def _damaged(path: Path, found: str) -> str:
    return (
        f"{path}: the database is damaged, or is none ({found}). Put back a copy of it, or delete the file and run"
        " the study again: runs are made again with the same bits"
    )


def _checked_connection(path: Path, read_only: bool) -> sqlite3.Connection:
    connection = _connect(path, read_only)
    try:
        _check(connection, path)
        if not read_only:
            # A crash of the process loses nothing; one of the machine may lose the last runs, which are made again.
            connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """A reader opens the file for writing too, and then promises not to: only so is the log cleared away after it."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, timeout=60)
    if not read_only:
        return connection
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A folder that nobody can write to holds no log either, so the file alone is the whole database.
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written by a newer kdrun (its format is {version}, this one reads up to {SCHEMA_VERSION});"
            " update kdrun"
        )
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise UsageError(_damaged(path, problem))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 or not {"runs", "gradient_checks", "facts"} <= tables:
        raise UsageError(_damaged(path, "it holds no table of runs"))


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows, many at a time: parsing them together is faster, and all of them at once would fill the memory."""
    while batch := list(islice(rows, MANY)):
        yield batch


def _ids(run_ids: Iterable[str]) -> str:
    return json.dumps(list(run_ids))


def _or_null(column: str, wanted: bool) -> str:
    return column if wanted else "NULL"


def _nearby(run_id: str, known: Mapping[str, str]) -> str:
    """What to type instead: the ids that begin alike, else where to look."""
    alike = sorted(name for name in known if name.startswith(run_id[:4]))[:3] if run_id else []
    return f"near it: {', '.join(alike)}" if alike else "the ids stand in tables/runs.csv"


def _row(run: Run, outcome: Outcome, keep_parameters: bool, sources: str, finished: str) -> tuple[Any, ...]:
    if run.run_id != outcome.run_id:
        raise ValueError(f"the outcome of {outcome.run_id} is not one of run {run.run_id}")
    network = npz_bytes(outcome.parameters) if keep_parameters and outcome.parameters else None
    return (
        run.run_id, run.kind, run.treatment, run.replicate, run.comparator, _json(run.levels), _json(list(run.needs)),
        outcome.status, responses_text(outcome.responses), parameters_digest(outcome.parameters),
        float(outcome.seconds), outcome.error, sources, finished, _json(run.spec), history_bytes(outcome.history),
        network,
    )  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False, separators=(",", ":"))


def _outcome(row: tuple[Any, ...], responses: Mapping[str, str]) -> Outcome:
    run_id, status, _, seconds, error, parameters, history = row
    return Outcome(
        run_id=run_id,
        status=status,
        responses={name: float.fromhex(value) for name, value in responses.items()},
        parameters=arrays_from_npz(parameters) if parameters is not None else NOTHING,
        history=history_from_bytes(history) if history is not None else NOTHING,
        seconds=seconds,
        error=error,
    )


def _objects(texts: Iterable[str]) -> list[dict[str, str]]:
    """JSON objects of one column, parsed in one go: a call for each costs several times as much."""
    return cast(list[dict[str, str]], json.loads(f"[{','.join(texts)}]"))


def _history_frame(run_ids: list[str], columns: list[HistoryColumns]) -> pd.DataFrame:
    import pandas as pd

    names = [name for item in columns for name in item.names]
    lengths = [length for item in columns for length in item.lengths]
    points = [sum(item.lengths) for item in columns]
    return pd.DataFrame(
        {
            "run_id": np.repeat(np.array(run_ids, dtype=object), points),
            "epoch": np.concatenate([np.empty(0, np.int64), *(item.epochs for item in columns)]),
            "name": np.repeat(np.array(names, dtype=object), lengths),
            "value": np.concatenate([np.empty(0, np.float64), *(item.points for item in columns)]),
        }
    ).astype({"run_id": "str", "name": "str"})
