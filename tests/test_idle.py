"""Levels that change nothing where they are chosen: told by `plan` and before a study runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdrun import api
from kdrun.idle import idle_warnings
from kdrun.listener import Listener
from kdrun.planning import outlook_of
from kdrun.study.design import Treatment
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from tests.tiny_results import TINY, without_workers

ROOT = Path(__file__).parents[1]
RATES = "{rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2]}}"
NOT_QUANTIZED = "changes nothing where nothing is quantized"
NOT_IN_TRAINING = f"{NOT_QUANTIZED} while the network trains"
NOT_READ = "changes nothing where no technique beside it reads a temperature"


def warnings_of(path: Path, *settings: str) -> list[str]:
    """What is told of a study."""
    return idle_warnings(plan(load_study(path, settings)).treatments)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny study, without comparators: gradient shapes and rates of learning."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("comparators: [post_training]\n", ""))
    return path


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("student.quantizer=float",), f"student.gradient: 'smoothstep' {NOT_IN_TRAINING} (in 2 of 2"),
        (
            ("student.quantizer=float", "student.quant_schedule=progressive", f"factors={RATES}"),
            f"student.quant_schedule: 'progressive' {NOT_QUANTIZED} (in 2 of 2",
        ),
        (
            ("factors={quantizer: [ternary, float], gradient: [ste, smoothstep]}",),
            f"student.gradient: 'smoothstep' {NOT_IN_TRAINING} (in 1 of 2",
        ),
        (("student.quantizer=prox",), f"student.gradient: 'smoothstep' {NOT_IN_TRAINING} (in 2 of 2"),
        (("student.quant_schedule=post_training",), f"student.gradient: 'smoothstep' {NOT_IN_TRAINING} (in 2 of 2"),
        (("student.temperature={name: fixed, at: 4}",), f"student.temperature: 'fixed' {NOT_READ} (in 4 of 4"),
        (("student.temperature=rising",), f"student.temperature: 'rising' {NOT_READ} (in 4 of 4"),
    ],
)
def test_levels_that_change_nothing_are_told(tiny: Path, settings: tuple[str, ...], expected: str) -> None:
    """With how many of the treatments that have them."""
    assert warnings_of(tiny, *settings) == [f"{expected} treatments with it)"]


@pytest.mark.parametrize(
    "settings",
    [
        ("replicates=2",),
        ("student.quant_schedule=progressive",),
        ("student.temperature=fixed",),
        ("factors={quantizer: [ternary, float]}", "student.gradient=smoothstep"),
        (
            "factors={quantizer: [ternary, float], gradient: [ste, smoothstep]}",
            "design={exclude: [{quantizer: float, gradient: ste}]}",
        ),
    ],
)
def test_nothing_else_is_told(tiny: Path, settings: tuple[str, ...]) -> None:
    """Shapes and schedules of what is quantized; defaults; levels that are idle where nothing else equals them."""
    assert warnings_of(tiny, *settings) == []


def test_a_temperature_that_is_read_is_not_told(tiny: Path) -> None:
    """Soft targets read it."""
    judged = "responses=[{name: accuracy, scale: linear, better: higher}]"
    settings = ("task={name: regimes}", "student.soft_targets=forward_kl", "student.temperature=ctkd")
    assert warnings_of(tiny, judged, *settings) == []


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_committed_study_has_any(path: Path) -> None:
    """All that they compare can make a difference."""
    assert warnings_of(path) == []


def test_a_study_of_other_code_has_no_levels() -> None:
    """There is no student section."""
    assert idle_warnings([Treatment(1, {"a": "1"}, {"task": {"name": "callable"}}, {})]) == []


class Told(Listener):
    """Keeps what a user should know."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def noticed(self, text: str) -> None:
        self.texts.append(text)


def test_plan_and_a_run_tell_it(tiny: Path, tmp_path: Path) -> None:
    """Before the first run; not again where nothing is left to do."""
    study = load_study(tiny, ("student.quantizer=float", "replicates=1"))
    expected = f"student.gradient: 'smoothstep' {NOT_IN_TRAINING} (in 2 of 2 treatments with it)"
    assert expected in outlook_of(study, tmp_path).warnings
    first, second = Told(), Told()
    with without_workers():
        api.run(study, tmp_path, workers=1, listener=first)
        api.run(study, tmp_path, workers=1, listener=second)
    assert (first.texts, second.texts) == ([expected], [])
