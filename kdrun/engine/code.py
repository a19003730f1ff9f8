"""The user's own code and files of a study, looked for before its first run."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from kdrun.engine.run import outside_kdrun
from kdrun.engine.workers import WorkerLost, results_of
from kdrun.errors import UsageError
from kdrun.records import Run
from kdrun.study.choice import TaskChoice
from kdrun.study.plain import canonical
from kdrun.tasks.contract import ExternalTask, RunFailed, Task


def look_at_code(executor: Executor, task: Task, runs: Sequence[Run], folder: Path) -> None:
    """Have a worker find the user's own code and files, so that runs without them are refused before the first one.

    `task` is the study's, `folder` where it stands. UsageError says what is missing.
    """
    if not _needs_something(task):
        return
    for spec in _distinct(run.spec["task"] for run in runs):
        try:
            results_of(executor, look, [(spec, str(folder))])
        except RunFailed as error:
            raise UsageError(f"{error}; nothing was run") from None
        except WorkerLost as error:
            printed = f"\n{error.printed}" if error.printed else ""
            what = "a worker could not start" if error.reason == "start" else "importing the code ended a worker"
            raise UsageError(f"{what}: {error.text}; nothing was run{printed}") from None


def missing_files(task: Task, specs: Iterable[Mapping[str, Any]], folder: Path) -> str | None:
    """What tasks that train networks lack, seen from this process; None where nothing, or nobody knows but a worker."""
    if isinstance(task, ExternalTask) or not _needs_something(task):
        return None
    for spec in _distinct(specs):
        try:
            look(spec, str(folder))
        except RunFailed as error:
            return str(error)
    return None


def _needs_something(task: Task) -> bool:
    return type(task).look is not Task.look


def _distinct(specs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks of some runs, one of those that differ in parameters of the user's code alone."""
    return list(
        {canonical({k: v for k, v in spec.items() if k not in ("params", "timeout")}): spec for spec in specs}.values()
    )


def look(task: Mapping[str, Any], folder: str) -> None:
    """Find the user's own code and files of a task, without a run; `RunFailed` says why it cannot be."""
    found = TaskChoice().read(dict(task))
    assert isinstance(found, Task)
    try:
        found.look(Path(folder))
    except RunFailed:
        raise
    except BaseException as error:
        trace = traceback.extract_tb(outside_kdrun(error.__traceback__))
        frames = [frame for frame in trace if not frame.filename.startswith("<frozen")]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise RunFailed(f"importing the code of the task failed: {type(error).__name__}: {error}{place}") from None
