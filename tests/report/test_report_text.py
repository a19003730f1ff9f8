"""Text where others would read markup into it, and numbers as people read them."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from kdrun.report.text import (
    code,
    column_style,
    counted,
    estimate,
    heading,
    is_scientific,
    joined,
    markdown,
    plain,
    plain_lines,
    significant,
    spreadsheet,
    spreadsheet_column,
)

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "[link](javascript:x) ![image](y)",
    "*stars* **bold** _under_ __both__ ~~gone~~ `code`",
    "&amp; &lt;",
    "\\| \\* \\",
    "$x$",
    "# no heading",
    "trailing `",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_text_as_it_stands(text: str) -> None:
    """A renderer of Markdown with tables shows the very text, in a cell and outside, and nothing of it acts."""
    renderer = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    tokens = renderer.parse(f"| a | b |\n| --- | --- |\n| {markdown(text)} | after |\n\nText: {markdown(text)}\n")
    inline = [token for token in tokens if token.type == "inline"]
    assert [_shown(token) for token in inline] == ["a", "b", text, "after", f"Text: {text}"]
    assert {child.type for token in inline for child in token.children or ()} <= {"text", "text_special"}


def _shown(token: object) -> str:
    return "".join(child.content for child in getattr(token, "children", ()))


def test_names_stay_readable_in_markdown() -> None:
    """Underscores inside a word are left alone."""
    assert markdown("post_training_search") == "post_training_search"


@pytest.mark.parametrize("text", ["a`b", "``", "`", "plain", "a``b`c"])
def test_code_spans_hold_backticks(text: str) -> None:
    """A code span shows its text whatever backticks it holds."""
    (inline,) = [token for token in MarkdownIt().parse(code(text)) if token.type == "inline"]
    (child,) = inline.children or ()
    assert (child.type, child.content) == ("code_inline", text)


def test_control_characters_do_not_reach_a_terminal() -> None:
    """Escape sequences and direction marks are made visible, newlines and tabs become one space."""
    assert plain("a\x1b[31mb\u202ec\r\n\td") == "a\ufffd[31mb\ufffdc d"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum", "\t=1", "\r=1", "-", "+1+1"])
def test_formulas_are_text_in_a_spreadsheet(text: str) -> None:
    """Text that begins like a formula gets an apostrophe."""
    assert spreadsheet(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+0.5", "-1e-3", "16", "1e-3", "ste", "", "a=b", "-.5"])
def test_numbers_and_words_stay_in_a_spreadsheet(text: str) -> None:
    """Numbers, also negative ones, and ordinary text are left as they are."""
    assert spreadsheet(text) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.000521, "0.000521"),
        (5.2149e-5, "5.21e-5"),
        (0.66, "0.660"),
        (9.999, "10.0"),
        (0.99999, "1.00"),
        (12.34, "12.3"),
        (1234.5, "1230"),
        (12345.0, "1.23e4"),
        (-0.04532, "-0.0453"),
        (0.0, "0.00"),
        (math.nan, "–"),
        (math.inf, "inf"),
    ],
)
def test_three_significant_digits(value: float, expected: str) -> None:
    """Numbers have three significant digits, positional in the range that people read so."""
    assert significant(value) == expected


def test_an_interval_has_one_style() -> None:
    """Mean and bounds all have exponents or none, as told or as the mean asks."""
    assert estimate(5.21e-4, 4.12e-4, 6.6e-4) == "0.000521 [0.000412, 0.000660]"
    assert estimate(2e-4, 1e-5, 3e-3) == "0.000200 [0.0000100, 0.00300]"
    assert estimate(1.24, 7.5e-10, 2.04e9) == "1.24 [7.50e-10, 2.04e9]"
    assert estimate(1.24e9, -2.0, 0.0) == "1.24e9 [-2.00, 0.00]"
    assert estimate(2e-4, 1e-5, 3e-3, scientific=True) == "2.00e-4 [1.00e-5, 3.00e-3]"
    assert is_scientific([0.1, 1e-5])
    assert not is_scientific([0.1, math.nan, 0.0])


def test_a_column_has_one_style_where_that_can_be_read() -> None:
    """All small or all large numbers have exponents, ordinary ones none, and in a mixture each has its own style."""
    assert column_style([0.5, math.nan, 0.0, 12.0]) is False
    assert column_style([1e-5, 2e-3]) is True
    assert column_style([1e9, 2e3]) is True
    assert column_style([1.68, 1e9]) is None


def test_no_interval_is_not_shown() -> None:
    """A mean without interval stands alone, and nothing is a dash."""
    assert estimate(0.5, math.nan, math.nan) == "0.500"
    assert estimate(math.nan, math.nan, math.nan) == "–"


def test_headings() -> None:
    """Names become headings as the table of the study has them."""
    got = [heading(name) for name in ("train_mse", "vs_float", "width", "top1_accuracy", "KL_loss")]
    assert got == ["Train MSE", "vs Float", "Width", "Top1 Accuracy", "KL Loss"]


def test_lines_and_indentation_stay() -> None:
    """Text of several lines keeps them; control characters in them are made visible, also halves of surrogates."""
    assert plain_lines("a:\n\tb \x1b\u202e\n  c\ud800") == "a:\n    b \ufffd\ufffd\n  c\ufffd"


def test_words_for_numbers() -> None:
    """One of a thing is singular, none and many are plural, and lists are joined as people do."""
    assert [counted(number, "run") for number in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert [joined(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize("dtype", ["str", "object"])
def test_a_column_is_safe_as_its_cells_are(dtype: str) -> None:
    """A column is changed where a cell of it would be, holes stay holes, and one without formulas is left alone."""
    column = pd.Series(["=1", "a", None, "-5", "-x"], dtype=dtype)
    got = spreadsheet_column(column)
    assert got.dropna().tolist() == ["'=1", "a", "-5", "'-x"]
    assert got.isna().tolist() == [False, False, True, False, False]
    same = pd.Series(["a", "b"], dtype=dtype)
    assert spreadsheet_column(same) is same
