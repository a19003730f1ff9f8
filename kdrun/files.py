"""Files that are either the old or the new one, never half of each."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a name is that of a file that was still being written: its process was killed, or is at it."""
    return re.fullmatch(r"\..+\.\d+\.tmp(-(journal|wal|shm))?", path.name) is not None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; its bytes are on the disk before its name is."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with newlines as they stand in `text`, atomically."""
    write_bytes(path, text.encode())
