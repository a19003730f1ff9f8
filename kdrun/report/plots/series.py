"""What techniques have recorded of themselves during training: temperatures, weights, refusals."""

from __future__ import annotations

from collections.abc import Iterator

from kdrun.report.plots.learning_curves import SERIES, Losses, over_replicates, page_of, treatment_panels
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import human
from kdrun.report.text import joined

MOST_SERIES, MOST_POINTS = 6, 40
# What those are that kdrun records itself, whatever the techniques.
WHAT = {"code_flips": "share of codes that are not what they were at the point before, some 200 points a run"}


def drawings(material: Material) -> Iterator[Drawing]:
    """A picture for each series that is no loss: the treatments that have it, lines and bands as of learning curves."""
    analysis, history = material.analysis, material.history
    treatments = analysis.runs[analysis.runs["kind"] == "treatment"]
    # What comparators record of their searches is none of these.
    own = history[history["run_id"].isin(treatments["run_id"])]
    names = sorted(set(own["name"]) - SERIES.keys())
    rest = names[MOST_SERIES:]
    for place, name in enumerate(names[:MOST_SERIES], start=1):
        found = Losses(treatments, own, name, MOST_POINTS)
        panels = treatment_panels(analysis, found)
        if panels:
            figure = page_of(panels, "linear", human(name)).figure
            what = f" ({WHAT[name]})" if name in WHAT else ""
            caption = f"{human(name)}{what} by epoch, {over_replicates(found)}."
            if rest and place == MOST_SERIES:
                caption += f" Recorded too, and not drawn: {joined(rest)}."
            yield Drawing(f"series_{name}", human(name), caption, figure)
