"""The installed command, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "tests" / "smoke.yaml"
KDRUN = Path(sys.executable).parent / "kdrun"


def kdrun(*arguments: object, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end. Whatever it does, it shows no traceback."""
    command = [str(KDRUN), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, input=stdin, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def digest_of(done: subprocess.CompletedProcess[str]) -> str:
    """The results digest, which is the last line."""
    name, digest = done.stdout.strip().splitlines()[-1].split()
    assert name == "results_digest"
    return digest
