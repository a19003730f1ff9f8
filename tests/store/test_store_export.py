"""Exported networks: the columns of the interface, checked by running the cell from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdrun.errors import UsageError
from kdrun.records import Outcome, Run
from kdrun.store.export import export_npz, network_arrays, write_npz
from kdrun.store.runs import Store

D, H, K = 2, 3, 1
SPEC: dict[str, Any] = {"task": {"name": "sine", "dt": 0.1}}


def core_network(ternary: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """Random parameters in the layout of the core."""
    stream = np.random.default_rng(7)
    arrays = {
        "w": stream.normal(size=(D + H, 2 * H)),
        "b": stream.normal(size=2 * H),
        "tau": stream.uniform(0.5, 2, H),
        "w_out": stream.normal(size=(H, K)),
        "b_out": stream.normal(size=K),
    }
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    if ternary:
        found["codes.w"] = stream.integers(-1, 2, (D + H, 2 * H)).astype(np.int8)
        found["codes.w_out"] = stream.integers(-1, 2, (H, K)).astype(np.int8)
        found["scale.w"] = stream.uniform(0.1, 1, 2 * H).astype(np.float32)
        found["scale.w_out"] = stream.uniform(0.1, 1, K).astype(np.float32)
    return found


def test_float_network_has_the_columns_of_the_interface() -> None:
    """Each exported matrix maps [inputs, hidden] as the core's own does, gate and candidate apart."""
    network = core_network()
    got = network_arrays(SPEC, network)
    shapes = {name: array.shape for name, array in got.items()}
    expected = {"w_gate": (H, D + H), "b_gate": (H,), "w_cand": (H, D + H), "b_cand": (H,), "tau": (H,)}
    assert shapes == {**expected, "w_out": (K, H), "b_out": (K,), "dt": ()}
    u, h = np.arange(1.0, D + H + 1), np.arange(1.0, H + 1)
    both = np.concatenate([got["w_gate"] @ u + got["b_gate"], got["w_cand"] @ u + got["b_cand"]])
    np.testing.assert_allclose(both, u @ network["w"] + network["b"], rtol=1e-6)
    np.testing.assert_allclose(got["w_out"] @ h + got["b_out"], h @ network["w_out"] + network["b_out"], rtol=1e-6)
    assert got["dt"] == 0.1


def test_ternary_network_has_codes_and_scales_instead() -> None:
    """A ternary network is codes in -1, 0, 1 with one scale per row, and no float matrix."""
    network = core_network(ternary=True)
    got = network_arrays(SPEC, network)
    assert not [name for name in got if name.startswith("w_")]
    assert {got[f"codes_{part}"].dtype for part in ("gate", "cand", "out")} == {np.dtype(np.int8)}
    effective = (network["codes.w"] * network["scale.w"]).T
    np.testing.assert_array_equal(got["scale_gate"][:, None] * got["codes_gate"], effective[:H])
    np.testing.assert_array_equal(got["scale_cand"][:, None] * got["codes_cand"], effective[H:])
    np.testing.assert_array_equal(
        got["scale_out"][:, None] * got["codes_out"], (network["codes.w_out"] * network["scale.w_out"]).T
    )


def test_files_load_without_pickle_and_repeat_to_the_bit(tmp_path: Path) -> None:
    """The file loads with allow_pickle=False, an older file is replaced, and the order of names does not show."""
    arrays = network_arrays(SPEC, core_network())
    write_npz(tmp_path / "a.npz", {"old": np.ones(1)})
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", dict(reversed(arrays.items())))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as got:
        assert set(got.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(got[name], array)
            assert got[name].dtype == array.dtype
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_export_from_a_store(tmp_path: Path) -> None:
    """A stored network is exported by the id of its run, into a folder that is made for it."""
    with Store.create(tmp_path) as store:
        store.commit([(Run("a", "teacher", 1, SPEC), Outcome("a", "done", parameters=core_network()))])
        export_npz(store, "a", tmp_path / "new" / "net.npz")
    with np.load(tmp_path / "new" / "net.npz", allow_pickle=False) as got:
        np.testing.assert_array_equal(got["tau"], core_network()["tau"])


def test_runs_without_a_network_are_refused(tmp_path: Path) -> None:
    """An unknown run, one whose network is not kept, and one that is no CfC are refused with what to do."""
    with Store.create(tmp_path) as store:
        store.commit([(Run("a", "teacher", 1, SPEC), Outcome("a", "done", parameters=core_network()))], False)
        store.commit([(Run("d", "teacher", 1, SPEC), Outcome("d", "done", parameters={"w": np.ones(2)}))])
        for run_id, text in (("x", "no run x"), ("a", "keep=all --fresh"), ("d", "no CfC")):
            with pytest.raises(UsageError, match=text):
                export_npz(store, run_id, tmp_path / "net.npz")
    assert not (tmp_path / "net.npz").exists()


def test_a_shared_scale_is_given_to_every_row() -> None:
    """With one scale for a matrix the columns of the interface hold it as often as there are rows."""
    network = core_network(ternary=True)
    network["scale.w"], network["scale.w_out"] = np.float32([0.5]), np.float32([0.25])
    got = network_arrays(SPEC, network)
    np.testing.assert_array_equal(got["scale_gate"], np.full(H, 0.5, np.float32))
    np.testing.assert_array_equal(got["scale_cand"], np.full(H, 0.5, np.float32))
    np.testing.assert_array_equal(got["scale_out"], np.full(K, 0.25, np.float32))


def test_scales_of_another_kind_are_refused() -> None:
    """A quantizer with two magnitudes has no place in the file's keys, and the message says so."""
    network = core_network(ternary=True)
    network["positive.w"] = network.pop("scale.w")
    with pytest.raises(UsageError, match="no keys for them"):
        network_arrays(SPEC, network)


def test_a_task_without_a_time_step_counts_in_steps() -> None:
    """Where the task has no dt, the cell was trained with 1."""
    got = network_arrays({"task": {"name": "regimes"}}, core_network())
    assert got["dt"] == 1.0
