"""What runs print, whoever prints it: in a worker process it goes to one file, of which failures show the end."""

from __future__ import annotations

import contextlib
import os
import sys

MOST_SHOWN = 4000
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


class _Capture:
    """Such a file, where this process has one: a descriptor of our own, and which file that was."""

    descriptor: int | None = None
    file: os.stat_result


def capture() -> None:
    """From now on the standard output of this process is a file that belongs to its runs."""
    _Capture.descriptor = os.dup(STANDARD_OUTPUT)
    _Capture.file = os.fstat(_Capture.descriptor)


def _ours() -> int | None:
    """The descriptor of that file; None where nothing is captured, or no more.

    Code of the user's own may close whatever it likes. The number may then be that of a file of the user's, which is
    not to be emptied.
    """
    if _Capture.descriptor is None:
        return None
    try:
        same = os.path.samestat(os.fstat(_Capture.descriptor), _Capture.file)
    except OSError:
        return None
    return _Capture.descriptor if same else None


def forget() -> None:
    """Empty the file, and print into it again, whatever a run has done to the standard streams."""
    descriptor = _ours()
    if descriptor is not None:
        os.ftruncate(descriptor, 0)
        for stream in (STANDARD_OUTPUT, STANDARD_ERROR):
            os.dup2(descriptor, stream)


def printed() -> str:
    """The end of what was printed since it was emptied; nothing where nothing is captured."""
    descriptor = _ours()
    if descriptor is None:
        return ""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    return end_of(descriptor)


def end_of(descriptor: int) -> str:
    """The end of a file that is open for reading."""
    length = os.fstat(descriptor).st_size
    text = os.pread(descriptor, MOST_SHOWN, max(0, length - MOST_SHOWN)).decode(errors="replace")
    # Python lists all extension modules after a crash, which would hide what comes before.
    found = "\n".join(line for line in text.splitlines() if not line.startswith("Extension modules: ")).strip()
    return f"…{found}" if length > MOST_SHOWN else found
