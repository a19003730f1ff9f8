"""How kernels are compiled and kept: a stale kernel can never be loaded, and no home folder is needed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import kdrun
from kdrun.core import jit
from kdrun.core.jit import CACHE_FOLDER, JIT_DISABLED, sources_digest, writable_cache_folder
from kdrun.factors.gradient import smoothstep
from tests.core.processes import run_python

CORE = Path(jit.__file__).parent
QUANTIZE = """
import numpy as np
from kdrun.core.quantize import quantize_columns
w, codes, w_eff = np.full((1, 1), 2.0), np.empty((1, 1)), np.empty((1, 1))
quantize_columns(w, np.ones(1), 7, codes, w_eff)
print(codes[0, 0])
"""
ROUNDING = "return (v + _rounder(v)) - _rounder(v)\n"


@pytest.fixture
def core_copy(tmp_path):
    """A copy of the package's core in a folder of its own, from which an interpreter may import kdrun."""
    root = tmp_path / "copy"
    shutil.copytree(CORE, root / "kdrun" / "core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(kdrun.__file__), root / "kdrun" / "__init__.py")
    return root


# ------------------------------------------------------------------------------------------------ name of the folder


def test_a_copy_has_the_same_digest(core_copy):
    """Where the sources stand does not matter, only what they say."""
    got = sources_digest(core_copy / "kdrun" / "core")
    assert got == sources_digest(CORE)
    assert CACHE_FOLDER.name == got


@pytest.mark.parametrize("name", sorted(path.name for path in CORE.glob("*.py")))
def test_a_change_in_any_file_changes_the_digest(name, core_copy):
    """One more line in any source of the core gives another cache folder."""
    before = sources_digest(core_copy / "kdrun" / "core")
    with (core_copy / "kdrun" / "core" / name).open("a") as file:
        file.write("# changed\n")
    got = sources_digest(core_copy / "kdrun" / "core")
    assert got != before


@pytest.mark.parametrize("change", ["add", "rename", "remove"])
def test_a_change_of_the_files_changes_the_digest(change, core_copy):
    """Files that come, go or change their names give another cache folder."""
    folder = core_copy / "kdrun" / "core"
    before = sources_digest(folder)
    if change == "add":
        (folder / "new.py").touch()
    elif change == "rename":
        (folder / "signals.py").rename(folder / "waves.py")
    else:
        (folder / "signals.py").unlink()
    got = sources_digest(folder)
    assert got != before


@pytest.mark.parametrize("package", ["numba", "llvmlite", "np"])
def test_another_version_of_a_compiler_changes_the_digest(package, monkeypatch):
    """What turns the sources into machine code is part of the name."""
    before = sources_digest(CORE)
    monkeypatch.setattr(getattr(jit, package), "__version__", "0.0.1")
    got = sources_digest(CORE)
    assert got != before


# ------------------------------------------------------------------------------------------------ place of the folder


def test_the_cache_stands_where_the_environment_says(tmp_path, monkeypatch):
    """KDRUN_CACHE_DIR comes first."""
    monkeypatch.setenv("KDRUN_CACHE_DIR", str(tmp_path / "mine"))
    got = writable_cache_folder("abc")
    assert got == tmp_path / "mine" / "kdrun" / "abc"
    assert got.is_dir()


def test_the_cache_stands_in_the_users_cache_folder(tmp_path, monkeypatch):
    """Without KDRUN_CACHE_DIR it is XDG_CACHE_HOME, and without that the home's .cache."""
    monkeypatch.delenv("KDRUN_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert writable_cache_folder("abc") == tmp_path / "xdg" / "kdrun" / "abc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    got = writable_cache_folder("abc")
    assert got == tmp_path / "home" / ".cache" / "kdrun" / "abc"


def test_a_folder_that_cannot_be_made_is_replaced(tmp_path, monkeypatch):
    """Where the cache folder cannot be made, one below the temporary folder is used."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDRUN_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    got = writable_cache_folder("abc")
    assert got == tmp_path / "tmp" / f"kdrun-{os.getuid()}" / "abc"
    assert got.is_dir()


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    """Machine code is not loaded from a place that another user may have prepared."""
    monkeypatch.setenv("KDRUN_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    got = writable_cache_folder("abc")
    assert got.parent == tmp_path
    assert got.is_dir()


def test_a_folder_that_cannot_be_written_is_replaced(tmp_path, monkeypatch):
    """Where both usual places are read-only, a new temporary folder is used."""
    monkeypatch.setenv("KDRUN_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    got = writable_cache_folder("abc")
    assert got.parent == tmp_path
    assert got.is_dir()


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled or kept")
def test_kernels_work_without_a_home(tmp_path):
    """A process whose home cannot be written compiles, keeps its kernels below the temporary folder, and is right."""
    (tmp_path / "home").touch()
    environment = {
        "HOME": str(tmp_path / "home"),
        "KDRUN_CACHE_DIR": "",
        "XDG_CACHE_HOME": "",
        "TMPDIR": str(tmp_path),
    }
    got = run_python(QUANTIZE, environment)
    assert float(got) == 2.0
    assert list((tmp_path / f"kdrun-{os.getuid()}").rglob("*.nbi"))


# ------------------------------------------------------------------------------------------------ stale kernels


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled or kept")
def test_a_kernel_follows_a_change_in_a_helper_of_another_file(core_copy, tmp_path):
    """Editing what a kernel takes from another file gives the new result, though the kernel's own file is as it was."""
    environment = {"KDRUN_CACHE_DIR": str(tmp_path / "cache")}
    before = run_python(QUANTIZE, environment, core_copy)
    assert float(before) == 2.0
    helper = core_copy / "kdrun" / "core" / "elementary.py"
    source = helper.read_text()
    assert source.count(ROUNDING) == 1
    helper.write_text(source.replace(ROUNDING, ROUNDING.strip() + " + splat_like(3.0, v)\n"))
    got = run_python(QUANTIZE, environment, core_copy)
    assert float(got) == 5.0
    assert len(list((tmp_path / "cache" / "kdrun").iterdir())) == 2


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled or kept")
def test_a_kernel_of_another_package_follows_its_helpers_too(tmp_path):
    """A package that brings levels of its own: its kernels see a change in any of its files."""
    package = tmp_path / "levels" / "shapes"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package.parent / "helper.py").write_text(
        "from kdrun.core.jit import inlined\n@inlined\ndef doubled(x):\n    return 2.0 * x\n"
    )
    (package / "mine.py").write_text(
        "from kdrun.core.jit import kernel\nfrom levels.helper import doubled\n"
        "@kernel\ndef value(x):\n    return doubled(x)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom levels.shapes.mine import value\nprint(value(3.0))"
    environment = {"KDRUN_CACHE_DIR": str(tmp_path / "cache")}
    assert float(run_python(code, environment)) == 6.0
    helper = package.parent / "helper.py"
    # Of another length, for Python takes a module that is as long and of the same second for the one that it has read.
    helper.write_text(helper.read_text().replace("2.0 * x", "x + 4.0 * x"))
    got = run_python(code, environment)
    assert float(got) == 15.0


def test_the_sources_beside_a_kernel_are_its_room_of_kdrun():
    """A change in the report recompiles nothing; a change in any level recompiles the kernels of levels."""
    got = jit.sources_beside(Path(smoothstep.__file__))
    assert got == CORE.parent / "factors"


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled or kept")
def test_numbas_own_setting_is_left_alone():
    """Somebody's own functions are cached where they were before kdrun was imported."""
    code = "import numba; import kdrun.models.cfc; print(repr(numba.config.CACHE_DIR))"
    assert run_python(code, {}) == "''"


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled or kept")
def test_kernels_are_kept_for_the_next_process(core_copy, tmp_path):
    """A second process loads what the first compiled: it writes nothing new."""
    environment = {"KDRUN_CACHE_DIR": str(tmp_path / "cache")}
    run_python(QUANTIZE, environment, core_copy)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")}
    run_python(QUANTIZE, environment, core_copy)
    got = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")}
    assert kept
    assert got == kept


# ------------------------------------------------------------------------------------------------ flags


@pytest.mark.skipif(JIT_DISABLED, reason="a plain function has no flags")
def test_a_kernel_keeps_ieee_arithmetic_and_lets_the_gil_go():
    """No fastmath, values instead of exceptions, no GIL."""

    @jit.kernel
    def divide(a, b):
        return a / b

    got = divide.targetoptions
    assert (got["fastmath"], got["error_model"], got["nogil"]) == (False, "numpy", True)
    assert np.isinf(divide(1.0, 0.0))


# ------------------------------------------------------------------------------------------------ first compilation


def test_a_cache_without_an_index_of_a_kernel_holds_none(tmp_path, monkeypatch):
    """Nothing is compiled yet where the folder is empty, is not there, or holds folders and other files alone."""
    monkeypatch.setattr(jit, "JIT_DISABLED", False)
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    assert jit.holds_no_kernels()
    (tmp_path / "core_1").mkdir()
    (tmp_path / "core_1" / "notes.txt").touch()
    assert jit.holds_no_kernels()
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path / "gone")
    assert jit.holds_no_kernels()


def test_a_cache_with_an_index_of_a_kernel_holds_some(tmp_path, monkeypatch):
    """Numba keeps kernels in a folder for each folder of sources."""
    monkeypatch.setattr(jit, "JIT_DISABLED", False)
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    (tmp_path / "core_1").mkdir()
    (tmp_path / "core_1" / "adam.squared_norm-17.py311.nbi").touch()
    assert not jit.holds_no_kernels()


def test_without_the_jit_no_kernel_is_missing(tmp_path, monkeypatch):
    """Nobody waits for kernels that are never compiled."""
    monkeypatch.setattr(jit, "JIT_DISABLED", True)
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    assert not jit.holds_no_kernels()
