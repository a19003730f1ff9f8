"""The pictures of a results folder."""

from __future__ import annotations

import gc
import hashlib
import itertools
import math
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from kdrun.records import Outcome, Run
from kdrun.report.plots import (
    Picture,
    Shown,
    distribution,
    learning_curves,
    main_effects,
    pictures,
    prediction,
    prediction_runs,
)
from kdrun.report.plots.distribution import groups_of, jitter
from kdrun.report.plots.half_normal import points_of
from kdrun.report.plots.main_effects import level_means
from kdrun.report.plots.pareto import bars_of
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.registry import drawings
from kdrun.report.plots.style import (
    COLOURS,
    fit,
    fit_words,
    in_two_lines,
    line_style,
    spread,
    styled,
    svg_bytes,
    term_name,
    text_width,
)
from kdrun.report.plots.ticks import number_labels, scale_ticks
from kdrun.stats.analysis import Analysis, analyse
from kdrun.stats.scales import Layout, Response
from kdrun.tasks.contract import Demonstration

HERE = Path(__file__).parent
THREE = {"gradient": ("ste", "smoothstep"), "distillation": ("none", "trajectory"), "width": ("16", "32")}
LONG = "a$_^\\x_{2}$ 200 " * 5 + "end"
TIME = np.arange(60) * 0.1
Value = Callable[[Run, float], float]


def study(
    factors: dict[str, tuple[str, ...]],
    replicates: int,
    response: Response = Response("eval_mse", stand_in=0.5),  # noqa: B008 (frozen)
    value: Value = lambda run, y: 10**y,
    status: Callable[[Run], str] = lambda run: "done",
    comparator: str = "coordinate_search",
) -> Material:
    """A study with effects of drawn sizes: teachers, treatments, a comparator, losses that fall, demonstrations."""
    draw = np.random.default_rng(7)
    effects = {
        name: dict(zip(levels, draw.normal(0, 0.4, len(levels)), strict=True)) for name, levels in factors.items()
    }
    runs, outcomes, history = [], {}, []
    for replicate, run in ((run.replicate, run) for run in planned(factors, replicates, comparator)):
        y = -3 + 0.1 * replicate + sum(effects[name][level] for name, level in run.levels.items())
        ended = status(run)
        measured = {response.name: float(value(run, y + draw.normal(0, 0.1)))} if ended == "done" else {}
        runs.append(run)
        if ended != "missing":
            outcomes[run.run_id] = Outcome(run.run_id, ended, measured)  # type: ignore[arg-type]
        if run.kind != "comparator" and replicate <= 4:
            epoch = np.arange(0, 200, 10)
            loss = 10 ** (y - epoch / 100) * draw.uniform(0.9, 1.1, len(epoch))
            history.append(pd.DataFrame({"run_id": run.run_id, "epoch": epoch, "name": "loss", "value": loss}))
    analysis = analyse(runs, outcomes, Layout(factors, (response,), (response.name,)))
    shown = [Shown(label, demonstration(k)) for k, label in enumerate(("Teacher", f"Best {comparator}", "Worst"))]
    return Material(analysis, pd.concat(history), shown)


def planned(factors: dict[str, tuple[str, ...]], replicates: int, comparator: str) -> Iterator[Run]:
    cells = [tuple(reversed(cell)) for cell in itertools.product(*(factors[name] for name in reversed(list(factors))))]
    for r in range(1, replicates + 1):
        yield Run(f"teacher{r}", "teacher", r, {})
        for number, cell in enumerate(cells, 1):
            levels = dict(zip(factors, cell, strict=True))
            yield Run(f"r{r}t{number}", "treatment", r, {}, (f"teacher{r}",), number, None, levels)
        yield Run(f"c{r}", "comparator", r, {}, (f"r{r}t1",), None, comparator)


def demonstration(k: int) -> Demonstration:
    wave = np.sin(TIME)
    return Demonstration("Time (radians)", "Signal", TIME, wave, wave + 0.02 * k, wave * (1 + k * TIME), 30)


def some_end(run: Run) -> str:
    ends = {"r1t2": "diverged", "r2t2": "diverged", "r2t4": "failed", "r4t1": "missing"}
    return ends.get(run.run_id, "done")


TWO = {"gradient": ("ste", "smoothstep"), "width": ("16", "32")}
CASES: dict[str, Callable[[], Material]] = {
    "sine": lambda: study(THREE, 4),
    "three by four": lambda: study({"gradient": tuple("abc"), "schedule": ("constant", "cosine", "step", "warm")}, 5),
    "one factor, one replicate": lambda: study({"gradient": ("ste", "smoothstep")}, 1),
    "one replicate": lambda: study(dict.fromkeys("abcd", ("low", "high")), 1),
    "twenty levels": lambda: study({"scale": tuple(f"level_{i}" for i in range(20)), "b": ("x", "y")}, 2),
    "long names": lambda: study(
        {f"{LONG}f": (f"{LONG}1", f"{LONG}2"), f"g{LONG}": ("x", LONG), "h": ("1", "2")},
        3, Response(f"response {LONG}"), comparator=LONG,
    ),
    "linear": lambda: study(TWO, 2, Response("score", "linear", "higher"), lambda run, y: 1e6 + 1e3 * y),
    "logit": lambda: study(TWO, 2, Response("error_rate", "logit"), lambda run, y: 1 / (1 + math.exp(-2 * y))),
    "ten decades": lambda: study(TWO, 2, value=lambda run, y: 10 ** (6 * y)),
    "constant": lambda: study(TWO, 3, value=lambda run, y: 0.25),
    "stand-ins": lambda: study(TWO, 4, status=some_end),
    "holes": lambda: study(TWO, 4, Response("eval_mse"), status=some_end),
    "many treatments": lambda: study({"form": tuple(f"f_{i}" for i in range(9)), "lr": tuple("abcde")}, 2),
}  # fmt: skip
SCALES = ("linear", "logit", "ten decades", "constant", "stand-ins")
WHOLE = ("sine", "long names", "one factor, one replicate")


@pytest.fixture(scope="module", autouse=True)
def what_is_imported_is_no_garbage() -> Iterator[None]:
    """Looking through all of it again and again takes longer than drawing some of the pictures."""
    gc.freeze()
    yield
    gc.unfreeze()


@cache
def material_of(case: str) -> Material:
    return CASES[case]()


@cache
def drawings_of(case: str) -> dict[str, Drawing]:
    """The pictures of a case by name: of some only those that scales matter to, of most none of series."""
    material = material_of(case)
    if case in SCALES:
        with styled():
            return {drawing.name: drawing for drawing in (main_effects.draw(material), distribution.draw(material))}
    if case not in WHOLE:
        material = Material(material.analysis, material.history.iloc[:0], ())
    with styled():
        return {drawing.name: drawing for drawing in drawings(material)}


@pytest.fixture(scope="module")
def sine() -> Material:
    return material_of("sine")


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawing]:
    return drawings_of("sine")


@pytest.fixture(scope="module")
def written(drawn: dict[str, Drawing]) -> list[Picture]:
    with styled():
        return [Picture(d.name, d.title, d.caption, svg_bytes(d.figure, d.title)) for d in drawn.values()]


def digest(found: list[Picture]) -> str:
    return hashlib.sha256(b"".join(picture.svg for picture in found)).hexdigest()


def drawn_of(material: Material) -> list[Picture]:
    return pictures(material.analysis, material.history, material.demonstrations)


FRESH = """
import hashlib, pickle, sys, kdrun.report.plots
assert "matplotlib" not in sys.modules
import kdrun.report.plots.registry
assert "matplotlib.pyplot" not in sys.modules
found = kdrun.report.plots.pictures(*pickle.load(sys.stdin.buffer))
print(hashlib.sha256(b"".join(picture.svg for picture in found)).hexdigest())
"""


def test_a_fresh_process_gives_the_same_bytes(sine, written):
    """Identical data give identical bytes, whatever was drawn before; the package alone imports no matplotlib."""
    given = pickle.dumps((sine.analysis, sine.history, sine.demonstrations))
    fresh = subprocess.run([sys.executable, "-c", FRESH], check=False, input=given, capture_output=True)

    assert fresh.returncode == 0, fresh.stderr.decode()
    assert fresh.stdout.decode().strip() == digest(written)


def test_settings_are_as_before_and_do_not_matter(sine, written):
    """A second call gives the same bytes; the user's matplotlibrc neither changes a picture nor is changed by one."""
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.fonttype": "none", "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        got = {picture.name: picture.svg for picture in pictures(sine.analysis, sine.history.iloc[:0])}
        assert dict(mpl.rcParams) == before

    assert len(got) == 5
    assert got.items() <= {picture.name: picture.svg for picture in written}.items()


def test_pictures_come_in_the_order_to_be_seen(written):
    """Prediction first; each has a title, a caption, and SVG that parses and holds neither date nor version."""
    assert [picture.name for picture in written] == [
        "prediction", "main_effects", "interactions", "pareto", "half_normal", "distribution", "learning_curves",
    ]  # fmt: skip
    for picture in written:
        assert picture.title
        assert picture.caption.endswith(".")
        assert ET.fromstring(picture.svg).tag.endswith("svg")
        assert b"<dc:date>" not in picture.svg
        assert mpl.__version__.encode() not in picture.svg


@pytest.mark.parametrize("case", CASES)
def test_texts_neither_overlap_nor_leave_the_picture(case):
    """Whatever the levels and names, each text is legible."""
    for drawing in drawings_of(case).values():
        with styled():
            assert misplaced(drawing.figure) == [], drawing.name


def misplaced(figure: Figure) -> list[str]:
    """Texts that overlap another one or the edge of the figure by more than a pixel."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    width, height = figure.bbox.width, figure.bbox.height
    cut = [
        f"cut: {text}"
        for text, box in boxes
        if box.x0 < -0.7 or box.y0 < -0.7 or box.x1 > width + 0.7 or box.y1 > height + 0.7
    ]
    pairs = itertools.combinations(boxes, 2)
    return cut + [
        f"{a} | {b}"
        for (a, first), (b, second) in pairs
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.7
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 0.7
    ]


def texts_of(drawing: Drawing) -> str:
    return "\n".join(text.get_text() for text in drawing.figure.findobj(Text))


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("prediction", ["Time (radians)", "Signal", "Target", "given true input"]),
        ("main_effects", ["Eval MSE\n(log scale, geometric mean)", "Gradient", "Distillation", "Width", "smoothstep"]),
        ("interactions", ["Eval MSE\n(log scale, geometric mean)", "Gradient", "Width", "trajectory"]),
        ("pareto", ["|t| = |effect| / standard error", "Gradient × Distillation × Width", "5% limit, all 7 terms"]),
        ("half_normal", ["|Effect| on Eval MSE (log₁₀ units)", "Half-normal quantile (standard deviations)"]),
        ("distribution", ["Eval MSE (log scale)", "Treatment", "Gradient", "coordinate search", "run of a comparator"]),
        ("learning_curves", ["Epoch", "Training loss (log scale)", "Teachers", "Students", "ste · none"]),
    ],
)
def test_axes_say_what_they_show(drawn, name, labels):
    """Axes have labels with scale or unit, and factors and levels their names."""
    found = texts_of(drawn[name])

    assert [label for label in labels if label not in found] == []


def test_dollars_and_backslashes_are_letters():
    """No name is read as mathematics."""
    material = study({"a$x$": ("$\\frac{1}{$", "^_"), "b": ("1", "2")}, 1)
    with styled():
        found = texts_of(distribution.draw(material))

    assert "$\\frac{1}{$" in found


def level_means_by_hand(analysis: Analysis, factor: str) -> list[float]:
    rows = analysis.runs[analysis.runs["kind"] == "treatment"]
    y = np.log10(rows["eval_mse"])
    return [y[rows[factor] == level].mean() for level in analysis.layout.factors[factor]]


def test_main_effects_are_the_means_of_the_levels(drawn, sine):
    """What is drawn are the levels' means of the table of runs, whose differences are the table's effects."""
    effects = sine.analysis.effects.set_index("term")["estimate"]
    for axes, factor in zip(drawn["main_effects"].figure.axes, THREE, strict=True):
        (line,) = [line for line in axes.lines if line.get_marker() == "o"]
        got = np.asarray(line.get_ydata())
        np.testing.assert_allclose(got, level_means_by_hand(sine.analysis, factor), rtol=1e-12)
        assert got[1] - got[0] == pytest.approx(effects[factor], rel=1e-9)


def test_level_intervals_agree_with_those_of_the_effects(sine):
    """With two levels the interval of a level is 1/√2 of that of the effect: what replicates share is taken out."""
    table = sine.analysis.effects.set_index("term")
    for found in level_means(sine.wide):
        half = (table["ci_high"] - table["ci_low"])[found.factor] / 2
        np.testing.assert_allclose(found.half, half / math.sqrt(2), rtol=1e-9)


def test_interactions_are_the_means_of_pairs(drawn, sine):
    """The first panel shows the means at each pair of levels of the first two factors."""
    rows = sine.analysis.runs[sine.analysis.runs["kind"] == "treatment"]
    means = np.log10(rows["eval_mse"]).groupby([rows["distillation"], rows["gradient"]]).mean()
    lines = [line for line in drawn["interactions"].figure.axes[0].lines if line.get_marker() != "None"]
    expected = [[means[level, gradient] for gradient in THREE["gradient"]] for level in THREE["distillation"]]

    np.testing.assert_allclose([np.asarray(line.get_ydata()) for line in lines], expected, rtol=1e-12)


def test_pareto_bars_and_limits(drawn, sine):
    """Bars are |t|, the longest on top; limits are quantiles of t at R − 1 degrees of freedom, one for seven tests."""
    axes = drawn["pareto"].figure.axes[0]
    table = sine.analysis.effects
    expected = np.sort((table["estimate"] / table["std_error"]).abs())[::-1]
    limits = sorted(line.get_xdata()[0] for line in axes.lines)

    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], expected, rtol=1e-12)
    np.testing.assert_allclose(limits, [3.1824463052837, 6.5796785015734], rtol=1e-9)


def test_pareto_of_one_replicate_has_the_margins_of_lenth(sine):
    """Bars are absolute effects, lines at ME and SME."""
    analysis = material_of("one replicate").analysis
    if not analysis.lenth:
        pytest.skip("the analysis gives no margins")
    bars = bars_of(analysis)
    found = analysis.lenth["eval_mse"]

    assert not bars.studentized
    assert (bars.each[0], bars.together[0]) == (found.me, found.sme)
    np.testing.assert_array_equal(bars.size, np.sort(analysis.effects["estimate"].abs())[::-1])


def test_pareto_divides_by_the_contrasts_of_a_term():
    """A contrast is one of all terms and of those of its term; each bar has its own limit."""
    bars = bars_of(material_of("three by four").analysis)
    # t(1 − .05/(2·3·c), 4) of terms with c = 3, 6 and 18 contrasts.
    limit = {"gradient": 5.436591556004, "schedule": 6.569700477596, "gradient:schedule": 8.784967410659}
    expected = [limit[term] for term in bars.rows["term"]]

    np.testing.assert_allclose(bars.together, expected, rtol=1e-9)


def test_pareto_says_how_many_bars_have_no_room():
    """Thirty bars at most."""
    analysis = study({f"f{i}": ("1", "2") for i in range(6)}, 2).analysis
    bars = bars_of(analysis)

    assert (len(bars.size), bars.left_out) == (30, 63 - 30)
    assert bars.size[-1] >= np.sort((analysis.effects["estimate"] / analysis.effects["std_error"]).abs())[32]


def test_half_normal_points(sine):
    """Sizes ascend along the quantiles of a half-normal distribution; below seven effects there is no plot."""
    points = points_of(sine.analysis)
    # scipy.stats.halfnorm.ppf((np.arange(1, 8) − ½)/7)
    expected = [0.089642351, 0.271880005, 0.463707751, 0.674489750, 0.920822976, 1.241866792, 1.802743091]

    np.testing.assert_allclose(points.quantile, expected, rtol=1e-8)
    np.testing.assert_array_equal(points.size, np.sort(sine.analysis.effects["estimate"].abs()))
    assert points_of(material_of("three by four").analysis) is None


def test_distribution_shows_every_run_and_the_means_of_the_tables(sine):
    """Every run is a dot; means and intervals are those of treatments.csv."""
    groups = groups_of(sine.analysis)
    treatments = [group for group in groups if not group.comparator]
    runs = sine.analysis.runs

    assert sum(len(group.y) for group in groups) == (runs["kind"] != "teacher").sum()
    for key in ("mean", "low", "high"):
        column = sine.analysis.treatments[f"eval_mse_{key}" if key == "mean" else f"eval_mse_ci_{key}"]
        np.testing.assert_allclose([getattr(group, key) for group in treatments], np.log10(column), rtol=1e-12)
    assert [group.comparator for group in groups] == [False] * 8 + [True]


def test_diverged_runs_stand_at_their_stand_in_or_are_counted():
    """With a stand-in they are crosses there; without one they are counted beside their row."""
    with_one, without = groups_of(material_of("stand-ins").analysis)[1], groups_of(material_of("holes").analysis)[1]

    assert with_one.diverged.sum() == 2
    np.testing.assert_allclose(with_one.y[with_one.diverged], np.log10(0.5))
    assert (without.note, len(without.y)) == ("2 diverged", 2)


def test_many_dots_are_one_raster(sine, monkeypatch):
    """More dots than a viewer likes become one image; the spread of a thousand fills its row and no more."""
    monkeypatch.setattr(distribution, "MOST_VECTOR_DOTS", 20)
    with styled():
        svg = svg_bytes(distribution.draw(sine).figure, "title")

    assert b"data:image/png;base64" in svg
    assert np.ptp(jitter(1000)) == pytest.approx(0.56, abs=0.01)


def test_what_has_no_data_is_left_out():
    """Nothing but failures leaves what does not need responses; nothing at all leaves nothing."""
    material = study(TWO, 2, status=lambda run: "failed")
    names = [picture.name for picture in drawn_of(material)]

    assert names == ["prediction", "learning_curves"]
    assert pictures(material.analysis, material.history.iloc[:0], ()) == []


def test_learning_curves_are_medians_over_replicates(drawn, sine):
    """A line is the median over replicates at each epoch; the series of the task's own loss comes first where it is."""
    line = drawn["learning_curves"].figure.axes[0].lines[0]
    rows = sine.history[sine.history["run_id"].str.startswith("teacher")]
    np.testing.assert_allclose(line.get_ydata(), np.log10(rows.groupby("epoch")["value"].median()), rtol=1e-12)

    both = pd.concat([sine.history, sine.history.assign(name="supervised")])
    with styled():
        found = learning_curves.draw(Material(sine.analysis, both, ()))
    assert found.caption.startswith("Loss of the task")


def test_runs_to_demonstrate(sine):
    """A teacher, and runs of the treatments with the best and the worst mean."""
    means = sine.analysis.treatments.set_index("treatment")["eval_mse_mean"]
    labels = [label for label, _ in prediction_runs(sine.analysis)]

    assert labels[0].startswith("Teacher, replicate ")
    assert labels[1].startswith(f"Best student: treatment {means.idxmin()}, ")
    assert labels[2].startswith(f"Worst student: treatment {means.idxmax()}, ")


GONE = {
    "not a number": (np.full(60, np.nan), "out of the picture"),
    "infinite": (np.full(60, np.inf), "out of the picture"),
    "far away": (np.full(60, 40.0), "out of the picture"),
    "crossing": (np.linspace(-400.0, 400.0, 60), "out of the picture"),
    "within reach": (np.full(60, 2.0), ""),
}


def predicted(*shown: Demonstration) -> Drawing:
    items = [Shown(label, item) for label, item in zip(("Teacher", "Worst"), shown, strict=False)]
    with styled():
        return prediction.draw(Material(material_of("sine").analysis, pd.DataFrame(), items))


@pytest.fixture(scope="module")
def alone() -> Drawing:
    return predicted(demonstration(0))


@pytest.mark.parametrize("case", GONE)
def test_who_cannot_be_seen_is_named_and_takes_no_room(alone, case):
    """The legend and the caption say so, and the axis is that of the others alone; a curve nearby has its room."""
    curve, words = GONE[case]
    lost = Demonstration("Time", "Signal", TIME, np.sin(TIME), curve, curve, 30)
    both = predicted(demonstration(0), lost)
    same_axis = both.figure.axes[0].get_ylim() == alone.figure.axes[0].get_ylim()

    assert (f"Worst ({words})" in texts_of(both)) == bool(words)
    assert ("Out of the picture" in both.caption) == bool(words)
    assert same_axis == bool(words)


def test_who_is_lost_only_in_free_running_is_named():
    """One panel is named where the other one shows the network; what lies there before it leaves has its room."""
    item = demonstration(0)
    lost = Demonstration("Time", "Signal", TIME, item.target, item.one_step, np.where(TIME < 3, item.one_step, 1e9), 30)
    found = predicted(item, lost)

    assert "Worst (out of the lower picture)" in texts_of(found)
    assert found.figure.axes[1].get_ylim()[1] < 1.5


@pytest.mark.parametrize("case", ["one replicate", "one factor, one replicate"])
def test_one_replicate_has_no_intervals_to_speak_of(case):
    """Neither captions nor legends mention intervals, and one is no plural."""
    for drawing in drawings_of(case).values():
        said = f"{drawing.caption}\n{texts_of(drawing)}"
        assert "interval" not in said.lower(), drawing.name
        assert "1 replicates" not in said, drawing.name


def test_bars_of_t_are_not_called_sizes(drawn):
    """With replicates bars are |t|, so title and caption speak of evidence; with one they are sizes."""
    alone = drawings_of("one replicate")

    assert (drawn["pareto"].title, alone["pareto"].title) == ("Effects by evidence", "Effects by size")
    assert "a long bar is a sure effect, not necessarily a large one" in drawn["pareto"].caption
    assert "sure" not in alone["pareto"].caption


def test_holes_are_told():
    """Means are of the complete replicates, the table of all runs: the captions of both pictures say so."""
    words = "1 of 4 replicates is complete and makes the means; the table of effects uses all runs."

    assert words in drawings_of("holes")["main_effects"].caption
    assert words in drawings_of("holes")["interactions"].caption


def lightness(colour: str) -> tuple[float, float]:
    """L* and the contrast to white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * y ** (1 / 3) - 16, 1.05 / (y + 0.05)


def test_lines_differ_without_colour():
    """Each colour is dark enough on white, neighbours differ in lightness, and lines in dashes and markers."""
    found = [lightness(colour) for colour in COLOURS]

    assert min(contrast for _, contrast in found) > 3
    assert min(abs(a - b) for (a, _), (b, _) in itertools.pairwise(found)) > 10
    assert len({(str(line_style(i)["linestyle"]), line_style(i)["marker"]) for i in range(40)}) == 40


@pytest.mark.parametrize(
    ("scale", "low", "high", "expected"),
    [
        ("log10", -4.2, -0.9, ["0.0001", "0.001", "0.01", "0.1"]),
        ("log10", -9.0, 1.0, ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "1"]),
        ("log10", -3.3, -2.2, ["0.001", "0.002", "0.005"]),
        ("linear", -1.1, 1.1, ["−1.0", "−0.5", "0.0", "0.5", "1.0"]),
        ("logit", -5.0, 5.0, ["0.01", "0.1", "0.5", "0.9", "0.99"]),
    ],
)
def test_ticks(scale, low, high, expected):
    """Labels are values as they were measured, at round numbers."""
    assert [label.replace("10⁰", "1") for label in scale_ticks(scale, low, high).labels] == expected


def test_numbers_on_an_axis():
    """All are plain or all have powers of ten."""
    assert number_labels([0.0, 2e4, 1e5]) == ["0", "2×10⁴", "10⁵"]
    assert number_labels([-1e-5, 2.5e-5]) == ["−10⁻⁵", "2.5×10⁻⁵"]


def test_text_is_cut_in_its_middle_to_fit():
    """Ends are kept, and the width is kept to."""
    cut = fit("a name that begins and ends", 1.0, 9.0)

    assert cut.startswith("a na")
    assert cut.endswith("ends")
    assert text_width(cut, 9.0) <= 1.0
    assert fit("short", 1.0, 9.0) == "short"


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("gradient:width", "Gradient × Width"),
        ("lr + gradient:width + 2 more", "Lr + Gradient × Width + 2 more"),
        ("gradient - eval_mse:epochs + lr:width + 1 more", "Gradient − Eval MSE × Epochs + Lr × Width + 1 more"),
    ],
)
def test_terms_are_named_for_people(term, expected):
    """Factors begin with a capital, as everywhere in pictures; signs and "more" are no factors."""
    assert term_name(term) == expected


@pytest.mark.parametrize("width", [1.5, 2.0, 2.5, 3.0])
def test_long_terms_are_cut_between_words(width):
    """One ellipsis stands for whole words, each line keeps to the width, and signs stay with what follows them."""
    text = "Gradient − Distillation × Epochs + Lr × Width + 1 more"
    lines = in_two_lines(text, width, 8.5).split("\n")

    assert len(lines) <= 2
    for line in (*lines, fit_words(text, width, 8.5)):
        assert text_width(line, 8.5) <= width
        assert set(line.split()) <= {*text.split(), "…"}
        assert line.count("…") <= 1
        assert line[-1] not in "×+−…"


def test_a_contrast_is_broken_before_its_bracket():
    """The name of the term stands above, the levels below it, each of them whole."""
    text = "Gradient × Distillation × Width (smoothstep_plateau - smoothstep)"

    assert in_two_lines(text, 3.1, 8.5).split("\n") == [
        "Gradient × Distillation × Width",
        "(smoothstep_plateau - smoothstep)",
    ]


def test_labels_are_moved_apart_and_kept_inside():
    """Labels keep their order and their distance."""
    assert spread([0.0, 10.0, 5.0], 1.0, 0.0, 10.0) == [0.0, 10.0, 5.0]
    assert spread([5.0, 5.0, 5.0], 1.0, 0.0, 10.0) == [4.0, 5.0, 6.0]
    assert spread([10.0, 10.0], 1.0, 0.0, 10.0) == [9.0, 10.0]
