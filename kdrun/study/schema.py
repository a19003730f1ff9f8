"""The shape of a study: which keys it has and what each may hold. What ties keys together is in check.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from kdrun.factors import discover
from kdrun.factors.contract import Comparator, Family, Level, Quantizer
from kdrun.models.contract import ModelSpec
from kdrun.study.choice import CellChoice, ComparatorChoice, LevelChoice, TaskChoice, inlined_schema
from kdrun.study.claims import CLAIMS, HYPOTHESIS_CLAIMS, Claim, ClaimReader, Section
from kdrun.study.factor import Factor, factors_schema
from kdrun.study.fit import unequal_networks, unfit_comparators, unfit_levels, unfit_network
from kdrun.study.paths import put, remove
from kdrun.study.plain import plain
from kdrun.study.selection import SHORTHAND, Design, FractionName
from kdrun.study.wording import Problem, mistake, mistakes, read_model, shown
from kdrun.tasks.contract import Task, TrainingTask

MOST_EPOCHS = 10**7
MOST_REPLICATES = 10**6
MOST_LETTERS = 200
TASK, TASK_NAME = ("task",), ("task", "name")


def _study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise mistake(f"found {shown(name)}; 1 to 64 letters, digits, _ and - are allowed: it names a folder")
    return name


def _short_line(text: str) -> str:
    if len(text) > MOST_LETTERS or not text.isprintable():
        raise mistake(f"found {shown(text)}; one line of at most {MOST_LETTERS} letters is allowed")
    return text


def _some_line(text: str) -> str:
    if not text.strip():
        raise mistake("found empty text; one line of text is allowed")
    return _short_line(text)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_LIST = BeforeValidator(_as_tuple)
StudyName = Annotated[str, AfterValidator(_study_name)]
Line = Annotated[str, AfterValidator(_some_line)]
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]


def level_field(family: str, description: str) -> Any:
    """A field for a level of a family, by default the family's own default."""
    return Field(default_factory=LevelChoice(family).default_level, description=description)


class Teacher(Section):
    """How the float network that students learn from is trained, and what it must reach."""

    epochs: Epochs = Field(default=2000, description="Training steps.")
    optimizer: Annotated[Level, LevelChoice("optimizer")] = level_field("optimizer", "What makes a step of a gradient.")
    lr_schedule: Annotated[Level, LevelChoice("lr_schedule")] = level_field(
        "lr_schedule", "The learning rate over training."
    )
    accept: dict[str, float] = Field(default={}, description="Bound that a response must reach, by response.")
    model: Annotated[ModelSpec | None, CellChoice()] = Field(
        default=None, description="Its network, where it differs from the study's model."
    )


class Student(Section):
    """How the network under study is trained. The families of techniques add one key each."""

    init: Literal["teacher", "random"] = Field(default="teacher", description="Where its first weights come from.")
    epochs: Epochs = Field(default=1500, description="Training steps.")
    supervised_weight: Annotated[float, Field(ge=0, le=1e3)] = Field(
        default=1.0, description="What the task's own loss is multiplied by."
    )


def student_families() -> dict[str, Family]:
    """Each family that is a key of the student section, by that key."""
    parts = {family: family.key.split(".") for family in discover.families().values()}
    return {key[1]: family for family, key in parts.items() if key[0] == "student" and len(key) == 2}


def student_model() -> type[Student]:
    """`Student` with one field for every family that is discovered."""
    return _student_model(tuple(student_families().items()))


@lru_cache(maxsize=8)
def _student_model(families: tuple[tuple[str, Family], ...]) -> type[Student]:
    fields: dict[str, Any] = {
        key: (Annotated[Level | None, LevelChoice(family.name)], level_field(family.name, family.title))
        for key, family in families
    }
    return create_model("Student", __base__=Student, __doc__=Student.__doc__, **fields)


class _StudentReader:
    """Validates and describes the student section by what is discovered when it is read."""

    def read(self, data: Any) -> Student:
        return data if isinstance(data, Student) else read_model(student_model(), data)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return inlined_schema(student_model())


class Sections(Section):
    """What a run depends on. A section that the task does not use is None."""

    task: Annotated[Task, TaskChoice()] = Field(description="What the study is about.")
    model: Annotated[ModelSpec | None, CellChoice()] = Field(
        default=None, description="The network of teacher and student."
    )
    teacher: Teacher | None = None
    student: Annotated[Student | None, _StudentReader()] = Field(default=None, description="How students are trained.")

    @model_validator(mode="after")
    def _fits_together(self) -> Sections:
        """Refuse techniques that look at what the networks of the task do not give."""
        if isinstance(self.task, TrainingTask) and self.model is not None:
            problems = [*unfit_network(self.task, self.model, ("model",)), *self._unfit_student(self.task, self.model)]
            if self.teacher is not None and self.teacher.model is not None:
                problems += unfit_network(self.task, self.teacher.model, ("teacher", "model"))
            if problems:
                raise mistakes(problems)
        return self

    def _unfit_student(self, task: TrainingTask, model: ModelSpec) -> list[Problem]:
        if self.student is None:
            return []
        levels = {key: level for key, level in self.student if isinstance(level, Level)}
        problems = [*unfit_levels(task, model, levels)]
        if self.other_teacher_model is not None:
            problems += unequal_networks(model, self.other_teacher_model, self.student.init, levels)
        return problems

    @property
    def other_teacher_model(self) -> ModelSpec | None:
        """The teacher's network, where it is not like the student's."""
        model = self.teacher.model if self.teacher is not None else None
        return model if model != self.model else None


class StandIn(Section):
    """What a run that diverged counts as."""

    value: float


class Response(Section):
    """Something that every run measures, and how it is analysed."""

    name: str = Field(description="A response that the task declares.")
    scale: Literal["log10", "linear", "logit"] = Field(description="The scale on which effects are computed.")
    better: Literal["lower", "higher"]
    diverged: StandIn | None = Field(default=None, description="The registered value of a run that diverged.")


class Gradcheck(Section):
    """How close analytic and numeric gradients must be."""

    tolerance: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1e-3, description="Largest relative error, float32 rows."
    )


class Criterion(Section):
    """A claim that is shown with the results; a required one decides the exit code."""

    name: Line
    claim: Annotated[Claim, ClaimReader(CLAIMS)]
    required: bool = False


class Hypothesis(Section):
    """Something that is claimed before the first run, and judged after the last."""

    say: Line = Field(description="The claim as a sentence.")
    claim: Annotated[Claim, ClaimReader(HYPOTHESIS_CLAIMS)]


ComparatorLevel = Annotated[Comparator, ComparatorChoice()]


class Study(Sections):
    """A factorial study. Its sections are those of treatment 1; `design.treatments` has the others."""

    schema_version: Literal[1] = Field(alias="schema", description="The version of this format.")
    study: StudyName = Field(description="The name of the study and of its results folder.")
    title: Annotated[str, AfterValidator(_short_line)] = Field(
        default="", description="What the report is headed with."
    )
    factors: dict[str, Factor] = Field(description="What differs between treatments.")
    design: Annotated[Design, SHORTHAND] = Field(
        default=Design(), description="Which combinations of levels are run; all of them by default."
    )
    replicates: Annotated[int, Field(ge=1, le=MOST_REPLICATES)] = Field(
        default=10, description="How often each treatment is run."
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        default=42, description="What all random streams come from."
    )
    responses: Annotated[tuple[Response, ...], _LIST, Field(min_length=1)] = Field(
        description="The first one is primary."
    )
    comparators: Annotated[tuple[ComparatorLevel, ...], _LIST] = Field(
        default=(), description="What is run beside the factorial."
    )
    gradcheck: Gradcheck = Gradcheck()
    criteria: Annotated[tuple[Criterion, ...], _LIST] = Field(default=(), description="What the results must show.")
    hypotheses: Annotated[tuple[Hypothesis, ...], _LIST] = Field(
        default=(), description="What is claimed before the first run."
    )
    keep: Literal["all", "best", "none"] = Field(default="all", description="Which trained networks are stored.")

    key_order: ClassVar[tuple[str, ...]] = (
        "schema", "study", "title", "task", "model", "teacher", "student", "factors", "design", "replicates",
        "seed", "responses", "comparators", "gradcheck", "criteria", "hypotheses", "keep",
    )  # fmt: skip

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _given: Mapping[tuple[str | int, ...], Any] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        """Remember what the study gives beside its factors, by the key that each sets."""
        self._given = dict(context or {})

    @model_validator(mode="after")
    def _comparators_fit(self) -> Study:
        """Refuse comparators that cannot be made from treatment 1 or its teacher."""
        quantizer = getattr(self.student, "quantizer", None)
        if isinstance(quantizer, Quantizer):
            problems = [*unfit_comparators(self.comparators, quantizer, self.other_teacher_model is None)]
            if problems:
                raise mistakes(problems)
        return self

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.study

    @property
    def folder(self) -> Path:
        """Where the study file stands, and the code that it names; the current folder for one without a file."""
        return self._folder

    def found_in(self, folder: Path) -> Study:
        """The same study, which stands in a folder."""
        self._folder = folder.resolve()
        return self

    @property
    def measured(self) -> tuple[str, ...]:
        """The responses that tables show: those that the task declares, else those that the study judges."""
        return tuple(self.task.responses) or tuple(response.name for response in self.responses)

    def resolved(self) -> dict[str, Any]:
        """The study as plain data with every default written out; read again, it gives the same plain data and runs.

        Keys that a factor sets are left as the study has them: beside the factor, or not at all.
        """
        data = {key: value for key, value in plain(self, empty="none").items() if key != "factors"}
        if self.design.is_full:
            del data["design"]
        factors = sorted(self.factors.values(), key=lambda factor: len(factor.key))
        for factor in factors:
            data = remove(data, factor.key)
        if TASK in self._given:
            data = put(data, TASK, self._given[TASK])
        for factor in factors:
            if factor.key in self._given:
                data = put(data, factor.key, self._given[factor.key])
        return {key: data.get(key, self.written_factors) for key in self.key_order if key in data or key == "factors"}

    @property
    def written_factors(self) -> dict[str, Any]:
        """The factors as plain data: levels of families with every parameter written out, others as they stand."""
        return {name: self._written_factor(factor) for name, factor in self.factors.items()}

    def _written_factor(self, factor: Factor) -> Any:
        if factor.family is None:
            return factor.written
        pairs = zip(factor.written, factor.levels, strict=True)
        return [self._written_level(factor, written, level.value) for written, level in pairs]

    def _written_level(self, factor: Factor, written: Any, value: Any) -> Any:
        """A level of a family. What is given beside the factor, or set by another one, is left to them."""
        chosen = LevelChoice(factor.family or "").read(value)
        beside = self._given.get(factor.key)
        elsewhere = set(beside if isinstance(beside, dict) else ())
        elsewhere |= {other.key[-1] for other in self.factors.values() if other.key[:-1] == factor.key}
        parameters = {key: item for key, item in plain(chosen).items() if key not in elsewhere} if chosen else {}
        if len(parameters) <= 1:
            return written
        return {**parameters, **(written if isinstance(written, dict) else {})}


_REQUIRED = ["schema", "study", "task", "factors", "responses"]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors."""
    schema = Study.model_json_schema()
    properties = schema["properties"]
    properties["factors"] = {**factors_schema(), "description": "What differs between treatments."}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kdrun study"}
    shorthand = {"enum": list(get_args(FractionName)), "description": "Short for {fraction: …}."}
    design = properties["design"]
    mapping = {key: design.pop(key) for key in ("$ref", "allOf") if key in design}
    properties["design"] = {**design, "anyOf": [mapping, shorthand]}
    return {**schema, **head, "properties": {key: properties[key] for key in Study.key_order}, "required": _REQUIRED}
