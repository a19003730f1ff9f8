"""Whatever is done to a study file, what comes out is a study or a StudyError."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdrun.errors import StudyError
from kdrun.study.load import load_study, study_text
from kdrun.study.plan import plan
from kdrun.study.register import Registration
from kdrun.study.template import template_names, template_text

# Studies of the user's own code, with nested parameters and everything that a study of such a task can say.
CALLABLE = """\
schema: 1
study: own
title: A function of one's own
task:
  {name: callable, call: 'mypkg.train:main', timeout: 60, params: {net: {layers: [1, {units: 8}], act: relu}, lr: 1e-3}}
factors:
  units: {sets: task.params.net.units, levels: [8, 16]}
  act: {sets: task.params.net.act, levels: [relu, 'tanh', {kind: leaky, slope: 0.1}]}
  lr: {sets: task.params.lr, levels: [1e-3, 1e-2]}
replicates: 3
seed: 7
responses:
  - {name: accuracy, scale: logit, better: higher, diverged: {value: 0.1}}
  - {name: seconds_used, scale: log10, better: lower}
criteria:
  - {name: all there, claim: {complete: true}, required: true}
  - {name: good, claim: {some_treatment: {above: 0.9}}}
hypotheses:
  - {say: units help, claim: {effect: {term: units, above: 0, response: accuracy}}}
  - {say: rank, claim: {effect_rank: {term: lr, rank: 1}}}
keep: none
"""
COMMAND = """\
schema: 1
study: program
task:
  name: command
  run: ['{python}', train.py, '--lr={lr}', '--mode', '{mode}', '--seed', '{seed}', '{{}}']
  params: {lr: 0.1, mode: {deep: [1, 2]}}
  timeout: 1.5
factors:
  lr: {sets: task.params.lr, levels: [0.1, 0.2]}
  mode: {sets: task.params.mode, levels: [fast, 'slow mode', [1, 2]]}
replicates: 2
responses: [{name: score, scale: linear, better: higher}]
hypotheses:
  - {say: both, claim: {all: [{largest_effect: lr}, {better: {a: {mode: fast}, b: {mode: slow mode}}}]}}
  - {say: near, claim: {equivalent: {a: {lr: 0.1}, b: {lr: 0.2}, within: 0.5}}}
"""
EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
TEXTS = [
    *(path.read_text(encoding="utf-8") for path in EXPERIMENTS),
    *(template_text(name) for name in template_names()),
    CALLABLE,
    COMMAND,
]
SNIPPETS = [
    "", " ", "\n", "\t", ":", ": ", "- ", ",", "[", "]", "{", "}", "&a ", "*a", "!!x ", "|\n", ">\n", "#", "'", '"',
    "%", "@", "?", "---\n", "...\n", "~", "null", "none", "true", "1e999", ".nan", "-1", "0", "1.5", "[]", "{}",
    "[[[]]]", "{name: none}", "<<: ", "label", "name", "sets", "cell", "ste", "float", "1: 2", "\u0000", "\ud7ff",
    "\x85", "\u2028", "𝟙", "9" * 500, "x" * 500, "callable", "command", "sine", "task.params", "task.params.x",
    "task.call", "task.run[1]", "task.timeout", "task.params.net.layers[1].units", "{lr}", "{{", "{seed}", "a:b",
    "params", "timeout", "teacher", "eval_mse", "post_training", "gradient", "../x", "=1+1", "<b>", "\x1b[31m",
]  # fmt: skip
KEYS = [
    "task", "model", "teacher", "student", "factors", "hidden", "gradient", "name", "lr", "[0]", "[9]", "levels",
    "width", "criteria", "params", "call", "run", "timeout", "responses", "study", "title", "hypotheses", "claim",
    "comparators", "keep", "design", "units", "sets", "net", "seed", "replicates", "gradcheck", "tolerance",
]  # fmt: skip
# What is no mistake as YAML and seldom a value that somebody meant.
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**300, 0.0, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
    "", " ", "none", "NaN", "1", "a\nb", "\x1b[2J", "\ud7ff", "../up", "/abs", ".", "=1+1", "x" * 300, "{lr}", "{", [],
    {}, [[]], [None], {"name": None}, {"name": "callable"}, {"name": "command", "run": []}, {"": 1}, {"name": ["ste"]},
    [1, 2], [{"name": "accuracy"}], {"fraction": "half"}, {"value": 1}, {"call": "a:b"}, "os:system",
]  # fmt: skip

Draw = Callable[..., Any]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """One of the examples with up to four pieces replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.one_of(st.just(0), st.integers(0, 12), st.integers(0, 300)))
        piece = draw(
            st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=5), st.just(text[start : start + length] * 2))
        )
        text = text[:start] + piece + text[start + length :]
    return text.encode("utf-8", "surrogatepass"), ()


@st.composite
def swapped(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """One of the examples with values of keys exchanged for others, so that most of it stays YAML."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 5))):
        words = sorted({word.strip("{}[],:") for word in text.split()} - {""})
        text = text.replace(
            draw(st.sampled_from(words)), draw(st.sampled_from(words + SNIPPETS)), draw(st.integers(1, 3))
        )
    return text.encode("utf-8", "surrogatepass"), ()


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace what stands at a path that is there."""
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value


@st.composite
def odd(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """One of the examples with odd values, or parts of another example, in up to three places: right as YAML."""
    data = yaml.safe_load(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 3))):
        other = yaml.safe_load(draw(st.sampled_from(TEXTS)))
        elsewhere = draw(st.sampled_from(places(other)[1:]))
        value = other
        for part in elsewhere:
            value = value[part]
        put(data, draw(st.sampled_from(places(data)[1:])), draw(st.one_of(st.sampled_from(ODD), st.just(value))))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass"), ()


@st.composite
def overridden(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """One of the examples with keys set from outside."""
    text = draw(st.sampled_from(TEXTS))
    paths = ["".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]
             for place in places(yaml.safe_load(text))[1:]]  # fmt: skip
    invented = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(
        lambda keys: ".".join(keys).replace(".[", "[")
    )
    values = st.one_of(st.sampled_from(SNIPPETS), st.sampled_from(ODD).map(repr), st.text(max_size=8))
    pairs = draw(st.lists(st.tuples(st.one_of(st.sampled_from(paths), invented), values), min_size=1, max_size=3))
    return text.encode(), tuple(f"{path}={value}" for path, value in pairs)


KINDS: dict[str, st.SearchStrategy[tuple[bytes, tuple[str, ...]]]] = {
    "mutated text": mutated(),
    "swapped words": swapped(),
    "odd values": odd(),
    "overrides": overridden(),
    "any bytes": st.binary(max_size=200).map(lambda content: (content, ())),
}


def check(path: Path, overrides: tuple[str, ...] = ()) -> None:
    """Load, resolve, register and plan; every mistake is one line with a place."""
    mistakes = None
    try:
        study = load_study(path, overrides, replicates=1)
        plan(study)
    except StudyError as error:
        mistakes = error.mistakes
    if mistakes is not None:
        assert mistakes
        for mistake in mistakes:
            assert str(mistake).isprintable(), mistake
            assert mistake.place
            assert mistake.text
        return
    Registration.take(study, "now")
    again = path.with_name("resolved.yaml")
    again.write_text(study_text(study), encoding="utf-8")
    assert load_study(again).resolved() == study.resolved()


def fuzz(kind: str, place: Path, inputs: int) -> int:
    """Check so many inputs of one kind. Returns how many different ones there were."""
    seen: set[tuple[bytes, tuple[str, ...]]] = set()
    path = place / "study.yaml"

    @settings(max_examples=inputs, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(made=KINDS[kind])
    def check_one(made: tuple[bytes, tuple[str, ...]]) -> None:
        seen.add(made)
        path.write_bytes(made[0])
        check(path, made[1])

    check_one()
    return len(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_any_input_gives_a_study_or_its_mistakes(tmp_path: Path, kind: str) -> None:
    """No traceback, whatever the file and the overrides; what loads, loads again from its resolved form."""
    assert fuzz(kind, tmp_path, 130) >= 65


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_inputs_give_a_study_or_its_mistakes(tmp_path: Path, kind: str) -> None:
    """The same for more than 5,000 inputs that all differ, as many of each kind."""
    assert fuzz(kind, tmp_path, 1800) > 5000 / len(KINDS)
