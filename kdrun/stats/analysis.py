"""Everything that is computed from the runs of one study, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdrun.records import GradientCheck, Outcome, Run
from kdrun.stats.anova import anova_table
from kdrun.stats.effects import Contrasts, effects_table, empty_effects
from kdrun.stats.findings import Known
from kdrun.stats.frame import runs_table
from kdrun.stats.lenth import Lenth, lenth
from kdrun.stats.scales import Layout
from kdrun.stats.students import with_students
from kdrun.stats.summary import comparator_summary, run_counts, treatment_summary
from kdrun.stats.terms import Terms
from kdrun.stats.verdicts import criteria_table, hypotheses_table


@dataclass(frozen=True)
class Analysis:
    """The tables of a study; the columns of each are described where it is made.

    `terms` are the main effects and interactions that its treatments can tell;
    `complete_effects` are the effects from the complete replicates alone, where others have holes, and empty where
    nothing is missing; `lenth` has Lenth's limits by response, where there is one replicate; `hypotheses` has a column
    `evidence` beside those of hypotheses.csv; `notes` are sentences about what could not be computed, and why;
    `has_students` says that treatments have the columns of quantized students.
    """

    layout: Layout
    terms: Terms
    runs: pd.DataFrame
    treatments: pd.DataFrame
    comparators: pd.DataFrame
    counts: pd.DataFrame
    effects: pd.DataFrame
    complete_effects: pd.DataFrame
    anova: pd.DataFrame
    lenth: Mapping[str, Lenth]
    hypotheses: pd.DataFrame
    criteria: pd.DataFrame
    notes: tuple[str, ...] = ()
    has_students: bool = False

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that a results folder holds, by file name without its ending."""
        return {
            "runs": self.runs,
            "treatments": self.treatments,
            "effects": self.effects,
            "anova": self.anova,
            "hypotheses": self.hypotheses.drop(columns="evidence"),
            "criteria": self.criteria,
        }


def analyse(
    runs: Sequence[Run],
    outcomes: Mapping[str, Outcome],
    layout: Layout,
    criteria: Sequence[Mapping[str, Any]] = (),
    hypotheses: Sequence[Mapping[str, Any]] = (),
    gradient_checks: Sequence[GradientCheck] = (),
    reproducible: bool | None = None,
    compression: Mapping[int, float] | None = None,
) -> Analysis:
    """All tables of a study from its planned runs and what came of them.

    `criteria` are mappings with `name`, `claim`, `required`; `hypotheses` have `say`, `claim` and, where they were not
    registered before the first run, `exploratory`; `reproducible` is None where that was not tried. `compression` is
    that of each treatment, where students are quantized.
    """
    table = runs_table(runs, outcomes, layout)
    known = Known(table, layout, gradient_checks, reproducible)
    contrasts = {name: known.contrasts(name) for name in layout.judged}
    return Analysis(
        layout=layout,
        terms=known.terms,
        runs=table,
        treatments=with_students(treatment_summary(table, layout), runs, table, layout, compression or {}),
        comparators=comparator_summary(table, layout),
        counts=run_counts(table, layout),
        effects=_joined(effects_table(item) for item in contrasts.values()),
        complete_effects=_joined(effects_table(item.complete) for item in contrasts.values() if item.uses_all_runs),
        anova=_joined(anova_table(item, layout.shared) for item in contrasts.values()),
        lenth={name: limits for name, item in contrasts.items() if (limits := _lenth(item))},
        hypotheses=hypotheses_table(hypotheses, known),
        criteria=criteria_table(criteria, known),
        notes=(*_notes(contrasts.values()), *_refused(known.terms)),
        has_students=bool(compression),
    )


def _joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the same columns below each other; an empty effects table where there is none."""
    found = list(frames)
    full = [frame for frame in found if len(frame)]
    return pd.concat(full, ignore_index=True) if full else (found[0] if found else empty_effects())


def _lenth(contrasts: Contrasts) -> Lenth | None:
    """Lenth's limits of one replicate without holes, where every term is a contrast of two levels."""
    terms = contrasts.terms
    fits = all(term.two_level for term in terms.terms) and terms.orthogonal
    if len(contrasts.y) != 1 or contrasts.has_holes or not fits:
        return None
    return lenth(contrasts.within[0])


def _notes(found: Iterable[Contrasts]) -> Iterator[str]:
    """What could not be computed, or rests on something that a reader must know."""
    for contrasts in found:
        name, terms = contrasts.response.name, contrasts.terms
        if contrasts.has_holes and not terms.has_columns:
            yield f"{name}: runs are missing, and the design is too large to use more than its complete replicates."
        elif contrasts.uses_all_runs and not contrasts.enough:
            yield f"{name}: runs are missing, and some treatment has fewer than three: no effect has an interval."
        elif contrasts.uses_all_runs:
            complete, replicates = len(contrasts.complete.y), len(contrasts.y)
            yield f"{name}: {complete} of {replicates} replicates are complete; effects are estimated from all runs."


def _refused(terms: Terms) -> Iterator[str]:
    names = list(terms.refused)
    if names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        yield (
            f"These treatments cannot tell {', '.join(names[:10])}{more}; what is estimated is estimated as if those"
            " were absent."
        )
