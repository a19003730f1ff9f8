"""One column of numbers out of a user's CSV file; what is wrong with the file is told by line, all of it at once."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from kdrun.factors.contract import Array
from kdrun.tasks.contract import RunFailed

LARGEST_FILE = 100_000_000
MOST_TOLD = 20
LONGEST_SHOWN = 40
# Files are parsed again only when their bytes differ: the runs of a worker share what it has read.
FILES_KEPT = 2

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?", re.ASCII)
_OTHER_DELIMITERS = {";": "';'", "\t": "tab", ",": "','", "|": "'|'"}


def read_column(path: Path, name: str, column: str, delimiter: str) -> Array:
    """The numbers of one column, float64 [n], in the order of the file; not to be written to.

    `name` is what messages call the file. `RunFailed` lists what is wrong, each with its line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise RunFailed(f"{name}: there is no such file in {path.parent}{_similar_file(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunFailed(f"{name}: the file cannot be read: {reason}") from None
    if len(content) > LARGEST_FILE:
        raise RunFailed(f"{name}: the file is larger than {LARGEST_FILE:,} bytes; keep the column in a file of its own")
    return _parsed(content, name, column, delimiter)


@lru_cache(maxsize=FILES_KEPT)
def _parsed(content: bytes, name: str, column: str, delimiter: str) -> Array:
    """The numbers of a column in the bytes of a file."""
    records = _records(_decoded(content, name), name, delimiter)
    header = next(records, None)
    if header is None or not header.fields:
        raise RunFailed(f"{name}:1: found no header; the first line names the columns")
    place = _place_of(column, header, name, delimiter)
    mistakes, numbers = _Mistakes(name), list[float]()
    for record in _without_blank_end(records):
        try:
            numbers.append(_number_in(record, place, column, len(header.fields), delimiter))
        except ValueError as error:
            mistakes.add(record.line, str(error))
    mistakes.raise_if_any()
    values = np.array(numbers, np.float64)
    values.flags.writeable = False
    return values


@dataclass(frozen=True)
class _Record:
    """One record, and the line of the file in which it begins."""

    line: int
    fields: Sequence[str]


class _Mistakes:
    """What is wrong, line by line: the first of it in words, the rest counted."""

    def __init__(self, name: str) -> None:
        self._name, self._told, self._number = name, list[str](), 0

    def add(self, line: int, text: str) -> None:
        self._number += 1
        if len(self._told) < MOST_TOLD:
            self._told.append(f"{self._name}:{line}: {text}")

    def raise_if_any(self) -> None:
        if self._told:
            more = self._number - len(self._told)
            last = [f"{self._name}: {more} more line{'s' if more > 1 else ''} like these"] if more else []
            raise RunFailed("\n".join([*self._told, *last]))


def _decoded(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RunFailed(f"{name}:1: the file is in UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RunFailed(
            f"{name}:{line}: found the byte 0x{content[error.start]:02x}, which is not UTF-8; save the file as UTF-8"
        ) from None


def _records(text: str, name: str, delimiter: str) -> Iterator[_Record]:
    """The records of a file, empty lines too; `RunFailed` where it is no CSV from there on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RunFailed(f"{name}:{line}: this is no CSV from here on: {error}; look at its quotes") from None
        if fields is None:
            return
        yield _Record(line, fields)


def _without_blank_end(records: Iterator[_Record]) -> Iterator[_Record]:
    """All records but the empty lines at the end, which many programs write."""
    blank: list[_Record] = []
    for record in records:
        blank.append(record)
        if record.fields:
            yield from blank
            blank = []


def _place_of(column: str, header: _Record, name: str, delimiter: str) -> int:
    """Which field of a record is the column's."""
    names = [field.strip() for field in header.fields]
    if names.count(column) == 1:
        return names.index(column)
    if column in names:
        raise RunFailed(f"{name}:{header.line}: the column {column!r} is there {names.count(column)} times")
    text = f"{name}:{header.line}: there is no column {column!r}; the file has {_listed(names)}"
    raise RunFailed(text + (_other_delimiter(names, delimiter) or _nearest(column, names)))


def _other_delimiter(names: Sequence[str], delimiter: str) -> str:
    """A hint where the only column looks like several."""
    found = [shown for other, shown in _OTHER_DELIMITERS.items() if other != delimiter and other in names[0]]
    return f". Is the delimiter {found[0]}? Then say so: task.delimiter" if len(names) == 1 and found else ""


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(repr(name[:LONGEST_SHOWN]) for name in names[:MOST_TOLD])
    return some + (", …" if len(names) > MOST_TOLD else "")


def _nearest(word: str, known: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f". Did you mean {by_folded[found[0]]!r}?" if found else ""


def _similar_file(path: Path) -> str:
    """The end of a sentence that offers a file of that folder with a similar name."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return ", nor such a folder"
    return _nearest(path.name, names)


def _number_in(record: _Record, place: int, column: str, width: int, delimiter: str) -> float:
    """The number of a record; ValueError says why there is none."""
    if not record.fields:
        raise ValueError("the line is empty; remove it, or fill the gap")
    if len(record.fields) != width:
        comma = "; are there decimal commas? Write 3.5, not 3,5" if delimiter == "," else ""
        found = f"found {len(record.fields)} field{'s' if len(record.fields) > 1 else ''}"
        raise ValueError(f"{found}, the header has {width}{comma if len(record.fields) > width else ''}")
    return _number(record.fields[place].strip(), column)


def _number(text: str, column: str) -> float:
    shown = repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")
    if not text:
        raise ValueError(f"{column!r} is empty; fill the gap, or remove the line")
    if _DECIMAL_COMMA.fullmatch(text):
        raise ValueError(f"{column!r} is {shown}; write the decimal comma as a point: {text.replace(',', '.')}")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{column!r} is {shown}; a finite number such as -3.5 or 2e-3 is needed")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{column!r} is {shown}; the largest number is 1.797e308")
    return number
