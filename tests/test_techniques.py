"""docs/techniques.md is what tools/techniques.py writes: from the code, committed results and measured errors."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from kdrun.catalogue import parameters
from kdrun.engine.combinations import Combination, checked_techniques
from kdrun.engine.gradcheck import DOUBLE_TOLERANCE
from kdrun.factors.discover import families, levels
from kdrun.models.discover import cells
from kdrun.tasks.discover import tasks
from tests.tiny_results import tiny_results

ROOT = Path(__file__).parents[1]
THREE = "factors.gradient=[smoothstep, ste, smoothstep_unit]", "factors.quantizer=[int8, ternary]"


def _loaded() -> ModuleType:
    """The tool as a module; it is a script, and in no package."""
    path = ROOT / "tools" / "techniques.py"
    spec = importlib.util.spec_from_file_location("techniques_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _loaded()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a study with three shapes, of which the family's default is the second."""
    return tiny_results(tmp_path_factory.mktemp("three"), *THREE).parent


def section(page: str, anchor: str) -> str:
    """What stands on a page below an anchor, up to the next one."""
    return page.partition(f'<a id="{anchor}"></a>')[2].partition("<a id=")[0]


def test_the_page_is_what_the_tool_writes() -> None:
    """After a change of techniques or results: make techniques."""
    expected = tool.page(tool.RESULTS, tool.read_errors())
    assert (ROOT / "docs" / "techniques.md").read_text("utf-8") == expected


def test_the_list_shows_what_the_tool_found() -> None:
    """What `kdrun list` has of each level's error and effects is that of the committed results."""
    expected = tool.listed(tool.RESULTS, tool.read_errors())
    assert json.loads(tool.LISTED.read_text("utf-8")) == expected
    assert any(entry["effects"] for entry in expected.values())


def test_everything_that_is_checked_has_an_error() -> None:
    """After a new technique: python tools/techniques.py --gradients. Each is within the tolerance of the check."""
    errors = tool.read_errors()
    assert set(errors) == tool.checked_names()
    assert all(0.0 <= error <= DOUBLE_TOLERANCE for error in errors.values())


@pytest.mark.slow
def test_gradients_are_as_good_as_the_page_says() -> None:
    """Every error that is measured now is within a factor of 10 of the one on the page."""
    errors = tool.read_errors()
    got = tool.worst_errors(tool.all_combinations(), 1)
    assert {name for name, error in got.items() if not errors[name] / 10 <= error <= errors[name] * 10} == set()


def test_the_page_holds_everything(three: Path) -> None:
    """Every level, network and task has its name, docstring, equation, source, and all parameters."""
    page = tool.page(three, {})
    for family in families().values():
        for level in tool.own(levels(family.name)).values():
            text = section(page, f"{family.name}-{level.name}")
            expected = [level.name, "**Equation**", "**Source**"]
            expected += [f"| `{one.name}` | " for one in parameters(level)]
            assert [part for part in expected if part not in text] == [], level
    for group, found in (("networks", cells()), ("tasks", tasks())):
        for named in tool.own(found).values():
            text = section(page, f"{group}-{named.name}")
            assert all(f"| `{one.name}` | " in text for one in parameters(named)), named
            assert all(f"| `{name}` | " in text for name in getattr(named, "responses", ())), named


def test_no_text_of_the_page_is_read_as_markup(three: Path) -> None:
    """Equations with bars, stars and underscores stay as they are, and every table has its columns."""
    html = MarkdownIt("commonmark").enable("table").render(tool.page(three, {}))
    assert "<em>" not in html.replace("<em>Not\nmeasured yet</em>", "").replace("<em>Not measured yet</em>", "")
    assert "ŵ = s·q, q = sign(w)·[|w| &gt; Δ], Δ = 0.7·mean|w|" in html
    assert html.count("<table>") > 40


def test_contrasts_are_with_the_default_of_the_family(three: Path, tmp_path: Path) -> None:
    """Effects of the study, turned round where it has them the other way; the default is what others are against."""
    shutil.copytree(three / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "tables" / "effects.csv"
    effects = pd.read_csv(path, dtype=str, keep_default_na=False)
    for label, numbers in {"ste - smoothstep": (2.0, 1.25, 4.0), "smoothstep_unit - ste": (2.0, 0.5, 8.0)}.items():
        effects.loc[effects["contrast"] == label, ["ratio", "ratio_low", "ratio_high"]] = [
            str(number) for number in numbers
        ]
    effects.to_csv(path, index=False)
    page = tool.page(tmp_path, {})
    expected = "`smoothstep` against `ste` | × 0.500 [0.250, 0.800], better |"
    assert expected in section(page, "gradient-smoothstep")
    expected = "`smoothstep_unit` against `ste` | × 2.00 [0.500, 8.00] |"
    assert expected in section(page, "gradient-smoothstep_unit")
    reference = "Measured effect: what others are compared with, in [tiny](../results/tiny/report.md)."
    assert reference in section(page, "gradient-ste")
    assert "Measured effect: not measured yet." in section(page, "gradient-smoothstep_plateau")


def test_students_and_comparators_are_told(three: Path) -> None:
    """What students of a level save and take, and what a comparator is beside treatment 1."""
    page = tool.page(three, {})
    table = pd.read_csv(three / "tiny" / "tables" / "treatments.csv").query("quantizer == 'int8'")
    low, high = (tool.significant(value) for value in (table["retention"].min(), table["retention"].max()))
    compression = tool.significant(table["compression"].iloc[0])
    expected = (
        f"- `int8` in [tiny](../results/tiny/report.md): compression {compression}×, retention {low}% to {high}%, "
    )
    assert expected in section(page, "quantizer-int8")
    assert "compression" not in section(page, "gradient-smoothstep")
    expected = "`post_training` against treatment 1 (smoothstep, 1e-3, int8) | × "
    assert expected in section(page, "comparators-post_training")


@pytest.mark.parametrize(
    ("values", "better", "is_ratio", "expected"),
    [
        ((0.5, 0.25, 0.75), "lower", True, "× 0.500 [0.250, 0.750], better"),
        ((0.5, 0.25, 0.75), "higher", True, "× 0.500 [0.250, 0.750], worse"),
        ((0.5, 0.25, 1.75), "lower", True, "× 0.500 [0.250, 1.75]"),
        ((0.02, 0.01, 0.03), "higher", False, "+0.0200 [0.0100, 0.0300], better"),
        ((-0.02, -0.03, -0.01), "higher", False, "-0.0200 [-0.0300, -0.0100], worse"),
        ((0.0, 0.0, 0.0), "higher", False, "0.00 [0.00, 0.00]"),
        ((2.0, float("nan"), float("nan")), "lower", True, "× 2.00"),
    ],
)
def test_effects_say_which_way(values: Any, better: str, is_ratio: bool, expected: str) -> None:
    """A ratio or a difference, and better or worse where the interval excludes no effect."""
    response = tool.Response(name="mse", scale="linear", better=better)
    assert tool._number_text(*values, response, is_ratio=is_ratio) == expected


def test_studies_of_the_machinery_tell_nothing(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check of the machinery measures is no effect of a technique."""
    monkeypatch.setattr(tool, "NO_SCIENCE", ("tiny",))
    assert "tiny" not in tool.page(three, {})


def test_errors_belong_to_all_that_takes_part() -> None:
    """The worst of a combination counts for its task, network and techniques, and for levels that parameters name."""
    found = levels("quantizer")["int8"](granularity="per_tensor"), levels("gradient")["ste"]()
    task, model = tasks()["sine"].example(), cells()["mlp"].example()  # type: ignore[attr-defined]
    techniques = checked_techniques({"quantizer": found[0], "gradient": found[1]})[0]
    got = set(tool.checked_parts(Combination(task, model, techniques)))
    assert got == {"tasks.sine", "networks.mlp", "quantizer.int8", "granularity.per_tensor", "gradient.ste"}


def test_the_worst_float64_error_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all combinations with a technique, and over both ends of training; float32 has errors of its own."""
    task, model = tasks()["sine"].example(), cells()["mlp"].example()  # type: ignore[attr-defined]
    combinations = [
        Combination(task, model, {"gradient": levels("gradient")[name]()}) for name in ("ste", "smoothstep")
    ]
    errors = iter([1e-9, 1e-3, 2.345e-9, 1e-3, 7e-10, 1e-3, 8e-10, 1e-3])
    dtypes = ["float64", "float32"] * 4
    rows = [tool_row(dtype, next(errors)) for dtype in dtypes]
    monkeypatch.setattr(tool, "checked_by", lambda *arguments: rows)
    got = tool.worst_errors(combinations, 1)
    assert got == {"gradient.smoothstep": 8e-10, "gradient.ste": 2.3e-9, "networks.mlp": 2.3e-9, "tasks.sine": 2.3e-9}


def tool_row(dtype: str, error: float) -> Any:
    """A row of the gradient check."""
    from kdrun.records import GradientCheck

    return GradientCheck("anything", dtype, 1, error, 1.0)
