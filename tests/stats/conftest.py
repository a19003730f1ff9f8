"""Fixtures of the statistics' tests."""

from __future__ import annotations

import pytest
from drawn_studies import Drawn


@pytest.fixture
def drawn() -> Drawn:
    """A study without runs, to be filled."""
    return Drawn()
