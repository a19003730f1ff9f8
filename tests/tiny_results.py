"""Results of a study of twelve tiny runs, made without worker processes so that they cost a second."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kdrun import api, verification
from kdrun.engine.local import Engine, executing
from kdrun.engine.workers import UNLIMITED, Limits
from kdrun.study.load import load_study

TINY = """
schema: 1
study: tiny
task: {name: sine, steps: 6, sequences: 2, eval: {phases: 4, steps: 6}}
model: {hidden: 4}
teacher: {epochs: 6}
student: {epochs: 5}
factors:
  gradient: [ste, smoothstep]
  rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2]}
replicates: 2
responses:
  - {name: eval_mse, scale: log10, better: lower}
comparators: [post_training]
"""
RUNS = 2 * (1 + 4 + 1)


class AtOnce(Executor):
    """Does what is submitted in this process, before `submit` returns."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        result = function(*arguments, **named)
        future.set_result(list(result) if isinstance(result, Iterator) else result)
        return future


@contextmanager
def in_this_process(workers: int, folder: Path | None = None, limits: Limits = UNLIMITED) -> Iterator[Engine]:
    yield Engine(AtOnce(), lambda: workers, executing(limits))


@contextmanager
def without_workers() -> Iterator[None]:
    """Runs are done in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "processes", in_this_process)
        patch.setattr(verification, "processes", in_this_process)
        yield


def tiny_results(place: Path, *settings: str) -> Path:
    """The results folder of the tiny study below a folder."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "tiny.yaml").write_text(TINY)
    with without_workers():
        return api.run(load_study(place / "tiny.yaml", settings), results=place, workers=1).folder
