"""Treatments: standard order, levels as the study writes them, families merged over what stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdrun.errors import StudyError
from kdrun.factors import discover
from kdrun.study.design import Treatment, treatments
from kdrun.study.schema import Study

Load = Callable[..., Study]
Change = Callable[[str, str], str]


def test_the_first_factor_turns_fastest(load: Load, sine: str) -> None:
    """Treatments are numbered from 1 in standard order."""
    got = [(t.number, *t.levels.values()) for t in treatments(load(sine))]
    expected = [
        (1, "ste", "none", "16"),
        (2, "smoothstep", "none", "16"),
        (3, "ste", "trajectory", "16"),
        (4, "smoothstep", "trajectory", "16"),
        (5, "ste", "none", "32"),
        (6, "smoothstep", "none", "32"),
        (7, "ste", "trajectory", "32"),
        (8, "smoothstep", "trajectory", "32"),
    ]
    assert got == expected
    assert list(treatments(load(sine))[0].levels) == ["gradient", "distillation", "width"]


def test_sections_hold_every_default(load: Load, sine: str) -> None:
    """What a run is trained by does not depend on what the code's defaults are later."""
    got = treatments(load(sine))[7].sections
    assert got["model"] == {"cell": "cfc", "hidden": 32}
    assert got["student"]["gradient"] == {"name": "smoothstep", "beta_start": 1.0, "beta_end": 20.0}
    assert got["student"]["epochs"] == 1500
    assert got["task"]["eval"] == {"phases": 32, "steps": 100}
    assert got["teacher"]["accept"] == {"eval_mse": 0.005}


def test_an_empty_slot_is_none(load: Load, sine: str) -> None:
    """`none` of a study is null in plain data."""
    assert treatments(load(sine))[0].sections["student"]["distillation"] is None


def test_changed_sections_hold_only_what_differs(load: Load, sine: str) -> None:
    """Defaults are left out, names of what is not the default level stay."""
    got = treatments(load(sine))[7].changed
    assert got["student"] == {"gradient": {"name": "smoothstep"}, "distillation": {"name": "trajectory"}}
    assert got["model"] == {"cell": "cfc", "hidden": 32}
    assert got["task"] == {"name": "sine"}


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("[ste, smoothstep]", ["ste", "smoothstep"]),
        ("[ste, {name: smoothstep, beta_end: 40}]", ["ste", "smoothstep"]),
        ("[ste, {name: smoothstep, label: soft, beta_end: 40}]", ["ste", "soft"]),
        ("[smoothstep, {name: smoothstep, beta_end: 40}]", ["smoothstep", "smoothstep(beta_end=40)"]),
        (
            "[{name: smoothstep, beta_end: 4e1, beta_start: 2}, {name: smoothstep, label: x}]",
            ["smoothstep(beta_end=4e1,beta_start=2)", "x"],
        ),
        ("['ste', \"smoothstep\"]", ["ste", "smoothstep"]),
        ("[{name: ste}, {name: smoothstep}]", ["ste", "smoothstep"]),
    ],
)  # fmt: skip
def test_levels_of_families_are_shown_by_label_or_name(
    load: Load, change: Change, levels: str, expected: list[str]
) -> None:
    """Parameters are shown only where a name repeats."""
    got = [level.text for level in load(change("[ste, smoothstep]", levels)).factors["gradient"].levels]
    assert got == expected


@pytest.mark.parametrize(
    ("key", "levels", "expected"),
    [
        ("model.hidden", "[16, 0x20, +48]", ["16", "32", "48"]),
        ("student.optimizer.lr", "[1e-3, 1, 0.010, 5.e-1]", ["1e-3", "1", "0.010", "5.e-1"]),
        ("student.init", "[teacher, random]", ["teacher", "random"]),
        ("student.optimizer.clip", "[null, 5.0]", ["null", "5.0"]),
        ("task.eval", "[{phases: 4}, {phases: 8, steps: 9}]", ["{phases: 4}", "{phases: 8, steps: 9}"]),
        ("student.optimizer", "[adam, {name: adam, lr: 0.1, label: fast}]", ["adam", "fast"]),
    ],
)
def test_levels_of_other_factors_are_shown_as_written(
    load: Load, sine: str, key: str, levels: str, expected: list[str]
) -> None:
    """A number keeps the form that its author gave it."""
    text = sine.replace("eval: {phases: 32}", "steps: 50").replace("steps: 50, steps: 50", "steps: 50")
    study = load(text.replace("{sets: model.hidden, levels: [16, 32]}", f"{{sets: {key}, levels: {levels}}}"))
    assert [level.text for level in study.factors["width"].levels] == expected
    assert [t.levels["width"] for t in treatments(study)[::4]] == expected


def test_a_label_is_no_part_of_a_run(load: Load, change: Change) -> None:
    """Renaming a level changes nothing but tables."""
    plain = treatments(load(change("smoothstep]", "smoothstep]")))
    labelled = treatments(load(change("smoothstep]", "{name: smoothstep, label: soft}]")))
    assert [t.sections for t in plain] == [t.sections for t in labelled]


def test_a_factor_reaches_below_a_bare_name(load: Load, sine: str) -> None:
    """`optimizer: adam` becomes a mapping where a factor sets its learning rate."""
    text = sine.replace("init: teacher", "optimizer: adam")
    got = treatments(
        load(
            text.replace("{sets: model.hidden, levels: [16, 32]}", "{sets: student.optimizer.lr, levels: [1e-3, 0.5]}")
        )
    )
    assert [t.sections["student"]["optimizer"]["lr"] for t in got[::4]] == [0.001, 0.5]


def test_a_factor_reaches_what_the_study_leaves_out(load: Load, sine: str) -> None:
    """Sections and slots with defaults need not be written for a factor to set a part of them."""
    lines = [line for line in sine.splitlines() if not line.startswith("student")]
    text = "\n".join(lines).replace(
        "{sets: model.hidden, levels: [16, 32]}", "{sets: student.optimizer.lr, levels: [1e-3, 0.5]}"
    )
    assert treatments(load(text))[7].sections["student"]["optimizer"]["lr"] == 0.5


def test_parameters_beside_a_family_go_to_the_levels_that_know_them(load: Load, change: Change) -> None:
    """Keys given beside the factor are kept where the new level has them."""
    got = treatments(load(change("init: teacher", "gradient: {beta_end: 9}")))
    assert [t.sections["student"]["gradient"] for t in got[:2]] == [
        {"name": "ste"},
        {"name": "smoothstep", "beta_start": 1.0, "beta_end": 9.0},
    ]


def test_a_level_overrides_what_stands_beside_it(load: Load, change: Change) -> None:
    """The level's own parameter wins."""
    text = change("init: teacher", "gradient: {beta_end: 9}")
    got = treatments(load(text.replace("smoothstep]", "smoothstep, {name: smoothstep, beta_end: 5}]")))
    assert [t.sections["student"]["gradient"].get("beta_end") for t in got[:3]] == [None, 9.0, 5.0]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_granularity_is_merged_into_the_quantizer_of_another_factor(
    load: Load, sine: str, add_family: Callable[..., None], make_level: Callable[..., Any], swapped: bool
) -> None:
    """The one case where a factor sets a part of what another sets, whichever is written first."""
    quantizer = discover.families()["quantizer"].contract
    add_family("quantizer", [make_level("binary", quantizer, granularity="per_row", scale="fixed")])
    add_family("granularity", [make_level("per_thing", discover.families()["granularity"].contract)])
    factors = [
        "  quantizer: [ternary, {name: binary, granularity: per_row}]\n",
        "  granularity: [per_row, per_thing]\n",
    ]
    start, end = sine.index("  gradient:"), sine.index("replicates")
    text = sine[:start] + "".join(reversed(factors) if swapped else factors) + sine[end:]
    found = [t.sections["student"]["quantizer"] for t in treatments(load(text))]
    got = [(quantizer["name"], quantizer["granularity"], quantizer["scale"]) for quantizer in found]
    expected = [
        ("ternary", "per_row", "learned"),
        ("binary", "per_row", "fixed"),
        ("ternary", "per_thing", "learned"),
        ("binary", "per_thing", "fixed"),
    ]
    assert sorted(got) == sorted(expected)
    assert got[0] == expected[0]


def test_a_combination_that_cannot_be_is_named(load: Load, sine: str) -> None:
    """Levels that are allowed one by one can be wrong together."""
    factors = "  steps: {sets: task.steps, levels: [50, 50000]}\n  dt: {sets: task.dt, levels: [0.1, 10]}\n"
    start, end = sine.index("  gradient:"), sine.index("replicates")
    study = load(sine[:start] + factors + sine[end:])
    with pytest.raises(StudyError) as caught:
        treatments(study)
    assert len(caught.value.mistakes) == 1
    assert str(caught.value).startswith("treatment 4 (steps=50000, dt=10): task: steps·dt reaches")


def test_treatments_that_come_to_the_same_are_refused(load: Load, lonely: str) -> None:
    """One run under two numbers would be counted twice."""
    study = load(lonely.replace("factors:\n", "factors:\n  muted: {sets: task.muted, levels: [false, true]}\n"))
    with pytest.raises(StudyError) as caught:
        treatments(study)
    first, second = "treatment 2 (muted=true, effort=1)", "treatment 4 (muted=true, effort=2)"
    assert str(caught.value) == f"{second}: it is the same as {first}; its factors make no difference there"


def test_not_every_impossible_combination_is_listed(load: Load, sine: str) -> None:
    """Twenty are enough to see what is wrong."""
    steps, times = ", ".join(str(step) for step in range(50_000, 50_020)), ", ".join(f"{n}.5" for n in range(10, 30))
    factors = f"  steps: {{sets: task.steps, levels: [50, {steps}]}}\n  dt: {{sets: task.dt, levels: [0.1, {times}]}}\n"
    start, end = sine.index("  gradient:"), sine.index("replicates")
    study = load(sine[:start] + factors + sine[end:])
    with pytest.raises(StudyError) as caught:
        treatments(study)
    assert len(caught.value.mistakes) == 20


def test_treatments_are_frozen(load: Load, sine: str) -> None:
    """Rooms hand treatments on and change nothing in them."""
    treatment = treatments(load(sine))[0]
    with pytest.raises(AttributeError):
        treatment.number = 2  # type: ignore[misc]
    assert isinstance(treatment, Treatment)


def test_a_task_without_networks_has_no_sections(load: Load, lonely: str) -> None:
    """Only the task is left."""
    got = treatments(load(lonely))
    assert [t.sections for t in got] == [
        {"task": {"name": "lonely", "effort": effort, "spread": [0.0, 1.0], "extra": {}, "muted": False}}
        for effort in (1, 2)
    ]


def test_lists_reach_parameters_that_are_tuples(load: Load, lonely: str) -> None:
    """A study file writes a list where a class has a tuple."""
    got = load(lonely.replace("task: lonely", "task: {name: lonely, spread: [2, 3]}"))
    assert treatments(got)[0].sections["task"]["spread"] == [2.0, 3.0]
