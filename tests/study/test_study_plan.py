"""Runs of a study: their order, their needs, and ids that change only with what a run depends on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kdrun.factors import discover
from kdrun.factors.contract import Teachers
from kdrun.study.load import study_text
from kdrun.study.plan import plan, study_digest
from kdrun.study.schema import Study

Load = Callable[..., Study]
Change = Callable[[str, str], str]


def ids(study: Study) -> list[str]:
    """The ids of all runs in order."""
    return [run.run_id for run in plan(study).runs]


def test_runs_come_replicate_by_replicate(load: Load, sine: str) -> None:
    """In each replicate teachers, treatments, comparators, each after what it needs."""
    runs = plan(load(sine)).runs
    kinds = ["teacher"] * 2 + ["treatment"] * 8 + ["comparator"] * 2
    assert [run.kind for run in runs] == kinds * 3
    assert [run.replicate for run in runs] == [1] * 12 + [2] * 12 + [3] * 12
    for position, run in enumerate(runs):
        assert set(run.needs) <= {earlier.run_id for earlier in runs[:position]}


def test_the_number_of_runs_is_known_without_making_them(load: Load, sine: str) -> None:
    """A plan of a million replicates can be counted."""
    assert len(plan(load(sine))) == 36
    assert len(plan(load(sine, replicates=10**6))) == 12 * 10**6


def test_a_replicate_by_itself_has_the_same_runs(load: Load, sine: str) -> None:
    """Runs can be made as they are wanted."""
    found = plan(load(sine))
    assert tuple(found.replicate(2)) == found.runs[12:24]


def test_every_id_is_its_own(load: Load, sine: str) -> None:
    """Sixteen hexadecimal digits tell all runs apart."""
    got = ids(load(sine))
    assert len(set(got)) == len(got)
    assert all(len(run_id) == 16 and int(run_id, 16) >= 0 for run_id in got)


def test_treatments_of_one_width_share_a_teacher(load: Load, sine: str) -> None:
    """A teacher is one run per replicate for all treatments that do not differ in it."""
    runs = plan(load(sine)).runs[:12]
    assert [run.needs for run in runs[2:10]] == [(runs[0].run_id,)] * 4 + [(runs[1].run_id,)] * 4
    assert [run.levels for run in runs[:2]] == [{"width": "16"}, {"width": "32"}]


def test_a_teacher_with_its_own_model_is_shared_by_all(load: Load, sine: str) -> None:
    """It does not depend on the width of the students."""
    other = sine.replace("distillation: [none, trajectory]", "lr_schedule: [constant, cosine]")
    settings = ("teacher.model={cell: cfc, hidden: 8}", "student.init=random", "comparators=[coordinate_search]")
    runs = plan(load(other, *settings)).runs[:10]
    assert [run.kind for run in runs] == ["teacher"] + ["treatment"] * 8 + ["comparator"]
    assert runs[0].spec["model"] == {"cell": "cfc", "hidden": 8}
    assert runs[0].levels == {}
    assert runs[5].spec["model"] == {"cell": "cfc", "hidden": 32}


def test_a_factor_over_teachers_changes_the_need_and_not_the_spec(load: Load, sine: str) -> None:
    """Students of different teachers differ in what they need."""
    runs = plan(load(sine.replace("model.hidden", "teacher.epochs").replace("{epochs: 2000, ", "{"))).runs[:12]
    assert [run.levels for run in runs[:2]] == [{"width": "16"}, {"width": "32"}]
    assert runs[2].spec == runs[6].spec
    assert runs[2].run_id != runs[6].run_id


def test_specs_hold_what_a_run_depends_on(load: Load, sine: str) -> None:
    """No key more and no key less, each with its default written out."""
    runs = plan(load(sine)).runs[:12]
    assert set(runs[0].spec) == {"seed", "task", "model", "teacher"}
    assert set(runs[0].spec["teacher"]) == {"epochs", "optimizer", "lr_schedule"}
    assert set(runs[2].spec) == {"seed", "task", "model", "student"}
    assert set(runs[10].spec) == {"seed", "task", "model", "student", "comparator"}
    assert runs[10].spec["comparator"] == {"name": "coordinate_search", "sweeps": 5}
    assert runs[0].spec["seed"] == 42


def test_comparators_start_from_the_baseline_or_its_teacher(load: Load, sine: str) -> None:
    """Each comparator has the width of treatment 1."""
    runs = plan(load(sine)).runs[:12]
    assert [run.needs for run in runs[10:]] == [(runs[2].run_id,), (runs[0].run_id,)]
    assert [run.comparator for run in runs[10:]] == ["coordinate_search", "post_training"]
    assert [run.levels for run in runs[10:]] == [{"width": "16"}] * 2
    assert [run.treatment for run in runs[1:4]] == [None, 1, 2]


def test_a_comparator_can_start_from_another(
    load: Load, change: Change, add_family: Callable[..., None], make_level: Callable[..., Any]
) -> None:
    """It then needs that comparator's run of its own replicate."""
    contract = discover.families()["comparators"].contract
    add_family("comparators", [make_level("polish", contract, {"starts_from": "post_training"})])
    runs = plan(load(change("post_training]", "post_training, polish]"))).runs
    assert runs[12].needs == (runs[11].run_id,)
    assert runs[25].needs == (runs[24].run_id,)


def test_a_comparator_cannot_start_from_a_later_one(
    change: Change, mistakes: Callable[..., list[str]], add_family: Callable[..., None], make_level: Callable[..., Any]
) -> None:
    """It must be listed after the one that it starts from."""
    contract = discover.families()["comparators"].contract
    add_family("comparators", [make_level("polish", contract, {"starts_from": "post_training"})])
    got = mistakes(change("[coordinate_search, ", "[polish, "))
    assert got == [
        "15:15: comparators[0]: 'polish' starts from the comparator 'post_training'; list that one before it"
    ]


def test_comparators_of_one_name_are_told_apart(load: Load, change: Change) -> None:
    """Their parameters show where the name repeats."""
    runs = plan(load(change("post_training]", "{name: coordinate_search, sweeps: 1}]"))).runs
    assert [run.comparator for run in runs[10:12]] == ["coordinate_search", "coordinate_search(sweeps=1)"]


def test_several_teachers_are_several_runs(
    load: Load, sine: str, add_family: Callable[..., None], make_level: Callable[..., Any]
) -> None:
    """A level of the family `teachers` makes the teachers that a student needs; equal ones are one run."""

    def members(self: Teachers, teacher: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        return tuple({**teacher, "epochs": epochs} for epochs in (100, 2000, 100))

    add_family("teachers", [make_level("trio", Teachers, {"members": members})], "student.teachers")
    runs = plan(load(sine.replace("init: teacher", "teachers: trio"))).runs[:14]
    assert [run.kind for run in runs].count("teacher") == 4
    assert runs[4].needs == (runs[0].run_id, runs[1].run_id)
    assert [run.spec["teacher"]["epochs"] for run in runs[:4]] == [100, 2000, 100, 2000]
    alone = plan(load(sine)).runs
    assert runs[1].run_id == alone[0].run_id


def test_a_task_without_networks_has_treatments_alone(load: Load, lonely: str) -> None:
    """Nothing is needed and nothing is shared."""
    runs = plan(load(lonely, replicates=2)).runs
    assert [(run.kind, run.replicate, run.needs) for run in runs] == [
        ("treatment", 1, ()),
        ("treatment", 1, ()),
        ("treatment", 2, ()),
        ("treatment", 2, ()),
    ]


COSMETICS = {
    "comments": ("schema: 1", "# a comment\nschema: 1   # another"),
    "title": ("keep: all", "keep: all\ntitle: Anything"),
    "name": ("study: sine", "study: another"),
    "order of keys": (
        "study: sine\ntask:    {name: sine, steps: 50, ",
        "study: sine\ntask:    {steps: 50, name: sine, ",
    ),
    "notation of numbers": ("lr: 1e-3", "lr: 0.001"),
    "whole number for a float": ("{name: adam, lr: 1e-3}", "{name: adam, lr: 1.0e-3, clip: 5}"),
    "defaults written out": ("{cell: cfc}", "{cell: cfc, hidden: 16}"),
    "defaults left out": ("task:    {name: sine, steps: 50, eval: {phases: 32}}", "task: sine"),
    "default section left out": ("student: {init: teacher, quantizer: {name: ternary, granularity: per_row}}\n", ""),
    "bare name": ("{name: adam, lr: 1e-3}", "adam"),
    "empty slot": ("init: teacher", "distillation: none"),
    "level as a mapping": ("smoothstep]", "{name: smoothstep, beta_end: 20, label: soft}]"),
    "quotes": ("[ste, smoothstep]", "['ste', \"smoothstep\"]"),
    "what a run does not depend on": ("keep: all", "keep: none"),
    "criteria": ("below: 0.05", "below: 0.04"),
    "acceptance": ("eval_mse: 5e-3", "eval_mse: 1"),
    "seed by default": ("seed: 42\n", ""),
    "block style": ("model:   {cell: cfc}", "model:\n  cell: cfc"),
}


@pytest.mark.parametrize(("old", "new"), COSMETICS.values(), ids=COSMETICS.keys())
def test_cosmetics_change_no_id(load: Load, change: Change, sine: str, old: str, new: str) -> None:
    """How a study is written is not what it runs."""
    assert ids(load(change(old, new))) == ids(load(sine))


CHANGES = {
    "seed": ("seed: 42", "seed: 43"),
    "task": ("steps: 50", "steps: 49"),
    "nested in the task": ("phases: 32", "phases: 31"),
    "teacher": ("epochs: 2000", "epochs: 1999"),
    "optimizer": ("lr: 1e-3", "lr: 1.1e-3"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES.keys())
def test_what_every_run_depends_on_changes_every_id(load: Load, change: Change, sine: str, old: str, new: str) -> None:
    """Students change with their teachers, comparators with what they start from."""
    assert not set(ids(load(change(old, new)))) & set(ids(load(sine)))


def test_what_only_students_depend_on_leaves_teachers(load: Load, sine: str) -> None:
    """A changed student keeps its teacher's runs, and comparators that are made from the teacher alone."""
    before, after = plan(load(sine)).runs, plan(load(sine, "student.epochs=7")).runs
    kept = {run.kind for run in before if run.run_id in {other.run_id for other in after}}
    assert kept == {"teacher", "comparator"}
    changed = [run for run in before if run.run_id not in {other.run_id for other in after}]
    assert {run.comparator for run in changed if run.kind == "comparator"} == {"coordinate_search"}


def test_more_replicates_and_levels_keep_the_ids_of_the_others(load: Load, sine: str) -> None:
    """What is done stays done."""
    before = set(ids(load(sine)))
    assert before < set(ids(load(sine, replicates=5)))
    assert before < set(ids(load(sine, "factors.width.levels=[16, 32, 64]")))
    assert before < set(ids(load(sine, "factors.gradient=[ste, smoothstep, smoothstep_unit]")))


def test_a_new_key_with_a_default_changes_no_id(
    load: Load, sine: str, add_family: Callable[..., None], make_level: Callable[..., Any]
) -> None:
    """A later version may give a level more parameters, and the student section more slots."""
    text = sine.replace("[ste, smoothstep]", "[ste, {name: bent, bend: 0.5}]")
    contract = discover.families()["gradient"].contract
    add_family("gradient", [make_level("bent", contract, bend=0.25)])
    before = ids(load(text))
    add_family("gradient", [make_level("bent", contract, bend=0.25, twist=3)])
    add_family("brand_new", [make_level("spin"), make_level("turn")], "student.brand_new", "spin")
    add_family("may_be_empty", [make_level("once")], "student.may_be_empty")
    assert "brand_new" in plan(load(text)).runs[2].spec["student"]
    assert ids(load(text)) == before
    assert ids(load(text, "factors.gradient[1].twist=3")) == before
    assert not set(ids(load(text, "factors.gradient[1].twist=4"))) & set(before[3:10:2])


def test_the_default_level_of_a_slot_is_told_from_others(load: Load, sine: str) -> None:
    """Only the default level's name is left out of what an id is made from."""
    runs = plan(load(sine)).runs
    assert runs[2].run_id != runs[3].run_id
    assert ids(load(sine, "student.quantizer=float", "comparators=[]"))[2] != runs[2].run_id


def test_an_id_is_the_documented_hash(load: Load, sine: str) -> None:
    """The rule can be followed by hand: it holds for stores that exist."""
    runs = plan(load(sine)).runs
    teacher = '{"kind":"teacher","needs":[],"replicate":1,"spec":{"model":{"cell":"cfc"},"task":{"name":"sine"}}}'
    expected = hashlib.sha256(teacher.encode()).hexdigest()[:16]
    assert runs[0].run_id == expected
    student = (
        f'{{"kind":"treatment","needs":["{expected}"],"replicate":1,"spec":{{"model":{{"cell":"cfc"}},'
        '"student":{"gradient":{"name":"smoothstep"}},"task":{"name":"sine"}}}'
    )
    assert runs[3].run_id == hashlib.sha256(student.encode()).hexdigest()[:16]


def test_the_resolved_study_has_the_same_runs(load: Load, sine: str) -> None:
    """`study.yaml` in the results folder stands for what ran."""
    study = load(sine)
    assert plan(load(study_text(study))).runs == plan(study).runs


def test_a_plan_of_many_runs_is_quick(load: Load, sine: str) -> None:
    """A hundred treatments in a thousand replicates take seconds, not minutes."""
    levels = ", ".join(str(level) for level in range(1, 26))
    study = load(sine, f"factors.width.levels=[{levels}]", replicates=1000)
    start = time.perf_counter()
    assert len(plan(study).runs) == 127_000
    assert time.perf_counter() - start < 10


def test_the_study_digest_ignores_names_and_titles(load: Load, change: Change, sine: str) -> None:
    """It stands for what is run and how it is judged."""
    expected = study_digest(load(sine))
    for old, new in (COSMETICS[key] for key in ("title", "name", "order of keys", "notation of numbers", "quotes")):
        assert study_digest(load(change(old, new))) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("below: 0.05", "below: 0.04"),
        ("replicates: 3", "replicates: 4"),
        ("seed: 42", "seed: 41"),
        ("value: 0.5", "value: 0.6"),
        ("[coordinate_search, ", "["),
        ("[ste, smoothstep]", "[smoothstep, ste]"),
        ("eval_mse: 5e-3", "eval_mse: 4e-3"),
        ("keep: all", "gradcheck: {tolerance: 1e-4}"),
        ("required: true", "required: false"),
    ],
)
def test_the_study_digest_changes_with_runs_and_judgement(
    load: Load, change: Change, sine: str, old: str, new: str
) -> None:
    """Whatever could change a verdict changes it."""
    assert study_digest(load(change(old, new))) != study_digest(load(sine))
