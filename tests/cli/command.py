"""The installed command, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "tests" / "smoke.yaml"
KDRUN = Path(sys.executable).parent / "kdrun"


def kdrun(
    *arguments: object, cwd: Path | None = None, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with `env` beside the environment. Whatever it does, it shows no traceback."""
    done = subprocess.run(
        [str(KDRUN), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=stdin,
        env={**os.environ, **(env or {})},
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def digest_of(done: subprocess.CompletedProcess[str]) -> str:
    """The results digest, which is the last line."""
    name, digest = done.stdout.strip().splitlines()[-1].split()
    assert name == "results_digest"
    return digest
