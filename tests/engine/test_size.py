"""How many bits a student takes beside its teacher, by hand, from studies that are not run."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from kdrun.core.parameters import ParameterSet
from kdrun.engine.size import compressions
from kdrun.factors.contract import Quantizer
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from tests.factors.discovered import battery, draw

SINE = """
schema: 1
study: sizes
task: sine
model: {hidden: 16}
factors: {quantizer: [QUANTIZERS]}
responses: [{name: eval_mse, scale: log10, better: lower}]
"""
# One input, one output: w [17, 32], b [32], tau [16], w_out [16, 1], b_out [1].
CFC_FLOAT = 32 * (17 * 32 + 32 + 16 + 16 + 1)
CFC_UNQUANTIZED = 32 * (32 + 16 + 1)
CFC_WEIGHTS = 17 * 32 + 16
CFC_COLUMNS = 32 + 1


def compressions_of(folder: Path, text: str) -> dict[int, float]:
    """What the treatments of a study save."""
    (folder / "study.yaml").write_text(textwrap.dedent(text))
    return compressions(plan(load_study(folder / "study.yaml")))


@pytest.mark.parametrize(
    ("level", "bits"),
    [
        ("ternary", 2 * CFC_WEIGHTS + 32 * CFC_COLUMNS),
        ("{name: ternary, granularity: per_tensor}", 2 * CFC_WEIGHTS + 32 * 2),
        ("int4", 4 * CFC_WEIGHTS + 32 * CFC_COLUMNS),
        ("{name: int8, scale: absmax}", 8 * CFC_WEIGHTS + 32 * CFC_COLUMNS),
        ("twn", 2 * CFC_WEIGHTS + 32 * CFC_COLUMNS),
        ("prox", 2 * CFC_WEIGHTS + 32 * CFC_COLUMNS),
        ("ttq", 2 * CFC_WEIGHTS + 32 * 2 * CFC_COLUMNS),
        ("float", 32 * CFC_WEIGHTS),
    ],
)
def test_a_cfc_by_hand(tmp_path: Path, level: str, bits: int) -> None:
    """Codes, scales that rebuild weights, and biases and time constants in full, of 16 units."""
    other = "int8" if level == "float" else "float"
    got = compressions_of(tmp_path, SINE.replace("QUANTIZERS", f"{level}, {other}"))
    assert got[1] == pytest.approx(CFC_FLOAT / (bits + CFC_UNQUANTIZED), rel=1e-12)


def test_the_ternary_cfc_of_the_sine_study(tmp_path: Path) -> None:
    """19,488 bits of a teacher of 16 units over 3,744 of its ternary student."""
    got = compressions_of(tmp_path, SINE.replace("QUANTIZERS", "ternary, float"))
    assert got == {1: 19488 / 3744, 2: 1.0}


def test_an_mlp_of_eight_bits_by_hand(tmp_path: Path) -> None:
    """Two matrices with one scale each, or one for each unit: 64·32 + 32·10 codes of 8 bits, 42 biases of 32."""
    got = compressions_of(
        tmp_path,
        """
        schema: 1
        study: sizes
        task: {name: digits, layout: flat}
        model: {cell: mlp, hidden: 32}
        student: {quantizer: int8}
        factors: {granularity: [per_tensor, per_row]}
        responses: [{name: accuracy, scale: logit, better: higher}]
        """,
    )
    teacher, codes, biases = 32 * (64 * 32 + 32 + 32 * 10 + 10), 8 * (64 * 32 + 32 * 10), 32 * (32 + 10)
    assert got[1] == pytest.approx(teacher / (codes + 32 * 2 + biases), rel=1e-12)
    assert got[2] == pytest.approx(teacher / (codes + 32 * (32 + 10) + biases), rel=1e-12)


def test_a_smaller_student_is_compared_with_its_own_teacher(tmp_path: Path) -> None:
    """Where the teacher has a network of its own, that is the one whose bits count."""
    text = SINE.replace("QUANTIZERS", "ternary, int8") + "teacher: {model: {hidden: 32}}\nstudent: {init: random}\n"
    got = compressions_of(tmp_path, text)
    teacher = 32 * (33 * 64 + 64 + 32 + 32 + 1)
    assert got[1] == pytest.approx(teacher / 3744, rel=1e-12)


def test_a_schedule_of_quantizers_ends_with_the_study_s(tmp_path: Path) -> None:
    """Whatever was in force before, what is stored has the study's own quantizer."""
    text = SINE.replace("quantizer: [QUANTIZERS]", "quant_schedule: [direct, progressive, post_training]")
    assert set(compressions_of(tmp_path, text).values()) == {19488 / 3744}


def test_a_study_of_float_students_has_none(tmp_path: Path) -> None:
    """Where no student is quantized there is nothing to report."""
    text = SINE.replace("quantizer: [QUANTIZERS]", "distillation: [none, trajectory]") + "student: {quantizer: float}\n"
    assert compressions_of(tmp_path, text) == {}


def test_code_of_the_user_s_own_has_none(tmp_path: Path) -> None:
    """A task without networks has no sizes."""
    text = """
    schema: 1
    study: own
    task: {name: callable, call: "somewhere:main"}
    factors: {effort: {sets: task.params.effort, levels: [1, 2]}}
    responses: [{name: joy, scale: linear, better: higher}]
    """
    assert compressions_of(tmp_path, text) == {}


@battery(Quantizer)
def test_what_a_quantizer_keeps_rebuilds_its_weights(level: Quantizer) -> None:
    """Effective weights follow from codes and the kept scales alone: the others may hold anything."""
    if not level.max_code:
        assert level.kept_names == ()
        return
    w = draw("kept", (9, 17))
    scales = ParameterSet(dict.fromkeys(level.scale_names, (17,)), w.dtype)
    level.measure(w, scales)
    codes, expected, got = np.empty_like(w), np.empty_like(w), np.empty_like(w)
    level.quantize(w, scales, codes, expected)
    for name in set(level.scale_names) - set(level.kept_names):
        scales[name][...] = np.nan
    level.effective(codes, scales, got)
    np.testing.assert_array_equal(got, expected)


@battery(Quantizer)
def test_a_quantizer_keeps_nothing_that_it_does_not_need(level: Quantizer) -> None:
    """Without any one of the kept scales weights cannot be rebuilt."""
    w = draw("kept", (9, 17))
    for name in level.kept_names:
        scales = ParameterSet(dict.fromkeys(level.scale_names, (17,)), w.dtype)
        level.measure(w, scales)
        codes, got = np.empty_like(w), np.empty_like(w)
        level.quantize(w, scales, codes, got)
        scales[name][...] = np.nan
        level.effective(codes, scales, got)
        assert np.isnan(got).any(), name
