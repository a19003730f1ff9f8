"""Benchmarks still fit the code that they time: each is begun on little work, and nothing is said of its speed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kdrun.core.jit import JIT_DISABLED

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="compiled code is what they time")
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their files are scripts beside each other."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])


def test_kernels_of_the_roofline_run() -> None:
    import roofline

    kernels = [*roofline.epoch_kernels(16), *roofline.product_kernels(16)]
    assert [name for name, _, _ in kernels] == ["forward pass", "backward pass", "product", "outer product"]
    for _, flop, run in kernels:
        run(1)
        assert flop > 0


def test_the_clock_of_epochs_sees_every_pass() -> None:
    import epoch

    from kdrun.engine.run import execute
    from kdrun.study.load import load_study
    from kdrun.study.plan import plan

    settings = ("teacher.epochs=20", "teacher.accept={}", "student.epochs=20")
    teacher = plan(load_study("experiments/sine.yaml", settings, 1, None)).runs[0]
    spent: dict[str, list[float]] = {}
    with epoch.clocked(spent):
        assert execute(teacher, ()).status == "done"
    assert len(spent["network_backward"]) == 20
    # The evaluation runs forward once more.
    assert len(spent["network_forward"]) == 21
    assert set(epoch.PASSES) < set(spent)


def test_the_student_that_contestants_train_is_exported_with_what_they_start_from() -> None:
    from contestants import kdrun_study

    study = kdrun_study.Study()
    teacher = study.runs[0]
    assert teacher.kind == "teacher"
    arrays = kdrun_study.initial_teacher(teacher)
    assert {"w", "tau", "w_out"} <= set(arrays)
    assert len(kdrun_study.phases(study.student(16), "student", 1)) == study.student(16).spec["student"]["epochs"]
