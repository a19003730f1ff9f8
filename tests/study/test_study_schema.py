"""The resolved study, its file, and the JSON Schema that editors use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from kdrun.study.check import InvalidStudyError, read_study
from kdrun.study.load import load_study, study_text
from kdrun.study.plan import plan
from kdrun.study.schema import Study, json_schema
from kdrun.study.template import template_names, template_text

Load = Callable[..., Study]
Change = Callable[[str, str], str]

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))

# A teacher of another width, which students neither start from nor compare their states with.
LIKE_THE_TEACHER = """\
teacher: {epochs: 2000, optimizer: {name: adam, lr: 1e-3}, accept: {eval_mse: 5e-3}}
student: {init: teacher, quantizer: {name: ternary, granularity: per_row}}
factors:
  gradient: [ste, smoothstep]
  distillation: [none, trajectory]
  width: {sets: model.hidden, levels: [16, 32]}
replicates: 3
seed: 42
responses:
  - {name: eval_mse, scale: log10, better: lower, diverged: {value: 0.5}}
comparators: [coordinate_search, post_training]
"""
UNLIKE_THE_TEACHER = """\
teacher: {model: {hidden: 8}, optimizer: {name: adam, lr: 1e-3}, accept: {eval_mse: 5e-3}}
student: {init: random, quantizer: {name: ternary, granularity: per_row}}
factors:
  gradient: [ste, smoothstep]
  width: {sets: model.hidden, levels: [16, 32]}
replicates: 3
seed: 42
responses:
  - {name: eval_mse, scale: log10, better: lower, diverged: {value: 0.5}}
comparators: [coordinate_search]
"""
VARIANTS = {
    "as it is": ("keep: all", "keep: all"),
    "floats as written": ("{sets: model.hidden, levels: [16,", "{sets: student.optimizer.lr, levels: [1e-3, 5.e-1,"),
    "beside a factor": ("{cell: cfc}", "{cell: cfc, hidden: 32}"),
    "parameters beside a family": ("init: teacher", "gradient: {beta_end: 9}"),
    "a name beside a family": ("init: teacher", "gradient: {name: smoothstep, beta_end: 9}"),
    "labels": ("smoothstep]", "{name: smoothstep, label: '1e-3'}]"),
    "text like numbers": ("keep: all", "title: '0x10'"),
    "text like truth": ("keep: all", "title: 'no: # yes'"),
    "where": ("{below: 0.05}", "{below: 0.05, where: {width: 32, gradient: ste}, response: eval_mse}"),
    "empty slots": ("init: teacher", "distillation: none"),
    "no number": ("init: teacher", "optimizer: {clip: null}"),
    "no comparators": ("comparators: [coordinate_search, post_training]\n", ""),
    "own model of the teacher": (LIKE_THE_TEACHER, UNLIKE_THE_TEACHER),
    "a factor inside the teacher's model": (
        LIKE_THE_TEACHER, UNLIKE_THE_TEACHER.replace("model.hidden", "teacher.model.hidden").replace("hidden: 8", ""),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), VARIANTS.values(), ids=VARIANTS.keys())
def test_the_resolved_study_reads_back_to_an_equal_one(load: Load, change: Change, old: str, new: str) -> None:
    """Through plain data and through a file, with the same runs and the same text again."""
    study = load(change(old, new))
    again = load(study_text(study))
    assert again.resolved() == study.resolved()
    assert read_study(json.loads(json.dumps(study.resolved()))).resolved() == study.resolved()
    assert study_text(again) == study_text(study)
    assert plan(again).runs == plan(study).runs


def test_parameters_of_levels_are_written_out(load: Load, change: Change) -> None:
    """A level of a family has all its parameters; one that is given beside the factor is left there."""
    factors = load(change("keep: all", "keep: all")).resolved()["factors"]
    assert factors["gradient"] == ["ste", {"name": "smoothstep", "beta_start": 1.0, "beta_end": 20.0}]
    beside = load(change("init: teacher", "gradient: {beta_end: 9}")).resolved()
    assert beside["factors"]["gradient"] == ["ste", {"name": "smoothstep", "beta_start": 1.0}]
    assert beside["student"]["gradient"] == {"beta_end": 9}


def test_every_default_is_written_out(load: Load) -> None:
    """Whoever reads `study.yaml` needs no other file to know what ran."""
    got = load(template_text("minimal")).resolved()
    expected = {
        "schema", "study", "title", "task", "model", "teacher", "student", "factors", "replicates", "seed", "responses",
        "comparators", "gradcheck", "criteria", "hypotheses", "keep",
    }  # fmt: skip
    assert set(got) == expected
    assert got["teacher"]["epochs"] == 2000
    assert got["student"]["epochs"] == 1500
    assert got["student"]["distillation"] == "none"
    assert got["student"]["optimizer"]["lr"] == 0.001
    assert got["replicates"] == 10
    assert got["seed"] == 42
    assert got["gradcheck"] == {"tolerance": 0.001}
    assert got["keep"] == "all"


def test_a_key_that_a_factor_sets_is_not_made_up(load: Load, sine: str) -> None:
    """A value there would be one that only treatment 1 has."""
    got = load(sine).resolved()
    assert got["model"] == {"cell": "cfc"}
    assert "gradient" not in got["student"]
    assert got["factors"]["width"] == {"sets": "model.hidden", "levels": [16, 32]}


def test_sections_that_a_task_does_not_use_are_not_filled_in(load: Load, lonely: str) -> None:
    """They are neither required nor written out."""
    study = load(lonely)
    assert not {"model", "teacher", "student"} & study.resolved().keys()
    assert load(study_text(study)) == study


def test_responses_of_a_task_that_declares_none_are_its_own_affair(load: Load, lonely: str) -> None:
    """Only the user's own function can tell."""
    assert load(lonely).responses[0].name == "joy"


def test_the_study_holds_what_treatment_1_is(load: Load, sine: str) -> None:
    """Sections are validated with the first level of every factor."""
    study = load(sine)
    assert study.model is not None
    assert study.model.model_dump() == {"hidden": 16}
    assert study.name == "sine"


def test_claims_refer_to_levels_as_tables_show_them(load: Load, change: Change) -> None:
    """A number in `where` becomes the level's text."""
    got = load(change("{below: 0.05}", "{below: 0.05, where: {width: 32}}")).resolved()["criteria"][0]
    expected = {"some_treatment": {"below": 0.05, "where": {"width": "32"}}}
    assert got == {"name": "good enough", "claim": expected, "required": True}


def test_plain_data_can_be_read_without_a_file() -> None:
    """Problems then carry paths, and the same words."""
    with pytest.raises(InvalidStudyError, match=r"seed: found 'x'; a whole number from 0"):
        read_study({**yaml.safe_load(template_text("minimal")), "seed": "x"})
    with pytest.raises(InvalidStudyError, match="a study is a mapping of keys"):
        read_study([])


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_json_schema_accepts_the_experiments(editor: Draft202012Validator, path: Path) -> None:
    """An editor shows no error in a right study, as written and as resolved."""
    study = load_study(path)
    for data in (yaml.load(path.read_text(), Loader=_loader()), study.resolved()):
        editor.validate(json.loads(json.dumps(data)))


def test_the_json_schema_is_one() -> None:
    """By the schema of schemas."""
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("study",), 3),
        (("keep",), "some"),
        (("nope",), 1),
        (("factors", "gradient"), ["ste", "smoothstp"]),
        (("factors", "gradient"), ["ste"]),
        (("factors", "width"), {"set": "x", "levels": [1, 2]}),
        (("student", "gradient"), {"name": "smoothstep", "beta_ed": 1}),
        (("student", "quantizer"), {"name": "ternary", "granularity": "per_rw"}),
        (("model",), {"cell": "cfc", "hidden": 5000}),
        (("task",), "sinus"),
        (("criteria",), [{"name": "x", "claim": {"gradient": 1}}]),
        (("comparators",), ["none"]),
        (("replicates",), 0),
    ],
)
def test_the_json_schema_refuses_mistakes(
    editor: Draft202012Validator, load: Load, sine: str, path: tuple[str, ...], value: Any
) -> None:
    """An editor marks them while they are typed."""
    data = json.loads(json.dumps(load(sine).resolved()))
    editor.validate(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValidationError):
        editor.validate(data)


def test_the_json_schema_offers_names_and_describes_parameters() -> None:
    """What an editor completes and explains."""
    schema = json.dumps(json_schema(), ensure_ascii=False)
    assert '"enum": ["ste", "smoothstep"' in schema
    assert '"const": "smoothstep"' in schema
    assert "number of hidden units" in schema
    assert json_schema()["required"] == ["schema", "study", "task", "factors", "responses"]


def _loader() -> type[yaml.SafeLoader]:
    """PyYAML reads YAML 1.1, where 1e-3 is text; here only numbers without a point are meant."""

    class Loader(yaml.SafeLoader):
        pass

    from kdrun.study.load import plain_scalar

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        return node.value if node.style else plain_scalar(node.value)

    for kind in ("str", "int", "float", "bool", "null"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", construct)
    return Loader


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_plans(path: Path) -> None:
    """The committed studies are right, and named like their files."""
    study = load_study(path)
    assert study.name == path.stem
    assert len(plan(study)) > 0


def test_the_sine_experiment_is_the_one_of_the_specification() -> None:
    """Eight treatments, ten replicates, two teachers and three comparators in each; seven criteria."""
    study = load_study(next(path for path in EXPERIMENTS if path.stem == "sine"))
    assert len(plan(study).treatments) == 8
    assert len(plan(study)) == 130
    assert [criterion.required for criterion in study.criteria] == [True, True, True, False, True, True, True]


@pytest.mark.parametrize("name", template_names())
def test_every_template_loads(load: Load, name: str) -> None:
    """A user starts from a study that is right."""
    assert plan(load(template_text(name)))


def test_an_unknown_template_offers_the_nearest() -> None:
    """As for every other name."""
    from kdrun.errors import UsageError

    with pytest.raises(
        UsageError,
        match=r"unknown template 'minimall'; known: callable, command, minimal, series, sine. Did you mean 'minimal'\?",
    ):
        template_text("minimall")
