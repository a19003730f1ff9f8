"""Keys of a study set from outside the file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdrun.errors import StudyError
from kdrun.study.load import parse_override
from kdrun.study.schema import Study

Mistakes = Callable[..., list[str]]
Load = Callable[..., Study]


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("student.epochs=7", "init: teacher", "epochs: 7"),
        ("teacher.optimizer.lr=1e-2", "lr: 1e-3", "lr: 1e-2"),
        ("teacher.optimizer=adam", "{name: adam, lr: 1e-3}", "adam"),
        ("factors.width.levels[1]=64", "[16, 32]", "[16, 64]"),
        ("factors.width.levels=[8, 24]", "[16, 32]", "[8, 24]"),
        ("factors.gradient[1].beta_end=9", "smoothstep]", "{name: smoothstep, beta_end: 9}]"),
        ("factors.gradient[1]={name: smoothstep, label: soft}", "smoothstep]", "{name: smoothstep, label: soft}]"),
        ("comparators[0].sweeps=2", "[coordinate_search", "[{name: coordinate_search, sweeps: 2}"),
        ("responses[0].diverged.value=0.7", "value: 0.5", "value: 0.7"),
        ("criteria=[]", "{name: good enough, claim: {some_treatment: {below: 0.05}}, required: true}", ""),
        ("title='a: b'", "seed: 42", "seed: 42\ntitle: 'a: b'"),
        ("model.cell=cfc", "seed: 42", "seed: 42"),
        ("keep = none", "keep: all", "keep: none"),
    ],
)
def test_an_override_is_as_good_as_the_file(load: Load, sine: str, override: str, old: str, new: str) -> None:
    """Any key can be set, its value written like in a file."""
    expected = sine.replace(old, new).replace("criteria:\n  - \n", "")
    assert load(sine, override) == load(expected)


def test_overrides_open_bare_names(load: Load, sine: str) -> None:
    """A parameter can be set where the file gives only a name."""
    text = sine.replace("{name: adam, lr: 1e-3}", "adam")
    assert load(text, "teacher.optimizer.lr=1e-3") == load(sine)


def test_the_last_override_wins(load: Load, sine: str) -> None:
    """Overrides are applied in order."""
    assert load(sine, "seed=1", "seed=2").seed == 2


def test_a_later_override_of_the_whole_replaces_the_part(load: Load, sine: str) -> None:
    """An earlier override inside is gone, and so is its place."""
    assert load(sine, "teacher.optimizer.lr=x", "teacher.optimizer=adam")


def test_a_mistake_in_a_later_override_is_not_shown_at_an_earlier_one(mistakes: Mistakes, sine: str) -> None:
    """What an override replaced is forgotten, its place too."""
    got = mistakes(sine, "teacher.optimizer.lr=x", "teacher.optimizer={name: adam, lr: y}")
    assert [line.split(": ")[0] for line in got] == ["--set teacher.optimizer={name"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("student.epochs=1.5", "student.epochs: found 1.5; a whole number from 1 to 10000000 is allowed"),
        ("task.stps=3", "task.stps: unknown key 'stps'; known: name, steps, sequences,"),
        ("nope=3", "nope: unknown key 'nope'; known: schema, study,"),
        ("factors.gradient=[ste, smothstep]", "factors.gradient[1]: unknown level 'smothstep'; known: ste,"),
        ("factors.gradient[1]=smothstep", "factors.gradient[1]: unknown level 'smothstep'; known: ste,"),
        ("factors.width.levels[2]=64", "factors.width.levels[2]: factors.width.levels has 2 items, [0] to [1]"),
        ("comparators.x=1", "comparators.x: comparators is a list, it has no keys"),
        ("study[0]=1", "study[0]: study is no list"),
        ("seed.x=1", "seed.x: seed is a value, it has no keys"),
        ("study.x=1", "study: found a mapping; text is allowed"),
        ("model.hidden=8", "model.hidden: the factor 'width' sets this key; set its levels instead, factors.width."),
        ("model.hidden=16", "model.hidden: the factor 'width' sets this key"),
        ("student.gradient=ste", "student.gradient: the factor 'gradient' sets this key; set its levels instead, "),
        ("model={cell: cfc, hidden: 8}", "model.hidden: found 8, but the factor 'width' sets this key to 16, 32"),
        ("seed", "found no '='; write PATH=VALUE"),
        ("=3", "a path of keys is missing"),
        ("a..b=3", "'a..b' is no path of keys"),
        (".a=3", "'.a' is no path of keys"),
        ("[0]=3", "'[0]' is no path of keys"),
        ("a[x]=3", "'a[x]' is no path of keys"),
        ("seed=[1", "found a list or mapping in brackets that is not closed"),
        ("seed=!!python/name:os.system", "found the tag '!!python/name:os.system'; tags are not allowed"),
        ("seed=1 # comment\n---\n2", "found a second document"),
        ("seed=\x00", "found the character '\\x00'; text is allowed"),
        ("seed=", "seed: found nothing; a whole number from 0 to"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_shown_as_it_was_given(mistakes: Mistakes, sine: str, override: str, words: str) -> None:
    """Its place is the option itself, not a line of the file."""
    got = "\n".join(mistakes(sine, override))
    written = override.replace("\n", "\\n").replace("\x00", "\\x00")
    assert got.startswith(f"--set {written}: ")
    assert words in got


def test_overrides_come_after_the_mistakes_of_the_file(mistakes: Mistakes, sine: str) -> None:
    """The file is shown first, then the overrides in their order."""
    got = mistakes(sine.replace("keep: all", "keep: al"), "seed=x", "replicates=0")
    assert [line.split(": ")[0] for line in got] == ["18:7", "--set seed=x", "--set replicates=0"]


def test_replicates_and_seed_are_overrides(load: Load, sine: str) -> None:
    """They come after those that are written as paths."""
    got = load(sine, "seed=1", "replicates=2", replicates=5, seed=7)
    assert (got.replicates, got.seed) == (5, 7)


@pytest.mark.parametrize(
    ("option", "value"), [("replicates", 0), ("replicates", 10**6 + 1), ("seed", -1), ("seed", 2**63)]
)
def test_replicates_and_seed_are_checked(mistakes: Mistakes, sine: str, option: str, value: int) -> None:
    """Their place is their own option."""
    got = mistakes(sine, **{option: value})
    assert len(got) == 1
    assert got[0].startswith(f"--{option} {value}: {option}: found {value}; a whole number from")


def test_an_override_is_parsed_like_a_file() -> None:
    """Values are scalars of YAML 1.2 or written in brackets."""
    got = [parse_override(text).value for text in ("a=1e-3", "a=no", "a=[1, x]", "a={b: null}", "a=b=c")]
    assert got == [0.001, "no", [1, "x"], {"b": None}, "b=c"]


def test_a_wrong_path_is_a_study_error() -> None:
    """It is shown like every other mistake."""
    with pytest.raises(StudyError, match=r"--set a b=1: 'a b' is no path of keys"):
        parse_override("a b=1")
