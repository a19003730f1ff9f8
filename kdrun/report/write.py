"""What `kdrun report` writes: tables, report and manifest. Equal data give equal bytes, and files change as a whole."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdrun.files import replacing, write_bytes, write_text
from kdrun.report.markdown import report_text
from kdrun.report.text import spreadsheet
from kdrun.stats.analysis import Analysis

HISTORY_SCHEMA = pa.schema(
    [("run_id", pa.string()), ("epoch", pa.int64()), ("name", pa.string()), ("value", pa.float64())]
)


def write_report(
    folder: Path,
    analysis: Analysis,
    study: Mapping[str, Any],
    manifest: Mapping[str, Any],
    histories: Iterable[pd.DataFrame] = (),
) -> None:
    """Write tables/, report.md and manifest.json of a results folder.

    `study` is the resolved study as plain data; `histories` are parts of `history.parquet`, so that only one of them
    need be in memory: run_id, epoch, name, value.
    """
    for name, table in analysis.tables.items():
        write_table(folder / "tables", name, table)
    write_history(folder / "tables" / "history.parquet", histories)
    write_text(folder / "report.md", report_text(analysis, study, manifest))
    write_json(folder / "manifest.json", manifest)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write one table as <name>.csv and <name>.parquet."""
    write_bytes(folder / f"{name}.csv", csv_bytes(table))
    with replacing(folder / f"{name}.parquet") as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary, compression="zstd")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV: UTF-8, lines ended by a line feed, floats that read back to the same value, nan empty.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    safe = table.copy(deep=False)
    for name in safe.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in safe.dtypes]]:
        safe[name] = safe[name].map(spreadsheet, na_action="ignore")
    safe.columns = pd.Index([spreadsheet(str(name)) for name in safe.columns])
    buffer = io.StringIO()
    safe.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue().encode()


def write_history(path: Path, histories: Iterable[pd.DataFrame]) -> None:
    """Write the series of runs as they come, one row group each."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, HISTORY_SCHEMA, compression="zstd") as writer:
        for history in histories:
            writer.write_table(pa.Table.from_pandas(history, HISTORY_SCHEMA, preserve_index=False))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON for people to read too."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
