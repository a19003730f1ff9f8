"""Broken study files: every mistake is shown at its place, in plain words, with what is allowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdrun.factors import discover

Mistakes = Callable[..., list[str]]
Change = Callable[[str, str], str]

# What to change in the sine study to what, with ¦ where the mistake is to be shown, and words of its text.
ONE_MISTAKE = {
    "unknown level": (
        "smoothstep]",
        "¦smoothstp]",
        "factors.gradient[1]: unknown level 'smoothstp'; known: ste, smoothstep, ",
    ),
    "unknown level in a mapping": (
        "smoothstep]",
        "{name: ¦smoothstp, beta_end: 4}]",
        "factors.gradient[1].name: unknown level 'smoothstp'",
    ),
    "unknown parameter of a level": (
        "smoothstep]",
        "{name: smoothstep, ¦beta_en: 4}]",
        "factors.gradient[1].beta_en: unknown key 'beta_en'; known: name, beta_start, beta_end. Did you mean 'beta_",
    ),
    "parameter of an empty slot": (
        "[none, tr",
        "[{name: none, ¦start: 1}, tr",
        "factors.distillation[0].start: unknown key; the slot is empty ('none')",
    ),
    "level of the wrong kind": (
        "smoothstep]",
        "¦3]",
        "factors.gradient[1]: found 3; the name of a level or a mapping {name: …} is allowed",
    ),
    "label that is no text": (
        "smoothstep]",
        "{name: smoothstep, label: ¦3}]",
        "factors.gradient[1].label: found 3; a label is one line of 1 to 64 letters",
    ),
    "label outside factors": (
        "name: ternary",
        "name: ternary, ¦label: x",
        "student.quantizer.label: unknown key 'label'; known: name, granularity, ",
    ),
    "one level": ("[ste, smoothstep]", "¦[ste]", "factors.gradient: found 1 level; at least two are needed"),
    "no level": ("[ste, smoothstep]", "¦[]", "factors.gradient: found 0 levels; at least two are needed"),
    "level given twice": ("[ste, smoothstep]", "[ste, ¦ste]", "factors.gradient[1]: the level 'ste' is given twice"),
    "levels that come to the same": (
        "[ste, smoothstep]",
        "[smoothstep, ¦{name: smoothstep, beta_end: 20}]",
        "factors.gradient[1]: the level 'smoothstep(beta_end=20)' is the same as 'smoothstep'",
    ),
    "numbers given twice": ("[16, 32]", "[16, ¦16]", "factors.width.levels[1]: the level '16' is given twice"),
    "unknown family": (
        "gradient: [",
        "¦gradeint: [",
        "factors.gradeint: unknown family 'gradeint'; known: activations, distillation, feature,",
    ),
    "family with sets": (
        "gradient: [ste, smoothstep]",
        "gradient: ¦{sets: student.epochs, levels: [1, 2]}",
        "factors.gradient: a factor named after the family 'gradient' is a list of its levels",
    ),
    "levels of the wrong kind": (
        "levels: [16, 32]",
        "levels: ¦16",
        "factors.width.levels: found 16; a list of at least two levels is allowed",
    ),
    "level that does not fit its key": (
        "[16, 32]",
        "[16, ¦32.0]",
        "factors.width.levels[1]: found 32.0; a whole number from 1 to 4096 is allowed",
    ),
    "first level that does not fit its key": (
        "[16, 32]",
        "[¦9999, 32]",
        "factors.width.levels[0]: found 9999; a whole number from 1 to 4096 is allowed",
    ),
    "empty level": (
        "[16, 32]",
        "[16, ¦~]",
        "factors.width.levels[1]: found nothing; a whole number from 1 to 4096 is allowed",
    ),
    "key of a factor misspelt": (
        "model.hidden",
        "¦model.hiden",
        "factors.width.sets: unknown key 'hiden'; known: cell, hidden. Did you mean 'hidden'?",
    ),
    "section of a factor misspelt": (
        "model.hidden",
        "¦modle.hidden",
        "task, model, teacher or student is allowed. Did you mean 'model.hidden'?",
    ),
    "middle of a key misspelt": (
        "model.hidden",
        "¦student.optimiser.lr",
        "factors.width.sets: unknown key 'optimiser'; known: init, epochs,",
    ),
    "key below a value": (
        "model.hidden",
        "¦student.init.more",
        "factors.width.sets: student.init: found a mapping; one of teacher, random is allowed",
    ),
    "factor over the whole study": (
        "model.hidden",
        "¦replicates",
        "factors.width.sets: found 'replicates'; a key below task, model, teacher or student",
    ),
    "factor over the acceptance": (
        "model.hidden",
        "¦teacher.accept.eval_mse",
        "factors.width.sets: teacher.accept judges teachers and changes no run",
    ),
    "malformed key of a factor": (
        "model.hidden",
        "¦model..hidden",
        "factors.width.sets: 'model..hidden' is no path of keys",
    ),
    "unknown key of a factor": (
        "{sets:",
        "{sets: model.hidden, ¦set:",
        "factors.width.set: unknown key 'set'; known: sets, levels. Did you mean 'sets'?",
    ),
    "factor named like a column": ("width:", "¦status:", "factors.status: 'status' is another column of the tables"),
    "factor named like a response": ("width:", "¦eval_mse:", "factors.eval_mse: 'eval_mse' is a response of the task"),
    "factor with an odd name": ("width:", "¦wid:th:", "a factor has 1 to 64 letters, digits and _"),
    "value that no treatment uses": (
        "{cell: cfc}",
        "{cell: cfc, hidden: ¦24}",
        "model.hidden: found 24, but the factor 'width' sets this key to 16, 32; remove it here",
    ),
    "float where a factor sets whole numbers": (
        "{cell: cfc}",
        "{cell: cfc, hidden: ¦16.0}",
        "model.hidden: found 16.0, but the factor",
    ),
    "level that no treatment uses": (
        "init: teacher",
        "gradient: ¦smoothstep_unit",
        "student.gradient: found 'smoothstep_unit', but the factor 'gradient' sets this key to ste, smoothstep",
    ),
    "parameter that no level knows": (
        "init: teacher",
        "gradient: {¦beta_ed: 2}",
        "student.gradient.beta_ed: unknown key 'beta_ed'; known: name, beta_start, beta_end. Did you mean 'beta_end'?",
    ),
    "unknown top-level key": (
        "keep: all",
        "¦kepe: all",
        "kepe: unknown key 'kepe'; known: schema, study, title, task,",
    ),
    "unknown value of a choice": ("keep: all", "keep: ¦some", "keep: found 'some'; one of all, best, none is allowed"),
    "version": ("schema: 1", "schema: ¦2", "schema: found 2; 1 is allowed"),
    "path as a name": (
        "study: sine",
        "study: ¦../sine",
        "study: found '../sine'; 1 to 64 letters, digits, _ and - are allowed",
    ),
    "long name": ("study: sine", "study: ¦" + "x" * 65, "1 to 64 letters"),
    "number as a name": ("study: sine", "study: ¦2024", "study: found 2024; text is allowed"),
    "unknown task": ("name: sine,", "name: ¦sinus,", "task.name: unknown task 'sinus'; known: "),
    "unknown key of a task": (
        "steps: 50",
        "¦stps: 50",
        "task.stps: unknown key 'stps'; known: name, steps, sequences, dt, eval. Did you mean 'steps'?",
    ),
    "unknown key inside a task": (
        "phases: 32",
        "¦phase: 32",
        "task.eval.phase: unknown key 'phase'; known: phases, steps. Did you mean 'phases'?",
    ),
    "task that refuses its values": (
        "{name: sine, steps: 50",
        "¦{name: sine, steps: 100000, dt: 100",
        "task: steps·dt reaches",
    ),
    "task without a name": ("{name: sine, ", "¦{", "task.name: missing; the name of a task is needed; known: "),
    "unknown cell": ("cell: cfc", "cell: ¦cfg", "model.cell: unknown cell 'cfg'; known: "),
    "text for a number": ("lr: 1e-3", "lr: ¦'1e-3'", "teacher.optimizer.lr: found '1e-3'; a number above 0"),
    "true for a number": (
        "epochs: 2000",
        "epochs: ¦true",
        "teacher.epochs: found true; a whole number from 1 to 10000000 is allowed",
    ),
    "float for a whole number": (
        "epochs: 2000",
        "epochs: ¦2e3",
        "teacher.epochs: found 2e3; a whole number from 1 to 10000000 is allowed",
    ),
    "too many epochs": (
        "epochs: 2000",
        "epochs: ¦10000001",
        "teacher.epochs: found 10000001; a whole number from 1 to 10000000 is allowed",
    ),
    "infinite number": ("lr: 1e-3", "lr: ¦.inf", "teacher.optimizer.lr: found inf; a number above 0"),
    "overflowing number": (
        "eval_mse: 5e-3",
        "eval_mse: ¦5e999",
        "teacher.accept.eval_mse: found 5e999; a number is allowed",
    ),
    "no number": ("eval_mse: 5e-3", "eval_mse: ¦.nan", "teacher.accept.eval_mse: found nan; a number is allowed"),
    "unknown optimizer": ("name: adam", "name: ¦adm", "teacher.optimizer.name: unknown level 'adm'; known: "),
    "acceptance of an unknown response": (
        "{eval_mse: 5e-3}",
        "{¦evalmse: 5e-3}",
        "teacher.accept.evalmse: unknown response 'evalmse'; known: train_mse, eval_mse. Did you mean 'eval_mse'?",
    ),
    "granularity of a quantizer": (
        "per_row",
        "¦per_rw",
        "student.quantizer.granularity: unknown level 'per_rw'; known: ",
    ),
    "too few replicates": (
        "replicates: 3",
        "replicates: ¦0",
        "replicates: found 0; a whole number from 1 to 1000000 is allowed",
    ),
    "too many replicates": ("replicates: 3", "replicates: ¦1000001", "replicates: found 1000001"),
    "negative seed": (
        "seed: 42",
        "seed: ¦-1",
        "seed: found -1; a whole number from 0 to 9223372036854775807 is allowed",
    ),
    "large seed": ("seed: 42", "seed: ¦9223372036854775808", "seed: found 9223372036854775808; a whole number from 0"),
    "unknown response": (
        "name: eval_mse,",
        "name: ¦eval_msee,",
        "responses[0].name: unknown response 'eval_msee'; known: train_mse, eval_mse. Did you mean 'eval_mse'?",
    ),
    "missing key": (
        "- {name: eval_mse, scale: log10, ",
        "- ¦{name: eval_mse, ",
        "responses[0].scale: missing; one of log10, linear, logit is needed",
    ),
    "unknown scale": ("log10", "¦log", "responses[0].scale: found 'log'; one of log10, linear, logit is allowed"),
    "stand-in off the scale": (
        "value: 0.5",
        "value: ¦0",
        "responses[0].diverged.value: found 0; on the scale log10 a number above 0 is allowed",
    ),
    "response given twice": (
        "  - {name: eval_mse,",
        "  - {name: eval_mse, scale: linear, better: lower}\n  - {name: ¦eval_mse,",
        "responses[1].name: the response 'eval_mse' is given twice",
    ),
    "unknown comparator": (
        "coordinate_search",
        "¦coordinat_search",
        "comparators[0]: unknown comparator 'coordinat_search'; known: coordinate_search,",
    ),
    "empty comparator": ("[coordinate_search", "[¦none", "comparators[0]: unknown comparator 'none'"),
    "comparators that are no list": (
        "[coordinate_search, post_training]",
        "¦post_training",
        "comparators: found 'post_training'; a list is allowed",
    ),
    "comparator given twice": (
        "[coordinate_search, ",
        "[post_training, ¦",
        "comparators[1]: the comparator 'post_training' is given twice",
    ),
    "parameter of a comparator": (
        "[coordinate_search",
        "[{name: coordinate_search, sweeps: ¦0}",
        "comparators[0].sweeps: found 0; a whole number from 1 to 1000 is allowed",
    ),
    "unknown claim": (
        "some_treatment:",
        "¦some_treatmnt:",
        "criteria[0].claim.some_treatmnt: unknown claim 'some_treatmnt'; known: gradients, teacher,",
    ),
    "two claims in one": (
        "{some_treatment:",
        "¦{gradients: 1e-3, some_treatment:",
        "criteria[0].claim: found the keys gradients, some_treatment; a mapping with one",
    ),
    "claim that is no mapping": (
        "{some_treatment: {below: 0.05}}",
        "¦3",
        "criteria[0].claim: found 3; a mapping with one of the keys",
    ),
    "claim without a threshold": (
        "{below: 0.05}",
        "¦{}",
        "criteria[0].claim.some_treatment: found no bound; one of below, above is needed",
    ),
    "claim about an unknown factor": (
        "{below: 0.05}",
        "{below: 0.05, where: {¦wdth: 16}}",
        "where.wdth: unknown factor 'wdth'; known: gradient, distillation, width. Did you mean 'width'?",
    ),
    "claim about an unknown level": (
        "{below: 0.05}",
        "{below: 0.05, where: {gradient: ¦smooth}}",
        "where.gradient: unknown level 'smooth'; levels of 'gradient': ste, smoothstep. Did you mean 'smoothstep'?",
    ),
    "claim about an unknown response": (
        "{below: 0.05}",
        "{below: 0.05, response: ¦train_mse}",
        "response: unknown response 'train_mse'; known: eval_mse",
    ),
    "part that cannot be complete": (
        "{some_treatment: {below: 0.05}}",
        "{complete: ¦treatment}",
        "criteria[0].claim.complete: found 'treatment'; one of true, treatments, ",
    ),
    "claim that nothing is reproducible": (
        "{some_treatment: {below: 0.05}}",
        "{reproducible: ¦false}",
        "criteria[0].claim.reproducible: found false; true is allowed",
    ),
    "one for true": (
        "{some_treatment: {below: 0.05}}",
        "{complete: ¦1}",
        "criteria[0].claim.complete: found 1; true is allowed",
    ),
    "required that is no truth value": (
        "required: true",
        "required: ¦yes",
        "criteria[0].required: found 'yes'; true or false is allowed",
    ),
    "criterion without words": (
        "name: good enough",
        "name: ¦''",
        "criteria[0].name: found empty text; one line of text is allowed",
    ),
}


def marked(text: str) -> tuple[str, str]:
    """The text without its mark, and the place of the mark as line:column."""
    before, mark, after = text.partition("¦")
    assert mark
    lines = before.split("\n")
    return before + after, f"{len(lines)}:{len(lines[-1]) + 1}"


@pytest.mark.parametrize(("old", "new", "words"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_a_mistake_is_shown_once_at_its_place(
    change: Change, mistakes: Mistakes, old: str, new: str, words: str
) -> None:
    """A study with one mistake gives one line: its place, the key, what was found and what is allowed."""
    text, place = marked(change(old, new))
    got = mistakes(text)
    assert len(got) == 1
    assert got[0].startswith(f"{place}: ")
    assert words in got[0]


def test_the_sine_study_of_these_tests_has_no_mistake(load: Callable[..., object], sine: str) -> None:
    """What the tests break is whole before."""
    assert load(sine)


def test_all_mistakes_are_shown_in_the_order_of_the_file(change: Change, mistakes: Mistakes) -> None:
    """Mistakes of every kind come together, sorted by line and column."""
    text = change("keep: all", "keep: al").replace("smoothstep]", "smooth]").replace("seed: 42", "seed: x")
    got = mistakes(text.replace("schema: 1\n", "schema: 1\nsede: 3\nsede: 4\n").replace("log10", "log"))
    expected = ["2:1", "3:1", "10:19", "14:7", "16:29", "20:7"]
    assert [line.split(": ")[0] for line in got] == expected


@pytest.mark.parametrize("key", ["schema", "study", "task", "factors"])
def test_a_required_key_is_asked_for_where_the_study_begins(sine: str, mistakes: Mistakes, key: str) -> None:
    """A missing key has no place of its own."""
    lines = sine.splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith((key, "  ") if key == "factors" else key))
    got = mistakes("title: x\n" + without)
    assert any(line.startswith(f"1:1: {key}: missing; ") for line in got)


def test_two_factors_cannot_set_one_key(change: Change, mistakes: Mistakes) -> None:
    """The second factor that sets a key is shown, and levels are not blamed for it."""
    got = mistakes(change("replicates: 3", "  depth: {sets: model.hidden, levels: [1, 2]}\nreplicates: 3"))
    expected = (
        "11:3: factors.depth: sets model.hidden, and the factor 'width' sets model.hidden; set each key by one factor"
    )
    assert got == [expected]


def test_a_factor_cannot_set_a_part_of_what_a_family_sets(change: Change, mistakes: Mistakes) -> None:
    """Which level a parameter belongs to would depend on the treatment."""
    got = mistakes(change("model.hidden", "student.gradient.beta_end"))
    text = "10:3: factors.width: sets student.gradient.beta_end, and the factor 'gradient' sets student.gradient"
    assert got == [f"{text}; set each key by one factor"]


def test_unused_sections_are_refused(lonely: str, mistakes: Mistakes) -> None:
    """A section that the task does not use would change nothing."""
    got = mistakes(lonely + "teacher: {epochs: 3}\n")
    assert got == ["7:1: teacher: the task 'lonely' has no teacher; remove this key"]


def test_comparators_need_a_teacher_to_start_from(lonely: str, mistakes: Mistakes) -> None:
    """A task without teachers has nothing to quantize."""
    got = mistakes(lonely + "comparators: [post_training]\n")
    assert got == ["7:1: comparators: the task 'lonely' has no networks to compare with; remove this key"]


def test_claims_need_the_section_that_they_are_about(lonely: str, mistakes: Mistakes) -> None:
    """Gradients of a task without students cannot be claimed to be right."""
    got = mistakes(lonely + "criteria: [{name: x, claim: {gradients: 1e-3}}]\n")
    assert got == ["7:30: criteria[0].claim.gradients: the task has no student to claim this of; remove the criterion"]


def test_comparators_claimed_to_be_complete_must_exist(change: Change, mistakes: Mistakes) -> None:
    """A claim about nothing holds always."""
    text = change("{some_treatment: {below: 0.05}}", "{complete: comparators}")
    got = mistakes(text.replace("comparators: [coordinate_search, post_training]\n", ""))
    assert got == [
        "16:43: criteria[0].claim.complete: the study has no comparators; list some, or remove the criterion"
    ]


def test_a_parameter_that_every_level_sets_is_not_given_beside(change: Change, mistakes: Mistakes) -> None:
    """It would be used by no treatment."""
    levels = "[{name: smoothstep, beta_end: 4}, {name: smoothstep, beta_end: 5}]"
    got = mistakes(change("[ste, smoothstep]", levels).replace("init: teacher", "gradient: {beta_end: 9}"))
    text = "6:22: student.gradient.beta_end: the levels of the factor 'gradient' all set this key; remove it here"
    assert got == [text]


def test_a_factor_has_a_limit(change: Change, mistakes: Mistakes) -> None:
    """Each level is checked by itself, so there must be an end to them."""
    levels = ", ".join(str(level) for level in range(1, 1002))
    got = mistakes(change("[16, 32]", f"[{levels}]"))
    assert got == ["10:39: factors.width.levels: found 1,001 levels; at most 1,000 are allowed"]


def test_a_criterion_cannot_be_given_twice(sine: str, mistakes: Mistakes) -> None:
    """Tables tell criteria apart by their names."""
    got = mistakes(sine.replace("keep: all\n", "  - {name: good enough, claim: {complete: true}}\n"))
    assert got == ["18:12: criteria[1].name: the criterion 'good enough' is given twice"]


def test_a_mistake_in_a_nested_family_is_its_own(
    sine: str,
    mistakes: Mistakes,
    add_family: Callable[..., None],
    make_level: Callable[..., object],
) -> None:
    """A wrong granularity is not blamed on the quantizer that it is a part of."""
    add_family("quantizer", [make_level("binary", discover.families()["quantizer"].contract, granularity="per_row")])
    start, end = sine.index("  gradient:"), sine.index("replicates")
    text = f"{sine[:start]}  granularity: [per_row, 3]\n  quantizer: [ternary, binary]\n{sine[end:]}"
    assert mistakes(text)[0].startswith("8:26: factors.granularity[1]: found 3; text is allowed")


def test_infinities_are_refused_where_nothing_else_does(lonely: str, mistakes: Mistakes) -> None:
    """A task of the user's may take whatever it is given."""
    got = mistakes(lonely.replace("task: lonely", "task: {name: lonely, extra: {deep: [1, .inf]}}"))
    assert got == ["3:40: task.extra.deep[1]: found inf; a finite number is allowed"]


def test_a_design_has_a_limit(change: Change, mistakes: Mistakes) -> None:
    """A design that no one could run is refused before its treatments are made."""
    levels = ", ".join(str(level) for level in range(1, 201))
    more = "".join(f"  {key}: {{sets: task.{key}, levels: [{levels}]}}\n" for key in ("sequences", "steps"))
    text = change("[16, 32]", f"[{levels}]").replace("replicates: 3", f"{more}replicates: 3").replace("steps: 50, ", "")
    assert mistakes(text) == ["7:1: factors: found 32,000,000 treatments; at most 100,000 are allowed"]


def test_a_mistake_in_one_level_is_not_blamed_on_the_others(change: Change, mistakes: Mistakes) -> None:
    """A broken first level stands in every other treatment, and is still shown once."""
    got = mistakes(change("[ste, smoothstep]", "[st, smoothstep]"))
    assert len(got) == 1
    assert got[0].startswith("8:14: factors.gradient[0]: unknown level 'st'")


def test_what_a_level_breaks_elsewhere_is_its_own_mistake(change: Change, mistakes: Mistakes) -> None:
    """A value that is allowed by itself but not beside the others is shown at the level that brings it."""
    got = mistakes(
        change("width: {sets: model.hidden, levels: [16, 32]}", "dt: {sets: task.dt, levels: [1, 99.5]}").replace(
            "steps: 50", "steps: 5000"
        )
    )
    assert len(got) == 1
    assert got[0].startswith("10:35: factors.dt.levels[1]: task: steps·dt reaches")


def test_messages_name_the_file_as_it_was_given(
    change: Change, write: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """The place can be clicked on from where the command was typed."""
    from kdrun.errors import StudyError
    from kdrun.study.load import load_study

    write(change("smoothstep]", "smoothstp]"))
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(StudyError) as caught:
        load_study("./study.yaml")
    assert caught.value.mistakes[0].place == "./study.yaml:8:19"
    assert caught.value.exit_code == 2
