"""Results of the smoke study, run once for the tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import SMOKE, kdrun


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The smoke study's results folder, and what the command printed."""
    results = tmp_path_factory.mktemp("smoke")
    done = kdrun("factorial", SMOKE, "--results", results)
    assert done.returncode == 0, done.stderr
    return results / "smoke", done.stdout
