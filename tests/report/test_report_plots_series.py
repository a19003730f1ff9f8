"""Pictures of what techniques record of themselves: temperatures, weights, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from kdrun.report.plots import series
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.registry import drawings
from kdrun.report.plots.style import styled, svg_bytes
from kdrun.stats.analysis import Analysis

EPOCHS = np.arange(0, 100, 10)
FACTORS = {"gate": ("none", "mercy"), "weighting": ("uniform", "valence")}


def material(make: Callable[..., Analysis], recorded: Mapping[str, Callable[[str], object]]) -> Material:
    """Four replicates of four treatments; `recorded` gives the values of a series of a run, or None."""
    analysis = make(factors=FACTORS)
    parts = [
        pd.DataFrame({"run_id": run, "epoch": EPOCHS, "name": name, "value": values})
        for name, of in recorded.items()
        for run in analysis.runs["run_id"]
        if (values := of(run)) is not None
    ]
    empty = pd.DataFrame({"run_id": [], "epoch": [], "name": [], "value": []})
    return Material(analysis, pd.concat(parts) if parts else empty, ())


def of_treatments(run: str) -> object:
    """A line that rises with the epoch, higher in later replicates; treatments alone have one."""
    return EPOCHS * 0.1 + int(run[1]) if run.startswith("r") else None


def drawn(found: Material) -> dict[str, Drawing]:
    """The pictures of series by name."""
    with styled():
        return {drawing.name: drawing for drawing in series.drawings(found)}


def test_every_series_that_is_no_loss_has_a_picture(make):
    """In alphabetical order, with words for its name; losses have a picture of their own."""
    names = ("temperature", "effective_sample_size", "loss", "supervised", "blocked")
    got = drawn(material(make, dict.fromkeys(names, of_treatments)))
    assert list(got) == ["series_blocked", "series_effective_sample_size", "series_temperature"]
    assert got["series_effective_sample_size"].title == "Effective Sample Size"
    expected = "Effective Sample Size by epoch, median over 4 replicates, bands from the least to the largest."
    assert got["series_effective_sample_size"].caption == expected


def test_what_kdrun_records_itself_is_explained(make):
    """A name alone does not say of what it is a share."""
    got = drawn(material(make, {"code_flips": of_treatments}))["series_code_flips"]
    assert got.caption.startswith(
        "Code Flips (share of codes that are not what they were at the point before, some 200"
    )


def test_lines_are_medians_over_replicates_on_a_linear_scale(make):
    """Of replicates 1 to 4 that lie one apart the median is 2.5 above the least's start."""
    figure = drawn(material(make, {"temperature": of_treatments}))["series_temperature"].figure
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == len(EPOCHS)]
    assert len(lines) == 4
    for line in lines:
        np.testing.assert_allclose(line.get_ydata(), EPOCHS * 0.1 + 2.5)
        np.testing.assert_array_equal(line.get_xdata(), EPOCHS)


def test_treatments_without_the_series_are_left_out(make):
    """A gate that one level has alone is shown for its treatments alone."""
    analysis = make(factors=FACTORS)
    gated = set(analysis.runs["run_id"][analysis.runs["gate"] == "mercy"])
    found = material(make, {"blocked": lambda run: of_treatments(run) if run in gated else None})
    figure = drawn(found)["series_blocked"].figure
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == len(EPOCHS)]
    assert len(lines) == 2


@pytest.mark.parametrize("value", [0.0, 3.0, -1e9])
def test_a_series_that_never_moves_is_drawn(make, value):
    """No refusal in all of training is a picture too."""
    found = material(make, {"blocked": lambda run: np.full(len(EPOCHS), value) if run.startswith("r") else None})
    figure = drawn(found)["series_blocked"].figure
    assert len(svg_bytes(figure, "Blocked")) > 1000


def test_a_series_with_no_number_in_it_is_not_drawn(make):
    """Nothing but nan has no line."""
    found = material(make, {"sharpness": lambda run: np.full(len(EPOCHS), np.nan) if run.startswith("r") else None})
    assert drawn(found) == {}


def test_what_comparators_and_teachers_record_is_not_shown(make):
    """Their series are of other epochs, and take no place from those of treatments."""
    searches = {f"a{i}": lambda run: EPOCHS if run.startswith(("c", "teacher")) else None for i in range(8)}
    got = drawn(material(make, {**searches, "sharpness": of_treatments}))
    assert list(got) == ["series_sharpness"]


def test_there_is_an_end_to_pictures(make):
    """Of ten series the first six; the last of them names the others."""
    got = drawn(material(make, {f"s{i}": of_treatments for i in range(10)}))
    assert list(got) == [f"series_s{i}" for i in range(series.MOST_SERIES)]
    told = [name for name, drawing in got.items() if "not drawn" in drawing.caption]
    assert told == [f"series_s{series.MOST_SERIES - 1}"]
    assert got[told[0]].caption.endswith(
        "bands from the least to the largest. Recorded too, and not drawn: s6, s7, s8 and s9."
    )


def test_without_series_there_are_no_pictures(make):
    """Nor without anything recorded."""
    assert drawn(material(make, {})) == {}
    assert drawn(material(make, {"loss": of_treatments})) == {}


def test_series_come_after_all_other_pictures(make):
    """Last of all, and the same bytes each time."""
    found = material(make, {"loss": of_treatments, "sharpness": of_treatments})
    with styled():
        first, again = ([(d.name, svg_bytes(d.figure, d.title)) for d in drawings(found)] for _ in range(2))
    assert [name for name, _ in first][-2:] == ["learning_curves", "series_sharpness"]
    assert first == again
