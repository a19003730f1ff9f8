"""One kdrun at a time works on a results folder.

The lock is the system's, on a file beside the folder: it goes with the process that holds it, however that ends. What
the file says is for people; a file that nobody holds is what a killed process left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kdrun.errors import UsageError


def lock_file(folder: Path) -> Path:
    """The file that is locked while somebody works on a results folder."""
    return folder.parent / f".{folder.name}.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a results folder, or refuse where somebody else holds it, saying who."""
    made = _make(folder.parent)
    path = lock_file(folder)
    descriptor = _taken(path, folder)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_holder()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        _remove_empty(made)


def is_locked(folder: Path) -> bool:
    """Whether somebody works on a results folder now."""
    try:
        descriptor = os.open(lock_file(folder), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _make(folder: Path) -> list[Path]:
    """Make a folder. Returns those that were not there, the innermost first."""
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: results cannot be written there: {error.strerror}; nothing was run") from None
    return made


def _remove_empty(folders: list[Path]) -> None:
    """A command that wrote nothing leaves nothing."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _taken(path: Path, folder: Path) -> int:
    """A descriptor of the locked file."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(f"{folder}: results cannot be written there: {error.strerror}; nothing was run") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = _who(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{folder}: another kdrun works on this folder ({text}). Wait until it is done, or stop it; or use"
                " another place with --results DIR. Nothing was run"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise UsageError(
                f"{path}: the file system allows no locks ({error.strerror}); use another place with --results DIR"
            ) from None
        if _is_still(path, descriptor):
            return descriptor
        # Whoever held it before has removed the file meanwhile.
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _holder() -> dict[str, str | int]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _who(descriptor: int) -> str:
    """Who holds the lock, as the file says."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "it does not say which"
