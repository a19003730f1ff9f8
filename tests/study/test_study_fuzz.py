"""Whatever is done to a study file, what comes out is a study or a StudyError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdrun.errors import StudyError
from kdrun.study.load import load_study, study_text
from kdrun.study.plan import plan
from kdrun.study.template import template_text

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in EXPERIMENTS] + [template_text("minimal")]
SNIPPETS = [
    "", " ", "\n", "\t", ":", ": ", "- ", ",", "[", "]", "{", "}", "&a ", "*a", "!!x ", "|\n", ">\n", "#", "'", '"',
    "%", "@", "?", "---\n", "...\n", "~", "null", "none", "true", "1e999", ".nan", "-1", "0", "1.5", "[]", "{}",
    "[[[]]]", "{name: none}", "<<: ", "label", "name", "sets", "cell", "ste", "float", "1: 2", "\u0000", "\ud7ff",
    "\x85", "\u2028", "𝟙", "9" * 500, "x" * 500,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """One of the experiments with up to four pieces replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.one_of(st.just(0), st.integers(0, 12), st.integers(0, 300)))
        piece = draw(
            st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=5), st.just(text[start : start + length] * 2))
        )
        text = text[:start] + piece + text[start + length :]
    return text


@st.composite
def swapped(draw: st.DrawFn) -> str:
    """One of the experiments with values of keys exchanged for others, so that most of it stays YAML."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 5))):
        words = sorted({word.strip("{}[],:") for word in text.split()} - {""})
        text = text.replace(
            draw(st.sampled_from(words)), draw(st.sampled_from(words + SNIPPETS)), draw(st.integers(1, 3))
        )
    return text


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("fuzz") / "study.yaml"


def check(path: Path, overrides: tuple[str, ...] = ()) -> None:
    """Load, resolve and plan; every mistake is one line with a place."""
    mistakes = None
    try:
        study = load_study(path, overrides, replicates=1)
        plan(study)
    except StudyError as error:
        mistakes = error.mistakes
    if mistakes is not None:
        assert mistakes
        assert all("\n" not in str(mistake) and mistake.place for mistake in mistakes)
    else:
        again = path.with_name("resolved.yaml")
        again.write_text(study_text(study), encoding="utf-8")
        assert load_study(again).resolved() == study.resolved()


FUZZ = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(text=mutated())
def test_mutated_text_gives_a_study_or_its_mistakes(path: Path, text: str) -> None:
    """No traceback, whatever the text; what loads, loads again from its resolved form."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(path)


@FUZZ
@given(text=swapped())
def test_swapped_values_give_a_study_or_its_mistakes(path: Path, text: str) -> None:
    """The same for files that are right as YAML and wrong as studies."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(path)


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_study_or_its_mistakes(path: Path, content: bytes) -> None:
    """The same for files that are no text."""
    path.write_bytes(content)
    check(path)


KEYS = [
    "task",
    "model",
    "teacher",
    "student",
    "factors",
    "hidden",
    "gradient",
    "name",
    "lr",
    "[0]",
    "[9]",
    "levels",
    "width",
    "criteria",
]


@FUZZ
@given(
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
    value=st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=8)),
    text=st.sampled_from(TEXTS),
)
def test_any_override_gives_a_study_or_its_mistakes(path: Path, keys: list[str], value: str, text: str) -> None:
    """The same for keys set from outside."""
    path.write_text(text, encoding="utf-8")
    check(path, (".".join(keys).replace(".[", "[") + "=" + value,))
