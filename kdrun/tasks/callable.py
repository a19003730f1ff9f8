"""The user's own training function."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from kdrun.tasks.contract import ExternalTask, RunFailed
from kdrun.tasks.imports import module_file, modules_of
from kdrun.tasks.measured import read_responses

_CALL = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Call(ExternalTask):
    """`main(params, seed) -> {response: number}`, imported from the study's folder or from what is installed."""

    name: ClassVar[str] = "callable"
    title: ClassVar[str] = "a Python function of your own: main(params, seed) -> {response: number}"
    source: ClassVar[str] = "docs/own-code.md"

    call: str = Field(description="module:function, such as mypkg.train:main")

    @field_validator("call")
    @classmethod
    def _module_and_function(cls, text: str) -> str:
        if not _CALL.fullmatch(text):
            raise ValueError(f"found {text[:80]!r}; module:function is allowed, such as mypkg.train:main")
        return text

    @property
    def module(self) -> str:
        """What stands before the colon."""
        return self.call.partition(":")[0]

    def look(self, folder: Path) -> None:
        """Import the module and find the function."""
        self._function()

    def _function(self) -> Callable[..., Any]:
        module, _, path = self.call.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise RunFailed(
                f"task.call is {self.call!r}, and there is no module {error.name!r}: it is looked for in the study's"
                " folder, in the current folder, and among what is installed"
            ) from None
        try:
            function = reduce(getattr, path.split("."), found)
        except AttributeError:
            raise RunFailed(f"task.call is {self.call!r}, and the module {module!r} has no {path!r}") from None
        if not callable(function):
            raise RunFailed(f"task.call is {self.call!r}, which is no function but {type(function).__name__}")
        return function  # type: ignore[no-any-return]

    def measure(self, seed: int) -> Mapping[str, float]:
        """Call the function with parameters of its own: what it does to them changes no other run."""
        with _undisturbed(), _one_outcome():
            return read_responses(self._function()(copy.deepcopy(self.params), seed), self.call)

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The module, and what it imports from where it stands, by reading them."""
        found = module_file(self.module, (folder, Path.cwd()))
        return modules_of(*found) if found is not None else {}


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """The next run of this process finds the folder and the streams that this one found."""
    streams = sys.stdout, sys.stderr
    try:
        with contextlib.chdir(Path.cwd()):
            yield
    finally:
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _one_outcome() -> Iterator[None]:
    """A child that the code has forked ends where the code does: it must not go on as if it were its parent."""
    process, code = os.getpid(), 0
    try:
        yield
    except BaseException as error:
        if os.getpid() == process:
            raise
        code = _exit_code(error)
    if os.getpid() != process:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _exit_code(error: BaseException) -> int:
    """What a process that an error ends would end with; of anything but `sys.exit` it says what it was."""
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return error.code or 0
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
        sys.stderr.flush()
    return 1
