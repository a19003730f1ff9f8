"""One page over several studies, from the tables that stand in their folders: no runs are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from rich.table import Table

from kdrun.errors import UsageError
from kdrun.files import write_text
from kdrun.report.html import SHORT_DIGEST, render
from kdrun.report.sheet import Sheet, markdown_table, rich_table
from kdrun.report.text import counted, estimate, heading, markdown
from kdrun.report.wording import VERDICTS, verdict_counts

COLUMNS = (
    "folder", "study", "title", "treatments", "replicates", "best", "best_replicates", "response", "mean", "ci_low",
    "ci_high", *VERDICTS, "criteria", "held", "results_digest", "end", "report",
)  # fmt: skip
REPORTS = ("report.html", "report.md")


def study_folders(folder: Path) -> list[Path]:
    """The results folders directly in a folder, by name: those that hold a table of treatments."""
    return sorted(path for path in folder.iterdir() if (path / "tables" / "treatments.csv").is_file())


def folders_without_tables(folder: Path) -> list[Path]:
    """Folders of studies directly in a folder, by name, that hold no table of treatments, so that no index has them."""
    found = {path.parent for path in folder.glob("*/study.yaml")} | {
        path.parent for path in folder.glob("*/runs.sqlite")
    }
    return sorted(found - set(study_folders(folder)))


def is_index(folder: Path) -> bool:
    """Whether a folder holds results folders rather than the results of one study."""
    return folder.is_dir() and not (folder / "study.yaml").exists() and bool(study_folders(folder))


def study_index(folder: Path) -> pd.DataFrame:
    """One row per study in the folder, by name.

    Columns: folder (its name), study, title, treatments, replicates, best (the levels of the best treatment),
    best_replicates (how many it has), response (the primary one), mean, ci_low, ci_high (of the best treatment),
    supported, refuted, inconclusive (how many hypotheses), criteria, held (how many), results_digest, end, report (the
    name of its report's file, or empty).
    """
    return pd.DataFrame([_study_row(path) for path in study_folders(folder)], columns=list(COLUMNS))


def _study_row(folder: Path) -> tuple[Any, ...]:
    manifest, treatments = _manifest(folder), _table(folder, "treatments")
    criteria, hypotheses = _table(folder, "criteria"), _table(folder, "hypotheses")
    primary = _primary(manifest, treatments)
    best = _best(treatments, primary)
    values = [_number(best.get(f"{primary['name']}_{key}", "")) for key in ("mean", "ci_low", "ci_high")]
    verdicts = list(hypotheses.get("verdict", ()))
    held = sum(value == "True" for value in criteria.get("holds", ()))
    return (
        folder.name, str(manifest.get("study", folder.name)), str(manifest.get("title", folder.name)), len(treatments),
        _replicates(treatments), _levels(best), _count(best), primary["name"], *values,
        *(verdicts.count(verdict) for verdict in VERDICTS), len(criteria), held,
        str(manifest.get("results_digest", "")), str(manifest.get("end") or ""),
        next((name for name in REPORTS if (folder / name).is_file()), ""),
    )  # fmt: skip


def _primary(manifest: dict[str, Any], treatments: pd.DataFrame) -> dict[str, str]:
    """Name of the primary response, and which way is better; without a manifest the first one, and lower."""
    found = manifest.get("primary")
    if isinstance(found, dict) and "name" in found:
        return {"better": "lower", **{key: str(value) for key, value in found.items()}}
    return {"name": _first_response(treatments), "better": "lower"}


def _replicates(treatments: pd.DataFrame) -> int:
    """The most replicates that a treatment has; 0 where the table does not say."""
    counts = [_number(count) for count in treatments.get("replicates", ())]
    return int(max((count for count in counts if math.isfinite(count)), default=0))


def _count(row: dict[str, str]) -> int:
    """How many replicates a treatment has; 0 where the table does not say."""
    count = _number(row.get("replicates", ""))
    return int(count) if math.isfinite(count) else 0


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
    try:
        return float(text)
    except ValueError:
        return math.nan


def _levels(row: dict[str, str]) -> str:
    """The levels of a treatment: what stands between its number and its replicates."""
    names = list(row)
    if "treatment" not in names or "replicates" not in names:
        return ""
    factors = names[names.index("treatment") + 1 : names.index("replicates")]
    return ", ".join(f"{name} {row[name]}" for name in factors)


def index_sheet(index: pd.DataFrame) -> Sheet:
    """The index as text."""
    rows = tuple(tuple(_shown(row)[key] for key in HEADINGS) for row in index.to_dict("records"))
    return Sheet(tuple(HEADINGS.values()), rows, frozenset({3, 4}), notes=REMARKS)


HEADINGS = {
    "study": "Study", "verdicts": "Hypotheses", "held": "Criteria", "treatments": "Treatments",
    "replicates": "Replicates", "best": "Best treatment", "value": "Its response", "results_digest": "Results digest",
}  # fmt: skip
REMARKS = ("Means with 95% intervals, as each study's report has them.",)


def _shown(row: Mapping[Any, Any]) -> dict[str, str]:
    """One study as the index shows it, by `HEADINGS`; `link` leads to its report, relative to the index."""
    return {
        "study": row["study"],
        "title": row["title"],
        "verdicts": verdict_counts(verdict for verdict in VERDICTS for _ in range(row[verdict])),
        "held": f"{row['held']} of {row['criteria']} hold" if row["criteria"] else "",
        "treatments": str(row["treatments"]),
        "replicates": str(row["replicates"]),
        "best": row["best"],
        "value": f"{heading(row['response'])} {estimate(row['mean'], row['ci_low'], row['ci_high'])}{_of_fewer(row)}",
        "results_digest": row["results_digest"][:SHORT_DIGEST],
        "link": f"./{quote(row['folder'], safe='')}/{row['report']}" if row["report"] else "",
    }


def _of_fewer(row: Mapping[Any, Any]) -> str:
    """`, of 2 of 5 replicates` where the best treatment has fewer than others."""
    fewer = 0 < row["best_replicates"] < row["replicates"]
    return f", of {row['best_replicates']} of {counted(row['replicates'], 'replicate')}" if fewer else ""


def index_rich(index: pd.DataFrame) -> Table:
    """The index for a terminal."""
    return rich_table(index_sheet(index), "Studies")


def index_markdown(index: pd.DataFrame) -> str:
    """The index in Markdown: the table, and links to the reports."""
    shown = [_shown(row) for row in index.to_dict("records")]
    links = [f"- [{markdown(row['study'])}]({row['link']}): {markdown(row['title'])}" for row in shown if row["link"]]
    return "\n\n".join(["# Studies", markdown_table(index_sheet(index)), *(["\n".join(links)] if links else [])]) + "\n"


def index_html(index: pd.DataFrame) -> str:
    """The index as a page."""
    return render("index.html.j2", studies=[_shown(row) for row in index.to_dict("records")], remarks=REMARKS)


def write_index(folder: Path, index: pd.DataFrame) -> None:
    """Write index.md and index.html. The folders of the studies are left as they are."""
    write_text(folder / "index.md", index_markdown(index))
    write_text(folder / "index.html", index_html(index))
