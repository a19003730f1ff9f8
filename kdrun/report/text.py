"""Text from a study where others would read markup into it: Markdown, terminals, spreadsheets."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ACRONYMS = frozenset({"mse", "rmse", "mae", "kl", "auc", "cka"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Numbers in between are written without an exponent.
SMALLEST, LARGEST = 1e-4, 1e4
# Beside numbers with exponents those in between have none; beside numbers without, those outside of FAR have one.
READABLE = (0.1, 1e3)
FAR = (1e-6, 1e5)
# What steers a terminal, or ends a text for some readers: all but tabs and newlines.
CONTROL_CHARACTERS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def heading(name: str) -> str:
    """A column's heading: `eval_mse` is `Eval MSE`, `vs_float` is `vs Float`, `width` is `Width`."""
    return " ".join(_heading_word(word) for word in re.split(r"[_\s]+", name) if word) or name


def _heading_word(word: str) -> str:
    if word.lower() in ACRONYMS:
        return word.upper()
    return word if word == "vs" else word[:1].upper() + word[1:]


def plain(text: str) -> str:
    """The text with control characters, which could steer a terminal, made visible; newlines and tabs become spaces."""
    return _visible(re.sub(r"\s+", " ", text))


def plain_lines(text: str) -> str:
    """The same for text of several lines: lines and indentation stay as they are."""
    return "\n".join(_visible(line) for line in text.expandtabs(4).splitlines())


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    # An isolated half of a surrogate pair could not be written as UTF-8.
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char for char in text
    )


def printable_column(column: pd.Series[str]) -> pd.Series[str]:
    """`plain_lines` of every text in a column that holds control characters; the others stay as they are."""
    strange = column.str.contains(CONTROL_CHARACTERS).fillna(False).astype(bool)
    return column.where(~strange, column[strange].map(plain_lines)) if strange.any() else column


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def markdown(text: str) -> str:
    """The text as it stands, in Markdown and inside a table of it: no emphasis, links, cells or HTML come of it."""
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*\[\]|~$#!])", r"\\\1", escaped)
    # An underscore between letters is no emphasis: names such as eval_mse stay readable.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)


def code(text: str) -> str:
    """Text as a code span of Markdown, whatever backticks it holds."""
    content = plain(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{fence}{content}{fence}" if len(fence) == 1 else f"{fence} {content} {fence}"


def spreadsheet(text: str) -> str:
    """A cell of text that no spreadsheet takes for a formula: an apostrophe goes before one; numbers stay numbers."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def spreadsheet_column(column: pd.Series[str]) -> pd.Series[str]:
    """`spreadsheet` of every text in a column; one without formulas, as most are, is not looked at cell by cell."""
    suspicious = column.str.startswith(FORMULA_STARTS).fillna(False).astype(bool)
    return column.where(~suspicious, column[suspicious].map(spreadsheet)) if suspicious.any() else column


def significant(value: float, scientific: bool | None = None) -> str:
    """Three significant digits: `0.0421`, `12.3`, `5.21e-5`; scientific below 0.0001 and from 10,000 unless told."""
    if math.isnan(value):
        return "–"
    mantissa, exponent = f"{value:.2e}".split("e") if math.isfinite(value) else (str(value), "")
    if scientific is None:
        scientific = is_scientific([value])
    if not math.isfinite(value) or (scientific and value):
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{float(f'{value:.2e}'):.{max(0, 2 - int(exponent))}f}"


def is_scientific(values: Iterable[float]) -> bool:
    """Whether numbers that stand together need exponents: all of them have one, or none."""
    return any(not SMALLEST <= size < LARGEST for size in _sizes(values))


def column_style(values: Iterable[float]) -> bool | None:
    """Whether the numbers of a column all have exponents, or none has; None where each has its own style.

    One huge number among ordinary ones is no reason to write `1.68e0`.
    """
    sizes = _sizes(values)
    if not is_scientific(sizes):
        return False
    return True if max(sizes) < READABLE[0] or min(sizes) >= READABLE[1] else None


def _sizes(values: Iterable[float]) -> list[float]:
    return [abs(value) for value in values if math.isfinite(value) and value]


def estimate(mean: float, low: float, high: float, scientific: bool | None = None, between: str = " ") -> str:
    """A mean and, where there is one, its interval: `0.000521 [0.000412, 0.000660]`; a dash for no mean.

    Bounds are written as the mean is, unless they are far from it.
    """
    if math.isnan(mean):
        return "–"
    if scientific is None:
        scientific = is_scientific([mean])
    bounds = "" if math.isnan(low) else f"{between}[{_bound(low, scientific)}, {_bound(high, scientific)}]"
    return f"{significant(mean, scientific)}{bounds}"


def _bound(value: float, scientific: bool) -> str:
    size = abs(value)
    if scientific:
        return significant(value, not READABLE[0] <= size < READABLE[1])
    return significant(value, size > 0 and not FAR[0] <= size < FAR[1])
