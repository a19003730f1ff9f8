"""What `kdrun compare` tells: two results folders, run by run where their replicates match."""

from __future__ import annotations

from pathlib import Path

from kdrun.errors import UsageError
from kdrun.results import Results, layout_of
from kdrun.stats.compare import Comparison, comparison_table
from kdrun.stats.scales import Layout, Response


def compare(a: Path | str, b: Path | str) -> Comparison:
    """Compare two results folders; B minus A. Folders without runs are compared by their tables.

    Replicates match where both studies have the same seed: then they share their random numbers.
    """
    found = (Results.open(a), Results.open(b))
    layouts = (layout_of(found[0].study), layout_of(found[1].study))
    factors = tuple(dict.fromkeys([*layouts[0].factors, *layouts[1].factors]))
    responses = _common(layouts, found)
    paired = found[0].study.seed == found[1].study.seed
    table = comparison_table(found[0].runs, found[1].runs, factors, responses, paired)
    digests = (found[0].results_digest, found[1].results_digest)
    return Comparison((str(a), str(b)), digests, factors, responses, paired, table)


def _common(layouts: tuple[Layout, Layout], found: tuple[Results, Results]) -> tuple[Response, ...]:
    """The responses that both studies declare, as A analyses them."""
    names = [name for name in layouts[0].judged if name in layouts[1].judged]
    if not names:
        raise UsageError(
            f"{found[0].folder} and {found[1].folder} have no response in common: the first has"
            f" {', '.join(layouts[0].judged)}, the second {', '.join(layouts[1].judged)}"
        )
    for name in names:
        one, other = (layout.response(name) for layout in layouts)
        if one.scale != other.scale:
            raise UsageError(
                f"{name} is analysed on the scale {one.scale} in {found[0].folder} and on {other.scale} in"
                f" {found[1].folder}; give it one scale in both studies"
            )
    return tuple(layouts[0].response(name) for name in names)
