"""What `kdrun report` writes: tables and reports. Equal data give equal bytes, and files change as a whole."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdrun.errors import UsageError
from kdrun.files import replacing, write_bytes, write_text
from kdrun.report.effect_tables import anova_sheet, effects_sheet
from kdrun.report.html import report_html
from kdrun.report.latex import latex_table
from kdrun.report.markdown import report_text
from kdrun.report.sheet import Sheet, markdown_table
from kdrun.report.text import printable_column, spreadsheet, spreadsheet_column
from kdrun.report.treatment_tables import treatment_sheet
from kdrun.report.verdict_tables import criteria_sheet, hypotheses_sheet
from kdrun.stats.analysis import Analysis

if TYPE_CHECKING:
    from kdrun.report.plots import Picture

HISTORY_SCHEMA = pa.schema(
    [("run_id", pa.string()), ("epoch", pa.int64()), ("name", pa.string()), ("value", pa.float64())]
)
TextFormat = Literal["csv", "markdown", "latex"]
TableFormat = Literal["csv", "parquet", "markdown", "latex"]
ENDINGS: Mapping[str, str] = {"markdown": "md", "latex": "tex"}
SHEETS: Mapping[str, Callable[[Analysis], Sheet]] = {
    "treatments": treatment_sheet,
    "effects": effects_sheet,
    "anova": anova_sheet,
    "hypotheses": hypotheses_sheet,
    "criteria": criteria_sheet,
}


def write_report(
    folder: Path,
    analysis: Analysis,
    study: Mapping[str, Any],
    study_text: str,
    manifest: Mapping[str, Any],
    histories: Iterable[pd.DataFrame] = (),
    registration: Mapping[str, Any] | None = None,
    pictures: Sequence[Picture] = (),
    cautions: Sequence[str] = (),
) -> None:
    """Write tables/, plots/, report.md, report.html and manifest.json of a results folder.

    `study` is the resolved study as plain data and `study_text` as study.yaml; `histories` are parts of
    `history.parquet`, so that only one of them need be in memory: run_id, epoch, name, value. `registration` has
    `registered`, `hash`, `changes` (mappings with `time` and `text`) and `exploratory_criteria`, or is empty.
    `cautions` are to be read before everything else.
    """
    registration = registration or {}
    for name, table in analysis.tables.items():
        write_table(folder / "tables", name, table)
    write_history(folder / "tables" / "history.parquet", histories)
    write_pictures(folder / "plots", pictures)
    write_text(folder / "report.md", report_text(analysis, study, manifest, registration, pictures, cautions))
    write_text(
        folder / "report.html", report_html(analysis, study, study_text, manifest, registration, pictures, cautions)
    )
    write_json(folder / "manifest.json", manifest)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write one table as <name>.csv and <name>.parquet."""
    write_bytes(folder / f"{name}.csv", csv_bytes(table))
    _write_parquet(folder / f"{name}.parquet", table)


def _write_parquet(path: Path, table: pd.DataFrame) -> None:
    # Arrow takes a name only where it is UTF-8, and any open file.
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), file, compression="zstd")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV: UTF-8, lines ended by a line feed, floats that read back to the same value, nan empty.

    Text that a spreadsheet would take for a formula gets an apostrophe before it; control characters, as errors of the
    user's own code may hold, are replaced.
    """
    safe = table.copy(deep=False)
    for name in safe.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in safe.dtypes]]:
        safe[name] = spreadsheet_column(printable_column(safe[name]))
    safe.columns = pd.Index([spreadsheet(str(name)) for name in safe.columns])
    buffer = io.BytesIO()
    safe.to_csv(buffer, index=False, lineterminator="\n", encoding="utf-8")
    return buffer.getvalue()


def write_history(path: Path, histories: Iterable[pd.DataFrame]) -> None:
    """Write the series of runs as they come, one row group each."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        pq.ParquetWriter(file, HISTORY_SCHEMA, compression="zstd") as writer,
    ):
        for history in histories:
            writer.write_table(pa.Table.from_pandas(history, HISTORY_SCHEMA, preserve_index=False))


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write each picture as <name>.svg, and remove those of an earlier report that are made no more."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.svg", picture.svg)
    made = {f"{picture.name}.svg" for picture in pictures}
    for path in folder.glob("*.svg"):
        if path.name not in made:
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON for people to read too."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def export_tables(folder: Path, analysis: Analysis, format: TableFormat) -> list[Path]:  # noqa: A002 (as the option)
    """Write the tables once more in one format; the files that were written.

    csv and parquet hold the numbers in full; markdown and latex are for people: rounded, with intervals.
    """
    _refuse_unknown(format, get_args(TableFormat))
    written = []
    for name in analysis.tables if format in ("csv", "parquet") else SHEETS:
        path = folder / "tables" / f"{name}.{ENDINGS.get(format, format)}"
        if format == "parquet":
            _write_parquet(path, analysis.tables[name])
        else:
            write_text(path, table_text(analysis, name, format))
        written.append(path)
    return written


def table_text(analysis: Analysis, name: str, format: TextFormat) -> str:  # noqa: A002 (as the option)
    """One table as text: csv with the numbers in full, markdown or latex as people read it."""
    _refuse_unknown(format, get_args(TextFormat))
    known = analysis.tables if format == "csv" else SHEETS
    if name not in known:
        raise UsageError(f"there is no table {name!r} as {format}; there are {', '.join(known)}")
    if format == "csv":
        return csv_bytes(analysis.tables[name]).decode()
    sheet = SHEETS[name](analysis)
    return (
        f"{markdown_table(sheet)}\n" if format == "markdown" else latex_table(sheet, name.capitalize(), f"tab:{name}")
    )


def _refuse_unknown(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UsageError(f"there is no format {name!r} of a table here; there are {', '.join(known)}")
