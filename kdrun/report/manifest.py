"""manifest.json: what the results are, and what made them. No path, host or user is in it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("kdrun", "numpy", "numba", "llvmlite", "scipy", "pandas")
# Features that change which instructions vectors are computed with, oldest first.
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl", "neon", "sve")


def environment() -> dict[str, Any]:
    """What the runs are made with, to be kept with them: versions, CPU, git commit of the current folder.

    Keys: versions {package: version}, cpu {model, architecture, features}, git_commit (None without git).
    """
    return {"versions": versions(), "cpu": cpu(), "git_commit": git_commit()}


def manifest(
    study: Mapping[str, Any],
    study_digest: str,
    results_digest: str,
    made_with: Mapping[str, Any],
    start: str | None = None,
    end: str | None = None,
) -> dict[str, Any]:
    """The content of manifest.json.

    `study` is the resolved study; `made_with` an `environment()`; `start` and `end` are texts such as
    `2025-01-31T12:00:00+00:00`. Name, title and primary response stand in it so that an index needs no study file.
    """
    primary = study["responses"][0]
    return {
        "study": study["study"],
        "title": study.get("title") or study["study"],
        "primary": {"name": primary["name"], "better": primary.get("better", "lower")},
        "study_digest": study_digest,
        "results_digest": results_digest,
        "versions": made_with.get("versions"),
        "cpu": made_with.get("cpu"),
        "git_commit": made_with.get("git_commit"),
        "start": start,
        "end": end,
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = str(getattr(sys.modules.get(package), "__version__", "unknown"))
    return found


def cpu() -> dict[str, Any]:
    """Model, architecture, and those of `FEATURES` that it has."""
    from llvmlite import binding

    available = binding.get_host_cpu_features()
    return {
        "model": _cpu_model() or binding.get_host_cpu_name(),
        "architecture": platform.machine(),
        "features": [name for name in FEATURES if available.get(name)],
    }


def _cpu_model() -> str:
    """The CPU as its maker calls it, where the system says so."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(errors="replace").splitlines() if listing.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor()


def git_commit() -> str | None:
    """The commit of the current folder; None where there is no git, or no commit."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        command = [git, "rev-parse", "HEAD"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 (constant)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
