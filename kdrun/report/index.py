"""One page over several studies, from the tables that stand in their folders: no runs are needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from kdrun.errors import UsageError
from kdrun.files import write_text
from kdrun.report.tables import Sheet, markdown_table, rich_table
from kdrun.report.text import estimate, heading

COLUMNS = (
    "folder", "study", "title", "treatments", "replicates", "best", "response", "mean", "ci_low", "ci_high", "criteria",
    "held", "results_digest", "end",
)  # fmt: skip


def study_folders(folder: Path) -> list[Path]:
    """The results folders directly in a folder, by name: those that hold a table of treatments."""
    return sorted(path for path in folder.iterdir() if (path / "tables" / "treatments.csv").is_file())


def is_index(folder: Path) -> bool:
    """Whether a folder holds results folders rather than the results of one study."""
    return folder.is_dir() and not (folder / "study.yaml").exists() and bool(study_folders(folder))


def study_index(folder: Path) -> pd.DataFrame:
    """One row per study in the folder, by name.

    Columns: folder (its name), study, title, treatments, replicates, best (the levels of the best treatment), response
    (the primary one), mean, ci_low, ci_high (of the best treatment), criteria, held (how many), results_digest, end.
    """
    return pd.DataFrame([_study_row(path) for path in study_folders(folder)], columns=list(COLUMNS))


def _study_row(folder: Path) -> tuple[Any, ...]:
    manifest, treatments = _manifest(folder), _table(folder, "treatments")
    criteria = _table(folder, "criteria")
    primary = manifest.get("primary") or {"name": _first_response(treatments), "better": "lower"}
    best = _best(treatments, primary)
    values = [_number(best.get(f"{primary['name']}_{key}", "")) for key in ("mean", "ci_low", "ci_high")]
    held = sum(value == "True" for value in criteria.get("holds", ()))
    return (
        folder.name, str(manifest.get("study", folder.name)), str(manifest.get("title", folder.name)), len(treatments),
        max((int(count) for count in treatments["replicates"]), default=0), _levels(best), primary["name"], *values,
        len(criteria), held, str(manifest.get("results_digest", "")), str(manifest.get("end") or ""),
    )  # fmt: skip


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); `kdrun report {folder.name}` writes it again") from error
    return content if isinstance(content, dict) else {}


def _table(folder: Path, name: str) -> pd.DataFrame:
    """A table as the text that it was written as; empty where there is none."""
    path = folder / "tables" / f"{name}.csv"
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UsageError(f"{path}: not a table ({error}); `kdrun report {folder.name}` writes it again") from error


def _first_response(treatments: pd.DataFrame) -> str:
    return next((name.removesuffix("_mean") for name in treatments.columns if name.endswith("_mean")), "")


def _best(treatments: pd.DataFrame, primary: dict[str, Any]) -> dict[str, str]:
    """The row of the best treatment, as text; empty where no treatment has a mean."""
    column = f"{primary['name']}_mean"
    if column not in treatments:
        return {}
    means = np.array([_number(value) for value in treatments[column]])
    if np.isnan(means).all():
        return {}
    place = np.nanargmin(means) if primary.get("better", "lower") == "lower" else np.nanargmax(means)
    return {str(name): str(value) for name, value in treatments.iloc[int(place)].items()}


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _levels(row: dict[str, str]) -> str:
    """The levels of a treatment: what stands between its number and its replicates."""
    names = list(row)
    factors = names[names.index("treatment") + 1 : names.index("replicates")] if row else []
    return ", ".join(f"{name} {row[name]}" for name in factors)


def index_sheet(index: pd.DataFrame) -> Sheet:
    """The index as text."""
    rows = tuple(_index_row(row) for row in index.to_dict("records"))
    headings = ("Study", "Treatments", "Replicates", "Best treatment", "Its response", "Criteria", "Results digest")
    return Sheet(
        headings, rows, frozenset({1, 2}), notes=("Means with 95% intervals, as each study's report has them.",)
    )


def _index_row(row: dict[Any, Any]) -> tuple[str, ...]:
    value = f"{heading(row['response'])} {estimate(row['mean'], row['ci_low'], row['ci_high'])}"
    held = f"{row['held']} of {row['criteria']} hold" if row["criteria"] else ""
    counts: Sequence[str] = (str(row["treatments"]), str(row["replicates"]))
    return (row["study"], *counts, row["best"], value, held, row["results_digest"][:12])


def index_rich(index: pd.DataFrame) -> Table:
    """The index for a terminal."""
    return rich_table(index_sheet(index), "Studies")


def write_index(folder: Path, index: pd.DataFrame) -> None:
    """Write index.md. The folders of the studies are left as they are."""
    write_text(folder / "index.md", f"# Studies\n\n{markdown_table(index_sheet(index))}\n")
