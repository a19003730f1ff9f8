"""What a caption says of level means: which replicates they are from, and what the design cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kdrun.report.plots.style import human, term_name
from kdrun.report.plots.wide import Wide
from kdrun.report.text import joined

MOST_CLASSES = 12


def replicate_words(wide: Wide) -> Iterator[str]:
    """That replicates have holes, and what comes of it; nothing where all are complete."""
    if wide.replicates == wide.total:
        return
    if wide.modelled and not wide.replicates:
        which = f"None of the {wide.total} replicates is" if wide.total > 1 else "The replicate is not"
        yield f"{which} complete: the means come from the table's model, fitted to all runs."
        return
    table = "all runs" if wide.contrasts.uses_all_runs else "complete ones only"
    if not wide.replicates:
        means = "are complete, so the means are over what runs there are"
    else:
        means = "is complete and makes the means" if wide.replicates == 1 else "are complete and make the means"
    yield f"{wide.replicates} of {wide.total} replicates {means}; the table of effects uses {table}."


def model_words(wide: Wide) -> Iterator[str]:
    """That means are what a model predicts, and what it leaves out; nothing for a full factorial."""
    if wide.terms.full:
        return
    yield (
        "The design is no full factorial: these are the means that the table's model predicts over all combinations of"
        " levels, so that their differences are the effects in the table."
    )
    if wide.terms.refused:
        yield "Terms that these treatments cannot tell are taken to be absent."


def class_words(wide: Wide, factors: Sequence[str], screening: bool) -> Iterator[str]:
    """Which lines are not the factor's alone."""
    names = [term_name(name) for name in dict.fromkeys(aliased_mains(wide, factors))]
    if names:
        more = f"; and {len(names) - MOST_CLASSES} others" if len(names) > MOST_CLASSES else ""
        several = len(names) > 1
        yield (
            f"{'Lines are classes' if several else 'One line is a class'} of effects that the design cannot tell apart,"
            f" not {'factors' if several else 'the factor'} alone: {'; '.join(names[:MOST_CLASSES])}{more}."
        )
    if screening and not wide.terms.full:
        yield (
            "The design estimates main effects only: each line is a class of its factor and shares of the two-factor"
            " interactions of others, not the factor alone."
        )


def aliased_mains(wide: Wide, factors: Sequence[str]) -> Iterator[str]:
    """The names of the classes that hold a main effect of some factors and another effect of at most two factors."""
    for factor in factors:
        term = wide.term_of(factor)
        if term is not None and not wide.is_alone(factor):
            yield term.name


def left_out_words(factors: Sequence[str]) -> Iterator[str]:
    """Factors that have no panel."""
    if factors:
        verb = "is" if len(factors) == 1 else "are"
        names = joined(human(factor) for factor in factors)
        yield f"{names} {verb} not shown: these runs cannot tell what {'it does' if verb == 'is' else 'they do'}."
