"""The scale that a response is analysed on, and the columns of a table of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from kdrun.errors import KdrunError

Floats = NDArray[np.float64]
ScaleName = Literal["log10", "linear", "logit"]


class OutOfPlace(KdrunError):
    """A measured value has no place on the scale of its response, so nothing can be analysed."""


@dataclass(frozen=True)
class Response:
    """A measured response: the scale of its analysis, which way is better, and what stands in for a diverged run.

    One that the study does not declare is shown as far as the scale has a place for it; it is no mistake where not.
    """

    name: str
    scale: ScaleName = "log10"
    better: Literal["lower", "higher"] = "lower"
    stand_in: float | None = None
    declared: bool = True


@dataclass(frozen=True)
class Layout:
    """What the columns of a table of runs are.

    `factors` maps each factor to its levels, in the order of the study; `responses` has one entry per measured column,
    in the order of `runs.csv`; `judged` names those that the study declares, the primary one first; `ratios` is what
    the task declares of `vs_float` and `vs_baseline`, ratios of the primary response; `shared` names the factors whose
    levels select something that treatments of a replicate share, such as a teacher: they are whole-plot factors.
    `screening` says that the design estimates main effects only.
    """

    factors: Mapping[str, tuple[str, ...]]
    responses: tuple[Response, ...]
    judged: tuple[str, ...]
    ratios: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    screening: bool = False

    def response(self, name: str) -> Response:
        """The response of that name; a ratio is a response on the log10 scale."""
        if name in self.ratios:
            return Response(name, "log10", self.primary.better, declared=False)
        return next(response for response in self.responses if response.name == name)

    @property
    def primary(self) -> Response:
        """The first response that the study declares."""
        return next(response for response in self.responses if response.name == self.judged[0])

    @property
    def columns(self) -> tuple[Response, ...]:
        """Every response column of the tables: measured ones, then ratios."""
        return (*self.responses, *(self.response(name) for name in self.ratios))


def to_analysis(values: Any, scale: ScaleName) -> Any:
    """Values on the analysis scale; nan where the scale has no place for them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "log10":
            return np.log10(values)
        return special.logit(values) if scale == "logit" else np.asarray(values, np.float64)


def from_analysis(values: Any, scale: ScaleName) -> Any:
    """The inverse of `to_analysis`."""
    if scale == "log10":
        return np.power(10.0, values)
    return special.expit(values) if scale == "logit" else values


def ratio(differences: Any, scale: ScaleName) -> Any:
    """What a difference on the analysis scale is as a ratio (of odds, for logit); nan on a linear scale."""
    if scale == "linear":
        return np.full_like(differences, np.nan)
    return np.power(10.0, differences) if scale == "log10" else np.exp(differences)


def filled(table: pd.DataFrame, response: Response) -> Floats:
    """Measured values [rows]: nan for runs without any, the registered stand-in (else nan) for diverged ones."""
    values = table[response.name].to_numpy(np.float64, copy=True)
    status = table["status"].to_numpy()
    values[(status == "failed") | (status == "missing")] = np.nan
    values[status == "diverged"] = np.nan if response.stand_in is None else response.stand_in
    return values


def analysis_values(table: pd.DataFrame, response: Response, values: Floats | None = None) -> Floats:
    """y [rows] on the analysis scale, nan where there is none; `values` default to `filled`.

    A value that the scale has no place for is an error that names its run, where the study declares the response.
    """
    values = filled(table, response) if values is None else values
    y: Floats = to_analysis(values, response.scale)
    wrong = np.flatnonzero(~np.isnan(values) & ~np.isfinite(y))
    if not response.declared:
        y[wrong] = np.nan
    elif len(wrong):
        raise OutOfPlace(_impossible(table.iloc[wrong[0]], response, float(values[wrong[0]])))
    return y


def out_of_place(name: str, value: float, scale: ScaleName) -> str:
    """Such as `accuracy is 1.0, but on the scale logit it must be …`; empty for a value with a place on its scale."""
    if np.isfinite(to_analysis(value, scale)):
        return ""
    allowed = {"log10": "above 0 and finite", "logit": "between 0 and 1, both excluded", "linear": "finite"}
    return f"{name} is {value!r}, but on the scale {scale} it must be {allowed[scale]}"


def _impossible(row: pd.Series[Any], response: Response, value: float) -> str:
    return (
        f"run {row['run_id']} ({row['kind']}, replicate {row['replicate']}):"
        f" {out_of_place(response.name, value, response.scale)}; choose another scale for the response"
    )
