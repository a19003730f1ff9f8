"""Runs in step come to what each comes to by itself, bit for bit, and share what they can."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdrun.core.jit import JIT_DISABLED
from kdrun.engine import run, seconds
from kdrun.engine.cohort import Cohort
from kdrun.engine.company import MOST_TOGETHER, Company, by_company, companies
from kdrun.engine.joint import may_be_joint
from kdrun.engine.local import executing
from kdrun.engine.objective import TeacherModel
from kdrun.engine.quantized import CodeFlips
from kdrun.engine.run import Finished, Job, execute, execute_all, execute_each
from kdrun.engine.train import Diverged, Trainer
from kdrun.engine.workers import Limits
from kdrun.factors.contract import Batch
from kdrun.factors.feature.hidden_mse import HiddenMse
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc, CfcNetwork
from kdrun.records import Outcome, Run
from kdrun.store.digest import DigestRow
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.tasks.losses import SquaredError
from kdrun.tasks.one_step import _DrawnSignals
from kdrun.tasks.sine import Sine

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")
# Of the students of one replicate and width, in the order of the plan.
DISTILLATIONS = ["none", "none", "trajectory", "trajectory"]
ROOT = Path(__file__).parents[2]
STUDY = ROOT / "tests" / "smoke.yaml"
TEACHER = Run(run_id="id", kind="teacher", replicate=1, spec={})


def planned(*settings: str) -> list[Run]:
    return list(plan(load_study(STUDY, settings)).runs)


def students_and_their_teachers(*settings: str) -> list[Job]:
    """The treatments of a study as jobs, in the order of its plan."""
    runs = planned(*settings)
    held = {each.run_id: Finished(each, execute(each, ())) for each in runs if each.kind == "teacher"}
    return [Job(each, tuple(held[need] for need in each.needs)) for each in runs if each.kind == "treatment"]


def rows(outcomes: list[Outcome]) -> list[tuple[DigestRow, dict[str, bytes]]]:
    """What of outcomes does not depend on the clock."""
    return [
        (DigestRow.of(each), {name: history.values.tobytes() for name, history in each.history.items()})
        for each in outcomes
    ]


def company_with(factor: str) -> list[Job]:
    """The students of the first replicate and width of a study that has one factor more: eight in one company."""
    jobs = students_and_their_teachers(factor)
    jobs = [job for job in jobs if job.run.needs == jobs[0].run.needs]
    (together,) = companies([job.run for job in jobs])
    assert len(together) == 8
    return jobs


def all_but(place: int, found: list) -> list:
    """What is found at every place but one."""
    return found[:place] + found[place + 1 :]


def sizes_of_cohorts(monkeypatch) -> list[int]:
    """How many students each cohort has that is then made."""
    sizes, start = [], Cohort.start

    def counted(self, optimizer):
        sizes.append(self.students)
        start(self, optimizer)

    monkeypatch.setattr(Cohort, "start", counted)
    return sizes


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    return students_and_their_teachers()


def test_in_step_every_run_comes_to_what_it_comes_to_alone(jobs):
    assert rows(list(execute_all(jobs))) == rows(list(execute_each(jobs)))


def test_a_run_that_ends_early_leaves_the_others_in_step(jobs, monkeypatch):
    """Students with one gradient fail in their eighth step, in the midst of the others."""
    alone, evaluate = rows(list(execute_each(jobs))), Trainer._evaluate

    def failing(self, batch, progress, series):
        if progress.step == 7 and isinstance(self.objective.recipe.shape, Smoothstep):
            raise Diverged("the loss of epoch 7 is nan")
        return evaluate(self, batch, progress, series)

    monkeypatch.setattr(Trainer, "_evaluate", failing)
    outcomes = list(execute_all(jobs))
    expected = ["diverged" if job.run.levels["gradient"] == "smoothstep" else "done" for job in jobs]
    assert [each.status for each in outcomes] == expected
    assert Counter(expected) == {"diverged": len(jobs) // 2, "done": len(jobs) // 2}
    assert all(
        row == own for row, own, each in zip(rows(outcomes), alone, outcomes, strict=True) if each.status == "done"
    )


def test_members_of_a_company_come_behind_its_first_one():
    """Where another factor than that of teachers varies slowest too; everything else keeps its place."""
    runs = [each for each in planned() if each.replicate == 1]
    teachers, students = ([each for each in runs if each.kind == kind] for kind in ("teacher", "treatment"))
    assert [len(group) for group in companies(students)] == [4, 4]
    mixed = [each for pair in zip(students[:4], students[4:], strict=True) for each in pair]
    assert [len(group) for group in companies(mixed)] == [1] * 8
    assert by_company([teachers[0], *mixed, teachers[1]]) == [
        [teachers[0]], students[:4], students[4:], [teachers[1]],
    ]  # fmt: skip


def test_nothing_of_a_company_outlives_it(jobs, monkeypatch):
    """Networks and outcomes are let go of at once, not when Python next looks for cycles."""
    alive = []

    class Watched(Company):
        def __init__(self) -> None:
            super().__init__()
            alive.append(weakref.ref(self))

        def network(self, kind, make):
            found = super().network(kind, make)
            alive.append(weakref.ref(found))
            return found

    monkeypatch.setattr(run, "Company", Watched)
    gc.disable()
    try:
        list(execute_all(jobs[:4]))
        assert len(alive) == 5
        assert [each() for each in alive] == [None] * 5
    finally:
        gc.enable()


def test_hidden_values_are_rounded_for_those_alone_that_ask_for_it():
    """Students of one width, half of them with activations on a grid: networks are shared by kind."""
    jobs = students_and_their_teachers("factors.values={sets: student.activations, levels: [none, int8]}")
    jobs.sort(key=lambda job: (job.run.replicate, job.run.needs))
    outcomes = list(execute_all(jobs))
    assert rows(outcomes) == rows(list(execute_each(jobs)))
    values = [each.levels["values"] for each in next(companies([job.run for job in jobs]))]
    assert set(values) == {"none", "int8"}


SIDE_BY_SIDE = {
    "ternary": (),
    "clipped": ("student.optimizer.clip=0.05",),
    "ttq": ("student.quantizer=ttq",),
    "twn": ("student.quantizer=twn",),
    "prox": ("student.quantizer=prox",),
    "int8 by lsq": ("student.quantizer={name: int8, scale_grad: lsq}",),
    "float": ("student.quantizer=float", "comparators=[]"),
    "two shapes with masks": ("factors.gradient=[smoothstep, smoothstep_plateau]",),
}


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_students_that_are_quantized_alike_stand_side_by_side(name, monkeypatch):
    """One cohort holds the students of a width, each comes to what it comes to alone."""
    jobs = students_and_their_teachers(*SIDE_BY_SIDE[name])[:4]
    alone, sizes = rows(list(execute_each(jobs))), sizes_of_cohorts(monkeypatch)
    assert rows(list(execute_all(jobs))) == alone
    assert sizes == [4]


ALONE = {
    "one scale a matrix": "student.quantizer={name: ternary, granularity: per_tensor}",
    "a schedule of quantizers": "student.quant_schedule=post_training",
    "a penalty": "student.regularization=l2",
    "a gate": "student.gate=random",
}


@pytest.mark.parametrize("name", ALONE)
def test_a_student_whose_weights_are_looked_at_stands_alone(name, monkeypatch):
    jobs = students_and_their_teachers(ALONE[name])[:4]
    alone, sizes = rows(list(execute_each(jobs))), sizes_of_cohorts(monkeypatch)
    assert rows(list(execute_all(jobs))) == alone
    assert sizes[:4] == [1, 1, 1, 1]


def test_students_that_stand_alone_keep_step_with_the_others(monkeypatch):
    """They come first, and still every batch is made once, and the teacher asked once."""
    jobs = company_with("factors.penalty={sets: student.regularization, levels: [l2, none]}")
    batches, forward, asked = [], TeacherModel.forward, []
    batch = _DrawnSignals.batch
    monkeypatch.setattr(_DrawnSignals, "batch", lambda self, step: batches.append(step) or batch(self, step))
    monkeypatch.setattr(TeacherModel, "forward", lambda self, x, want: asked.append(1) or forward(self, x, want))
    sizes, epochs = sizes_of_cohorts(monkeypatch), jobs[0].run.spec["student"]["epochs"]
    assert [job.run.levels["penalty"] for job in jobs] == ["l2"] * 4 + ["none"] * 4
    assert {each.status for each in execute_all(jobs)} == {"done"}
    assert sizes.count(1) == sizes.count(4) * 4 == 4
    assert batches == list(range(epochs))
    assert len(asked) == epochs


@pytest.mark.parametrize("step", [0, 7, 39])
@pytest.mark.parametrize("member", range(4))
def test_any_student_may_end_before_the_others(jobs, member, step, monkeypatch):
    """With gradients that are no numbers: those beside it do not see them."""
    jobs = jobs[:4]
    alone, evaluate = rows(list(execute_each(jobs))), Trainer._evaluate

    def failing(self, batch, progress, series):
        found = evaluate(self, batch, progress, series)
        if progress.step == step and self.objective.place == member:
            for array in self.cohort.own(self.cohort.gradient, member).values():
                array[...] = np.nan
            raise Diverged("it has no gradient")
        return found

    monkeypatch.setattr(Trainer, "_evaluate", failing)
    outcomes = list(execute_all(jobs))
    assert [each.status for each in outcomes] == ["diverged" if place == member else "done" for place in range(4)]
    assert all_but(member, rows(outcomes)) == all_but(member, alone)


SET_UP = {"before its place": (Company, "place"), "while room is made": (Cohort, "room"), "joining": (Cohort, "join")}


@pytest.mark.parametrize("where", SET_UP)
def test_a_student_whose_set_up_fails_leaves_its_place_empty(jobs, where, monkeypatch):
    """Which the others do not see: none of them takes another place for its own."""
    jobs, (owner, name) = jobs[:4], SET_UP[where]
    alone, original, calls = rows(list(execute_each(jobs))), getattr(owner, name), []

    def failing_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError("there is none left")
        return original(*arguments)

    monkeypatch.setattr(owner, name, failing_once)
    outcomes = list(execute_all(jobs))
    statuses = [each.status for each in outcomes]
    assert Counter(statuses) == {"failed": 1, "done": 3}
    failed = statuses.index("failed")
    assert "there is none left" in outcomes[failed].error
    assert all_but(failed, rows(outcomes)) == all_but(failed, alone)


@pytest.mark.parametrize(("owner", "name"), [(Adam, "update_inplace"), (Ternary, "quantize"), (Smoothstep, "mask")])
def test_what_fails_for_all_has_failed_for_each(jobs, owner, name, monkeypatch):
    """A step that was half done goes on for nobody."""
    original, calls = getattr(owner, name), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 9:
            raise MemoryError("there is none left")
        return original(*arguments)

    monkeypatch.setattr(owner, name, failing)
    outcomes = list(execute_all(jobs[:4]))
    assert [each.status for each in outcomes] == ["failed"] * 4
    assert all("there is none left" in each.error for each in outcomes)
    assert len(calls) == 9


UNLIKE = {
    "optimizer": "{sets: student.optimizer.beta1, levels: [0.9, 0.8]}",
    "quantizer": "{sets: student.quantizer, levels: [ternary, int4]}",
    "rate": "{sets: student.lr_schedule, levels: [constant, step]}",
    "epochs": "{sets: student.epochs, levels: [20, 40]}",
    "values": "{sets: student.activations, levels: [none, int8]}",
}


@pytest.mark.parametrize("name", UNLIKE)
def test_students_that_are_not_quantized_and_updated_alike_are_another_cohort(name, monkeypatch):
    """What is done to all of a cohort at once must be the same for all."""
    jobs = company_with(f"factors.unlike={UNLIKE[name]}")
    assert sorted(Counter(job.run.levels["unlike"] for job in jobs).values()) == [4, 4]
    alone, sizes = rows(list(execute_each(jobs))), sizes_of_cohorts(monkeypatch)
    assert rows(list(execute_all(jobs))) == alone
    assert sizes == [4, 4]


MIXED = {
    "temperature": ("student.epochs=4", "teacher.epochs=4", "teacher.accept={}"),
    "valence": ("student.epochs=4", "teacher.epochs=4", "teacher.accept={}"),
    "progressive": ("student.epochs=9", "teacher.epochs=4", "teacher.accept={}"),
}


@pytest.mark.parametrize("name", MIXED)
def test_techniques_of_the_reference_studies_keep_their_bits_in_step(name):
    """Perceptrons with soft targets and learned temperatures; gates, weightings, drawn batches; changing quantizers."""
    runs = plan(load_study(ROOT / "experiments" / f"{name}.yaml", MIXED[name], 1)).runs
    held = {each.run_id: Finished(each, execute(each, ())) for each in runs if each.kind == "teacher"}
    jobs = [Job(each, tuple(held[need] for need in each.needs)) for each in runs if each.kind == "treatment"][:24]
    assert any(len(group) > 1 for group in companies([job.run for job in jobs]))
    assert rows(list(execute_all(jobs))) == rows(list(execute_each(jobs)))


JOINT = {
    "as it is": (),
    "wide": ("factors.width={sets: model.hidden, levels: [16, 33]}",),
    "all at different weights": ("factors.distillation=[{name: trajectory, end: 0.5}, trajectory_decaying]",),
    "no weight at first": ("factors.distillation=[none, {name: trajectory, start: 0.0}]",),
    "no weight on the task": ("student.supervised_weight=0.0",),
    "a share of the task": ("student.supervised_weight=0.7",),
    "a grid": ("student.activations=int8",),
    "a schedule of quantizers": ("student.quant_schedule=post_training",),
    "a mask": ("task={name: copy, symbols: 2, blanks: 3, sequences: 4}", "teacher.accept={}"),
}


@pytest.mark.parametrize("name", JOINT)
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_loss_in_common_comes_to_what_each_student_evaluates_by_itself(name, at_once, monkeypatch):
    """In passes of so many students; without a joint loss the terms are evaluated one by one."""
    monkeypatch.setattr(CfcNetwork, "most_at_once", lambda self, shape: at_once)
    jobs = students_and_their_teachers(*JOINT[name])[:4]
    together, evaluated = rows(list(execute_all(jobs))), []
    monkeypatch.setattr(run, "may_be_joint", lambda objective: evaluated.append(may_be_joint(objective)))
    assert rows(list(execute_all(jobs))) == together
    assert evaluated == [True] * 4


def test_a_term_that_inherits_how_several_are_evaluated_must_not_evaluate_one_otherwise():
    class Halved(SquaredError):
        def evaluate(self, student, teachers, batch, context):
            return super().evaluate(student, teachers, batch, context)

    class Both(Halved):
        def evaluate_each(self, *arguments):
            return super().evaluate_each(*arguments)

    class Neither(SquaredError):
        pass

    found = {kind.__name__: kind.takes_several() for kind in (SquaredError, Neither, Halved, Both, HiddenMse)}
    assert found == {"SquaredError": True, "Neither": True, "Halved": False, "Both": True, "HiddenMse": False}


def test_students_with_one_loss_evaluate_it_together(jobs, monkeypatch):
    """Two with the trajectory and two without: of each two the passes are one call."""
    calls, forward = [], CfcNetwork.run

    def counted(self, weights, inputs, places, space, y):
        calls.append(sorted(places.tolist()))
        forward(self, weights, inputs, places, space, y)

    monkeypatch.setattr(CfcNetwork, "run", counted)
    epochs = jobs[0].run.spec["student"]["epochs"]
    assert {each.status for each in execute_all(jobs[:4])} == {"done"}
    assert calls.count([0, 1]) == calls.count([2, 3]) == epochs


def test_as_many_students_run_at_once_as_find_their_values_in_a_cache():
    """At least one, however long its sequences are."""
    network = Cfc(hidden=16).build(1, {"prediction": 1}, 0.1, "float32")
    found = [network.most_at_once((steps, 10, 1)) for steps in (1, 50, 100, 10_000)]
    assert found[0] > found[1] > found[2] > found[3] == 1


def test_replicates_of_networks_of_one_kind_train_in_step(jobs, monkeypatch):
    """Where they come in one batch; each learns from its own data and teacher, and is quantized with all others."""
    of_one_width = [job for job in jobs if job.run.levels["width"] == "4"]
    (together,) = companies([job.run for job in of_one_width])
    assert Counter(each.replicate for each in together) == {1: 4, 2: 4}
    alone, sizes = rows(list(execute_each(of_one_width))), sizes_of_cohorts(monkeypatch)
    asked, forward = Counter(), TeacherModel.forward
    monkeypatch.setattr(TeacherModel, "forward", lambda self, *of: asked.update([id(self)]) or forward(self, *of))
    assert rows(list(execute_all(of_one_width))) == alone
    assert sizes == [8]
    epochs = jobs[0].run.spec["student"]["epochs"]
    assert [*asked.values()] == [epochs, epochs]


def test_replicates_that_have_a_teacher_in_common_see_batches_of_their_own(jobs):
    """As in the benchmark: nothing but the data tells them apart."""
    copies = [Job(replace(jobs[0].run, run_id=str(one), replicate=one), jobs[0].needed) for one in range(1, 5)]
    assert len(next(companies([job.run for job in copies]))) == 4
    alone = rows(list(execute_each(copies)))
    assert rows(list(execute_all(copies))) == alone
    assert len({responses for row, _ in alone for responses in [str(row)]}) == 4


def test_a_run_with_fewer_steps_ends_before_the_others():
    jobs = students_and_their_teachers("factors.epochs={sets: student.epochs, levels: [3, 40]}")
    outcomes = list(execute_all(jobs))
    assert {len(each.history["loss"].values) for each in outcomes} == {3, 40}
    assert rows(outcomes) == rows(list(execute_each(jobs)))


class Clock:
    """Stands still but for what is known to take its time: `spend` makes a function of `module` take some seconds."""

    def __init__(self, monkeypatch) -> None:
        self.now, self._patch = 0.0, monkeypatch
        for module in (run, seconds):
            monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def spend(self, owner, name: str, seconds: float) -> None:
        function = getattr(owner, name)

        def slow(*arguments):
            self.now += seconds
            return function(*arguments)

        self._patch.setattr(owner, name, slow)


def test_seconds_are_shares_of_wall_time(jobs, monkeypatch):
    """Of four in step: what two have in common is halved, what all have is quartered, and nothing is lost."""
    clock = Clock(monkeypatch)
    clock.spend(_DrawnSignals, "batch", 4.0)
    clock.spend(TeacherModel, "forward", 6.0)
    clock.spend(Trainer, "_evaluate", 1.0)
    clock.spend(SquaredError, "evaluate_each", 10.0)
    clock.spend(Adam, "update_inplace", 8.0)
    clock.spend(Smoothstep, "mask", 3.0)
    epochs, tensors = jobs[0].run.spec["student"]["epochs"], 2
    outcomes = list(execute_all(jobs[:4]))
    assert [job.run.levels["distillation"] for job in jobs[:4]] == DISTILLATIONS
    common = epochs * (4.0 / 4 + 1.0 + 10.0 / 2 + tensors * 8.0 / 4)
    taught = {"none": 0.0, "trajectory": epochs * 6.0 / 2}
    masked = {"ste": 0.0, "smoothstep": epochs * tensors * 3.0 / 2}
    expected = [
        common + taught[job.run.levels["distillation"]] + masked[job.run.levels["gradient"]] for job in jobs[:4]
    ]
    assert [each.seconds for each in outcomes] == pytest.approx(expected)
    assert clock.now == pytest.approx(sum(expected))


def test_who_is_left_is_evaluated_alone_and_pays_for_it(jobs, monkeypatch):
    """Three of four diverge in their third step: nobody runs their networks any more, and no second is lost."""
    evaluate, calls, forward = Trainer._evaluate, [], CfcNetwork.run

    def failing(self, batch, progress, series):
        found = evaluate(self, batch, progress, series)
        if progress.step == 2 and self.objective.place != 3:
            raise Diverged("the loss of epoch 2 is nan")
        return found

    def counted(self, weights, inputs, places, space, y):
        calls.append(sorted(places.tolist()))
        forward(self, weights, inputs, places, space, y)

    monkeypatch.setattr(Trainer, "_evaluate", failing)
    clock = Clock(monkeypatch)
    clock.spend(SquaredError, "evaluate_each", 10.0)
    clock.spend(Adam, "update_inplace", 8.0)
    clock.spend(Smoothstep, "mask", 3.0)
    monkeypatch.setattr(CfcNetwork, "run", counted)
    outcomes, epochs = list(execute_all(jobs[:4])), jobs[0].run.spec["student"]["epochs"]
    assert [each.status for each in outcomes] == ["diverged"] * 3 + ["done"]
    # It is run once more when it is evaluated.
    assert [calls.count(places) for places in ([0, 1], [2, 3], [3])] == [3, 3, epochs - 3 + 1]
    assert clock.now == pytest.approx(sum(each.seconds for each in outcomes))


def test_what_is_made_now_and_then_is_shared_out_too(jobs, monkeypatch):
    """Signals of many epochs at once, and flips of codes where histories have a point."""
    jobs = students_and_their_teachers("student.epochs=400")[:4]
    clock = Clock(monkeypatch)
    clock.spend(Sine, "signals", 4.0)
    clock.spend(CodeFlips, "shares", 4.0)
    found = [each.seconds for each in execute_all(jobs)]
    # Every student's own evaluation runs on signals as well.
    assert found == [pytest.approx(clock.now / 4)] * 4
    assert clock.now > 4.0 * 400 / 2


def test_seconds_of_a_run_alone_are_wall_time(jobs, monkeypatch):
    clock = Clock(monkeypatch)
    clock.spend(TeacherModel, "forward", 6.0)
    clock.spend(Trainer, "_evaluate", 1.0)
    clock.spend(run._Setting, "network", 0.5)
    epochs = jobs[0].run.spec["student"]["epochs"]
    # Networks of student and teacher.
    plain, taught = 2 * 0.5 + epochs * 1.0, 2 * 0.5 + epochs * 7.0
    assert [each.seconds for each in execute_each(jobs[:4])] == [plain, plain, taught, taught]


def test_a_run_that_ends_early_has_its_share_up_to_its_end(monkeypatch):
    jobs = company_with("factors.epochs={sets: student.epochs, levels: [10, 40]}")
    clock = Clock(monkeypatch)
    clock.spend(SquaredError, "evaluate_each", 2.0)
    found = {(job.run.levels["epochs"], each.seconds) for job, each in zip(jobs, execute_all(jobs), strict=True)}
    assert found == {("10", 10 * 2.0 / 2), ("40", 40 * 2.0 / 2)}


def test_everybody_is_the_first_of_a_step_in_turn(jobs, monkeypatch):
    """The first pays for what the last of another step has left in caches, so it must not always be the same."""
    firsts, prepare = Counter(), Cohort.prepare

    def noted(self, progress):
        firsts[self._preparing.meter._ledger.stepping] += 1
        prepare(self, progress)

    monkeypatch.setattr(Cohort, "prepare", noted)
    epochs = jobs[0].run.spec["student"]["epochs"]
    assert {each.status for each in execute_all(jobs[:4])} == {"done"}
    assert sum(firsts.values()) == epochs + 1
    assert max(firsts.values()) - min(firsts[place] for place in range(4)) <= 1


def test_a_teacher_says_once_what_several_students_ask(jobs, monkeypatch):
    """Two students of a width learn from the teacher's trajectory; each step's batch is run through it once."""
    asked, forward = [], TeacherModel.forward

    def counted(self, inputs, want):
        asked.append(inputs)
        return forward(self, inputs, want)

    monkeypatch.setattr(TeacherModel, "forward", counted)
    together = next(companies([job.run for job in jobs]))
    assert [each.levels["distillation"] for each in together] == DISTILLATIONS
    members = jobs[: len(together)]
    list(execute_all(members))
    assert len(asked) == members[0].run.spec["student"]["epochs"]
    asked.clear()
    list(execute_each(members))
    assert len(asked) == 2 * members[0].run.spec["student"]["epochs"]


def test_students_of_one_replicate_and_teacher_train_in_step():
    treatments = [each for each in planned() if each.kind == "treatment"]
    groups = list(companies(treatments))
    assert [each for group in groups for each in group] == treatments
    assert [len(group) for group in groups] == [4, 4, 4, 4]
    assert all(len({(each.replicate, each.needs) for each in group}) == 1 for group in groups)


def test_so_many_train_in_step_at_most():
    one = next(each for each in planned() if each.kind == "treatment")
    assert [len(group) for group in companies([one] * (2 * MOST_TOGETHER + 1))] == [MOST_TOGETHER, MOST_TOGETHER, 1]


def test_teachers_and_comparators_run_alone():
    others = [each for each in planned() if each.kind != "treatment"]
    assert all(len(group) == 1 for group in companies(others))


def test_other_data_make_another_company():
    one = next(each for each in planned() if each.kind == "treatment")
    longer = replace(one, spec={**one.spec, "task": {**one.spec["task"], "steps": 11}})
    seeded = replace(one, spec={**one.spec, "seed": 43})
    assert [len(group) for group in companies([one, one, longer, longer, seeded])] == [2, 2, 1]


def test_code_of_the_users_own_runs_alone(monkeypatch):
    one = next(each for each in planned() if each.kind == "treatment")
    assert len(list(companies([one, one]))) == 1
    monkeypatch.setattr(Smoothstep, "__module__", "elsewhere.levels")
    steps = replace(one, spec={**one.spec, "student": {**one.spec["student"], "gradient": {"name": "smoothstep"}}})
    assert len(list(companies([one, one]))) == 1
    assert len(list(companies([steps, steps]))) == 2


def test_a_task_that_is_not_known_here_fails_and_nothing_else():
    """As on a machine of a cluster that lacks a package."""
    jobs = [Job(each) for each in planned() if each.kind == "treatment"][:2]
    lost = replace(jobs[0].run, spec={**jobs[0].run.spec, "task": {"name": "mytask"}})
    outcomes = list(execute_all([Job(lost, jobs[0].needed), Job(lost, jobs[0].needed)]))
    assert [each.status for each in outcomes] == ["failed", "failed"]
    assert all("unknown task 'mytask'" in each.error for each in outcomes)


def test_stop_iteration_of_the_users_code_is_told_as_it_is(monkeypatch):
    def measure(self, *_):
        return next(iter(()))

    monkeypatch.setattr(Sine, "evaluate", measure)
    (one,) = [each for each in planned() if each.kind == "teacher"][:1]
    outcome = execute(one, ())
    assert outcome.status == "failed"
    assert outcome.error.rstrip().endswith("StopIteration")
    assert "generator raised" not in outcome.error


def test_where_time_is_limited_every_run_has_its_own():
    assert executing(Limits(seconds=1.0)) is execute_each
    assert executing(Limits(memory=10**9)) is execute_all


class Counting:
    """Data whose batches say which step they are of, in arrays that are written anew each time."""

    def __init__(self) -> None:
        self.made, self._inputs = [], np.zeros(1)

    def batch(self, step: int) -> Batch:
        self.made.append(step)
        self._inputs[0] = step
        return Batch(self._inputs, {})


class Echo:
    def run_only(self, weights, inputs, want):
        return {"prediction": inputs.copy()}


def test_each_batch_is_made_once_and_no_teacher_speaks_of_an_old_one():
    """The arrays of a batch may be written over by the next: what a teacher said is not remembered by them."""
    shared, made = Company(), Counting()
    data = shared.data(1, lambda: made)
    assert shared.data(1, Counting) is data
    teacher = shared.teacher(1, TEACHER, lambda: TeacherModel(Echo(), {}))
    assert shared.teacher(1, TEACHER, lambda: TeacherModel(Echo(), {})) is teacher
    for step in range(3):
        said = [teacher.forward(data.batch(step).inputs, frozenset())["prediction"] for _ in range(2)]
        assert said[0] is said[1]
        assert said[0] == step
    assert made.made == [0, 1, 2]


def test_a_teacher_is_asked_anew_for_other_inputs_and_other_outputs():
    teacher = Company().teacher(1, TEACHER, lambda: TeacherModel(Echo(), {}))
    first, second = np.zeros(1), np.ones(1)
    answers = [
        teacher.forward(first, frozenset()),
        teacher.forward(second, frozenset()),
        teacher.forward(first, frozenset()),
    ]
    assert [each["prediction"].item() for each in answers] == [0.0, 1.0, 0.0]
    assert teacher.forward(first, frozenset({"hidden"})) is not answers[2]


def test_a_teacher_that_could_not_answer_is_asked_again():
    class Failing(Echo):
        failures = 1

        def run_only(self, weights, inputs, want):
            if self.failures:
                self.failures -= 1
                raise MemoryError("there is none left")
            return super().run_only(weights, inputs, want)

    teacher, inputs = Company().teacher(1, TEACHER, lambda: TeacherModel(Failing(), {})), np.ones(1)
    with pytest.raises(MemoryError):
        teacher.forward(inputs, frozenset())
    assert teacher.forward(inputs, frozenset())["prediction"] == 1.0


def test_networks_of_one_size_share_their_working_space(jobs, monkeypatch):
    built, build = [], run._Setting.network

    def counted(self):
        built.append(self)
        return build(self)

    monkeypatch.setattr(run._Setting, "network", counted)
    list(execute_all(jobs[:4]))
    # One of the students and one of the teacher.
    assert len(built) == 2
