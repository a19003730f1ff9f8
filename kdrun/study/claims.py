"""What a criterion can claim. A new kind of claim is one class here and its name in `CLAIMS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kdrun.study.wording import Problem, listed, mistake, mistakes, read_model, shown, unknown

Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A mapping of a study whose keys are all known; numbers are numbers, never text, and finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Claim(Section):
    """Something that the results show or do not show. `kind` is the key that a study writes it under."""

    kind: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()


class Gradients(Claim):
    """Every analytic gradient of the study agrees with the numeric one within this relative error."""

    kind = "gradients"
    needs = frozenset({"student"})
    gradients: Positive


class TeacherBelow(Claim):
    """The primary response of every teacher is below this value."""

    kind = "teacher"
    needs = frozenset({"teacher"})
    teacher: Positive


class Reproducible(Claim):
    """Replicate 1, run again in a fresh process, gives the same bits."""

    kind = "reproducible"
    reproducible: Literal[True]


class Complete(Claim):
    """Everything has an outcome and is reported: all of it, or all treatments, effects or comparators."""

    kind = "complete"
    complete: Literal[True, "treatments", "effects", "comparators"]


class BelowSomewhere(Section):
    """A threshold for at least one of the treatments that `where` selects; all of them where it is empty."""

    below: float
    where: dict[str, int | float | bool | str] = Field(default={}, description="Level by factor.")
    response: str | None = Field(default=None, description="The response that is meant; the first one by default.")


class SomeTreatment(Claim):
    """Some treatment's mean is below a threshold."""

    kind = "some_treatment"
    some_treatment: BelowSomewhere


CLAIMS: tuple[type[Claim], ...] = (Gradients, TeacherBelow, Reproducible, Complete, SomeTreatment)


class ClaimReader:
    """Reads the mapping of a claim by the one key that says which claim it is."""

    def read(self, data: Any) -> Claim:
        """The claim that `data` makes; pydantic's error says what is wrong."""
        if isinstance(data, Claim):
            return data
        kinds = {claim.kind: claim for claim in CLAIMS}
        if not isinstance(data, dict) or len(data) != 1:
            raise mistake(f"found {_found(data)}; a mapping with one of the keys {listed(kinds)} is allowed")
        kind, value = next(iter(data.items()))
        if kind not in kinds:
            raise mistakes([Problem((kind,), unknown("claim", kind, kinds), on_key=True)])
        return _validated(kinds[kind], {kind: value})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(claim.__pydantic_core_schema__) for claim in CLAIMS]}


def _found(data: Any) -> str:
    return f"the keys {listed(data)}" if isinstance(data, dict) and data else shown(data)


def _validated(claim: type[Claim], data: Mapping[str, Any]) -> Claim:
    """The claim; 1 is no `true` here, although Python takes them for equal."""
    problems = [
        Problem((key,), f"found {value}; true is allowed") for key, value in data.items() if _is_one(claim, value)
    ]
    if problems:
        raise mistakes(problems)
    return read_model(claim, data)


def _is_one(claim: type[Claim], value: Any) -> bool:
    return claim in (Reproducible, Complete) and value == 1 and value is not True
