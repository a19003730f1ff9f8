"""Paths of keys and list positions."""

from __future__ import annotations

from typing import Any

import pytest

from kdrun.study.paths import MISSING, Path, dotted, get, parse_path, put, remove


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed", ("seed",)),
        ("a.b-c.d_e", ("a", "b-c", "d_e")),
        ("a[0][12].b", ("a", 0, 12, "b")),
        ("größe.x", ("größe", "x")),
    ],
)
def test_a_path_reads_back_to_itself(text: str, expected: Path) -> None:
    """What messages show can be given to --set."""
    assert parse_path(text) == expected
    assert dotted(expected) == text


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "[0]", "a[", "a[]", "a[-1]", "a[0", "a]", "a b", "a=b"])
def test_what_is_no_path_is_refused(text: str) -> None:
    """With an example of one that is."""
    with pytest.raises(ValueError, match="write one like"):
        parse_path(text)


def test_odd_keys_are_quoted() -> None:
    """A key can hold anything, and a message stays one line."""
    assert dotted(("a", "b\nc", "x" * 100)) == "a.'b\\nc'." + "x" * 100


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        ({"a": [1, {"b": 2}]}, "a[1].b", 2),
        ({"a": None}, "a", None),
        ({"a": 1}, "a.b", MISSING),
        ({"a": [1]}, "a[1]", MISSING),
        ({"a": {"b": 1}}, "a[0]", MISSING),
        ([1], "a", MISSING),
    ],
)
def test_get_finds_what_is_there(data: Any, path: str, expected: Any) -> None:
    """And says MISSING for what is not, which differs from nothing."""
    assert get(data, parse_path(path)) is expected or get(data, parse_path(path)) == expected


@pytest.mark.parametrize(
    ("data", "path", "expected"),
    [
        ({"a": 1}, "b.c", {"a": 1, "b": {"c": 9}}),
        ({"a": {"b": 1}}, "a.b", {"a": {"b": 9}}),
        ({"a": "name"}, "a.b", {"a": {"name": "name", "b": 9}}),
        ({"model": "cfc"}, "model.b", {"model": {"cell": "cfc", "b": 9}}),
        ({"a": [1, 2, 3]}, "a[1]", {"a": [1, 9, 3]}),
        ({"a": None}, "a.b", {"a": {"b": 9}}),
    ],
)
def test_put_changes_a_copy(data: Any, path: str, expected: Any) -> None:
    """What is off the path is shared, what is on it is new."""
    before = repr(data)
    assert put(data, parse_path(path), 9) == expected
    assert repr(data) == before


@pytest.mark.parametrize(
    ("data", "path"), [({"a": 1}, "a.b"), ({"a": [1]}, "a.b"), ({"a": [1]}, "a[1]"), ({"a": {}}, "a[0]")]
)
def test_put_refuses_what_leads_nowhere(data: Any, path: str) -> None:
    """A list has no keys, a value neither keys nor items."""
    with pytest.raises(ValueError, match=r"^a "):
        put(data, parse_path(path), 9)


def test_remove_leaves_the_rest() -> None:
    """A key that is not there is no matter."""
    data = {"a": {"b": 1, "c": 2}}
    assert remove(data, ("a", "b")) == {"a": {"c": 2}}
    assert remove(data, ("x", "b")) == data
    assert data == {"a": {"b": 1, "c": 2}}
