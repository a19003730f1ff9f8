"""report.html and index.html: what they say, in which order, and that no text of a study acts in them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from judged_studies import HOSTILE, NAN, SHOWN, effects, half, judged

from kdrun.report.html import report_html
from kdrun.report.index import COLUMNS, index_html
from kdrun.report.plots import Picture
from kdrun.stats.analysis import Analysis

PICTURE = Picture("means", "Means", "Means of <b>treatments</b>.", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
REGISTRATION: dict[str, Any] = {
    "registered": "2026-01-31T12:00:00+00:00",
    "hash": "cafe",
    "changes": [{"time": "2026-02-01T09:00:00+00:00", "text": "Criterion 2 was added."}],
    "exploratory_criteria": ["same bits"],
}
VOID = frozenset({"meta", "link", "img", "br", "wbr"})


class Page(HTMLParser):
    """A page as a browser takes it apart: elements with their attributes, and text by the element that it is in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *within: str) -> str:
        """The text of the page, or of some elements of it, without scripts and styles."""
        parts = (text for tag, text in self.texts if tag in within or (not within and tag not in ("script", "style")))
        return re.sub(r"\s+", " ", "".join(parts))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def html(analysis: Analysis, study: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The report of a study with everything in it."""
    complete = judged(analysis, complete_effects=analysis.effects, notes=("A note.",))
    return report_html(complete, study, "study: sine\n  deep: 1\n", manifest, REGISTRATION, [PICTURE])


def test_the_page_is_well_formed(html: str) -> None:
    """Every element is closed where it was opened, and the language is declared."""
    page = Page(html)
    assert page.open == []
    assert page.of("html") == [{"lang": "en"}]
    assert html.startswith("<!doctype html>\n")


def test_verdicts_come_first(html: str) -> None:
    """Verdicts stand before what matters, tables, pictures, effects, how it was judged, and how to run it again."""
    headings = re.findall(r"<h[23][^>]*>([^<]*)<", html)
    expected = [
        "Verdicts",
        "Criteria",
        "Changes since registration",
        "Which techniques matter",
        "Treatments",
        "Pictures",
    ]
    later = ["Effects", "Analysis of variance", "How it was judged", "Registration", "How to run it again"]
    assert headings == [*expected, *later]
    assert html.index("1 supported, 1 refuted, 1 inconclusive") < html.index("Which techniques matter")


def test_a_verdict_has_its_word_estimate_replicates_and_evidence(html: str) -> None:
    """A verdict is a word and not only a colour; what is not known of it is not shown."""
    cards = [re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", card)) for card in html.split('<li class="card')[1:]]
    assert "✓ supported" in cards[0]
    assert "gradient helps gradient multiplies it effect: gradient 0.585 [0.445, 0.771] 4 replicates" in cards[0]
    assert "exploratory" not in cards[0]
    assert "✗ refuted" in cards[1]
    assert "nan" not in cards[1]
    assert "–" not in cards[1]
    assert "? inconclusive exploratory" in cards[2]
    assert "-0.100 [-0.500, 0.300] 1 replicate " in cards[2]


def test_criteria_are_marked(html: str) -> None:
    """A criterion holds or not in words, and says whether it is required or exploratory."""
    listing = html[html.index('<ul class="checklist">') : html.index('<h3 id="changes">')]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", listing))
    assert "✓ holds all reported required 40 of 40 runs reported" in text
    assert "✗ does not hold same bits exploratory replicate 1 was not run again" in text


def test_changes_and_registration_are_shown(html: str) -> None:
    """What changed since the registration stands with the verdicts, its hash with how it was judged."""
    text = Page(html).text()
    assert "2026-02-01 09:00:00 UTC Criterion 2 was added." in text
    assert "registered at 2026-01-31 12:00:00 UTC, before the first run; SHA-256 cafe" in text


def test_an_unregistered_study_claims_nothing(analysis: Analysis, study: dict[str, Any]) -> None:
    """Without registration, manifest, hypotheses and pictures their sections are left out."""
    html = report_html(analysis, study, "", {}, {}, [])
    for absent in ("Registration", "Changes since", "Pictures", "finished", "digest <code>"):
        assert absent not in html
    assert "The study registers no hypotheses." in html


def test_nothing_is_fetched_and_only_our_script_runs(html: str) -> None:
    """The policy forbids all but images in the page itself and the one script whose hash it names."""
    page = Page(html)
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = "".join(text for tag, text in page.texts if tag == "script")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.split("; ")[:4] == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{hashed}'",
    ]
    addresses = [
        value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert all(address and address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\(|@import", html)


def test_pictures_stand_in_the_page(html: str) -> None:
    """A picture is a data URI with its caption as alternative text and below it."""
    page = Page(html)
    (image,) = page.of("img")
    assert base64.b64decode((image["src"] or "").removeprefix("data:image/svg+xml;base64,")) == PICTURE.svg
    assert image["alt"] == PICTURE.caption
    assert page.text("figcaption").strip() == PICTURE.caption


@pytest.fixture
def hostile(make: Callable[..., Analysis], manifest: dict[str, Any]) -> str:
    """The report of a study whose every text is hostile."""
    analysis = make(
        {HOSTILE: (HOSTILE, f"{HOSTILE}2"), "b": ("1", "2")},
        comparator=HOSTILE,
        criteria=[{"name": HOSTILE, "claim": {"complete": True}, "required": True}],
    )
    rows = judged(analysis).hypotheses.assign(say=HOSTILE, claim=HOSTILE, evidence=HOSTILE)
    rows.loc[2, "verdict"] = "refuted"
    registration = {
        "registered": HOSTILE,
        "hash": HOSTILE,
        "changes": [{"time": HOSTILE, "text": HOSTILE}],
        "exploratory_criteria": [HOSTILE],
    }
    manifest |= {"end": HOSTILE, "results_digest": HOSTILE, "cpu": {"model": HOSTILE}, "versions": {HOSTILE: HOSTILE}}
    return report_html(
        judged(analysis, hypotheses=rows, notes=(HOSTILE,)),
        {"study": HOSTILE, "title": HOSTILE},
        f"title: {HOSTILE}\n  deep: <b>",
        manifest,
        registration,
        [replace(PICTURE, title=HOSTILE, caption=HOSTILE)],
    )


def test_hostile_text_is_text(hostile: str) -> None:
    """Markup, quotes, template syntax and control characters of a study are shown and not obeyed."""
    page = Page(hostile)
    assert page.open == []
    assert len(page.of("script")) == 1
    assert len(page.of("pre")) == 2
    for tag in ("title", "h1", "caption", "dt", "dd", "figcaption", "time"):
        assert SHOWN in page.text(tag) or tag == "caption", tag
    assert not re.search("[\u202e\x00-\x08\x0b-\x1f\x7f]", hostile)
    assert "49" not in re.sub(r"data:[^\"]*", "", page.text("h1", "dd", "p", "td"))
    assert page.of("img")[0]["alt"] == SHOWN
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]


def test_study_yaml_keeps_its_lines(html: str, hostile: str) -> None:
    """The study file is shown line by line with its indentation, and as text."""
    assert "<code>study: sine\n  deep: 1</code>" in html
    assert "\n  deep: &lt;b&gt;</code>" in hostile
    assert SHOWN in Page(hostile).text("code")


def test_tables_are_accessible_and_sortable(html: str) -> None:
    """Headings of columns and rows have a scope, tables a caption, and numbers the whole value to sort by."""
    page = Page(html)
    assert {cell["scope"] for cell in page.of("th")} == {"col", "row"}
    assert len(page.of("caption")) == len(page.of("table"))
    assert page.text("caption").split("Effects")[0] == "Treatments and comparators"
    boxes = [box for box in page.of("div") if box.get("class") == "scroll"]
    assert all(box["role"] == "region" and box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_values_to_sort_by_are_exact(html: str, analysis: Analysis) -> None:
    """Cells of numbers carry the unrounded mean; cells without a number carry none."""
    values = [cell["data-value"] for cell in Page(html).of("td") if "data-value" in cell]
    for mean in analysis.treatments["eval_mse_mean"]:
        assert repr(float(mean)) in values
    assert "nan" not in values


def test_equal_data_give_an_equal_page(make: Callable[..., Analysis], study: dict[str, Any]) -> None:
    """Two reports of the same study are the same text."""
    pages = [report_html(judged(make()), study, "a: 1\n", {}, REGISTRATION, [PICTURE]) for _ in range(2)]
    assert pages[0] == pages[1]


def test_what_matters_stands_in_the_page(analysis: Analysis, study: dict[str, Any]) -> None:
    """Effects that are shown are sentences with `better` or `worse`; the others stand below with their interval."""
    table = effects(("distillation", "", 0.9, 0.7, 1.1), ("width", "", 0.1, -0.1, 0.3))
    text = Page(report_html(replace(analysis, effects=table), study, "", {}, {}, [])).text()
    shown = text.index("distillation worse trajectory against none multiplies Eval MSE by 7.94 [5.01, 12.6]; p 0.00100")
    assert shown < text.index("Not shown to matter (1) width 1.26 [0.794, 2.00]")


def test_long_tables_are_cut(make: Callable[..., Analysis], study: dict[str, Any]) -> None:
    """Beyond 300 effects contrasts are left out, beyond 200 treatments the last; notes say where the rest is."""
    analysis = make()
    contrasts = [("gradient", f"c{number}", 0.1, -0.1, 0.2) for number in range(400)]
    table = effects(("gradient", "omnibus", NAN, NAN, NAN), *contrasts, ("width", "", 0.1, -0.1, 0.2))
    many = pd.concat([analysis.treatments] * 30, ignore_index=True)
    many["treatment"] = range(1, 241)
    many.loc[230, "eval_mse_mean"] = 1e-9
    text = Page(report_html(replace(analysis, effects=table, treatments=many), study, "", {}, {}, [])).text()
    assert "Shown: 2 of 402 effects; all of them are in tables/effects.csv." in text
    assert "Shown: 201 of 240 treatments; all of them are in tables/treatments.csv." in text
    assert "1.00e-9*" in text


def test_effects_that_were_not_estimated(analysis: Analysis, study: dict[str, Any]) -> None:
    """Without effects the page says why, and shows no empty table."""
    nothing = replace(analysis, effects=analysis.effects.iloc[:0], notes=("width: no level has three replicates",))
    page = Page(report_html(nothing, study, "", {}, {}, []))
    assert "Effects width: no level has three replicates Analysis of variance" in page.text()
    assert not [row for row in page.of("div") if row.get("aria-label") == "Effects"]


@pytest.mark.parametrize("screening", [False, True])
def test_aliases_stand_in_the_page(make: Callable[..., Analysis], study: dict[str, Any], screening: bool) -> None:
    """A part of all combinations has a section on what it cannot tell apart; the whole has none."""
    whole = report_html(make(), study, "", {}, {}, [])
    assert "What cannot be told apart" not in whole
    html = report_html(make(chosen=half, screening=screening), study, "", {}, {}, [])
    page = Page(html)
    text = page.text()
    assert '<span class="whole">+ distillation:</span><wbr>width' in html
    assert (
        "gradient + distillation:width"
        in text[text.index("What cannot be told apart", text.index("Which techniques matter")) :]
    )
    assert {"href": "#apart"} in page.of("a")


def test_numbers_are_kept_on_one_line(analysis: Analysis, study: dict[str, Any]) -> None:
    """A number with a minus inside is no place to break a line; names that look like one are left alone."""
    rows = judged(analysis).hypotheses.assign(evidence="p 1.82e-17, level 1e-2 of x1e-2 & <b>")
    html = report_html(judged(analysis, hypotheses=rows), study, "", {}, {}, [])
    assert (
        'p <span class="whole">1.82e-17</span>, level <span class="whole">1e-2</span> of x1e-2 &amp; &lt;b&gt;' in html
    )


def test_long_lists_of_aliases_are_folded(make: Callable[..., Analysis], study: dict[str, Any]) -> None:
    """More than 16 classes stand behind a summary."""
    six = dict.fromkeys("abcdef", ("1", "2"))
    page = Page(report_html(make(six, replicates=2, chosen=half), study, "", {}, {}, []))
    assert "All 31" in page.text("summary")


def test_cautions_come_before_what_matters(make: Callable[..., Analysis], study: dict[str, Any]) -> None:
    """That diverged runs were left out is read first."""
    text = Page(report_html(make(diverged=("r1t2",), stand_in=None), study, "", {}, {}, [])).text()
    assert text.index("Which techniques matter 1 diverged run") < text.index("Not shown to matter")


def index_of(**changes: Any) -> pd.DataFrame:
    """An index of one study."""
    row = {
        "folder": "one", "study": "sine", "title": "Sines", "treatments": 8, "replicates": 4, "best": "width 16",
        "best_replicates": 4,
        "response": "eval_mse", "mean": 0.1, "ci_low": 0.05, "ci_high": 0.2, "supported": 2, "refuted": 1,
        "inconclusive": 0, "criteria": 3, "held": 2, "results_digest": "0123456789abcdef", "end": "",
        "report": "report.html",
    }  # fmt: skip
    return pd.DataFrame([{**row, **changes}], columns=list(COLUMNS))


def test_the_index_leads_to_each_report() -> None:
    """A study is a row with verdicts, criteria, best treatment and a relative link; one without report has no link."""
    page = Page(index_html(index_of()))
    text = page.text()
    assert [link["href"] for link in page.of("a")] == ["./one/report.html"]
    for part in (
        "2 supported",
        "1 refuted",
        "2 of 3 hold",
        "width 16",
        "Eval MSE 0.100 [0.0500, 0.200]",
        "0123456789ab ",
    ):
        assert part in f"{text} "
    assert Page(index_html(index_of(report=""))).of("a") == []
    assert "of 4" not in text
    assert (
        "Eval MSE 0.100 [0.0500, 0.200], of 2 of 4 replicates" in Page(index_html(index_of(best_replicates=2))).text()
    )


def test_hostile_folders_are_text_in_the_index() -> None:
    """Names of folders and studies are neither markup nor another address than a file beside the index."""
    html = index_html(index_of(folder="javascript:alert(1)/..", study=HOSTILE, title="<b>", best=HOSTILE))
    page = Page(html)
    assert [link["href"] for link in page.of("a")] == ["./javascript%3Aalert%281%29%2F../report.html"]
    assert len(page.of("script")) == 1
    assert not page.of("b")
    assert SHOWN in page.text("a")
