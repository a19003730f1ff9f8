"""Techniques, networks and tasks that do not fit together: refused before anything is trained, at the right place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdrun.study.load import load_study, study_text
from kdrun.study.plan import plan

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
Mistakes = Callable[..., list[str]]

STUDY = """\
schema: 1
study: fit
task:    sine
model:   {cell: cfc, hidden: 16}
teacher: {epochs: 3}
student: {epochs: 3}
factors:
  quantizer: [float, ternary]
responses: [{name: eval_mse, scale: linear, better: lower}]
"""


def study(**changed: str) -> str:
    """The study with some of its lines replaced, by key; `factors` replaces the line below it."""
    lines = STUDY.splitlines()
    for key, text in changed.items():
        place = next(i for i, line in enumerate(lines) if line.startswith(key)) + (key == "factors")
        lines[place] = f"  {text}" if key == "factors" else f"{key + ':':<8} {text}"
    return "\n".join(lines) + "\n"


NEEDS = {
    "soft_targets: forward_kl": "'forward_kl' needs logits, which",
    "sequence: seq_kd": "'seq_kd' needs logits, which",
    "weighting: valence": "'valence' needs logits, valence, which",
    "weighting: mean_product": "'mean_product' needs logits, valence, which",
    "weighting: valence_learned": "'valence_learned' needs logits, valence, which",
    "future_valence: truth": "'truth' needs valence, which",
    "future_valence: teacher": "'teacher' needs valence, which",
    "gate: mercy": "'mercy' needs logits, valence, which",
}


@pytest.mark.parametrize(("written", "words"), NEEDS.items(), ids=NEEDS)
def test_a_level_that_needs_what_networks_do_not_give_is_shown(mistakes: Mistakes, written: str, words: str) -> None:
    """Where it is chosen: what it needs, and what networks of the task give."""
    key = written.partition(":")[0]
    got = mistakes(study(student=f"{{{written}}}"))
    text = f"{words} networks of the task 'sine' do not give; they give hidden, prediction"
    assert got == [f"6:{12 + len(key) + 1}: student.{key}: {text}"]


@pytest.mark.parametrize(("written", "words"), NEEDS.items(), ids=NEEDS)
def test_the_level_of_a_factor_is_blamed_alone(mistakes: Mistakes, written: str, words: str) -> None:
    """Of a factor with a level that fits and one that does not, the second is shown."""
    key, name = written.split(": ")
    fits = "uniform" if key == "weighting" else "random" if key == "gate" else "none"
    got = mistakes(study(factors=f"{key}: [{fits}, {name}]"))
    assert len(got) == 1
    column = 6 + len(key) + len(fits) + 2
    assert got[0].startswith(f"8:{column}: factors.{key}[1]: {words} networks of the task 'sine' do not give")


@pytest.mark.parametrize("written", NEEDS)
def test_what_networks_of_the_task_give_is_used(load: Callable[..., object], written: str) -> None:
    """The same level is allowed on the task that has logits and valence."""
    assert load(study(task="regimes", student=f"{{{written}}}").replace("eval_mse", "accuracy"))


def test_hidden_values_are_compared_with_as_many(mistakes: Mistakes) -> None:
    """A teacher of another width is no reference for a trajectory or for features."""
    teacher = "{model: {cell: cfc, hidden: 8}}"
    for written, name in (("distillation", "trajectory"), ("feature", "hidden_mse")):
        got = mistakes(study(teacher=teacher, student=f"{{init: random, {written}: {name}}}"))
        text = f"'{name}' compares hidden values one by one, but the student has 16 and the teacher 8"
        assert got == [f"6:{25 + len(written) + 2}: student.{written}: {text}"]


def test_the_level_that_compares_is_blamed(mistakes: Mistakes) -> None:
    """A factor of distillation with a teacher of another width."""
    text = study(
        teacher="{model: {cell: cfc, hidden: 8}}", student="{init: random}", factors="distillation: [none, trajectory]"
    )
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith("8:24: factors.distillation[1]: 'trajectory' compares hidden values one by one")


def test_the_width_that_no_longer_fits_is_blamed(mistakes: Mistakes) -> None:
    """A factor of width with a teacher of the first one."""
    got = mistakes(
        study(
            model="{cell: cfc}",
            teacher="{model: {cell: cfc, hidden: 8}}",
            student="{init: random, distillation: trajectory}",
            factors="width: {sets: model.hidden, levels: [8, 16]}",
        )
    )
    assert len(got) == 1
    assert got[0].startswith("8:43: factors.width.levels[1]: student.distillation: 'trajectory' compares hidden")


def test_as_many_hidden_values_are_enough(load: Callable[..., object]) -> None:
    """A teacher of another depth may be compared with, where layers are as wide."""
    text = study(
        task="digits",
        model="{cell: mlp, hidden: 9}",
        teacher="{model: {cell: mlp, hidden: 9, layers: 2}}",
        student="{init: random, feature: hidden_mse}",
    )
    assert load(text.replace("eval_mse", "accuracy"))


@pytest.mark.parametrize("student", ["{init: teacher}", "{epochs: 3}"])
def test_weights_of_another_network_are_nothing_to_start_from(mistakes: Mistakes, student: str) -> None:
    """Whether the study says so or leaves the default."""
    got = mistakes(study(teacher="{model: {cell: cfc, hidden: 8}}", student=student))
    assert len(got) == 1
    place, text = got[0].split(": ", 1)
    assert place == ("6:17" if "init" in student else "6:10")
    assert text == (
        "student.init: the student starts from its teacher's weights, but the teacher has another network; say random"
    )


def test_a_teacher_like_the_student_is_its_own_start(load: Callable[..., object]) -> None:
    """A model written out for the teacher that is the study's own is no other network."""
    assert load(study(teacher="{model: {cell: cfc, hidden: 16}}"))


FLAT = "the cell 'cfc' runs over sequences, but the task 'digits' gives single examples; choose another cell"


def test_a_network_over_time_needs_sequences(mistakes: Mistakes) -> None:
    """Flat digits have no time."""
    got = mistakes(study(task="digits", model="{cell: cfc}").replace("eval_mse", "accuracy"))
    assert len(got) == 1
    assert got[0].startswith(f"4:10: model: {FLAT}")


def test_a_teacher_over_time_needs_sequences_too(mistakes: Mistakes) -> None:
    """A teacher's own network is held to the same."""
    text = study(task="digits", model="{cell: mlp}", teacher="{model: {cell: cfc}}", student="{init: random}")
    got = mistakes(text.replace("eval_mse", "accuracy"))
    assert len(got) == 1
    assert got[0].startswith(f"5:18: teacher.model: {FLAT}")


def test_the_cell_or_the_task_that_brings_it_about_is_blamed(mistakes: Mistakes) -> None:
    """A factor over the cell, and one over the task."""
    cells = study(task="digits", model="{cell: mlp}", factors="net: {sets: model.cell, levels: [mlp, cfc]}")
    got = mistakes(cells.replace("hidden: 16", "").replace("eval_mse", "accuracy"))
    assert len(got) == 1
    assert got[0].startswith(f"8:41: factors.net.levels[1]: model: {FLAT}")
    tasks = study(task="{}", factors="about: {sets: task.name, levels: [regimes, digits]}")
    got = mistakes(tasks.replace("eval_mse", "accuracy"))
    assert len(got) == 1
    assert got[0].startswith(f"8:46: factors.about.levels[1]: model: {FLAT}")


# ------------------------------------------------------------------------------------------------ factors over tasks

SIGNALS = study(task="{name: sine}", factors="signal: {sets: task.name, levels: [sine, multifreq, copy, lorenz]}")


def test_each_task_has_defaults_of_its_own(load: Callable[..., object]) -> None:
    """The sections of a treatment are those of a study of its task alone."""
    found = load(SIGNALS)
    got = {treatment.levels["signal"]: treatment.sections["task"] for treatment in plan(found).treatments}
    for name, task in got.items():
        assert task == plan(load(study(task=name))).treatments[0].sections["task"]
    assert list(got) == ["sine", "multifreq", "copy", "lorenz"]
    assert len({str(sorted(task)) for task in got.values()}) == 4


def test_what_stands_beside_is_given_to_every_task(load: Callable[..., object]) -> None:
    """A key that all of the tasks have is theirs all."""
    found = plan(load(SIGNALS.replace("{name: sine}", "{name: sine, sequences: 7}")))
    assert [treatment.sections["task"]["sequences"] for treatment in found.treatments] == [7] * 4


def test_a_key_of_one_task_alone_is_blamed_on_the_others(mistakes: Mistakes) -> None:
    """Blanks belong to copying, so every other level is told that it does not know them."""
    text = SIGNALS.replace("{name: sine}", "{blanks: 5}").replace("[sine, multifreq, copy, lorenz]", "[copy, lorenz]")
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith("8:44: factors.signal.levels[1]: task.blanks: unknown key 'blanks'; known: name, ")


def test_a_value_that_one_task_refuses_is_blamed_on_its_level(mistakes: Mistakes) -> None:
    """A step of time that is too long for the chaotic orbit."""
    got = mistakes(SIGNALS.replace("{name: sine}", "{name: sine, dt: 0.1}").replace("copy, ", ""))
    expected = "8:55: factors.signal.levels[2]: task.dt: found 0.1; a number above 0 and at most 0.02 is allowed"
    assert got == [expected]


def test_an_unknown_task_is_one_mistake(mistakes: Mistakes) -> None:
    """A misspelt level, at its place."""
    got = mistakes(SIGNALS.replace("lorenz", "lorentz"))
    assert len(got) == 1
    assert got[0].startswith("8:61: factors.signal.levels[3]: unknown task 'lorentz'; known: ")


@pytest.mark.parametrize("task", ["{name: sine}", "{name: sine, sequences: 7}", "{sequences: 7}"])
def test_the_resolved_study_has_the_runs_of_the_study(load: Callable[..., object], task: str) -> None:
    """Read again from its own text: the same runs, and the same text."""
    found = load(SIGNALS.replace("{name: sine}", task))
    again = load(study_text(found))
    assert plan(again).runs == plan(found).runs
    assert study_text(again) == study_text(found)


def test_the_study_of_harder_tasks_is_read_again_with_its_runs(load: Callable[..., object]) -> None:
    """The committed study, resolved."""
    found = load_study(EXPERIMENTS / "harder_tasks.yaml")
    assert plan(load(study_text(found))).runs == plan(found).runs


@pytest.mark.parametrize("comparator", ["post_training", "post_training_search", "coordinate_search"])
def test_a_comparator_needs_codes_in_treatment_1(
    mistakes: Mistakes, load: Callable[..., object], comparator: str
) -> None:
    """The order of a factor's levels says what treatment 1 is."""
    text = study() + f"comparators: [{comparator}]\n"
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith(
        f"10:15: comparators[0]: '{comparator}' changes codes, but the quantizer of treatment 1 is 'float', which"
    )
    assert load(text.replace("[float, ternary]", "[ternary, float]"))


def test_a_teacher_of_another_network_is_not_quantized_for_the_students(
    mistakes: Mistakes, load: Callable[..., object]
) -> None:
    """Comparators that start from the teacher are refused; one that starts from treatment 1 is not."""
    text = study(
        teacher="{model: {cell: cfc, hidden: 8}}", student="{init: random}", factors="quantizer: [ternary, float]"
    )
    got = mistakes(text + "comparators: [coordinate_search, post_training]\n")
    assert len(got) == 1
    assert got[0].startswith("10:34: comparators[1]: 'post_training' quantizes the teacher's weights for the student's")
    assert load(text + "comparators: [coordinate_search]\n")
