"""Results as one JSON document, for programs. It holds no nan or infinity: null stands for them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from kdrun.records import GradientCheck
from kdrun.stats.analysis import Analysis

HYPOTHESIS = ("say", "verdict", "estimate", "ci_low", "ci_high", "replicates")


def factorial_document(
    analysis: Analysis, study: str, results: str, study_digest: str, results_digest: str
) -> dict[str, Any]:
    """What `kdrun factorial --json` prints. A treatment has the mean of each response by its name, and its bounds."""
    counts = analysis.runs["status"].value_counts()
    return {
        "study": study,
        "results": results,
        "study_digest": study_digest,
        "results_digest": results_digest,
        "runs": {status: int(counts.get(status, 0)) for status in ("done", "failed", "diverged", "missing")},
        "treatments": [_means(row, analysis) for row in records(analysis.treatments)],
        "criteria": [
            {key: row[key] for key in ("name", "required", "holds", "evidence")} for row in records(analysis.criteria)
        ],
        "hypotheses": [{key: row[key] for key in HYPOTHESIS} for row in records(analysis.hypotheses)],
    }


def _means(row: dict[str, Any], analysis: Analysis) -> dict[str, Any]:
    means = {f"{response.name}_mean": response.name for response in analysis.layout.columns}
    return {means.get(name, name): value for name, value in row.items()}


def gradient_rows(rows: Iterable[GradientCheck]) -> list[dict[str, Any]]:
    """What `kdrun gradcheck --json` prints; an error that is not finite is null."""
    names = ("name", "dtype", "parameters", "max_relative_error", "tolerance", "passed")
    return [{name: _json(getattr(row, name)) for name in names} for row in rows]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON data."""
    return [{str(name): _json(value) for name, value in row.items()} for row in table.to_dict("records")]


def _json(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
