"""The references are independent of what they check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import naive

FILES = sorted(Path(naive.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_reference_imports_nothing_of_kdrun(path):
    """No file of tests/naive imports the package."""
    got = [line for line in path.read_text().splitlines() if line.lstrip().startswith(("import kdrun", "from kdrun"))]
    assert got == []
