"""How much memory there is, and how much a process uses. Linux tells both in files; elsewhere nothing is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SHARE_OF_MEMORY = 0.9


def fair_share(workers: int) -> int | None:
    """Bytes for each of so many workers, when one in ten is left to everything else; None where memory is unknown."""
    total = _total_memory()
    return None if total is None else int(SHARE_OF_MEMORY * total / workers)


def _total_memory() -> int | None:
    """Bytes that this process and others may use: of the machine, or of the container that it is in."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (ValueError, OSError):
        return None
    return min(found + [int(text) for text in map(_text, _GROUP_LIMITS) if text.strip().isdigit()])


def used_memory(process: int) -> int:
    """Bytes in memory of a process and all that it has started; 0 where nothing is known of it."""
    pages = sum(_pages(member) for member in _family(process))
    return pages * os.sysconf("SC_PAGE_SIZE")


def _family(process: int) -> Iterator[int]:
    yield process
    for task in _listed(Path(f"/proc/{process}/task")):
        for child in _text(task / "children").split():
            yield from _family(int(child))


def _pages(process: int) -> int:
    fields = _text(f"/proc/{process}/statm").split()
    return int(fields[1]) if len(fields) > 1 else 0


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
