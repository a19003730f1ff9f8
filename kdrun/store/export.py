"""A trained network out of the store, in the layout that the interface pins, whatever the core's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdrun.errors import UsageError
from kdrun.files import write_bytes
from kdrun.store.arrays import Array, npz_bytes
from kdrun.store.runs import Store
from kdrun.study.choice import TaskChoice
from kdrun.tasks.contract import TrainingTask

NEEDED = ("w", "b", "tau", "w_out", "b_out")


def export_npz(store: Store, run_id: str, path: Path) -> None:
    """Write the trained CfC of a run as npz. Refuses an unknown run, and one whose network is not kept."""
    outcome = store.outcome(run_id)
    if not outcome.parameters:
        raise UsageError(
            f"run {run_id} ({outcome.status}) keeps no trained network; only a run that trained one and is kept has"
            " one: with --set keep=all --fresh all runs are done anew, and all networks kept"
        )
    write_npz(path, network_arrays(store.run(run_id).spec, outcome.parameters))


def network_arrays(spec: Mapping[str, Any], parameters: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a CfC by the names of the interface, D inputs, H hidden units, O outputs.

    Float: w_gate [H, D+H], b_gate [H], w_cand [H, D+H], b_cand [H], tau [H], w_out [O, H], b_out [O], dt []. Ternary:
    codes_* (int8) and scale_* [H] or [O] in place of each w_*; so has every quantizer with one scale for a row or a
    matrix. In `parameters` the matrices stand input first and gate and candidate side by side: w [D+H, 2H], b [2H],
    w_out [H, O].
    """
    _require_cfc(parameters)
    hidden = parameters["tau"].shape[0]
    b = parameters["b"]
    arrays = {"b_gate": b[:hidden], "b_cand": b[hidden:], "tau": parameters["tau"], "b_out": parameters["b_out"]}
    if "codes.w" in parameters:
        arrays |= _matrices("codes", parameters["codes.w"], parameters["codes.w_out"], hidden)
        scale, scale_out = (_column_scales(parameters, name) for name in ("w", "w_out"))
        arrays |= {"scale_gate": scale[:hidden], "scale_cand": scale[hidden:], "scale_out": scale_out}
    else:
        arrays |= _matrices("w", parameters["w"], parameters["w_out"], hidden)
    arrays["dt"] = np.float64(_step_time(spec))  # type: ignore[assignment]
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def _matrices(prefix: str, w: Array, w_out: Array, hidden: int) -> dict[str, Array]:
    return {f"{prefix}_gate": w[:, :hidden].T, f"{prefix}_cand": w[:, hidden:].T, f"{prefix}_out": w_out.T}


def _column_scales(parameters: Mapping[str, Array], name: str) -> Array:
    """The scale of each column of a matrix [fan_out], also where all share one."""
    if f"scale.{name}" not in parameters:
        raise UsageError(
            "the network's quantizer has other scales than one for each row or matrix; npz has no keys for them"
        )
    return np.broadcast_to(parameters[f"scale.{name}"], parameters[name].shape[1:])


def _step_time(spec: Mapping[str, Any]) -> float:
    """The time between two steps, as the task has it."""
    task = TaskChoice().read(dict(spec["task"]))
    return task.step_time if isinstance(task, TrainingTask) else 1.0


def _require_cfc(parameters: Mapping[str, Array]) -> None:
    absent = [name for name in NEEDED if name not in parameters]
    if absent:
        raise UsageError(f"the network is no CfC (it has no {', '.join(absent)}); npz is written for a CfC only")


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as npz, atomically; the same arrays give the same bytes. An existing file is replaced."""
    write_bytes(path, npz_bytes(arrays))
