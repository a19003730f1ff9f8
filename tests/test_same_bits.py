"""The same bits on every machine, in every order: results/smoke as other processors and other histories make it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from kdrun import api
from kdrun.core.jit import JIT_DISABLED
from kdrun.engine.run import Finished, execute
from kdrun.store.digest import DigestRow, results_digest
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from tests.core.processes import run_python
from tests.tiny_results import without_workers

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "results" / "smoke"
TARGET = "from numba.core.registry import cpu_target; print(cpu_target.target_context.codegen().magic_tuple()[1:])"
# numba keeps the features of the machine unless they are emptied: AVX-512 in what should be AVX2.
PROCESSORS = {
    "SSE2": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "AVX2": {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""},
    "this machine": {},
    "numpy without its dispatch": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    },
}

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")


def committed_digest():
    """The digest in git."""
    return json.loads((SMOKE / "manifest.json").read_text())["results_digest"]


def verify_under(environment, *options):
    """Exit code and output of `kdrun verify results/smoke` on a machine of another kind."""
    command = [sys.executable, "-m", "kdrun.cli", "verify", str(SMOKE), "--quiet", *options]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_processor_gives_the_committed_bits(name):
    """All shapes, both distillations and the searches: the digest in git, from machine code of three kinds."""
    # One worker: two would both compile the whole core for a processor that is not this one.
    code, output = verify_under(PROCESSORS[name], "--workers", "1")
    assert code == 0, output
    assert "58 of 58 runs" in output


def test_the_processors_are_of_three_kinds():
    """What is compiled for differs: a test that compared one machine with itself would show nothing."""
    got = {run_python(TARGET, PROCESSORS[name]) for name in ("SSE2", "AVX2", "this machine")}
    assert len(got) == 3


def test_two_workers_give_the_committed_bits():
    """The number of workers reaches no bit."""
    code, output = verify_under({}, "--workers", "2")
    assert code == 0, output


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_any_order_gives_the_committed_bits(seed):
    """Runs in an order drawn at random, each after those that it needs."""
    waiting, done = list(plan(load_study(SMOKE / "study.yaml")).runs), {}
    random.Random(seed).shuffle(waiting)
    while waiting:
        run = next(run for run in waiting if all(need in done for need in run.needs))
        waiting.remove(run)
        done[run.run_id] = Finished(run, execute(run, tuple(done[need] for need in run.needs)))
    got = results_digest(DigestRow.of(finished.outcome) for finished in done.values())
    assert got == committed_digest()


def test_a_study_that_was_resumed_gives_the_committed_bits(tmp_path):
    """First some levels, then the rest, in another process's memory of the first."""
    study = load_study(SMOKE / "study.yaml", ["criteria=[]"])
    with without_workers():
        first = api.run(study, tmp_path, only={"width": ["18"], "gradient": ["smoothstep"]})
        assert first.results_digest != committed_digest()
        got = api.run(study, tmp_path)
    assert got.results_digest == committed_digest()
