"""report.html: one file that needs no network and no script to be read.

Templates stand in `templates`. Whatever they print is made plain and escaped, so no text of a study acts as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from kdrun.report.aliases import apart
from kdrun.report.effect_tables import anova_sheet, complete_effects_sheet, effects_sheet
from kdrun.report.judging import judged, scales
from kdrun.report.sheet import Sheet
from kdrun.report.student_tables import student_sheet
from kdrun.report.text import plain, plain_lines
from kdrun.report.treatment_tables import MOST_TREATMENTS, treatment_sheet
from kdrun.report.verdict_tables import VERDICTS_ARE, hypothesis_number
from kdrun.report.wording import counts_of_runs, origin, promise, verdict_counts, what_matters
from kdrun.stats.analysis import Analysis

if TYPE_CHECKING:
    from kdrun.report.plots import Picture

MOST_ROWS = 300
SHORT_DIGEST = 12
# A browser may break a line behind the minus of such a number.
SPLIT_NUMBER = re.compile(r"((?<![\w.])-?\d+(?:\.\d+)?[eE]-\d+(?!\w))")
SIGNED = re.compile(r"([+-] [^\s<]{1,24})(?=[\s<]|$)")


def report_html(
    analysis: Analysis,
    study: Mapping[str, Any],
    study_text: str,
    manifest: Mapping[str, Any],
    registration: Mapping[str, Any],
    pictures: Sequence[Picture],
    cautions: Sequence[str] = (),
) -> str:
    """The report as HTML, verdicts first. `study_text` is study.yaml as it stands in the folder."""
    context = {
        "title": str(study.get("title") or study["study"]),
        "name": str(study["study"]),
        "counts": counts_of_runs(analysis),
        "cautions": cautions,
        "factors": analysis.layout.factors,
        "finished": manifest.get("end"),
        "results_digest": manifest.get("results_digest"),
        "registration": {"registered": "", "hash": "", "changes": (), "exploratory_criteria": (), **registration},
        "hypotheses": [_hypothesis(row) for row in analysis.hypotheses.to_dict("records")],
        "verdict_counts": verdict_counts(analysis.hypotheses["verdict"]),
        "verdicts_are": VERDICTS_ARE,
        "criteria": analysis.criteria.to_dict("records"),
        "matters": what_matters(analysis),
        "apart": apart(analysis),
        "treatments": treatment_sheet(analysis, limit=MOST_TREATMENTS),
        "students": student_sheet(analysis, limit=MOST_TREATMENTS),
        "pictures": [_embedded(picture) for picture in pictures],
        "effects": effects_sheet(analysis, MOST_ROWS),
        "complete_effects": complete_effects_sheet(analysis, MOST_ROWS),
        "anova": anova_sheet(analysis, MOST_ROWS),
        "judged": judged(analysis),
        "scales": scales(analysis.layout),
        "origin": origin(manifest),
        "promise": promise(study),
        "study_text": study_text,
    }
    return render("report.html.j2", **context)


def _hypothesis(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a template shows of one hypothesis."""
    return {**row, "number": hypothesis_number(row)}


def _embedded(picture: Picture) -> dict[str, str]:
    source = f"data:image/svg+xml;base64,{base64.b64encode(picture.svg).decode()}"
    return {"title": picture.title, "caption": picture.caption, "source": source}


def render(template: str, **context: Any) -> str:
    """A page from a template. Equal contexts give equal text."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kdrun.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["lines"] = lambda text: Markup("{}").format(plain_lines(text))
    environment.filters["short"] = lambda digest: str(digest)[:SHORT_DIGEST]
    environment.filters["moment"] = _moment
    environment.filters["breakable"] = _breakable
    environment.filters["numbers"] = _numbers
    environment.filters["signed"] = _signed
    environment.filters["cells"] = _cells
    script, style = (_source(environment, name) for name in ("sort.js", "style.css"))
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(script=Markup(script), style=Markup(style), script_hash=Markup(f"sha256-{hashed}"))  # noqa: S704 (our own files)
    return environment


def _plain_text(value: Any) -> Any:
    """What every `{{ … }}` prints: text without control characters; what is HTML already stays as it is."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _moment(time: Any) -> str:
    """A time of ours as people read it: `2026-01-31 12:00:00 UTC`; any other text as it is."""
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+00:00$", r"\1 \2 UTC", str(time))


def _breakable(text: str) -> Markup:
    """Text whose lines may break where the parts of a name join, but not inside a number."""
    return _marked(text, lambda part: re.sub("([_:])", r"\1<wbr>", part))


def _numbers(text: str) -> Markup:
    """Text with each number that has a minus in it, such as 1e-2, kept on one line."""
    return _marked(text, str)


def _signed(text: str) -> Markup:
    """Effects with their signs, each sign kept beside what follows it, unless that is very long."""
    return Markup(SIGNED.sub(r'<span class="whole">\1</span>', str(_breakable(text))))  # noqa: S704 (escaped)


def _marked(text: str, mark: Callable[[str], str]) -> Markup:
    """Text with what `mark` makes of its parts between numbers, which are kept on one line."""
    parts = SPLIT_NUMBER.split(plain(text))
    pieces = (
        f'<span class="whole">{part}</span>' if place % 2 else mark(str(escape(part)))
        for place, part in enumerate(parts)
    )
    return Markup("".join(pieces))  # noqa: S704 (escaped)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, f"{name}.j2")[0]


def _cells(sheet: Sheet) -> list[list[dict[str, Any]]]:
    """The cells of a sheet, row by row: text, what follows it in brackets, and the number to sort by, or None."""
    return [
        [_cell(cell, column in sheet.numeric, sheet.values.get(column), place) for column, cell in enumerate(row)]
        for place, row in enumerate(sheet.rows)
    ]


def _cell(text: str, numeric: bool, values: Sequence[float] | None, place: int) -> dict[str, Any]:
    main, bracket, rest = text.partition(" [") if numeric else (text, "", "")
    value = None if values is None or math.isnan(values[place]) else repr(float(values[place]))
    return {"text": main, "interval": f"[{rest}" if bracket else "", "numeric": numeric, "value": value}
