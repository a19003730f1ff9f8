"""Study files as YAML: scalars of YAML 1.2, bounded aliases, and files that are no studies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdrun.errors import StudyError
from kdrun.study.load import load_study, plain_scalar
from kdrun.study.schema import Study

Mistakes = Callable[..., list[str]]
Change = Callable[[str, str], str]
Load = Callable[..., Study]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), ("+.5", 0.5), ("5.", 5.0), ("-2.5e+1", -25.0), ("16", 16), ("-16", -16),
        ("+7", 7), ("0123", 123), ("0o17", 15), ("0x1F", 31), ("true", True), ("False", False), ("null", None),
        ("~", None), ("", None), ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("2024-05-01", "2024-05-01"), ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("017.5", 17.5),
        ("e3", "e3"), (".", "."), ("-", "-"), ("tRue", "tRue"), ("0o8", "0o8"), ("1e", "1e"), ("١", "١"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text: str, expected: object) -> None:
    """Numbers, truth values and nothing are those of the core schema; all else is text."""
    got = plain_scalar(text)
    assert got == expected
    assert isinstance(got, type(expected))


@pytest.mark.parametrize(("text", "expected"), [(".inf", "inf"), ("-.INF", "-inf"), (".nan", "nan"), (".NaN", "nan")])
def test_infinities_are_read_and_left_to_be_refused(text: str, expected: str) -> None:
    """The message can then name the value."""
    assert str(plain_scalar(text)) == expected


def test_quoted_scalars_are_text(change: Change, load: Load) -> None:
    """A title of digits needs quotes."""
    assert load(change("study: sine", "study: '2024'")).study == "2024"


def test_an_anchor_stands_for_what_it_names(change: Change, load: Load, sine: str) -> None:
    """An alias is as good as the text repeated."""
    text = change("optimizer: {name: adam, lr: 1e-3}", "optimizer: &fast {name: adam, lr: 1e-2}")
    got = load(text.replace("init: teacher", "optimizer: *fast"))
    expected = load(sine.replace("lr: 1e-3", "lr: 1e-2").replace("init: teacher", "optimizer: {name: adam, lr: 1e-2}"))
    assert got == expected


def test_a_mistake_in_an_anchor_is_shown_where_it_was_used(change: Change, mistakes: Mistakes) -> None:
    """The same text can be right in one place and wrong in another."""
    got = mistakes(change("epochs: 2000", "epochs: &n 2000").replace("seed: 42", "seed: &s -1\ntitle: *n"))
    assert [line.split(": ")[0] for line in got] == ["12:7", "13:8"]


def test_an_override_of_an_alias_leaves_its_anchor_alone(change: Change, load: Load) -> None:
    """Data behind an alias are shared with nothing."""
    text = change("optimizer: {name: adam, lr: 1e-3}", "optimizer: &a {name: adam, lr: 1e-3}")
    got = load(text.replace("init: teacher", "optimizer: *a"), "student.optimizer.lr=0.5").resolved()
    assert (got["teacher"]["optimizer"]["lr"], got["student"]["optimizer"]["lr"]) == (0.001, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema: *nowhere\n", "1:9: found the alias *nowhere; no anchor &nowhere comes before it"),
        ("a: &a [*a]\n", "1:8: the alias *a stands inside its own anchor"),
        ("a: 1\n---\nb: 2\n", "2:1: found a second document; a study is one document"),
        ("schema: !!python/object/apply:os.system ['true']\n", "found the tag '!!python/object/apply:os.system';"),
        ("schema: !!int '1'\n", "1:9: found the tag '!!int'; tags are not allowed, remove it"),
        ("schema: !mine 1\n", "1:9: found the tag '!mine'; tags are not allowed, remove it"),
        ("[1, 2]\n", "1:1: found a list; a study is a mapping of keys"),
        ("just words\n", "1:1: found 'just words'; a study is a mapping of keys"),
        ("schema: 1\n\tstudy: x\n", "2:1: found a tab; indent with spaces"),
        ("schema: 1\nstudy: {a: 1\n", "found a list or mapping in brackets that is not closed"),
        ("schema: 1\n study: x\n", "2:7: found ':' where no key can be"),
        ("schema: @x\n", "1:9: found '@', which cannot begin a value"),
        ("schema: 'x\n", "this is not valid YAML"),
        ("? [a, b]\n: 1\n", "1:3: a key is plain text here, without anchor, alias or tag"),
        ("1: x\n", "1:1: found 1 as a key; keys are text"),
        ("~: x\n", "1:1: found nothing as a key; keys are text"),
        ("a: &x 1\n*x : 2\n", "2:1: a key is plain text here"),
        ("schema: " + "9" * 5000 + "\n", "1:9: found a number of 5000 digits; that is too long"),
        ("schema: 0x" + "f" * 5000 + "\n", "1:9: found a number of 5002 digits; that is too long"),
        ("a: " + "[" * 100 + "]" * 100 + "\n", "found more than 40 levels of nesting; a study is flatter than that"),
        ("a: " + "[" * 100_000, "found more than 40 levels of nesting"),
        ("a: [" + "1," * 60_000 + "]\n", "found more than 50,000 values; a study is smaller than that"),
        ("a: \x07\n", "1:4: found the character '\\x07'; text is allowed"),
        ("%YAML 3.0\n---\na: 1\n", "1:1: this is not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_no_study_is_refused_with_its_place(mistakes: Mistakes, text: str, words: str) -> None:
    """Broken or hostile YAML gives a mistake, never a traceback."""
    assert words in "\n".join(mistakes(text))


def test_aliases_that_blow_up_are_refused_at_once(mistakes: Mistakes) -> None:
    """Nine levels of nine aliases would be a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    start = time.perf_counter()
    got = mistakes("\n".join(lines))
    assert "found more than 50,000 values" in got[-1]
    assert time.perf_counter() - start < 5


def test_nesting_through_aliases_is_bounded(mistakes: Mistakes) -> None:
    """Each line may be flat and the data deep."""
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100))]
    assert "found more than 40 levels of nesting" in "\n".join(mistakes("\n".join(lines)))


def test_a_key_given_twice_is_a_mistake(sine: str, mistakes: Mistakes) -> None:
    """The second is shown, with the line of the first."""
    assert mistakes(sine + "seed: 3\n") == ["19:1: seed: the key is given twice; first at line 12"]


def test_mistakes_of_yaml_and_of_the_study_come_together(sine: str, mistakes: Mistakes) -> None:
    """A duplicate key does not hide a wrong value."""
    got = mistakes(sine.replace("keep: all", "keep: al") + "seed: 3\n")
    assert [line.split(": ")[0] for line in got] == ["18:7", "19:1"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing\n", b"---\n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_how_to_start(write: Callable[[bytes], Path], content: bytes) -> None:
    """A file without data has no key to complain about."""
    with pytest.raises(StudyError, match="the file is empty; `kdrun new minimal` prints a study"):
        load_study(write(content))


def test_a_byte_order_mark_and_windows_lines_are_accepted(sine: str, load: Load) -> None:
    """Some editors write them."""
    assert load(b"\xef\xbb\xbf" + sine.replace("\n", "\r\n").encode()) == load(sine)


def test_a_byte_order_mark_is_no_column(sine: str, mistakes: Mistakes) -> None:
    """Places are those that an editor shows."""
    assert mistakes(b"\xef\xbb\xbf" + sine.replace("schema: 1", "schema: 2").encode())[0].startswith("1:9: ")


def test_places_count_characters(sine: str, mistakes: Mistakes) -> None:
    """A letter of two bytes is one column."""
    got = mistakes(sine.replace("{name: good enough,", "{name: größer, clam: 1,"))
    assert got[0].startswith("17:20: criteria[0].clam: unknown key 'clam'")


def test_a_file_of_another_encoding_shows_the_byte(write: Callable[[bytes], Path]) -> None:
    """Latin-1 is not guessed."""
    with pytest.raises(StudyError, match=r"study\.yaml:2:9: found the byte 0xf6, which is not UTF-8"):
        load_study(write(b"schema: 1\ntitle: \xf6\n".replace(b"title: ", b"title:  ")))


@pytest.mark.parametrize("content", [b"\x00\x01\x02", "schema: 1".encode("utf-16")])
def test_a_binary_file_is_refused(write: Callable[[bytes], Path], content: bytes) -> None:
    """NUL stands in no text."""
    with pytest.raises(StudyError, match="this is no text file; a study is YAML in UTF-8"):
        load_study(write(content))


def test_a_large_file_is_refused(write: Callable[[bytes], Path]) -> None:
    """It is not read to its end."""
    with pytest.raises(StudyError, match="the file is larger than 1,000,000 bytes"):
        load_study(write(b"#" * 1_000_001))


def test_a_missing_file_offers_a_similar_one(write: Callable[[str], Path], sine: str) -> None:
    """The nearest name in its folder."""
    path = write(sine)
    with pytest.raises(StudyError, match=r"studdy.yaml: no such file. Did you mean '.*study.yaml'\?"):
        load_study(path.with_name("studdy.yaml"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """There is nothing to offer."""
    with pytest.raises(StudyError, match=r"no such file; there is no folder '.*nowhere' to look in"):
        load_study(tmp_path / "nowhere" / "study.yaml")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    """A folder is told apart from a missing file."""
    with pytest.raises(StudyError, match="this is a folder; give the path of a study file"):
        load_study(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may read everything")
def test_an_unreadable_file_says_so(write: Callable[[str], Path], sine: str) -> None:
    """The reason is the system's."""
    path = write(sine)
    path.chmod(0)
    with pytest.raises(StudyError, match="the file cannot be read: Permission denied"):
        load_study(path)


def test_an_impossible_path_says_so() -> None:
    """A path that no system takes is a mistake of the user's too."""
    with pytest.raises(StudyError, match="the file cannot be read"):
        load_study("study\0.yaml")


def test_nothing_is_written(sine: str, write: Callable[[str], Path]) -> None:
    """Loading leaves the folder as it was."""
    path = write(sine)
    before = sorted(path.parent.iterdir()), path.stat().st_mtime_ns
    load_study(path)
    assert (sorted(path.parent.iterdir()), path.stat().st_mtime_ns) == before
