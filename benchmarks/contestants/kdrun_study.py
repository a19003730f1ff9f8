"""kdrun's part: the sine study as the engine runs it, and what the others need in order to train the same networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import roofline
from contestants.protocol import Reply, serve, timed

from kdrun.core.random import Stream
from kdrun.engine.run import Finished, Job, execute_all, execute_each
from kdrun.records import Outcome, Run
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.study.schema import Sections

STUDY = Path(__file__).parents[2] / "experiments" / "sine.yaml"
TWO_PI = 6.283185307179586
DTYPE = np.float32


class Study:
    """One replicate of the sine study, run by run in the order of its plan."""

    def __init__(self) -> None:
        self.runs: tuple[Run, ...] = plan(load_study(STUDY, (), 1, None)).runs
        self.held: dict[str, Finished] = {}

    def carry_out(self) -> None:
        """Every run once, each after those that it needs: what can start together is handed over together."""
        self.held = {}
        while ready := [run for run in self.runs if run.run_id not in self.held and self.may_start(run)]:
            self.held |= self.do(ready, execute_all)

    def may_start(self, run: Run) -> bool:
        """Whether everything that a run needs is done."""
        return all(need in self.held for need in run.needs)

    def do(self, runs: Sequence[Run], execute: Callable[[Sequence[Job]], Iterable[Outcome]]) -> dict[str, Finished]:
        """Some runs, by their names."""
        jobs = [Job(run, tuple(self.held[need] for need in run.needs)) for run in runs]
        return {run.run_id: finished(run, outcome) for run, outcome in zip(runs, execute(jobs), strict=True)}

    def student(self, hidden: int) -> Run:
        """The run that contestants are compared on: straight-through estimator, no distillation."""
        return next(
            run
            for run in self.runs
            if run.kind == "treatment"
            and int(run.levels["width"]) == hidden
            and (run.levels["gradient"], run.levels["distillation"]) == ("ste", "none")
        )


def finished(run: Run, outcome: Outcome) -> Finished:
    """A benchmark has no use for a run that failed."""
    if outcome.status != "done":
        raise RuntimeError(f"{run.title} {outcome.status}: {outcome.error}")
    return Finished(run, outcome)


study = Study()


def start(place: str, replicates: int) -> Reply:
    """Run the study once, untimed. Writes what others start from to the file `place`.

    Replies with the trainings of the study, in order, and the losses of each by epoch.
    """
    study.carry_out()
    trainings = [run for run in study.runs if run.kind != "comparator"]
    np.savez(place, **exported(trainings, replicates))
    return {"trainings": [training(run) for run in trainings]}


def training(run: Run) -> Reply:
    """What another implementation must know of a training, and the losses that it must see."""
    history = study.held[run.run_id].outcome.history["loss"]
    return {
        "title": run.title,
        "kind": "teacher" if run.kind == "teacher" else "student",
        "hidden": int(run.levels["width"]),
        "gradient": run.levels.get("gradient"),
        "distillation": run.levels.get("distillation"),
        "epochs": int(history.epochs[-1]) + 1,
        "losses": dict(zip(history.epochs.tolist(), history.values.tolist(), strict=True)),
    }


def exported(trainings: list[Run], replicates: int) -> dict[str, Any]:
    """Phases [R, epochs, B] by role, untrained teachers and trained teachers (from which students start) by width."""
    arrays: dict[str, Any] = {}
    for run in trainings:
        role = "teacher" if run.kind == "teacher" else "student"
        if f"{role}.phases" not in arrays:
            arrays[f"{role}.phases"] = np.array([phases(run, role, one) for one in range(1, replicates + 1)])
        if role == "teacher":
            arrays |= named(f"teacher.{run.levels['width']}.", initial_teacher(run))
            arrays |= named(f"student.{run.levels['width']}.", study.held[run.run_id].outcome.parameters)
    return arrays


def named(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays, with a prefix to their names."""
    return {prefix + name: array for name, array in arrays.items()}


def initial_teacher(run: Run) -> Mapping[str, Any]:
    """Parameters that the training of a teacher starts from."""
    sections = Sections.model_validate({key: run.spec[key] for key in ("task", "model", "teacher")})
    task = sections.task
    network = sections.model.build(task.inputs, task.heads, task.step_time, DTYPE)
    return network.initial_parameters(Stream(run.spec["seed"], run.replicate, "teacher/init"), DTYPE)


def phases(run: Run, role: str, replicate: int) -> Any:
    """Phases [epochs, B] of the training data of a run like this one in another replicate, in radians."""
    stream = Stream(run.spec["seed"], replicate, f"{role}/phases")
    shape = (run.spec["task"]["sequences"],)
    return [stream.uniform(epoch, shape, 0.0, TWO_PI, DTYPE) for epoch in range(run.spec[role]["epochs"])]


def time_student(hidden: int, replicates: int, in_step: bool) -> Reply:
    """Wall time of one student run of so many replicates, each with data of its own: in step, or one by one.

    All of them learn from the first replicate's teacher, from whose weights every contestant's students start.
    """
    first = study.student(hidden)
    runs = [replace(first, run_id=f"{first.run_id}-{one}", replicate=one) for one in range(1, replicates + 1)]
    do = execute_all if in_step else execute_each
    return timed(lambda: study.do(runs, do), 1.0 / replicates)


def time_study() -> Reply:
    """Wall time of one replicate: every run of its plan."""
    return timed(study.carry_out)


if __name__ == "__main__":
    serve({"start": start, "student": time_student, "study": time_study, "roofline": roofline.measure})
