"""The same bits of a whole study of each training task: on processors of three kinds, with one worker and with two."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from kdrun.core.jit import JIT_DISABLED
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.discover import tasks
from tests.cli.command import ROOT, digest_of, kdrun

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")

# numba keeps the features of the machine unless they are emptied: AVX-512 in what should be AVX2.
PROCESSORS = {
    "SSE2": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "AVX2": {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""},
}
VALENCE = (
    "soft_targets: {name: forward_kl, mix: false}, feature: hidden_mse, future_valence: truth, activations: int8,"
    " gate: {name: mercy, samples: 2, steps: 3}, quantizer: ternary, regularization: l2, sequence: seq_kd"
)
CELL, LAYERS = "{cell: cfc, hidden: 5}", "{cell: mlp, hidden: 5, layers: 2}"
FEW = "steps: 8, sequences: 3"
# Task, network, what students have beside two epochs, factors, and the response that is judged.
STUDIES = {
    "digits flat": (
        "{name: digits, batch: 16}",
        LAYERS,
        "soft_targets: reverse_kl, quantizer: int8",
        "temperature: [fixed, ctkd]",
        "accuracy",
    ),
    "digits in rows": (
        "{name: digits, layout: rows, batch: 16}",
        CELL,
        "soft_targets: js, quantizer: ternary",
        "activations: [none, int8]",
        "accuracy",
    ),
    "regimes": (
        f"{{name: regimes, {FEW}, horizon: 3, poison: 0.5, eval_sequences: 16}}",
        CELL,
        VALENCE,
        "weighting: [valence, {name: valence_learned, update: normalised}, mean_product]",
        "cross_entropy",
    ),
    "multifreq": (
        f"{{name: multifreq, {FEW}}}", CELL, "distillation: trajectory", "quantizer: [ternary, twn]", "eval_mse",
    ),
    "copy": (
        "{name: copy, symbols: 2, blanks: 3, sequences: 3}",
        CELL,
        "quantizer: int4",
        "gradient: [ste, smoothstep]",
        "eval_mse",
    ),
    "lorenz": (f"{{name: lorenz, {FEW}}}", LAYERS, "quantizer: ttq", "gradient: [ste, smoothstep]", "eval_mse"),
    "series": (
        f"{{name: series, file: sunspots.csv, column: SUNACTIVITY, {FEW}}}",
        CELL,
        "feature: hidden_mse",
        "quantizer: [float, prox]",
        "eval_mse",
    ),
    "sine": (f"{{name: sine, {FEW}}}", CELL, "quantizer: ternary", "distillation: [none, trajectory]", "eval_mse"),
}  # fmt: skip


def written(name: str, folder: Path) -> Path:
    """The study of one task, in a folder with the data that it needs."""
    task, model, student, factors, response = STUDIES[name]
    shutil.copy(ROOT / "experiments" / "data" / "sunspots.csv", folder)
    path = folder / "study.yaml"
    path.write_text(
        f"schema: 1\nstudy: tiny\ntask: {task}\nmodel: {model}\nteacher: {{epochs: 3}}\n"
        f"student: {{epochs: 3, {student}}}\nfactors:\n  {factors}\nreplicates: 2\n"
        f"responses: [{{name: {response}, scale: linear, better: lower}}]\nkeep: all\n"
    )
    return path


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """What a study comes to on a processor with some workers; each is run once."""

    @cache
    def run(name: str, processor: str = "this machine", workers: int = 1) -> str:
        folder = tmp_path_factory.mktemp("bits")
        environment = PROCESSORS.get(processor, {})
        done = kdrun("factorial", written(name, folder), "--workers", workers, "--quiet", cwd=folder, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return digest_of(done)

    return run


def test_every_training_task_has_a_study():
    """A new task is asked for one here."""
    trained = {name for name, cls in tasks().items() if issubclass(cls, TrainingTask)}
    assert {text.split("name: ")[1].split(",")[0].strip("}") for text, *_ in STUDIES.values()} == trained


@pytest.mark.slow
def test_two_workers_give_the_bits_of_one(digest):
    """The study that takes least time."""
    assert digest("copy", workers=2) == digest("copy")


# Weights, terms, a gate and rounded states all at once are those of regimes.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if name != "copy"])
def test_two_workers_give_the_bits_of_one_on_every_task(digest, name):
    """The number of workers reaches no bit."""
    assert digest(name, workers=2) == digest(name)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("name", STUDIES)
def test_every_processor_gives_the_same_bits(digest, name, processor):
    """Machine code without vectors of its own, and with those of 2013, come to what this machine's own does."""
    # One worker: two would both compile the whole core for a processor that is not this one.
    assert digest(name, processor) == digest(name)


def test_the_digest_tells_studies_apart(digest, tmp_path):
    """Another seed has other bits."""
    done = kdrun("factorial", written("copy", tmp_path), "--workers", 1, "--seed", 43, "--quiet", cwd=tmp_path)
    assert done.returncode == 0
    assert digest_of(done) != digest("copy")
