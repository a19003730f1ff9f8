"""report.html in a browser: it fits a telephone, asks nothing of any network, sorts, and runs no text of a study."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from judged_studies import HOSTILE, SHOWN, judged
from markupsafe import escape

from kdrun.report.html import report_html
from kdrun.report.plots import Picture
from kdrun.stats.analysis import Analysis

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="report.html was not looked at in a browser: selenium is not installed"
)
missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"report.html was not looked at in a browser: {' and '.join(missing)} is not installed"
)

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
SIZES = ((390, 844), (1280, 900))
WIDE = b"<svg xmlns='http://www.w3.org/2000/svg' width='2000' height='300'><script>alert(1)</script></svg>"
ORDER = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent.trim())"
FIRST_CELLS = "#treatments tbody:first-of-type tr > :first-child"


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Chromium without a window and with a profile of its own; its log of the console and of requests is kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests here: starting it takes longer than they do."""
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def resize(driver: Any, width: int, height: int) -> None:
    """Look at pages as a device of that size does."""
    device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)


@pytest.fixture
def page(tmp_path: Path, make: Callable[..., Analysis], study: dict[str, Any], manifest: dict[str, Any]) -> Path:
    """A report with everything in it, wide tables and pictures, and hostile text."""
    long = "a_name_that_is_much_longer_than_any_telephone_is_wide_and_has_no_place_to_break" * 2
    analysis = make(
        {"gradient": ("ste", long), HOSTILE: ("none", "y"), "width": ("16", "32")},
        criteria=[{"name": HOSTILE, "claim": {"complete": True}, "required": True}],
        diverged=("r1t2",),
    )
    rows = judged(analysis).hypotheses.assign(evidence=[HOSTILE, long * 3, "x"], claim=long)
    whole = judged(analysis, hypotheses=rows, complete_effects=analysis.effects, notes=(HOSTILE, long))
    registration = {"registered": "now", "hash": "ab" * 32, "changes": [{"time": "then", "text": long}]}
    manifest |= {"study_digest": "5d" * 32, "results_digest": "7e" * 32}
    pictures = [Picture("a", "A picture", HOSTILE, WIDE)]
    study |= {"title": f"{HOSTILE} {long}"}
    path = tmp_path / "report.html"
    text = f"title: {HOSTILE}\n{long}\n"
    path.write_text(report_html(whole, study, text, manifest, registration, pictures), encoding="utf-8")
    return path


def requests(driver: Any) -> list[str]:
    """The addresses that were asked for since the last look."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def complaints(driver: Any) -> list[dict[str, Any]]:
    """What the console said that is a warning or worse."""
    return [entry for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def dialog(driver: Any) -> str | None:
    """The text of an open alert, if there is one."""
    exceptions = pytest.importorskip("selenium.common.exceptions")
    try:
        return str(driver.switch_to.alert.text)
    except exceptions.NoAlertPresentException:
        return None


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_fits_and_is_alone(chromium: Any, page: Path, width: int, height: int) -> None:
    """At the size of a telephone and of a desk the page does not scroll sideways, asks for nothing, and is silent."""
    resize(chromium, width, height)
    chromium.get("about:blank")
    requests(chromium)
    complaints(chromium)
    chromium.get(page.as_uri())
    assert dialog(chromium) is None
    scroll, client = chromium.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert width - 20 <= client <= width
    assert scroll <= client
    asked = requests(chromium)
    assert page.as_uri() in asked
    assert {urlsplit(address).scheme for address in asked if address != page.as_uri()} <= {"data"}
    assert complaints(chromium) == []


def test_wide_tables_scroll_in_their_own_box(chromium: Any, page: Path) -> None:
    """What is too wide for a telephone can be reached by scrolling its box."""
    resize(chromium, *SIZES[0])
    chromium.get(page.as_uri())
    inner, outer = chromium.execute_script(
        "const box = document.querySelector('#treatments .scroll'); return [box.scrollWidth, box.clientWidth]"
    )
    assert inner > outer


def test_pictures_scroll_with_labels_that_can_be_read(chromium: Any, page: Path) -> None:
    """On a telephone a picture stays 30rem wide in a box of its own, whose shadow shows through its white."""
    resize(chromium, *SIZES[0])
    chromium.get(page.as_uri())
    width, inner, outer, blend = chromium.execute_script(
        "const box = document.querySelector('#pictures .scroll'), image = box.querySelector('img');"
        "return [image.clientWidth, box.scrollWidth, box.clientWidth, getComputedStyle(image).mixBlendMode]"
    )
    assert (width, blend) == (480, "multiply")
    assert inner > outer


def test_a_click_sorts(chromium: Any, page: Path) -> None:
    """A click on a heading sorts by its numbers, another turns the order round, a third restores it; and by key."""
    resize(chromium, *SIZES[1])
    chromium.get(page.as_uri())
    heading = "#treatments thead th:nth-child(6)"
    button = chromium.find_element("css selector", f"{heading} button")
    values = f"{FIRST_CELLS.removesuffix('> :first-child')} > :nth-child(6)"
    numbers = "return [...document.querySelectorAll(arguments[0])].map((cell) => Number(cell.dataset.value))"
    before = chromium.execute_script(ORDER, FIRST_CELLS)
    expected = sorted(chromium.execute_script(numbers, values))
    states = []
    for press in (button.click, lambda: button.send_keys(" "), lambda: button.send_keys("\ue007")):
        press()
        sort = chromium.find_element("css selector", heading).get_attribute("aria-sort")
        states.append((sort, chromium.execute_script(numbers, values)))
    assert states[:2] == [("ascending", expected), ("descending", expected[::-1])]
    assert states[2][0] == "none"
    assert chromium.execute_script(ORDER, FIRST_CELLS) == before
    assert before == [*"12345678"]


TABLE = """<!doctype html><table class="sortable">
<thead><tr><th>name</th><th class="number">number</th></tr></thead>
<tbody><tr><td>x10</td><td data-value="2">2</td></tr><tr><td>x9</td><td>–</td></tr>
<tr><td>x1</td><td data-value="1e-7">0</td></tr></tbody>
<tbody><tr><td>x0</td><td data-value="0">0</td></tr></tbody></table>"""


def test_words_sort_as_people_sort_them_and_holes_come_last(chromium: Any, page: Path) -> None:
    """Words sort by the numbers in them, a cell without a number stays last, and bodies of a table never mix."""
    script = page.read_text(encoding="utf-8").rpartition("<script>")[2].partition("</script>")[0]
    (page.parent / "table.html").write_text(f"{TABLE}<script>{script}</script>", encoding="utf-8")
    chromium.get((page.parent / "table.html").as_uri())
    names, numbers = chromium.find_elements("css selector", "thead button")
    orders = []
    for button in (names, names, names, numbers, numbers):
        button.click()
        orders.append(" ".join(chromium.execute_script(ORDER, "tbody td:first-child")))
    assert orders == ["x1 x9 x10 x0", "x10 x9 x1 x0", "x10 x9 x1 x0", "x1 x10 x9 x0", "x10 x1 x9 x0"]


def test_hostile_text_is_read_and_not_run(chromium: Any, page: Path) -> None:
    """The title of a study is its text, and neither it nor a picture brings a script along."""
    chromium.get(page.as_uri())
    assert dialog(chromium) is None
    assert chromium.find_element("tag name", "h1").text.startswith(SHOWN)
    assert chromium.execute_script("return document.scripts.length") == 1


def test_a_script_that_came_in_would_not_run(chromium: Any, page: Path) -> None:
    """Even if text were not escaped, the policy of the page stops it."""
    text = page.read_text(encoding="utf-8").replace(str(escape(SHOWN)), HOSTILE)
    assert text.count("<script>alert(1)") > 1
    page.write_text(text, encoding="utf-8")
    chromium.get(page.as_uri())
    assert dialog(chromium) is None
    # What the console says reaches the log a moment later.
    ended, told = time.monotonic() + 10, []
    while not told and time.monotonic() < ended:
        told = [entry for entry in complaints(chromium) if "Content Security Policy" in entry["message"]]
    assert told


def test_without_scripts_the_tables_are_there(chromium: Any, page: Path) -> None:
    """The page is whole where no script runs; headings are then no buttons."""
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(page.as_uri())
        cells = [cell.text for cell in chromium.find_elements("css selector", FIRST_CELLS)]
        assert cells == [*"12345678"]
        assert chromium.find_elements("css selector", "thead button") == []
        assert chromium.find_element("id", "effects").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_colours_can_be_told_from_their_ground(chromium: Any, page: Path) -> None:
    """Text has a contrast of 4.5 or more to what is behind it."""
    chromium.get(page.as_uri())
    found = chromium.execute_script(CONTRASTS)
    assert len(found) > 100
    assert min(contrast for contrast, _ in found) >= 4.5, min(found)


CONTRASTS = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (parts(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
return [...document.body.querySelectorAll("*")]
  .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .filter((element) => element.tagName !== "SCRIPT")
  .map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), element.outerHTML.slice(0, 80)];
  });
"""
