"""The one place that decides how kernels are compiled and where their machine code is kept.

Numba's on-disk cache notices a change in the file of a kernel, but not in a helper or a constant that the kernel
takes from another file: it would then load a stale kernel and give silently wrong results. The cache folder is
therefore named by a digest of all sources of the core, of all those that stand with the kernel (its room of kdrun, or
its package where that is another), and by the versions of what compiles them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config as _config
from numba.core.registry import cpu_target
from numba.extending import register_jitable

Function = Callable[..., Any]

# Numba fills this module from the environment, so that a type checker does not see what is in it.
numba_config: Any = _config

JIT_DISABLED = bool(numba_config.DISABLE_JIT)


def compiles_for(feature: str) -> bool:
    """Whether kernels are compiled for processors that have a feature, by LLVM's name for it."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return f"+{feature}" in features.split(",")


def sources_digest(folder: Path) -> str:
    """Hash of every Python file below `folder` (or of that file), and of the versions that make machine code of it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    digest.update(repr(versions).encode())
    return digest.hexdigest()[:16]


def _cache_folders(name: str) -> list[Path]:
    base = os.environ.get("KDRUN_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [Path(base).expanduser() / "kdrun" / name, Path(tempfile.gettempdir()) / f"kdrun-{os.getuid()}" / name]


def writable_cache_folder(name: str) -> Path:
    """The user's cache folder for `name`, or one below the temporary folder where the home is read-only.

    What is in it is executed, so a folder that belongs to somebody else is not used.
    """
    for folder in _cache_folders(name):
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            mine = folder.parent.stat().st_uid == folder.stat().st_uid == os.getuid()
        except OSError:
            continue
        if mine and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="kdrun-"))


_CORE = Path(__file__).resolve().parent
_DIGEST = sources_digest(_CORE)
# Without the JIT nothing is kept, so nothing is made on disk: `kdrun plan` writes nothing.
CACHE_FOLDER = _cache_folders(_DIGEST)[0] if JIT_DISABLED else writable_cache_folder(_DIGEST)


def holds_no_kernels() -> bool:
    """Whether nothing is compiled yet, so that the first kernels take their time."""
    return not JIT_DISABLED and next(CACHE_FOLDER.rglob("*.nbi"), None) is None


def sources_beside(path: Path) -> Path:
    """Where helpers of what stands in a file may stand: its room of kdrun, else its package, else the file itself."""
    folder = path.parent
    if not (folder / "__init__.py").is_file():
        return path
    while folder.parent != _CORE.parent and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return folder


@cache
def _cache_folder_of(sources: Path) -> Path:
    """The cache folder of the kernels among some sources."""
    if sources == _CORE or not sources.exists():
        return CACHE_FOLDER
    digest = hashlib.sha256((_DIGEST + sources_digest(sources)).encode()).hexdigest()[:16]
    return writable_cache_folder(digest)


def kernel(function: Function) -> Function:
    """Compile a module-level function: cached, without the GIL, IEEE arithmetic as written, inf and nan as values."""
    if JIT_DISABLED:
        return function
    # Numba reads the setting while it decorates; whoever else uses Numba in this process keeps a setting of their own.
    before = numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(_cache_folder_of(sources_beside(Path(function.__code__.co_filename).resolve())))
    try:
        compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    finally:
        numba_config.CACHE_DIR = before
    return compiled


def shared(function: Function) -> Function:
    """A function of plain numbers that kernels and Python both call."""
    usable: Function = register_jitable(function)
    return usable


def inlined(function: Function) -> Function:
    """A piece of kernels, expanded where it is called: vectors stay in registers, and nothing is compiled twice.

    It can be called from Python too, but its machine code is not kept then.
    """
    compiled: Function = numba.njit(cache=False, nogil=True, error_model="numpy", fastmath=False, inline="always")(
        function
    )
    return compiled
