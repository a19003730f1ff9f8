"""Which sources compute a run: kept beside every stored run, and in neither its id nor its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdrun.core.jit import sources_digest

ROOMS = ("core", "models", "factors", "tasks", "engine")


def computing_sources() -> str:
    """What a run's bits may depend on in kdrun itself: the sources of the rooms that compute it, and versions."""
    parts = [sources_digest(Path(__file__).parents[1] / room) for room in ROOMS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
