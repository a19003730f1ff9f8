"""Reading a column: what counts as one, and that everything wrong with a file is told by line."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.tasks import csv_column
from kdrun.tasks.contract import RunFailed
from kdrun.tasks.csv_column import MOST_TOLD, read_column


@pytest.fixture
def read(tmp_path):
    """The column `x` of a file with the given content."""

    def read_content(content, column="x", delimiter=","):
        path = tmp_path / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_column(path, "data.csv", column, delimiter))

    return read_content


def mistakes(read, *arguments, **named):
    """The lines of what is said of a file."""
    with pytest.raises(RunFailed) as caught:
        read(*arguments, **named)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("t,x\n1,2.5\n2,-3e-2\n", ","),
        ("x,t\n2.5,1\n-3e-2,2", ","),
        ("t,x\r\n1,2.5\r\n2,-3e-2\r\n", ","),
        ("t,x\r1,2.5\r2,-3e-2\r", ","),
        (b"\xef\xbb\xbfx,t\n2.5,1\n-3e-2,2\n", ","),
        ('"t","x"\n"a, ""b""","2.5"\n"two\nlines","-3e-2"\n', ","),
        ("t;x\n1,5;2.5\n2;-3e-2\n", ";"),
        ("t\tx\n1\t2.5\n2\t-3e-2\n", "\t"),
        (" t , x \n1, 2.5 \n2, -3e-2\n", ","),
        ("t,x\n1,+2.50\n2,-.3e-1\n\n\r\n\n", ","),
        ("x\n2.5\n-3E-02\n", ","),
        ("t,x,größe\n1,2.5,\n,-3e-2,?\n", ","),
    ],
    ids=[
        "plain", "no newline at the end", "Windows", "old Macintosh", "byte order mark", "quotes", "semicolons", "tabs",
        "spaces", "empty lines at the end", "one column", "other columns with anything",
    ],
)  # fmt: skip
def test_files_of_many_programs_are_read(read, content, delimiter):
    """The numbers of the column, in their order."""
    assert read(content, delimiter=delimiter) == [2.5, -0.03]


def test_numbers_read_back_to_their_bits(read):
    """What Python writes it reads."""
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    got = read("x\n" + "\n".join(map(repr, numbers)))
    assert [value.hex() for value in got] == [value.hex() for value in numbers]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", "'x' is empty; fill the gap, or remove the line"),
        ("   ", "'x' is empty; fill the gap, or remove the line"),
        ("NA", "'x' is 'NA'; a finite number such as -3.5 or 2e-3 is needed"),
        ("nan", "'x' is 'nan'; a finite number"),
        ("-inf", "'x' is '-inf'; a finite number"),
        ("1e999", "'x' is '1e999'; the largest number is 1.797e308"),
        ("1_000", "'x' is '1_000'; a finite number"),
        ("0x10", "'x' is '0x10'; a finite number"),
        ("٣", "'x' is '٣'; a finite number"),
        ("3.5 kg", "'x' is '3.5 kg'; a finite number"),
        ('"3,5"', "'x' is '3,5'; write the decimal comma as a point: 3.5"),
        ("9" * 50 + "x", "9…'; a finite number"),
    ],
)
def test_what_is_no_number_is_told_by_its_line(read, cell, expected):
    """File, line, what was found, what is needed."""
    (got,) = mistakes(read, f"t,x\n1,1.0\n2,{cell}\n3,3.0\n")
    assert got.startswith("data.csv:3: ")
    assert expected in got


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "data.csv:3: the line is empty; remove it, or fill the gap"),
        ("2", "data.csv:3: found 1 field, the header has 2"),
        ("2,2,2", "data.csv:3: found 3 fields, the header has 2; are there decimal commas? Write 3.5, not 3,5"),
    ],
)
def test_gaps_and_wrong_numbers_of_fields_are_told_by_their_line(read, line, expected):
    """A gap is a mistake, not a shorter series."""
    assert mistakes(read, f"t,x\n1,1.0\n{line}\n3,3.0\n") == [expected]


def test_lines_are_those_of_the_file_where_a_field_has_several(read):
    """As an editor counts them."""
    (got,) = mistakes(read, 't,x\n"a\nb\nc",1.0\n2,oops\n')
    assert got.startswith("data.csv:5: ")


def test_all_mistakes_are_told_at_once(read):
    """In the order of the file."""
    got = mistakes(read, "t,x\n1,a\n2,2\n3,\n4\n")
    assert [line.partition(": ")[0] for line in got] == ["data.csv:2", "data.csv:4", "data.csv:5"]


@pytest.mark.parametrize(("number", "expected"), [(1, "1 more line like"), (80, "80 more lines like")])
def test_of_very_many_mistakes_the_first_are_told(read, number, expected):
    """And how many more there are."""
    got = mistakes(read, "x\n" + "?\n" * (MOST_TOLD + number))
    assert len(got) == MOST_TOLD + 1
    assert got[-1] == f"data.csv: {expected} these"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("t,xx", "there is no column 'x'; the file has 't', 'xx'. Did you mean 'xx'?"),
        ("t,y", "there is no column 'x'; the file has 't', 'y'"),
        ("X,y", "there is no column 'x'; the file has 'X', 'y'. Did you mean 'X'?"),
        ("t;x", "there is no column 'x'; the file has 't;x'. Is the delimiter ';'? Then say so: task.delimiter"),
        ("t\tx", "there is no column 'x'; the file has 't\\tx'. Is the delimiter tab? Then say so: task.delimiter"),
        ("x,t,x", "the column 'x' is there 2 times"),
        (",".join(f"c{n}" for n in range(30)), "'c19', …"),
    ],
)
def test_the_header_is_checked(read, header, expected):
    """Columns are named, with the one that was meant."""
    (got,) = mistakes(read, f"{header}\n1,2\n")
    assert got.startswith("data.csv:1: ")
    assert got.endswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "data.csv:1: found no header"),
        (b"\nx\n1\n", "data.csv:1: found no header"),
        ("x\n1\n".encode("utf-16"), "data.csv:1: the file is in UTF-16; save it as UTF-8"),
        (b"t,x\n1,1\nn\xe9,2\n", "data.csv:3: found the byte 0xe9, which is not UTF-8; save the file as UTF-8"),
        (b't,x\n1,1\n2,"2\n3,3\n', "data.csv:3: this is no CSV from here on"),
        (b't,x\n1,1\n"2"2,2\n', "data.csv:3: this is no CSV from here on"),
    ],
)
def test_what_is_no_csv_is_told(read, content, expected):
    """With the line from which on it is none."""
    (got,) = mistakes(read, content)
    assert got.startswith(expected)


def test_a_header_alone_is_a_column_of_nothing(read):
    """Whoever needs numbers says how many."""
    assert read("t,x\n") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dato.csv", "dato.csv: there is no such file in .*. Did you mean 'data.csv'?"),
        ("no/data.csv", "no/data.csv: there is no such file in .*, nor such a folder"),
        (".", r".: the file cannot be read: Is a directory"),
        ("a\0b", "the file cannot be read: embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, name, expected):
    """With the folder that was looked in, and the nearest name there."""
    (tmp_path / "data.csv").write_text("x\n1\n")
    with pytest.raises(RunFailed, match=expected):
        read_column(tmp_path / name, name, "x", ",")


def test_a_file_that_is_too_large_is_refused(read, monkeypatch):
    """Before it is parsed."""
    monkeypatch.setattr(csv_column, "LARGEST_FILE", 10)
    assert mistakes(read, "x\n1\n2\n3\n4\n5\n")[0].startswith("data.csv: the file is larger than 10 bytes")


def test_a_changed_file_is_read_again(read):
    """What is remembered is remembered by its bytes."""
    assert read("x\n1\n") == [1.0]
    assert read("x\n2\n") == [2.0]


def test_what_is_handed_out_cannot_be_changed(tmp_path):
    """Other runs of the process read the same array."""
    (tmp_path / "data.csv").write_text("x\n1\n")
    values = read_column(tmp_path / "data.csv", "data.csv", "x", ",")
    with pytest.raises(ValueError, match="read-only"):
        values += np.float64(1.0)
