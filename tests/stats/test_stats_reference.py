"""The effects of the committed sine study, computed again from its runs by a dozen lines of numpy and scipy."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

TABLES = Path(__file__).parents[2] / "results" / "sine" / "tables"


def by_a_dozen_lines(path: Path) -> dict[str, tuple[float, ...]]:
    """Estimate, bounds, standard error, p and Holm's p of each term, from runs.csv alone."""
    rows = [row for row in csv.DictReader(path.read_text().splitlines()) if row["kind"] == "treatment"]
    code = {"ste": -1, "smoothstep": 1, "none": -1, "trajectory": 1, "16": -1, "32": 1}
    names = ("gradient", "distillation", "width")
    y = np.array([np.log10(float(row["eval_mse"])) for row in rows])
    signs = {name: np.array([code[row[name]] for row in rows]) for name in names}
    replicate = np.array([int(row["replicate"]) for row in rows])
    found = {}
    for term in (subset for size in (1, 2, 3) for subset in combinations(names, size)):
        sign = np.prod([signs[name] for name in term], axis=0)
        inside = [
            y[(replicate == r) & (sign > 0)].mean() - y[(replicate == r) & (sign < 0)].mean() for r in set(replicate)
        ]
        test = stats.ttest_1samp(inside, 0)
        low, high = test.confidence_interval()
        found[":".join(term)] = (float(np.mean(inside)), low, high, float(stats.sem(inside)), float(test.pvalue))
    order = sorted(found, key=lambda term: found[term][4])
    adjusted = np.minimum(1, np.maximum.accumulate([found[term][4] * (len(order) - i) for i, term in enumerate(order)]))
    return {term: (*found[term], adjusted[order.index(term)]) for term in found}


def test_effects_of_the_sine_study_are_those_of_a_short_script() -> None:
    """effects.csv equals, to 1e-9, what the script computes from runs.csv; ratios are powers of ten of it."""
    expected = by_a_dozen_lines(TABLES / "runs.csv")
    got = list(csv.DictReader((TABLES / "effects.csv").read_text().splitlines()))
    assert [row["term"] for row in got] == list(expected)
    for row in got:
        numbers = [float(row[key]) for key in ("estimate", "ci_low", "ci_high", "std_error", "p_value", "p_holm")]
        assert numbers == pytest.approx(expected[row["term"]], rel=1e-9, abs=1e-9)
        ratios = [float(row[key]) for key in ("ratio", "ratio_low", "ratio_high")]
        assert ratios == pytest.approx([10**value for value in expected[row["term"]][:3]], rel=1e-9)
        assert row["df"] == "9.0"
