"""Writes docs/techniques.md: every technique, network and task, how well its gradient is checked, and what it changed.

The same in short goes to kdrun/measured.json, which `kdrun list` shows.

    python tools/techniques.py               # from the code, results/ and the gradient errors measured before
    python tools/techniques.py --gradients   # measure those again first; this takes minutes

Equal code, results and errors give the same page. Errors are kept in docs/techniques-gradients.json, since measuring
them takes long and their last digits differ between kinds of CPU. Measured effects are those of the studies in results/
but for `NO_SCIENCE`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kdrun.api import all_combinations
from kdrun.catalogue import REQUIRED, parameters, summary
from kdrun.core.jit import holds_no_kernels
from kdrun.engine.combinations import CHECKED, Combination
from kdrun.engine.gradcheck import SINGLE_TOLERANCE, checked_by
from kdrun.engine.local import processes, worker_count
from kdrun.factors.contract import (
    EMPTY,
    Activations,
    Family,
    Granularity,
    Level,
    Named,
    QuantizationSchedule,
    Quantizer,
)
from kdrun.factors.discover import families, levels
from kdrun.models.discover import cells
from kdrun.report.index import study_folders
from kdrun.report.text import code, estimate, heading, joined, markdown, significant
from kdrun.results import Results, layout_of
from kdrun.stats.frame import BASELINE_RATIO
from kdrun.stats.summary import comparator_summary
from kdrun.study.choice import LevelChoice
from kdrun.study.contrast import pair_labels
from kdrun.study.factor import Factor, level_texts, text_of
from kdrun.study.paths import dotted
from kdrun.study.plain import changed
from kdrun.study.schema import Response, Study
from kdrun.tasks.contract import Task
from kdrun.tasks.discover import tasks

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "techniques.md"
ERRORS = ROOT / "docs" / "techniques-gradients.json"
LISTED = ROOT / "kdrun" / "measured.json"
COMPARATORS = "comparators"
TASKS, NETWORKS = "tasks", "networks"
ROWS_OF_A_COMBINATION = 4
# Families that decide what is stored of a student.
STORED = (Activations, Granularity, QuantizationSchedule, Quantizer)
# Studies that check the machinery: what they measure says nothing about techniques.
NO_SCIENCE = ("smoke",)
UNITS = {"compression": "×", "retention": "%", "training_cost": "×"}
NOT_MEASURED = "not measured yet"
Key = tuple[str, str]

HEAD = """\
# Techniques

<!-- Written by tools/techniques.py (make techniques) from the code and from results/; changes by hand are lost. -->

Every technique that a study can name, by family, then networks and tasks. `kdrun list` shows what is installed,
packages of your own too; [extending](extending.md) says how to add one.

- **Gradient**: the worst relative error of the analytic gradients in float64 against finite differences, over every
  combination that `kdrun gradcheck` checks it in, at the start and the end of training; the tolerance is 1e-6. One
  combination counts for all its techniques, so those that met in the worst one share its error. A technique without
  this line takes no part in any gradient.
- **Measured effect**: contrasts with the family's default, or with the first level where that has no part, in the
  studies whose results are in this repository, each on its own task and scale, with 95% intervals. A ratio (×)
  multiplies the response, or its odds for a score on the logit scale. "Better" and "worse" say that the interval
  excludes no effect; each interval stands for itself, and the reports have p-values adjusted for their number. *Not
  measured yet* means that no committed study has the technique as a level of a factor.
- **Compression, retention, training cost** of techniques of quantization: from the least to the most of the treatments
  with that level, which differ in other factors too. [Statistics](statistics.md#size-and-cost) says what they are.
"""


# --------------------------------------------------------------------------------------------------- gradient errors


def checked_parts(combination: Combination) -> Iterator[str]:
    """What a row of the gradient check is about: a task, a network, techniques, and those that parameters name."""
    yield f"{TASKS}.{combination.task.name}"
    yield f"{NETWORKS}.{combination.model.name}"
    for family, level in combination.techniques.items():
        yield f"{family}.{level.name}"
        for name, parameter in type(level).model_fields.items():
            extra = parameter.json_schema_extra
            if isinstance(extra, dict) and "family" in extra:
                yield f"{extra['family']}.{getattr(level, name)}"


def worst_errors(combinations: Sequence[Combination], workers: int | None = None) -> dict[str, float]:
    """The worst float64 error of everything that is checked, two digits, by `family.level`."""
    with processes(worker_count(workers)) as engine:
        rows = checked_by(engine.executor, combinations, SINGLE_TOLERANCE, holds_no_kernels())
    worst: dict[str, float] = defaultdict(float)
    for place, combination in enumerate(combinations):
        mine = rows[place * ROWS_OF_A_COMBINATION : (place + 1) * ROWS_OF_A_COMBINATION]
        error = max(row.max_relative_error for row in mine if row.dtype == "float64")
        for part in checked_parts(combination):
            worst[part] = max(worst[part], error)
    return {part: float(f"{worst[part]:.1e}") for part in sorted(worst) if _is_documented(part)}


def checked_names() -> set[str]:
    """Everything on the page whose gradient is checked, as `family.level`."""
    return {part for combination in all_combinations() for part in checked_parts(combination) if _is_documented(part)}


def _is_documented(part: str) -> bool:
    family, _, name = part.partition(".")
    known = {TASKS: own(tasks()), NETWORKS: own(cells())}
    return name in (known[family] if family in known else own(levels(family)))


def own(found: Mapping[str, type[Named]]) -> dict[str, type[Named]]:
    """What is kdrun's own: packages beside it may add more."""
    return {name: cls for name, cls in found.items() if cls.__module__.startswith("kdrun.")}


# ------------------------------------------------------------------------------------------------- measured effects


@dataclass(frozen=True)
class Effect:
    """What a technique changed in one study: a contrast of levels, or a comparator against treatment 1."""

    study: Study
    response: Response
    contrast: str
    text: str


@dataclass
class Measured:
    """Effects, and what students save, by (family, level); and the studies of each task by its name."""

    effects: dict[Key, list[Effect]] = field(default_factory=lambda: defaultdict(list))
    students: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    studies: dict[str, list[Study]] = field(default_factory=lambda: defaultdict(list))


def measured_in(folder: Path) -> Measured:
    """Everything that the studies in a folder of results tell of techniques, in the order of their names."""
    found = Measured()
    for place in study_folders(folder):
        results = Results.open(place)
        study = results.study
        if study.study in NO_SCIENCE:
            continue
        found.studies[study.task.name].append(study)
        tables = {name: _table(place, name) for name in ("effects", "treatments")}
        for factor in study.factors.values():
            family = _family(factor)
            if family is not None:
                _add_factor(found, study, factor, family, tables)
        _add_comparators(found, results)
    return found


def _table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)


def _family(factor: Factor) -> Family | None:
    """The family whose levels a factor has, whatever it is called."""
    return next((family for family in families().values() if dotted(factor.key) == family.key), None)


def _add_factor(
    found: Measured, study: Study, factor: Factor, family: Family, tables: Mapping[str, pd.DataFrame]
) -> None:
    names = [_name(family, level.value) for level in factor.levels]
    usual = family.default or EMPTY
    reference = names.index(usual) if usual in names else 0
    for place, (name, level) in enumerate(zip(names, factor.levels, strict=True)):
        for response in study.responses:
            effect = _effect(tables["effects"], study, factor, response, (place, reference))
            found.effects[family.name, name] += [effect] if effect else []
        saved = _saved(tables["treatments"], factor.name, level.text)
        if saved and issubclass(family.contract, STORED):
            found.students[family.name, name].append(f"{code(level.text)} in {_link(study)}: {saved}")


def _name(family: Family, value: object) -> str:
    level = LevelChoice(family.name).read(value)
    return EMPTY if level is None else level.name


def _effect(
    effects: pd.DataFrame, study: Study, factor: Factor, response: Response, places: tuple[int, int]
) -> Effect | None:
    """The contrast of one level with another; None where the study cannot tell it."""
    place, reference = places
    texts = [level.text for level in factor.levels]
    if place == reference:
        return Effect(study, response, f"{code(texts[place])}, the reference", "")
    earlier, later = sorted(places)
    label = "" if len(texts) == 2 else pair_labels([texts[earlier], texts[later], ""])[0]
    rows = effects[
        (effects["response"] == response.name) & (effects["term"] == factor.name) & (effects["contrast"] == label)
    ]
    if not len(rows):
        return None
    text = _effect_text(rows.iloc[0], response, is_turned=place < reference)
    return Effect(study, response, f"{code(texts[place])} against {code(texts[reference])}", text)


def _effect_text(row: pd.Series[str], response: Response, is_turned: bool) -> str:
    """`× 0.580 [0.409, 0.824], better`: a ratio where the scale has one, else a difference."""
    names = ("ratio", "ratio_low", "ratio_high") if row["ratio"] else ("estimate", "ci_low", "ci_high")
    mean, low, high = (float(row[name] or "nan") for name in names)
    if is_turned:
        mean, low, high = (1 / mean, 1 / high, 1 / low) if row["ratio"] else (-mean, -high, -low)
    return _number_text(mean, low, high, response, is_ratio=bool(row["ratio"]))


def _number_text(mean: float, low: float, high: float, response: Response, is_ratio: bool) -> str:
    sign = "× " if is_ratio else "+" if mean > 0 else ""
    middle = 1.0 if is_ratio else 0.0
    is_shown = low > middle or high < middle
    is_better = (mean < middle) == (response.better == "lower")
    word = f", {'better' if is_better else 'worse'}" if is_shown else ""
    return f"{sign}{estimate(mean, low, high)}{word}"


def _saved(treatments: pd.DataFrame, factor: str, level: str) -> str:
    """What students of one level save and take, over the treatments that have it; empty where no table tells."""
    if not set(UNITS) <= set(treatments.columns):
        return ""
    rows = treatments[treatments[factor] == level]
    parts = (_range(heading(name).lower(), pd.to_numeric(rows[name]), unit) for name, unit in UNITS.items())
    return ", ".join(part for part in parts if part)


def _range(name: str, values: pd.Series[float], unit: str) -> str:
    low, high = significant(float(values.min())), significant(float(values.max()))
    if values.isna().all():
        return ""
    return f"{name} {low}{unit}" if low == high else f"{name} {low}{unit} to {high}{unit}"


def _add_comparators(found: Measured, results: Results) -> None:
    """Comparators are no levels of a factor: they stand beside treatment 1."""
    study, layout = results.study, layout_of(results.study)
    if not study.comparators or BASELINE_RATIO not in layout.ratios:
        return
    first = ", ".join(results.treatments.iloc[0][list(layout.factors)])
    texts = level_texts([changed(level) for level in study.comparators])
    names = {text: level.name for text, level in zip(texts, study.comparators, strict=True)}
    for row in comparator_summary(results.runs, layout).to_dict("records"):
        mean, low, high = (float(row[f"{BASELINE_RATIO}_{key}"]) for key in ("mean", "ci_low", "ci_high"))
        text = _number_text(mean, low, high, study.responses[0], is_ratio=True)
        contrast = f"{code(row['comparator'])} against treatment 1 ({markdown(first)})"
        found.effects[COMPARATORS, names[row["comparator"]]].append(Effect(study, study.responses[0], contrast, text))


def _link(study: Study) -> str:
    return f"[{markdown(study.study)}](../results/{study.study}/report.md)"


# --------------------------------------------------------------------------------------------------------- the page


def page(results: Path, errors: Mapping[str, float]) -> str:
    """The page, from the code, the studies in a folder of results, and measured errors of gradients."""
    found = measured_in(results)
    sections = [HEAD.strip(), _contents()]
    for family in families().values():
        sections.append(_family_head(family))
        for level in own(levels(family.name)).values():
            sections += _level(family, level, errors, found)
    sections.append("## Networks\n\nThe section `model` of a study; `model.cell` names one.")
    for cell in own(cells()).values():
        sections += [_title(NETWORKS, cell), summary(cell), _facts(_gradient(f"{NETWORKS}.{cell.name}", errors), cell)]
        sections += _parameters(cell)
    sections.append("## Tasks\n\nThe section `task` of a study. [Tasks](tasks.md) says more.")
    for task in own(tasks()).values():
        sections += _task(task, errors, found)
    return "\n\n".join(section for section in sections if section) + "\n"


def listed(results: Path, errors: Mapping[str, float]) -> dict[str, dict[str, object]]:
    """What `kdrun list` shows of each level: its checked error, and its effects on primary responses."""
    found = measured_in(results)
    levels_of_families = [(family.name, name) for family in families().values() for name in own(levels(family.name))]
    return {
        f"{family}.{name}": {
            "gradient": errors.get(f"{family}.{name}"),
            "effects": [
                _in_a_line(effect)
                for effect in found.effects.get((family, name), [])
                if effect.text and effect.response == effect.study.responses[0]
            ],
        }
        for family, name in levels_of_families
    }


def _in_a_line(effect: Effect) -> str:
    """Such as `accuracy +0.0214 [0.0181, 0.0248], better: forward_kl against none in quantizers_digits`."""
    contrast = effect.contrast.replace("`", "")
    return f"{effect.response.name} {effect.text}: {contrast} in {effect.study.study}"


def _contents() -> str:
    links = [f"- [{name}](#{name}): {markdown(family.title)}" for name, family in families().items()]
    return "\n".join([*links, "- [networks](#networks), [tasks](#tasks)"])


def _family_head(family: Family) -> str:
    if family.name == COMPARATORS:
        return f"## {family.name}\n\nThe key {code(family.key)} lists them: {markdown(family.title)}."
    return (
        f"## {family.name}\n\nThe key {code(family.key)}, by default {code(family.default or EMPTY)}:"
        f" {markdown(family.title)}."
    )


def _title(group: str, named: type[Named]) -> str:
    return f'<a id="{group}-{named.name}"></a>\n\n### {named.name}'


def _level(family: Family, level: type[Named], errors: Mapping[str, float], found: Measured) -> Iterator[str]:
    assert issubclass(level, Level)
    yield _title(family.name, level)
    yield markdown(summary(level))
    key = f"{family.name}.{level.name}"
    is_checked = key in errors or issubclass(level, CHECKED)
    yield _facts(_gradient(key, errors) if is_checked else "", level, level.equation)
    yield from _parameters(level)
    yield _effects(found.effects.get((family.name, level.name), []))
    yield "\n".join(f"- {line}" for line in found.students.get((family.name, level.name), []))


def _gradient(key: str, errors: Mapping[str, float]) -> str:
    return f"{errors[key]:.1e}" if key in errors else "not measured; `python tools/techniques.py --gradients` does it"


def _facts(gradient: str, named: type[Named], equation: str = "") -> str:
    rows = {"Equation": markdown(equation), "Source": markdown(named.source), "Gradient": gradient}
    return "\n".join(f"- **{name}**: {text}" for name, text in rows.items() if text)


def _parameters(named: type[Named]) -> Iterator[str]:
    rows = [(code(one.name), _default(one.default), markdown(one.text)) for one in parameters(named)]
    if rows:
        yield _rows(("Parameter", "Default", "What it is"), rows)


def _default(value: object) -> str:
    return REQUIRED if value == REQUIRED else code(text_of(value))


def _effects(effects: Sequence[Effect]) -> str:
    told = [effect for effect in effects if effect.text]
    if not effects:
        return f"Measured effect: {NOT_MEASURED}."
    if not told:
        studies = {effect.study.study: _link(effect.study) for effect in effects}
        return f"Measured effect: what others are compared with, in {joined(studies.values())}."
    rows = [
        (_link(one.study), f"{heading(one.response.name)} ({one.response.better} is better)", one.contrast, one.text)
        for one in told
    ]
    return _rows(("Study", "Response", "Contrast", "Measured effect"), rows)


def _task(task: type[Named], errors: Mapping[str, float], found: Measured) -> Iterator[str]:
    assert issubclass(task, Task)
    yield _title(TASKS, task)
    yield f"{markdown(task.title[:1].upper() + task.title[1:])}."
    key = f"{TASKS}.{task.name}"
    yield _facts(_gradient(key, errors) if task.sections else "", task)
    if task.responses:
        yield _rows(("Response", "What it is"), [(code(name), markdown(text)) for name, text in task.responses.items()])
    yield from _parameters(task)
    studies = [_link(study) for study in found.studies.get(task.name, [])]
    yield f"Studies: {joined(studies)}." if studies else "Studies: none yet."


def _rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Measure where asked to, then write."""
    parser = argparse.ArgumentParser(description="Write docs/techniques.md.")
    parser.add_argument("--gradients", action="store_true", help="measure the errors of all gradients first")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="worker processes; default: all cores")
    asked = parser.parse_args()
    if asked.gradients:
        found = worst_errors(all_combinations(), asked.workers)
        if not all(map(math.isfinite, found.values())):
            raise SystemExit("some gradient is not finite; kdrun gradcheck shows which")
        ERRORS.write_text(json.dumps(found, indent=0) + "\n", "utf-8")
    PAGE.write_text(page(RESULTS, read_errors()), "utf-8")
    LISTED.write_text(json.dumps(listed(RESULTS, read_errors()), indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{PAGE.relative_to(ROOT)} and {LISTED.relative_to(ROOT)} written")


def read_errors() -> dict[str, float]:
    """The errors that were measured last; none where none were."""
    found = json.loads(ERRORS.read_text("utf-8")) if ERRORS.is_file() else {}
    assert isinstance(found, dict)
    return found


if __name__ == "__main__":
    main()
