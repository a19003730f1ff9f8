"""Mistakes that would be easy to make, each put into a copy of the package, and each caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.checks import CHECKS

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """One edit: `old` stands exactly once in `file`; `caught_by` is the check that must fail."""

    file: str
    old: str
    new: str
    caught_by: str


MUTANTS = {
    "sign of the tau gradient": Mutant(
        "core/cfc.py",
        "* slope * sign, count)",
        "* slope * (splat_like(0.0, tau) - sign), count)",
        "gradients_of_a_float_teacher",
    ),
    "no gradient of the scales": Mutant(
        "core/quantize.py",
        "store_part(dscale, column, total, count)",
        "store_part(dscale, column, total - total, count)",
        "gradients_of_scales",
    ),
    "mask shifted by a half": Mutant(
        "factors/gradient/__init__.py",
        "return clipped((a - boundary) * splat_like(beta, w) + half, zero, one)",
        "return clipped((a - boundary) * splat_like(beta, w), zero, one)",
        "gradients_through_a_shape",
    ),
    "alpha and 1 - alpha swapped": Mutant(
        "factors/distillation/__init__.py",
        "return self.start + (self.end - self.start) * progress.fraction",
        "return 1.0 - (self.start + (self.end - self.start) * progress.fraction)",
        "trajectory_weight_grows",
    ),
    "search on evaluation data": Mutant(
        "tasks/one_step.py",
        'return _DrawnSignals(self, stream("calibration"), dtype).batch(0)',
        "return self.evaluation_batch(dtype)",
        "search_never_sees_evaluation_data",
    ),
    "a stream shared between replicates": Mutant(
        "core/random.py",
        'f"kdrun:{self.seed}:{self.replicate}:{self.purpose}"',
        'f"kdrun:{self.seed}:{self.purpose}"',
        "replicates_share_nothing",
    ),
    "gradients of soft targets not divided by T": Mutant(
        "factors/soft_targets/__init__.py",
        "shares * (factor / temperature.value)",
        "shares * factor",
        "gradients_of_soft_targets",
    ),
    "a temperature that descends": Mutant(
        "factors/temperature/ctkd.py",
        "sign=-1.0)",
        "sign=1.0)",
        "an_anchor_pulls",
    ),
    "a split for each role": Mutant(
        "tasks/digits.py",
        'stream("task/split")',
        'stream("split")',
        "roles_share_the_test_images",
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_code_as_it_is_passes(name):
    """Every check holds of the package itself."""
    CHECKS[name]()


# Each is a copy of the package that is compiled anew; the quick suite tries one of them.
QUICK = 1


@pytest.mark.parametrize(
    "name",
    [name if place < QUICK else pytest.param(name, marks=pytest.mark.slow) for place, name in enumerate(MUTANTS)],
)
def test_a_mutant_is_caught(name, tmp_path):
    """With the mistake in a copy of the package, its check fails, by an assertion and nothing else."""
    mutant = MUTANTS[name]
    shutil.copytree(ROOT / "kdrun", tmp_path / "kdrun", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "kdrun" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1
    path.write_text(text.replace(mutant.old, mutant.new))
    shutil.copytree(ROOT / "tests" / "mutants", tmp_path / "tests" / "mutants")
    # A package, so that it comes before one of the same name elsewhere on the path.
    (tmp_path / "tests" / "__init__.py").touch()
    done = run_check(mutant.caught_by, tmp_path)
    assert done.returncode == 1
    assert "AssertionError" in done.stderr


def run_check(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "KDRUN_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "tests.mutants.checks", name]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
