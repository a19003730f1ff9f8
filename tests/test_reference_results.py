"""Every committed result is what the code gives now, bit for bit; CI looks at results/smoke alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.command import KDRUN
from tests.core.comparing import needs_jit

ROOT = Path(__file__).parents[1]
STUDIES = sorted(manifest.parent.name for manifest in (ROOT / "results").glob("*/manifest.json"))


@needs_jit
@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_committed_result_still_stands(study: str) -> None:
    """The study, run again, has the digest of its manifest: where one has not, `make results` was forgotten.

    A folder without its database takes paths of data as they stand in the study, from where it is verified.
    """
    done = subprocess.run(
        [KDRUN, "verify", f"../results/{study}"], cwd=ROOT / "experiments", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
