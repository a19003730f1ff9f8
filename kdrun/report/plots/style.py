"""How pictures look: colours, lines, text that fits, and the bytes of an SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from kdrun.report.text import heading, plain

WIDTH = 7.2
LABEL, TICK, SMALL = 9.5, 8.5, 8.0
LINE_HEIGHT = 1.25 / 72
INK, MUTED, RULE, PALE = "#1A1A1A", "#6B6B6B", "#DDDDDD", "#EFEFEF"
RASTER_DPI = 130

# Neighbours differ in lightness as well as in hue (L* 22, 54, 32, 58, 22, 59, …); each has a contrast to white above 3.
COLOURS = ("#12355B", "#D55E00", "#882255", "#009E73", "#332288", "#B8860B", "#6B6B6B", "#2F8FCB")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.3, 1.3)), (0, (6, 1.6, 1.3, 1.6)), (0, (9, 2)))

TICK_SIZES = {"major.size": 2.5, "major.pad": 2.5, "minor.size": 1.5}
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TICK,
    "text.parse_math": False,
    "text.usetex": False,
    "text.hinting": "no_hinting",
    "text.color": INK,
    "axes.labelsize": LABEL,
    "axes.labelcolor": INK,
    "axes.titlesize": LABEL,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    **{f"{axis}tick.{key}": size for axis in "xy" for key, size in TICK_SIZES.items()},
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "kdrun",
    "svg.image_inline": True,
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults and these settings over them, whatever the user's are; all is as before afterwards."""
    with matplotlib.style.context(["default", RC]), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; the caption beside the picture has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def svg_bytes(figure: Figure, title: str) -> bytes:
    """The figure as SVG, without date or version: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=RASTER_DPI, metadata={"Date": None, "Creator": None, "Title": title})
    return buffer.getvalue()


def line_style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line at this place: any two of the first forty differ in two of the three."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def human(name: str) -> str:
    """The name of a factor or response as a person writes it."""
    return heading(plain(name))


def term_name(term: str) -> str:
    """The name of a term: `gradient:width` is `Gradient × Width`, `a - b:c + 2 more` is `A − B × C + 2 more`."""
    first, *rest = re.split(r" ([+-]) ", term)
    aliases = (
        f" {'−' if sign == '-' else sign} {_effect_name(name)}"
        for sign, name in zip(rest[::2], rest[1::2], strict=True)
    )
    return _effect_name(first) + "".join(aliases)


def _effect_name(effect: str) -> str:
    if re.fullmatch(r"\d+ more", effect):
        return effect
    return " × ".join(human(part) for part in effect.split(":"))


@lru_cache(maxsize=20_000)
def text_width(text: str, size: float) -> float:
    """Width of one line of text, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(family="DejaVu Sans", size=size), False
    )
    return float(width) / 72


def widest(texts: Sequence[str], size: float) -> float:
    """Width of the widest of some texts of one line, in inches; 0 for none."""
    return max((text_width(text, size) for text in texts), default=0.0)


@lru_cache(maxsize=20_000)
def fit(text: str, width: float, size: float) -> str:
    """The text, cut in its middle where it is wider than `width` inches: names often differ at their ends."""
    if text_width(text, size) <= width:
        return text
    few, many = 0, len(text) - 1
    while few < many:
        kept = (few + many + 1) // 2
        few, many = (kept, many) if text_width(_cut(text, kept), size) <= width else (few, kept - 1)
    return _cut(text, few)


def _cut(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return f"{text[:head].rstrip()}…{text[len(text) - (kept - head) :].lstrip()}"


def _words(text: str) -> list[str]:
    """Words of a label, signs together with what follows them, as in `Gradient`, `− Width`, `× Depth`, `+ 2 more`."""
    return re.findall(r"\+ \d+ more|[×+−:-] \S+|\S+", text)


def fit_words(text: str, width: float, size: float) -> str:
    """The text, whole words cut from its middle where it is too wide; words themselves only where one is too wide."""
    words = _words(text)
    best = ""
    for kept in range(2, len(words)):
        head = (kept + 1) // 2
        shorter = " ".join([*words[:head], "…", *words[len(words) - (kept - head) :]])
        if text_width(shorter, size) > width:
            break
        best = shorter
    return text if text_width(text, size) <= width else best or fit(text, width, size)


def in_two_lines(text: str, width: float, size: float) -> str:
    """The text, broken between words where it is wider than `width` inches, and cut where two lines do not hold it.

    It is broken before what stands in brackets, if that does.
    """
    if text_width(text, size) <= width:
        return text
    name, bracket, inside = text.partition(" (")
    if bracket and widest([name, f"({inside}"], size) <= width:
        return f"{name}\n({inside}"
    words = _words(text)
    count = sum(text_width(" ".join(words[:n]), size) <= width for n in range(1, len(words)))
    if not count:
        return fit_words(text, width, size)
    return f"{' '.join(words[:count])}\n{fit_words(' '.join(words[count:]), width, size)}"


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved as little as need be to stand `gap` apart, in their order, between `low` and `high` if they fit."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[tuple[float, int]] = []
    for index in order:
        centre, count = places[index], 1
        while blocks and centre - blocks[-1][0] < gap * (count + blocks[-1][1]) / 2:
            before, size = blocks.pop()
            centre, count = (before * size + centre * count) / (size + count), count + size
        blocks.append((centre, count))
    moved = [centre + gap * (k - (count - 1) / 2) for centre, count in blocks for k in range(count)]
    found = [0.0] * len(places)
    for index, place in zip(order, _inside(moved, gap, low, high), strict=True):
        found[index] = place
    return found


def _inside(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places pushed back from both ends, the lower one last."""
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], high - gap * (len(places) - 1 - index))
    return [max(place, low + gap * index) for index, place in enumerate(places)]
