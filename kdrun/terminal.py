"""How the command line speaks: to terminals, to files and pipes, and where its streams are closed."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kdrun.errors import LeftOutWarning

if TYPE_CHECKING:
    from rich.console import Console

    from kdrun.listener import Listener
    from kdrun.records import Outcome, Run
    from kdrun.results import Results

WIDTH_WITHOUT_TERMINAL = 120


def open_streams() -> None:
    """Let streams that were closed lead nowhere: files that are opened now would get their numbers, and the words."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


def warn_in_plain_lines() -> None:
    """Show what other packages offer and kdrun leaves out as one line each, whatever Python is told about warnings."""
    usual = warnings.formatwarning

    def line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        if issubclass(category, LeftOutWarning):
            return f"kdrun: {message}\n"
        return usual(message, category, *place, **more)

    warnings.formatwarning = line
    warnings.simplefilter("default", LeftOutWarning)


def place_of(error: OSError) -> str:
    """Which file or folder an error is about, as far as that can be told."""
    if error.filename:
        return str(error.filename)
    try:
        Path.cwd()
    except OSError:
        return "the current folder"
    return "a file"


def say(text: str, err: bool = False) -> None:
    """Print lines that hold text of the user's: names of files, errors of code. None of it steers the terminal."""
    from kdrun.report.text import plain_lines

    typer.echo(plain_lines(text), err=err)


def listener() -> Listener:
    """What shows progress on standard error: live on a terminal, plain lines elsewhere."""
    from rich.console import Console

    from kdrun.report.progress import Lines, Screen

    if sys.stderr.isatty():
        return Screen(Console(stderr=True))
    return Lines(lambda line: typer.echo(line, err=True))


def console() -> Console:
    """Standard output: as wide as the terminal; elsewhere wide enough for tables, and without colours."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)


def print_results(found: Results) -> None:
    """Tables of a study, and at last its digest."""
    from kdrun.report.effect_tables import effects_rich
    from kdrun.report.student_tables import student_rich
    from kdrun.report.treatment_tables import treatment_table
    from kdrun.report.verdict_tables import changes_rich, criteria_rich, hypotheses_rich

    out, registered = console(), found.registered()
    out.print(treatment_table(found.analysis, found.study.title or found.study.study, out.width))
    students = student_rich(found.analysis)
    if students is not None:
        out.print(students)
    if len(found.effects):
        out.print(effects_rich(found.analysis))
    if len(found.criteria):
        out.print(criteria_rich(found.analysis, registered.get("exploratory_criteria", ())))
    if len(found.analysis.hypotheses):
        out.print(hypotheses_rich(found.analysis))
    changes = changes_rich(registered)
    if changes is not None:
        out.print(changes)
    say(f"report {found.folder / 'report.html'}")
    typer.echo(f"results_digest {found.results_digest}")


def failure_sentence(found: Results, failed: Sequence[tuple[Run, Outcome]]) -> str:
    """How many runs failed, why one of them did, and what to do."""
    from kdrun.report.text import counted, plain

    run, outcome = failed[0]
    return (
        f"{counted(len(failed), 'run')} failed, such as {run.title}: {plain(outcome.reason)}\n"
        f"kdrun show {shlex.quote(str(found.folder))} {run.run_id} tells more; --retry-failed tries again"
    )


def print_json(document: Any) -> None:
    """One JSON document on standard output, without nan."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
