"""What runs print, whoever prints it: in a worker process it goes to one file, of which failures show the end."""

from __future__ import annotations

import contextlib
import os
import sys

MOST_SHOWN = 4000
STANDARD_OUTPUT = 1


class _Capture:
    """Whether the standard output of this process is such a file."""

    is_on = False


def capture() -> None:
    """From now on the standard output of this process is a file that belongs to its runs."""
    _Capture.is_on = True


def forget() -> None:
    """Empty the file."""
    if _Capture.is_on:
        os.ftruncate(STANDARD_OUTPUT, 0)


def printed() -> str:
    """The end of what was printed since it was emptied; nothing where nothing is captured."""
    if not _Capture.is_on:
        return ""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    return end_of(STANDARD_OUTPUT)


def end_of(descriptor: int) -> str:
    """The end of a file that is open for reading."""
    length = os.fstat(descriptor).st_size
    text = os.pread(descriptor, MOST_SHOWN, max(0, length - MOST_SHOWN)).decode(errors="replace")
    # Python lists all extension modules after a crash, which would hide what comes before.
    found = "\n".join(line for line in text.splitlines() if not line.startswith("Extension modules: ")).strip()
    return f"…{found}" if length > MOST_SHOWN else found
