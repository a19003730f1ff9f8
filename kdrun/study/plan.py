"""From a study to its runs: teachers, treatments and comparators of every replicate, each with its id and needs.

Replicates differ in nothing but their number, so everything else is made once, as parts that every replicate has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdrun.records import Kind, Run
from kdrun.study.design import Treatment, treatments
from kdrun.study.factor import Factor, level_texts
from kdrun.study.plain import canonical, changed, plain
from kdrun.study.schema import Study, Teacher
from kdrun.study.wording import read_model

ID_DIGITS = 16
# What a study digest has beside the runs.
_JUDGEMENT = ("responses", "comparators", "gradcheck", "criteria", "hypotheses")


@dataclass(frozen=True)
class Part:
    """What the runs of one teacher, treatment or comparator share over replicates. `needs` are earlier parts.

    `identity` is the canonical JSON of the values that differ from their defaults.
    """

    kind: Kind
    spec: Mapping[str, Any]
    identity: str
    levels: Mapping[str, str]
    needs: tuple[int, ...] = ()
    treatment: int | None = None
    comparator: str | None = None


@dataclass(frozen=True)
class Plan:
    """The treatments of a study and all its runs, replicate by replicate: teachers, treatments, comparators."""

    study: Study
    treatments: tuple[Treatment, ...]
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        """The number of runs."""
        return self.study.replicates * len(self.parts)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in order."""
        return tuple(run for replicate in range(1, self.study.replicates + 1) for run in self.replicate(replicate))

    def replicate(self, replicate: int) -> Iterator[Run]:
        """The runs of one replicate, numbered from 1; a run comes after those that it needs."""
        ids: list[str] = []
        for part in self.parts:
            needs = tuple(ids[index] for index in part.needs)
            ids.append(_run_id(part, replicate, needs))
            yield Run(ids[-1], part.kind, replicate, part.spec, needs, part.treatment, part.comparator, part.levels)


def plan(study: Study) -> Plan:
    """What a study runs. Nothing is run; a StudyError names treatments that cannot be."""
    found = treatments(study)
    return Plan(study, found, tuple(_parts(study, found)))


def _run_id(part: Part, replicate: int, needs: tuple[str, ...]) -> str:
    """The first digits of SHA-256 over the canonical JSON of {kind, needs, replicate, spec}."""
    written = ",".join(f'"{need}"' for need in needs)
    text = f'{{"kind":"{part.kind}","needs":[{written}],"replicate":{replicate},"spec":{part.identity}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def _parts(study: Study, found: tuple[Treatment, ...]) -> list[Part]:
    teachers = _Teachers(study)
    needs = [teachers.of(treatment) for treatment in found]
    parts = [*teachers.parts, *(_treatment(study, *pair) for pair in zip(found, needs, strict=True))]
    sources = {"baseline": (len(teachers.parts),), "teacher": needs[0]}
    return parts + _comparators(study, found[0], sources, start=len(parts))


def _described(study: Study, treatment: Treatment, *sections: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Seed and some sections of a treatment: all values, and those that differ from their defaults."""
    default_seed = Study.model_fields["seed"].default
    spec = {key: treatment.sections[key] for key in sections if key in treatment.sections}
    identity = {key: treatment.changed[key] for key in sections if treatment.changed.get(key)}
    return {"seed": study.seed, **spec}, identity if study.seed == default_seed else {"seed": study.seed, **identity}


def _treatment(study: Study, treatment: Treatment, needs: tuple[int, ...]) -> Part:
    spec, identity = _described(study, treatment, "task", "model", "student")
    return Part("treatment", spec, canonical(identity), treatment.levels, needs, treatment=treatment.number)


class _Teachers:
    """The teachers of a study: treatments whose teachers do not differ share them."""

    def __init__(self, study: Study) -> None:
        self.parts: list[Part] = []
        self._study = study
        self._known: dict[str, int] = {}

    def of(self, treatment: Treatment) -> tuple[int, ...]:
        """The parts that a treatment needs, made on the way; none for a task without teachers."""
        section = treatment.sections.get("teacher")
        if section is None:
            return ()
        return tuple(dict.fromkeys(self._part(treatment, member) for member in _members(treatment, section)))

    def _part(self, treatment: Treatment, section: Mapping[str, Any]) -> int:
        teacher = read_model(Teacher, dict(section))
        spec, identity = _described(self._study, treatment, "task", "model")
        spec["teacher"] = _without_judgement(plain(teacher))
        identity |= {key: value for key, value in [("teacher", _without_judgement(changed(teacher)))] if value}
        if teacher.model is not None:
            spec["model"], identity["model"] = plain(teacher.model), changed(teacher.model)
        key = canonical(identity)
        if key not in self._known:
            self._known[key] = len(self.parts)
            levels = _levels(self._study, treatment, own_model=teacher.model is not None)
            self.parts.append(Part("teacher", spec, key, levels))
        return self._known[key]


def _members(treatment: Treatment, section: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The teacher sections of a treatment: the study's own, or those that its level of the family `teachers` makes."""
    return treatment.teachers.members(section) if treatment.teachers else (section,)


def _without_judgement(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """What trains a teacher: not what it must reach, and not its network, which is the run's model."""
    return {key: value for key, value in teacher.items() if key not in ("accept", "model")}


def _levels(study: Study, treatment: Treatment, own_model: bool = False) -> dict[str, str]:
    """The levels of the factors that a teacher depends on."""
    names = [name for name, factor in study.factors.items() if _reaches_teacher(factor, own_model)]
    return {name: treatment.levels[name] for name in names}


def _reaches_teacher(factor: Factor, own_model: bool) -> bool:
    return factor.key[0] in ("task", "teacher") or (factor.key[0] == "model" and not own_model)


def _comparators(study: Study, first: Treatment, sources: dict[str, tuple[int, ...]], start: int) -> list[Part]:
    """Comparators as parts from number `start`. `sources` are the parts that one can start from."""
    texts = level_texts([changed(level) for level in study.comparators])
    parts: list[Part] = []
    for level, text in zip(study.comparators, texts, strict=True):
        spec, identity = _described(study, first, "task", "model", "student")
        spec["student"] = _quantizer_of(spec["student"])
        identity["student"] = _quantizer_of(identity.get("student", {}))
        spec["comparator"], identity["comparator"] = plain(level), changed(level)
        needs = sources[level.starts_from]
        parts.append(Part("comparator", spec, canonical(identity), _levels(study, first), needs, comparator=text))
        sources[level.name] = (start + len(parts) - 1,)
    return parts


def _quantizer_of(student: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparator reads of the student section: it quantizes, but trains nothing."""
    return {key: value for key, value in student.items() if key in ("activations", "quantizer")}


def study_digest(study: Study) -> str:
    """SHA-256 over what determines the runs of a study and how they are judged; its name and title are not in it."""
    data = {
        "factors": [[name, len(factor.levels)] for name, factor in study.factors.items()],
        "treatments": [treatment.changed for treatment in treatments(study)],
        **({} if study.design.is_full else {"design": changed(study.design)}),
        "replicates": study.replicates,
        "seed": study.seed,
        **{key: changed(getattr(study, key)) for key in _JUDGEMENT},
    }
    return hashlib.sha256(canonical(data).encode()).hexdigest()
