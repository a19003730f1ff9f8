"""The user's own program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import Field, model_validator

from kdrun.tasks.contract import ExternalTask, RunFailed
from kdrun.tasks.imports import modules_of
from kdrun.tasks.measured import read_responses, short

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_OWN = ("python", "seed")
LONGEST_LINE = 1 << 20


class Command(ExternalTask):
    """A program with parameters as arguments. The last line that it prints is a JSON object of responses."""

    name: ClassVar[str] = "command"
    title: ClassVar[str] = "a program of your own, whose last line is a JSON object of responses"
    source: ClassVar[str] = "docs/own-code.md"

    run: tuple[str, ...] = Field(
        min_length=1,
        description="the program and its arguments; {KEY} stands for params.KEY, {seed} for the seed, {python} for"
        " the Python that kdrun runs on, {{ for a brace",
    )

    @model_validator(mode="after")
    def _places_and_parameters_match(self) -> Command:
        names = {match[1] for part in self.run for match in _PLACE.finditer(part) if match[1] is not None}
        if stray := [part for part in self.run for match in _PLACE.finditer(part) if match[0] in ("{", "}")]:
            raise ValueError(f"found a single brace in {stray[0]!r}; {{{{ and }}}} stand for braces")
        if taken := [name for name in _OWN if name in self.params]:
            raise ValueError(f"params.{taken[0]}: {{{taken[0]}}} stands for something else; give it another name")
        if unknown := sorted(names - self.params.keys() - set(_OWN)):
            known = ", ".join((*self.params, *_OWN))
            raise ValueError(f"found {{{unknown[0]}}} in run, but no params.{unknown[0]}; known: {known}")
        if unused := sorted(self.params.keys() - names):
            raise ValueError(f"params.{unused[0]} is used nowhere in run; write {{{unused[0]}}} where it belongs")
        return self

    def arguments(self, seed: int) -> list[str]:
        """The program and its arguments for one run."""
        values = {name: _text(value) for name, value in self.params.items()}
        values |= {"seed": str(seed), "python": sys.executable}
        return [_filled(part, values) for part in self.run]

    def look(self, folder: Path) -> None:
        """Find the program."""
        program = self.arguments(0)[0]
        if shutil.which(program) is None and shutil.which(str(folder / program)) is None:
            python = "; write {python} for the Python that kdrun runs on" if program.startswith("python") else ""
            raise RunFailed(
                f"task.run begins with {program!r}, and there is no such program in {folder} or on PATH{python}"
            )

    def measure(self, seed: int) -> Mapping[str, float]:
        """Run the program in the study's folder, and read its last line."""
        arguments = self.arguments(seed)
        with tempfile.TemporaryFile() as printed:
            ended = _ended(arguments, printed)
            last = _last_line(printed)
        if ended:
            raise RunFailed(f"{short(arguments)} ended with {_how(ended)}{_with_last(last)}")
        try:
            # A whole number of many digits is a number like others: too large, as it is.
            given = json.loads(last, parse_int=float, object_pairs_hook=_each_once)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise RunFailed(
                f"the last line of {short(arguments)} is {short(last)}; a JSON object of responses is needed there,"
                ' such as {"accuracy": 0.9}'
            )
        return read_responses(given, "the last line")

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The arguments that are files in the study's folder, and what the Python files among them import from it."""
        found: dict[str, Path] = {}
        for part in self.run:
            path = folder / part
            if _is_file(path):
                found |= {part: path} | (modules_of(path, path.parent) if path.suffix == ".py" else {})
        return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; which of two responses of one name is meant, nobody can tell."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RunFailed(f"the last line gave {short(twice)} twice; each response is given once")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _filled(part: str, values: Mapping[str, str]) -> str:
    doubled = {"{{": "{", "}}": "}"}
    return _PLACE.sub(lambda match: doubled.get(match[0]) or values[match[1]], part)


def _ended(arguments: list[str], printed: IO[bytes]) -> int:
    """Run a program to its end. Returns its exit code, below 0 for a signal."""
    try:
        return subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=printed, check=False).returncode  # noqa: S603
    except OSError as error:
        raise RunFailed(f"{arguments[0]!r} cannot be run: {error.strerror}") from None


def _last_line(printed: IO[bytes]) -> str:
    """The last line that is not blank."""
    length = printed.seek(0, 2)
    printed.seek(max(0, length - LONGEST_LINE))
    # Not splitlines: JSON may hold what that takes for the end of a line.
    return re.split(r"[\r\n]", printed.read().decode(errors="replace").strip())[-1]


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _with_last(line: str) -> str:
    return f"; the last line that it printed: {short(line)}" if line else ""
