"""One small study, analysed, for everything that shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from kdrun.records import Outcome, Run
from kdrun.stats.analysis import Analysis, analyse
from kdrun.stats.scales import Layout, Response

FACTORS = {"gradient": ("ste", "smoothstep"), "distillation": ("none", "trajectory"), "width": ("16", "32")}
CRITERIA = [
    {"name": "all reported", "claim": {"complete": True}, "required": True},
    {"name": "same bits", "claim": {"reproducible": True}},
]
Make = Callable[..., Analysis]


@pytest.fixture
def make() -> Make:
    """Analyses a sine-like study: four replicates of two teachers, eight treatments and a comparator."""
    return _made


def _made(
    factors: dict[str, tuple[str, ...]] = FACTORS,
    replicates: int = 4,
    diverged: tuple[str, ...] = (),
    criteria: list[dict[str, Any]] = CRITERIA,
    comparator: str = "coordinate_search",
    missing: tuple[str, ...] = (),
    chosen: Callable[[tuple[int, ...]], bool] | None = None,
    screening: bool = False,
    stand_in: float | None = 0.5,
    hypotheses: tuple[dict[str, Any], ...] = (),
) -> Analysis:
    """`chosen` says of the positions of levels whether they are a treatment; numbers of runs are those of the full."""
    measured = (Response("train_mse", declared=False), Response("eval_mse", stand_in=stand_in))
    layout = Layout(factors, measured, ("eval_mse",), ("vs_float", "vs_baseline"), screening=screening)
    names = list(factors)
    runs, outcomes = [], {}
    for replicate in range(1, replicates + 1):
        runs.append(Run(f"teacher{replicate}", "teacher", replicate, {}))
        for treatment in range(2 ** len(names)):
            positions = tuple(treatment >> place & 1 for place in range(len(names)))
            if chosen is not None and not chosen(positions):
                continue
            levels = {name: factors[name][position] for name, position in zip(names, positions, strict=True)}
            needs = (f"teacher{replicate}",)
            run_id = f"r{replicate}t{treatment + 1}"
            runs.append(Run(run_id, "treatment", replicate, {}, needs, treatment + 1, None, levels))
        runs.append(Run(f"c{replicate}", "comparator", replicate, {}, (f"r{replicate}t1",), None, comparator))
    for place, run in enumerate(runs):
        value = 1e-4 * (2 + math.sin(place))
        if run.run_id in missing:
            continue
        status = "diverged" if run.run_id in diverged else "done"
        responses = {"eval_mse": value} if run.kind == "comparator" else {"train_mse": value / 2, "eval_mse": value}
        outcomes[run.run_id] = Outcome(run.run_id, status, responses, seconds=0.25)  # type: ignore[arg-type]
    return analyse(runs, outcomes, layout, criteria, hypotheses)


@pytest.fixture
def analysis(make: Make) -> Analysis:
    """The study as it stands."""
    return make()


@pytest.fixture
def study() -> dict[str, Any]:
    """Its resolved description, as much of it as a report reads."""
    return {"study": "sine", "title": "A study of sines", "responses": [{"name": "eval_mse", "better": "lower"}]}


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A manifest with fixed content."""
    return {
        "study": "sine",
        "title": "A study of sines",
        "primary": {"name": "eval_mse", "better": "lower"},
        "study_digest": "5d",
        "results_digest": "7e5",
        "versions": {"python": "3.11.0"},
        "cpu": {"model": "Some CPU", "features": ["avx2"]},
        "git_commit": None,
        "start": "2025-01-01T00:00:00+00:00",
        "end": "2025-01-01T00:01:00+00:00",
    }
