"""What `kdrun list` prints, on wide and on narrow terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kdrun.catalogue import catalogue
from kdrun.report.details import ROOM_FOR_COLUMNS
from kdrun.report.details import catalogue as shown

ENTRY = {"name": "rising", "text": "T(p) = low", "parameters": {"low": 1.0, "mix": True, "end": None}, "source": "here"}


def printed(groups: dict[str, list[dict[str, object]]], width: int) -> list[str]:
    """The lines of a terminal of `width` columns."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(shown(groups, width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, ROOM_FOR_COLUMNS, 120])
def test_names_stay_whole(width: int) -> None:
    """Of everything that there is, no name and no parameter is broken, and no line is too long."""
    lines = printed(catalogue(), width)
    words = {word for line in lines for word in line.split()}
    entries = [entry for entries in catalogue().values() for entry in entries]
    assert [entry["name"] for entry in entries if entry["name"] not in words] == []
    assert [name for entry in entries for name in entry["parameters"] if f"{name}:" not in words] == []
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_has_one_thing_below_the_other() -> None:
    """The name, then what it is, its parameters as a study writes them, and its source."""
    got = printed({"temperature": [ENTRY]}, 80)
    assert got == [
        "temperature",
        "",
        "  rising",
        "      T(p) = low",
        "      low: 1.0 · mix: true · end: null",
        "      here",
        "",
    ]


def test_what_has_no_parameters_has_no_line_of_them() -> None:
    """Nothing stands where there is nothing."""
    got = printed({"temperature": [{**ENTRY, "parameters": {}}]}, 80)
    assert got == ["temperature", "", "  rising", "      T(p) = low", "      here", ""]


def test_a_wide_terminal_has_columns() -> None:
    """One row holds all of it."""
    got = printed({"temperature": [ENTRY]}, ROOM_FOR_COLUMNS)
    row = next(line for line in got if "rising" in line)
    assert row.split() == ["rising", "T(p)", "=", "low", "low:", "1.0", "here"]
