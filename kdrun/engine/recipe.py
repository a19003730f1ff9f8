"""Which level fills which slot in one run, from the resolved `student` section of its study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from kdrun.errors import UsageError
from kdrun.factors.contract import (
    Activations,
    Credit,
    Curriculum,
    Gate,
    GradientShape,
    Granularity,
    HyperParameter,
    Level,
    Penalty,
    Progress,
    Projection,
    QuantizationSchedule,
    Quantizer,
    Term,
    Weighting,
)
from kdrun.factors.discover import levels

Slot = TypeVar("Slot", bound=Level)


@dataclass(frozen=True)
class Recipe:
    """The levels of one run by slot; `None` and empty are empty slots. Keys are family names, in alphabetical order."""

    quantizer: Quantizer | None = None
    granularity: Granularity | None = None
    schedule: QuantizationSchedule | None = None
    shape: GradientShape | None = None
    terms: dict[str, Term] = field(default_factory=dict)
    hyper: dict[str, HyperParameter] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)
    weighting: Weighting | None = None
    credit: Credit | None = None
    curriculum: Curriculum | None = None
    projections: dict[str, Projection] = field(default_factory=dict)
    gate: Gate | None = None
    activations: Activations | None = None
    supervised_weight: float = 1.0

    @property
    def grid(self) -> int:
        """What hidden values are rounded by; 0 for not at all."""
        return self.activations.grid if self.activations is not None else 0

    @property
    def may_stand_beside_others(self) -> bool:
        """Whether a student's weights may be quantized and updated with those of others.

        Not where a slot looks at its latent weights or changes them by itself, or moves it to another step of training.
        """
        slots = (self.schedule, self.credit, self.curriculum, self.gate)
        if any(slot is not None for slot in slots) or self.penalties or self.projections:
            return False
        return self.granularity is None or self.granularity.is_own

    @cached_property
    def slots(self) -> dict[str, Level]:
        """Every level that may have arrays of its own, by a name that is unique in the run."""
        named: dict[str, Level | None] = {
            "batch": self.curriculum,
            "credit": self.credit,
            "gate": self.gate,
            "weighting": self.weighting,
        }
        for group in (self.terms, self.hyper, self.penalties, self.projections):
            named.update(group)
        return {name: level for name, level in sorted(named.items()) if level is not None}

    def overriding(self, method: str) -> dict[str, Level]:
        """The levels of `slots` that do something of their own in a method of `Level`: the others cost no call."""
        return {
            name: level
            for name, level in self.slots.items()
            if getattr(type(level), method) is not getattr(Level, method)
        }

    @cached_property
    def _sharing(self) -> list[Term]:
        """Terms that share the loss with the task's own."""
        return [term for term in self.terms.values() if type(term).supervised_weight is not Term.supervised_weight]

    def share_of_task(self, progress: Progress) -> float:
        """What the task's own loss is multiplied by at a step, beside its own weight."""
        share = self.supervised_weight
        for term in self._sharing:
            share *= term.supervised_weight(progress)
        return share

    @cached_property
    def with_own_loss(self) -> dict[str, Level]:
        """Levels with a term on their own arrays."""
        return self.overriding("own_loss")

    @cached_property
    def remembering(self) -> dict[str, Level]:
        """Levels that remember something of each step."""
        return self.overriding("remember")


def recipe_of(techniques: dict[str, Level], supervised_weight: float = 1.0) -> Recipe:
    """Sort techniques by the slot that they fill; `techniques` maps families to levels, empty slots left out.

    `supervised_weight` is what the task's own loss is multiplied by, whatever its terms make of it.
    """
    quantizer = _only(Quantizer, techniques.values())
    if quantizer is not None and not quantizer.max_code:
        quantizer = None
    terms = _all(Term, techniques)
    return Recipe(
        quantizer=quantizer,
        granularity=_granularity(quantizer),
        schedule=_schedule(techniques, quantizer),
        shape=_only(GradientShape, techniques.values()),
        terms=terms,
        hyper=_declared(_all(HyperParameter, techniques), terms),
        penalties=_all(Penalty, techniques),
        weighting=_only(Weighting, techniques.values()),
        credit=_only(Credit, techniques.values()),
        curriculum=_only(Curriculum, techniques.values()),
        projections=_all(Projection, techniques),
        gate=_only(Gate, techniques.values()),
        activations=_only(Activations, techniques.values()),
        supervised_weight=supervised_weight,
    )


def _declared(hyper: dict[str, HyperParameter], terms: dict[str, Term]) -> dict[str, HyperParameter]:
    """The hyper-parameters that some term reads: the others cost nothing and learn nothing."""
    wanted = {name for term in terms.values() for name in term.hyper_names}
    return {family: level for family, level in hyper.items() if level.provides in wanted}


def _schedule(techniques: dict[str, Level], quantizer: Quantizer | None) -> QuantizationSchedule | None:
    """The schedule of quantizers, where there is something to switch and it does."""
    found = _only(QuantizationSchedule, techniques.values())
    if found is None or quantizer is None:
        return None
    return None if type(found).quantizer_name is QuantizationSchedule.quantizer_name else found


def quantizer_like(final: Quantizer, name: str) -> Quantizer:
    """The quantizer of another name with those of `final`'s parameters that it has, and whose value it takes."""
    if name == final.name:
        return final
    kind = levels("quantizer")[name]
    quantizer = kind(**{field: value for field, value in final.model_dump().items() if _takes(kind, field, value)})
    assert isinstance(quantizer, Quantizer)
    return quantizer


def _takes(kind: type[Level], field: str, value: Any) -> bool:
    """Whether a level has a parameter of that name, and may have it at that value."""
    try:
        kind(**{field: value})
    except ValidationError:
        return False
    return True


def _granularity(quantizer: Quantizer | None) -> Granularity | None:
    if quantizer is None:
        return None
    level = levels("granularity")[getattr(quantizer, "granularity", "per_row")]()
    assert isinstance(level, Granularity)
    return level


def _only(slot: type[Slot], techniques: Iterable[Level]) -> Slot | None:
    found = [level for level in techniques if isinstance(level, slot)]
    if len(found) > 1:
        names = " and ".join(repr(level.name) for level in found)
        raise UsageError(f"{names} both fill the slot {slot.__name__}; a treatment can have one of them")
    return found[0] if found else None


def _all(slot: type[Slot], techniques: dict[str, Level]) -> dict[str, Slot]:
    return {family: level for family, level in sorted(techniques.items()) if isinstance(level, slot)}
