"""What a hypothesis or criterion can claim. A new kind of claim is one class here, and its name among the claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
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


Level = int | float | bool | str
Where = dict[str, Level]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _two_numbers(value: Any) -> Any:
    """A pair as pydantic's strict tuple wants it, or words for what is none."""
    wrong = None if isinstance(value, list) and len(value) == 2 else shown(value)
    if wrong is None:
        wrong = next(
            (shown(item) for item in value if isinstance(item, bool) or not isinstance(item, int | float)), None
        )
    if wrong is not None:
        raise mistake(f"found {wrong}; two numbers are allowed, the smaller one first")
    return tuple(value)


def _in_order(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise mistake(f"found [{pair[0]:.15g}, {pair[1]:.15g}]; two numbers are allowed, the smaller one first")
    return pair


Bounds = Annotated[tuple[float, float], BeforeValidator(_two_numbers), AfterValidator(_in_order)]


class _OnResponse(Section):
    """The part of a claim that says which response is meant."""

    response: str | None = Field(default=None, description="The response that is meant; the first one by default.")


class _Threshold(_OnResponse):
    """A bound that lies above or below."""

    below: float | None = Field(default=None, description="The bound that it lies below.")
    above: float | None = Field(default=None, description="The bound that it lies above.")

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        bounds = [name for name in ("below", "above", "between") if getattr(self, name, None) is not None]
        if len(bounds) != 1:
            known = [name for name in ("below", "above", "between") if name in type(self).model_fields]
            raise mistake(f"found {_and(bounds) or 'no bound'}; one of {listed(known)} is needed")
        return self


def _and(names: list[str]) -> str:
    return " and ".join(names)


class MeanBound(_Threshold):
    """A threshold for the mean over the treatments that `where` selects; all of them where it is empty."""

    where: Where = Field(default={}, description="Level by factor.")


class EffectBound(_Threshold):
    """Where an effect lies; on a log scale bounds are ratios."""

    term: str = Field(description="A factor, or factors joined by ':' for their interaction.")
    contrast: str | None = Field(
        default=None, description="Of a factor with more levels, the two that are meant, such as 'b - a'."
    )
    between: Bounds | None = Field(default=None, description="Two bounds that it lies between.")


class MainEffect(_OnResponse):
    """One main effect, compared in size with those of the other two-level factors."""

    term: str = Field(description="A factor.")
    contrast: str | None = Field(
        default=None, description="Of a factor with more levels, the two that are meant, such as 'b - a'."
    )


class RankedEffect(MainEffect):
    """The rank of a main effect by size, 1 for the largest."""

    rank: Annotated[int, Field(ge=1)]


class Pair(_OnResponse):
    """Two things to compare: each is `where` of treatments, or `{comparator: name}`."""

    a: Where = Field(description="Level by factor, or {comparator: name}.")
    b: Where = Field(description="Level by factor, or {comparator: name}.")


class ClosePair(Pair):
    """Two things and how close they must be: a ratio on a log scale."""

    within: Positive


class EffectClaim(Claim):
    """An effect lies below, above or between bounds."""

    kind = "effect"
    effect: EffectBound


class ResponseClaim(Claim):
    """The mean of some treatments is below or above a threshold."""

    kind = "response"
    response: MeanBound


class SomeTreatment(Claim):
    """Some treatment's mean is below or above a threshold."""

    kind = "some_treatment"
    some_treatment: MeanBound


class Better(Claim):
    """One thing is better than another."""

    kind = "better"
    better: Pair


class Equivalent(Claim):
    """Two things differ by no more than a bound."""

    kind = "equivalent"
    equivalent: ClosePair


class _OrItsTerm:
    """Reads the bare name of a factor as the main effect of it, and describes that for JSON Schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_main_effect, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string"}]}


def _as_main_effect(value: Any) -> Any:
    return {"term": value} if isinstance(value, str) else value


class LargestEffect(Claim):
    """A main effect is the largest one."""

    kind = "largest_effect"
    largest_effect: Annotated[MainEffect, _OrItsTerm()]


class EffectRank(Claim):
    """A main effect has this rank by size."""

    kind = "effect_rank"
    effect_rank: RankedEffect


HYPOTHESIS_CLAIMS: tuple[type[Claim], ...] = (
    EffectClaim, ResponseClaim, SomeTreatment, Better, Equivalent, LargestEffect, EffectRank,
)  # fmt: skip


class ClaimReader:
    """Reads the mapping of a claim by the one key that says which of the `claims` it is."""

    def __init__(self, claims: tuple[type[Claim], ...]) -> None:
        self.claims = claims

    def read(self, data: Any) -> Claim:
        """The claim that `data` makes; pydantic's error says what is wrong."""
        if isinstance(data, Claim):
            return data
        kinds = {claim.kind: claim for claim in self.claims}
        if not isinstance(data, dict) or len(data) != 1:
            raise mistake(f"found {_found(data)}; a mapping with one of the keys {listed(kinds)} is allowed")
        kind, value = next(iter(data.items()))
        if kind not in kinds:
            raise mistakes([Problem((kind,), unknown("claim", kind, kinds), on_key=True)])
        return _validated(kinds[kind], {kind: value})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(claim.__pydantic_core_schema__) for claim in self.claims]}


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


def _some(parts: tuple[Claim, ...]) -> tuple[Claim, ...]:
    if len(parts) < 2:
        raise mistake(f"found {len(parts)} of them; at least two claims are needed")
    return parts


class All(Claim):
    """Every one of several claims holds."""

    kind = "all"
    all: Annotated[
        tuple[Annotated[Claim, ClaimReader(HYPOTHESIS_CLAIMS)], ...], BeforeValidator(_as_tuple), AfterValidator(_some)
    ]


HYPOTHESIS_CLAIMS = (*HYPOTHESIS_CLAIMS, All)
CLAIMS: tuple[type[Claim], ...] = (Gradients, TeacherBelow, Reproducible, Complete, *HYPOTHESIS_CLAIMS)
