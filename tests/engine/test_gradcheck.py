"""The gradient check itself: what it covers, and that it fails where it must."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.jit import JIT_DISABLED
from kdrun.engine import gradcheck
from kdrun.engine.combinations import Combination, all_combinations
from kdrun.engine.gradcheck import check, checked_by
from kdrun.engine.probe import Probe
from kdrun.engine.workers import WorkerLost
from kdrun.errors import KdrunError
from kdrun.factors import discover
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.ste import Ste
from kdrun.factors.granularity.per_row import PerRow
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.tasks.sine import Sine
from tests.core.processes import run_python
from tests.engine.throwaway import Decay, Projector

TERNARY = {"quantizer": Ternary(), "gradient": Smoothstep()}


@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("task", [Sine.example(), Probe()], ids=lambda task: task.name)
def test_passing_does_not_depend_on_the_point(monkeypatch, seed, task):
    """Other random points give other errors and the same verdict, in both precisions."""
    monkeypatch.setattr(gradcheck, "SEED", seed)
    rows = list(check([Combination(task, Cfc(hidden=5), TERNARY)]))
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("hidden", [16, 17])
def test_full_and_overfull_vectors_are_checked_too(hidden):
    """Sixteen units fill the kernels' width, seventeen take a second vector."""
    rows = list(check([Combination(Probe(), Cfc(hidden=hidden), TERNARY)]))
    assert [row for row in rows if not row.passed] == []


def first_row(techniques):
    return next(check([Combination(Sine.example(), Cfc(hidden=4), techniques)]))


def test_a_wrong_gradient_of_a_slots_own_arrays_fails():
    """A projector whose gradient is a tenth too large does not pass."""

    class Wrong(Projector):
        name: ClassVar[str] = "wrong"

        def evaluate(self, student, teachers, batch, context):
            result = super().evaluate(student, teachers, batch, context)
            result.d_own["projection"] *= 1.1
            return result

    assert not first_row({"features": Wrong()}).passed


def test_a_wrong_penalty_fails():
    """So does a penalty whose gradient is not that of its value."""

    class Wrong(Decay):
        name: ClassVar[str] = "wrong"

        def evaluate(self, latent, context):
            value, gradients = super().evaluate(latent, context)
            return 2 * value, gradients

    assert not first_row({"penalty": Wrong()}).passed


def test_a_mask_that_is_not_the_derivative_it_declares_fails():
    """The window is compared with its antiderivative, not with itself."""

    class Wrong(Smoothstep):
        name: ClassVar[str] = "wrong"

        def mask(self, w_latent, unit, max_code, progress, mask):
            written = super().mask(w_latent, unit, max_code, progress, mask)
            mask *= 1.01
            return written

    assert not first_row({"quantizer": Ternary(), "gradient": Wrong()}).passed


def test_a_gradient_that_is_no_number_fails():
    """nan is not within any tolerance."""

    class Wrong(Decay):
        name: ClassVar[str] = "wrong"

        def evaluate(self, latent, context):
            return 0.0, {"w": np.full_like(latent["w"], np.nan)}

    row = first_row({"penalty": Wrong()})
    assert (row.passed, row.max_relative_error) == (False, np.inf)


def test_a_new_granularity_is_checked_without_being_listed(monkeypatch):
    """Granularities are reached through the quantizers that name them; a wrong one turns a row red."""

    class Wrong(PerRow):
        name: ClassVar[str] = "wrong"

        def gather(self, d_columns, d_stored):
            d_stored[:] = -d_columns

    def levels(family):
        return {**discover.levels(family), **({"wrong": Wrong} if family == "granularity" else {})}

    monkeypatch.setattr("kdrun.engine.combinations.levels", levels)
    monkeypatch.setattr("kdrun.engine.recipe.levels", levels)
    combinations = all_combinations(Sine.example(), Cfc(hidden=4))
    named = [c for c in combinations if c.techniques.get("quantizer") == Ternary(granularity="wrong")]
    assert len(named) >= len(discover.levels("gradient"))
    assert not next(check(named)).passed


def test_every_parameter_is_counted():
    """A ternary CfC of H = 4: effective, latent and mask of each weight, scales, biases and time constants."""
    weights, scales, others = 5 * 8 + 4, 8 + 1, 8 + 4 + 1
    assert first_row({"quantizer": Ternary(), "gradient": Ste()}).parameters == 3 * weights + scales + others


class InProcess(Executor):
    """Does at once what is submitted, and notes what it was."""

    def __init__(self):
        self.submitted = []

    def submit(self, function, /, *arguments):
        """A future that is done."""
        self.submitted.append((function.__name__, arguments))
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


SHORT = [Combination(Sine.example(), Cfc(hidden=2), techniques) for techniques in ({}, {"quantizer": Ternary()})]


@pytest.mark.parametrize("is_cold", [True, False])
def test_workers_give_the_rows_of_the_check(is_cold):
    """In the order of the combinations; kernels are compiled first, once for each precision, where there are none."""
    executor = InProcess()
    assert checked_by(executor, SHORT, 1e-3, is_cold) == list(check(SHORT, 1e-3))
    compiled = [("compile_kernels", (SHORT, dtype)) for dtype in ("float64", "float32")] if is_cold else []
    assert executor.submitted == [*compiled, *(("_rows", (combination, 1e-3)) for combination in SHORT)]


def test_an_error_of_a_check_in_a_worker_is_raised():
    """What goes wrong while kernels are compiled goes wrong again in the check, and is not lost."""

    class Wrong(Decay):
        name: ClassVar[str] = "wrong"

        def evaluate(self, latent, context):
            raise ArithmeticError("no penalty")

    with pytest.raises(ArithmeticError, match="no penalty"):
        checked_by(InProcess(), [Combination(Sine.example(), Cfc(hidden=2), {"penalty": Wrong()})], 1e-3, True)


@pytest.mark.parametrize("is_cold", [True, False])
def test_a_worker_that_is_gone_is_said_to_be(is_cold):
    """Before anything is trained."""

    class Broken(InProcess):
        def submit(self, function, /, *arguments):
            raise WorkerLost("died", "its worker process was ended by SIGKILL")

    with pytest.raises(KdrunError, match="nothing was trained"):
        checked_by(Broken(), SHORT, 1e-3, is_cold)


COMPILING = """
import gc
from numba.core.dispatcher import Dispatcher
from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check, compile_kernels
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.tasks.sine import Sine

def kernels():
    found = [item for item in gc.get_objects() if isinstance(item, Dispatcher)]
    return {(item.py_func.__qualname__, str(one)) for item in found for one in item.signatures}

techniques = {"quantizer": Ternary(), "gradient": Smoothstep(), "distillation": Trajectory()}
combinations = [Combination(Sine.example(), Cfc(hidden=3), chosen) for chosen in ({}, techniques)]
for dtype in ("float64", "float32"):
    compile_kernels(combinations, dtype)
before = kernels()
rows = list(check(combinations))
print(len(before), *sorted(kernels() - before))
"""


@pytest.mark.skipif(JIT_DISABLED, reason="without the JIT nothing is compiled")
def test_what_is_compiled_first_is_all_that_the_check_needs():
    """After `compile_kernels` in both precisions the check asks for no kernel that is not there."""
    count, *new = run_python(COMPILING, {}).split(maxsplit=1)
    assert int(count) > 10
    assert new == []
