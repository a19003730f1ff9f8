"""The user's own code of a study, looked for before its first run."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
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
    """Have a worker find the user's own code, so that runs without it are refused before the first one.

    `task` is the study's, `folder` where it stands. UsageError says what is missing.
    """
    if not isinstance(task, ExternalTask):
        return
    tasks = {_code_of(run): run.spec["task"] for run in runs}
    for spec in tasks.values():
        try:
            results_of(executor, look, [(spec, str(folder))])
        except RunFailed as error:
            raise UsageError(f"{error}; nothing was run") from None
        except WorkerLost as error:
            printed = f"\n{error.printed}" if error.printed else ""
            raise UsageError(
                f"importing the code of the task ended a worker: {error.text}; nothing was run{printed}"
            ) from None


def _code_of(run: Run) -> str:
    """What code a run is of, whatever its parameters."""
    return canonical({key: value for key, value in run.spec["task"].items() if key not in ("params", "timeout")})


def look(task: Mapping[str, Any], folder: str) -> None:
    """Find the user's own code of a task, without a run; `RunFailed` says why it cannot be."""
    found = TaskChoice().read(dict(task))
    assert isinstance(found, ExternalTask)
    try:
        found.look(Path(folder))
    except RunFailed:
        raise
    except BaseException as error:
        trace = traceback.extract_tb(outside_kdrun(error.__traceback__))
        frames = [frame for frame in trace if not frame.filename.startswith("<frozen")]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise RunFailed(f"importing the code of the task failed: {type(error).__name__}: {error}{place}") from None
