"""The truth about a study: `runs.sqlite`, one row per run with all that came of it.

Outcomes are committed in whole transactions: a process that dies loses at most what it had not yet committed, and never
leaves half a row. Runs that are handed to workers stand in a table of their own, which their outcomes remove; what is
in it when nobody works on the folder died while running, and is missing. One thread uses one store.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from kdrun.store.database import FILE_NAME, connected, created, damaged, writing
from kdrun.store.digest import DigestRow, parameters_digest, responses_text, results_digest

if TYPE_CHECKING:
    import pandas as pd

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
        created(path)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, read_only: bool = False) -> Store:
        """The store of a folder. A file that is missing, damaged, no database or from a newer kdrun is refused."""
        path = folder / FILE_NAME
        if not path.is_file():
            raise UsageError(f"{folder}: there is no {FILE_NAME}, so this folder holds no runs")
        return cls(connected(path, read_only), path)

    def close(self) -> None:
        """Close the file; SQLite then folds its log into it."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        # What looked sound when it was opened may still be found damaged where it is read.
        if isinstance(error, sqlite3.DatabaseError):
            raise UsageError(damaged(self.path, str(error))) from error

    def commit(
        self,
        pairs: Iterable[tuple[Run, Outcome]],
        keep_parameters: bool = True,
        sources: Callable[[Run], str] = lambda run: "",
    ) -> None:
        """Store outcomes, all or none; an earlier outcome of the same run is replaced, and it is running no longer.

        The digest of trained parameters is stored even where the parameters are not. `sources` gives the fingerprint of
        what made a run.
        """
        finished = _now()
        rows = [_row(run, outcome, keep_parameters, sources(run), finished) for run, outcome in pairs]
        with writing(self._connection, self.path):
            self._connection.executemany(INSERT, rows)
            self._connection.executemany("DELETE FROM running WHERE run_id = ?", [row[:1] for row in rows])

    def hand_out(self, runs: Iterable[Run]) -> None:
        """Remember that workers are given some runs."""
        now = _now()
        with writing(self._connection, self.path):
            rows = [(run.run_id, now) for run in runs]
            self._connection.executemany("INSERT OR REPLACE INTO running VALUES (?, ?)", rows)

    def without_response(self, name: str) -> set[str]:
        """Ids of the runs that are done without a response of this name, which is letters, digits and _."""
        query = "SELECT run_id FROM runs WHERE status = 'done' AND json_type(responses, ?) IS NULL"
        return {run_id for (run_id,) in self._connection.execute(query, (f'$."{name}"',))}

    def running(self) -> dict[str, str]:
        """When each run was handed to a worker whose outcome is not stored yet, by run id."""
        return dict(self._connection.execute("SELECT run_id, since FROM running"))

    def forget_running(self) -> None:
        """Nothing is running: what was is missing."""
        with writing(self._connection, self.path):
            self._connection.execute("DELETE FROM running")

    def keep_sources(self, fingerprint: str, files: Mapping[str, str]) -> None:
        """Keep what a fingerprint of sources is made of: a hash of each file, by its name."""
        with writing(self._connection, self.path):
            self._connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (fingerprint, _json(files)))

    def sources(self) -> dict[str, dict[str, str]]:
        """Hashes of files by name, of every fingerprint that is known."""
        found = self._connection.execute("SELECT fingerprint, files FROM sources")
        return {fingerprint: json.loads(files) for fingerprint, files in found}

    def drop_parameters(self, run_ids: Iterable[str]) -> None:
        """Remove the trained networks of runs; their digests stay."""
        with writing(self._connection, self.path):
            self._connection.execute(f"UPDATE runs SET parameters = NULL WHERE {CHOSEN}", (_ids(run_ids),))

    def made_by(self) -> dict[str, str]:
        """The fingerprint of the sources that made each stored run, by run id."""
        return dict(self._connection.execute("SELECT run_id, sources FROM runs"))

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

    def run(self, run_id: str) -> Run:
        """A stored run as it was when it was done."""
        columns = "kind, replicate, spec, needs, treatment, comparator, levels"
        row = self._connection.execute(f"SELECT {columns} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise UsageError(f"{self.path}: there is no run {run_id}; {_nearby(run_id, self.statuses())}")
        kind, replicate, spec, needs, treatment, comparator, levels = row
        return Run(
            run_id, kind, replicate, json.loads(spec), tuple(json.loads(needs)), treatment, comparator,
            json.loads(levels),
        )  # fmt: skip

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
        with writing(self._connection, self.path):
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
        with writing(self._connection, self.path):
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def facts(self) -> dict[str, Any]:
        """Everything that `set_fact` kept."""
        return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM facts")}

    def fact(self, key: str, default: Any = None) -> Any:
        """What `set_fact` kept under the key, else `default`."""
        row = self._connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
