"""The one place that decides how kernels are compiled and where their machine code is kept.

Numba's on-disk cache notices a change in the file of a kernel, but not in a helper or a constant that the kernel
takes from another file: it would then load a stale kernel and give silently wrong results. The cache folder is
therefore named by a digest of all sources of the core and by the versions of what compiles them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config as _config

Function = Callable[..., Any]

# Numba fills this module from the environment, so that a type checker does not see what is in it.
numba_config: Any = _config

JIT_DISABLED = bool(numba_config.DISABLE_JIT)


def sources_digest(folder: Path) -> str:
    """Hash of every Python file below `folder` and of the versions that turn them into machine code."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    digest.update(repr(versions).encode())
    return digest.hexdigest()[:16]


def _cache_folders(name: str) -> list[Path]:
    base = os.environ.get("KDRUN_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [Path(base).expanduser() / "kdrun" / name, Path(tempfile.gettempdir()) / f"kdrun-{os.getuid()}" / name]


def writable_cache_folder(name: str) -> Path:
    """The user's cache folder for `name`, or one below the temporary folder where the home is read-only."""
    for folder in _cache_folders(name):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="kdrun-"))


_DIGEST = sources_digest(Path(__file__).parent)
# Without the JIT nothing is kept, so nothing is made on disk: `kdrun plan` writes nothing.
CACHE_FOLDER = _cache_folders(_DIGEST)[0] if JIT_DISABLED else writable_cache_folder(_DIGEST)
numba_config.CACHE_DIR = str(CACHE_FOLDER)


def kernel(function: Function) -> Function:
    """Compile a module-level function: cached, without the GIL, IEEE arithmetic as written, inf and nan as values."""
    compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Compile a piece of a kernel that is always expanded where it is called, so that vectors stay in registers."""
    compiled: Function = numba.njit(cache=False, nogil=True, error_model="numpy", fastmath=False, forceinline=True)(
        function
    )
    return compiled
