"""Networks whose codes are searched: prices of single weights, and running the whole network."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.core.search import coordinate_search
from kdrun.engine.coded import Coded
from kdrun.engine.probe import Probe
from kdrun.engine.quantized import QuantizedParameters
from kdrun.factors.contract import Batch
from kdrun.factors.granularity.per_row import PerRow
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc, CfcNetwork
from kdrun.tasks.losses import SquaredError
from kdrun.tasks.sine import Sine
from tests.core.comparing import assert_bits, too_slow_without_jit


def stream(purpose: str) -> Stream:
    return Stream(8, 1, purpose)


def coded_of(task, dtype, mask=None, hidden=3):
    """A small ternary network of a task, and its calibration batch with another mask."""
    network = Cfc(hidden=hidden).build(task.inputs, task.heads, task.step_time, dtype)
    latent = network.initial_parameters(stream("init"), dtype)
    quantized = QuantizedParameters(network, latent, Ternary(), PerRow())
    quantized.quantize()
    batch = task.calibration_batch(stream, dtype)._replace(mask=mask)
    return Coded(network, quantized, SquaredError(), batch)


def full_loss(coded, batch: Batch) -> float:
    """The loss of a network of its own that runs on the coded weights."""
    task = Probe()
    network = Cfc(hidden=3).build(task.inputs, task.heads, task.step_time, "float64")
    prediction = network.forward(coded.quantized.weights, batch.inputs, frozenset({"prediction"}))["prediction"]
    share = np.ones(prediction.shape[:2]) if batch.mask is None else batch.mask
    return float((0.5 * ((prediction - batch.targets["y"]) ** 2).sum(axis=2) * share).sum() / share.sum())


@too_slow_without_jit
@pytest.mark.parametrize("task", [Sine.example(), Probe()], ids=lambda task: task.name)
def test_prices_and_running_give_the_same_search(monkeypatch, task, dtype):
    """Sweep by sweep the losses are the same to rounding, and the codes and weights that are left are the same."""
    fast = coded_of(task, dtype)
    monkeypatch.setattr(CfcNetwork, "pricing", lambda *_: None)
    plain = coded_of(task, dtype)
    got, expected = coordinate_search(fast, 3), coordinate_search(plain, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got[-1] < 0.99 * got[0]
    for name, codes in plain.codes.items():
        assert_bits(fast.codes[name], codes)
        assert_bits(fast.quantized.weights[name], plain.quantized.weights[name])


@pytest.mark.parametrize("is_masked", [False, True])
def test_losses_are_those_of_the_whole_network(is_masked):
    """Of the present codes and of others, with a mask or without; what a mask leaves out does not count."""
    task = Probe()
    batch = task.calibration_batch(stream, "float64")
    batch = batch if is_masked else batch._replace(mask=None)
    coded = coded_of(task, "float64", batch.mask)
    assert coded.loss() == pytest.approx(full_loss(coded, batch), rel=1e-12)
    for tensor, row, column in [("w", 0, 1), ("w", 4, 5), ("w_out", 2, 1)]:
        for code in (-1, 0, 1):
            coded.set_code(tensor, row, column, code)
            assert coded.loss() == pytest.approx(full_loss(coded, batch), rel=1e-12)


def test_only_what_is_not_masked_is_priced(monkeypatch):
    """A mask, even one that leaves nothing out, is left to the loss itself."""
    asked = []
    monkeypatch.setattr(CfcNetwork, "pricing", lambda *_: asked.append(1))
    inputs = Probe().calibration_batch(stream, "float64").inputs
    coded_of(Probe(), "float64", np.ones(inputs.shape[:2]))
    assert asked == []
    coded_of(Probe(), "float64")
    assert asked == [1]


@pytest.mark.parametrize("is_priced", [True, False])
def test_a_column_that_is_improved_leaves_codes_weights_and_loss_in_agreement(monkeypatch, is_priced):
    """The loss that is returned is that of the codes, whose effective weights are those that the network has."""
    if not is_priced:
        monkeypatch.setattr(CfcNetwork, "pricing", lambda *_: None)
    coded = coded_of(Sine.example(), "float32")
    start, codes = coded.loss(), coded.codes["w"].copy()
    loss = coded.improve_column("w", 3, start)
    assert loss < start
    assert coded.loss() == loss
    assert (coded.codes["w"] != codes).any(axis=0).tolist() == [column == 3 for column in range(codes.shape[1])]
    weights = {name: array.copy() for name, array in coded.quantized.weights.items()}
    coded.quantized.freeze()
    for name, array in coded.quantized.weights.items():
        assert_bits(array, weights[name])


@pytest.mark.parametrize("is_priced", [True, False])
def test_codes_stay_as_they_are_where_nothing_is_better(monkeypatch, is_priced):
    """Codes, weights and the loss are the same bits before and after."""
    if not is_priced:
        monkeypatch.setattr(CfcNetwork, "pricing", lambda *_: None)
    coded = coded_of(Sine.example(), "float32")
    before, loss = {name: array.copy() for name, array in coded.quantized.weights.items()}, coded.loss()
    assert coded.improve_column("w", 3, 0.0) == 0.0
    assert coded.loss() == loss
    for name, array in coded.quantized.weights.items():
        assert_bits(array, before[name])
