"""Studies with verdicts, an analysis of variance and registrations, for the tests of what shows them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from kdrun.stats.analysis import Analysis

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\u202e\x1b[31m</td></pre>&amp;"
# What a person is to see of it: the same, with what steers made visible.
SHOWN = "<script>alert(1)</script>\"'{{7*7}}\ufffd\ufffd[31m</td></pre>&amp;"
COLUMNS = ("say", "claim", "verdict", "exploratory", "estimate", "ci_low", "ci_high", "replicates", "evidence")
ANOVA = ("response", "term", "stratum", "df", "sum_sq", "mean_sq", "F", "p_value", "partial_eta_sq")
NAN = math.nan


def half(positions: tuple[int, ...]) -> bool:
    """Half of all treatments: the last factor is the product of all others."""
    return sum(positions) % 2 == 1


def mixed(positions: tuple[int, ...]) -> bool:
    """All treatments but those of all first and of all second levels: no regular fraction."""
    return 0 < sum(positions) < len(positions)


def judged(analysis: Analysis, **changes: Any) -> Analysis:
    """The analysis with three verdicts and an analysis of variance."""
    hypotheses = [
        ("gradient helps", "effect: gradient", "supported", False, 0.585, 0.445, 0.771, 4, "gradient multiplies it"),
        ("width matters most", "largest_effect: width", "refuted", False, NAN, NAN, NAN, 4, "distillation is larger"),
        ("they differ", "better: {}", "inconclusive", True, -0.1, -0.5, 0.3, 1, "the interval holds 0"),
    ]
    anova = [
        ("eval_mse", "gradient", "residual", 1, 121.5, 121.5, 85.05, 2.5e-7, 0.8587),
        ("eval_mse", "replicate", "replicate", 3, 4.0, 2.0, NAN, NAN, NAN),
        ("eval_mse", "residual", "residual", 14, 20.0, 1.4286, NAN, NAN, NAN),
    ]
    tables = {
        "hypotheses": pd.DataFrame(hypotheses, columns=list(COLUMNS)),
        "anova": pd.DataFrame(anova, columns=list(ANOVA)),
    }
    return replace(analysis, **{**tables, **changes})


def effects(*rows: tuple[str, str, float, float, float], df: float = 9.0, p_holm: float = 0.01) -> pd.DataFrame:
    """Effects on log10 of `eval_mse` from term, contrast, estimate and bounds; p is 0.001 where 0 is outside."""
    frame = pd.DataFrame(rows, columns=["term", "contrast", "estimate", "ci_low", "ci_high"])
    outside = (frame["ci_low"] > 0) | (frame["ci_high"] < 0)
    frame.insert(0, "response", "eval_mse")
    frame["order"] = frame["term"].str.count(":") + 1
    frame["std_error"], frame["df"] = 0.1, df
    frame["p_value"] = outside.map({True: 0.001, False: 0.4})
    frame["p_holm"] = outside.map({True: p_holm, False: 1.0})
    for name, column in (("ratio", "estimate"), ("ratio_low", "ci_low"), ("ratio_high", "ci_high")):
        frame[name] = 10 ** frame[column]
    return frame
