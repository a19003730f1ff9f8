"""What the tests of study files share: the sine study as text, and throwaway techniques."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, model_validator

import kdrun.tasks.discover
from kdrun.errors import StudyError
from kdrun.factors import discover
from kdrun.factors.contract import Family, Level
from kdrun.study.load import load_study
from kdrun.study.schema import Study, json_schema
from kdrun.tasks.contract import Task

SINE = """\
schema: 1
study: sine
task:    {name: sine, steps: 50, eval: {phases: 32}}
model:   {cell: cfc}
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
criteria:
  - {name: good enough, claim: {some_treatment: {below: 0.05}}, required: true}
keep: all
"""


@pytest.fixture
def sine() -> str:
    """A sine study as text; most tests change one part of it."""
    return SINE


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a study file and returns its path."""

    def _write(content: str | bytes) -> Path:
        path = tmp_path / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


@pytest.fixture
def load(write: Callable[[str | bytes], Path]) -> Callable[..., Study]:
    """Loads the study that a text is, with the options of `load_study`."""

    def _load(content: str | bytes, *overrides: str, **options: Any) -> Study:
        return load_study(write(content), overrides, **options)

    return _load


@pytest.fixture
def mistakes(load: Callable[..., Study]) -> Callable[..., list[str]]:
    """The mistakes in a text, as `line:column: text` for what stands in the file."""

    def _mistakes(content: str | bytes, *overrides: str, **options: Any) -> list[str]:
        with pytest.raises(StudyError) as caught:
            load(content, *overrides, **options)
        lines = str(caught.value).split("\n")
        assert len(lines) == len(caught.value.mistakes)
        return [line.partition("study.yaml:")[2] or line for line in lines]

    return _mistakes


def replaced(text: str, old: str, new: str) -> str:
    """`text` with the one place where `old` stands changed to `new`."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


@pytest.fixture
def change(sine: str) -> Callable[[str, str], str]:
    """The sine study with one place changed."""
    return lambda old, new: replaced(sine, old, new)


@pytest.fixture
def add_family(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds a family with its levels to the catalogue, or levels to one that exists."""

    def _add(name: str, levels: list[type[Level]], key: str = "", default: str | None = None) -> None:
        families, known = discover.families(), dict(discover.levels(name)) if name in discover.families() else {}
        before = discover.levels
        family = families.get(name) or Family(name, Level, key, default, f"throwaway {name}")
        found = dict(sorted({**known, **{level.name: level for level in levels}}.items()))
        monkeypatch.setattr(discover, "families", lambda: dict(sorted({**families, name: family}.items())))
        monkeypatch.setattr(discover, "levels", lambda wanted: found if wanted == name else before(wanted))

    return _add


@pytest.fixture
def make_level() -> Callable[..., type[Level]]:
    """Makes a throwaway level: its name, its parameters with their defaults, and other attributes."""

    def _make(
        named: str, base: type[Level] = Level, attributes: dict[str, Any] | None = None, **defaults: Any
    ) -> type[Level]:
        annotations: dict[str, Any] = {key: type(value) for key, value in defaults.items()}
        annotations |= {"name": ClassVar[str], "source": ClassVar[str], "equation": ClassVar[str]}
        constants = {"name": named, "source": "a test", "equation": "", "__module__": __name__, "__doc__": "Throwaway."}
        body = {**constants, **(attributes or {}), **defaults, "__annotations__": annotations}
        return type(named.title(), (base,), body)

    return _make


class Lonely(Task):
    """A throwaway task that trains no networks; its responses are its own affair."""

    name: ClassVar[str] = "lonely"
    title: ClassVar[str] = "a task without networks"
    source: ClassVar[str] = "a test"
    responses: ClassVar[dict[str, str]] = {}
    sections: ClassVar[frozenset[str]] = frozenset()

    effort: int = 1
    spread: tuple[float, float] = (0.0, 1.0)
    extra: dict[str, Any] = Field(default={})
    muted: bool = False

    @model_validator(mode="before")
    @classmethod
    def _no_effort_when_muted(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "effort": 0} if data.get("muted") is True else data


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch) -> str:
    """A study of a task that uses no section, as text."""
    known = kdrun.tasks.discover.tasks()
    monkeypatch.setattr(kdrun.tasks.discover, "tasks", lambda: {**known, "lonely": Lonely})
    return (
        "schema: 1\nstudy: lonely\ntask: lonely\nfactors:\n  effort: {sets: task.effort, levels: [1, 2]}\n"
        "responses: [{name: joy, scale: linear, better: higher}]\n"
    )


@pytest.fixture(scope="session")
def editor() -> Draft202012Validator:
    """What marks mistakes in an editor: the JSON Schema of a study."""
    return Draft202012Validator(json_schema())
