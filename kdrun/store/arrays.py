"""Named arrays as bytes: the same arrays give the same bytes on every machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrun.records import History

Array = NDArray[Any]


def portable(array: Array) -> Array:
    """The array in C order and little-endian, a copy only where it is not so already."""
    contiguous = np.asarray(array, order="C")
    return contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False)


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed npz, names in sorted order, that loads with `numpy.load(allow_pickle=False)`.

    `numpy.savez` would write the order of the mapping and the operating system of the writer into the file.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            archive.writestr(_entry(name), _npy_bytes(arrays[name]))
    return buffer.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _npy_bytes(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, portable(array), allow_pickle=False)
    return buffer.getvalue()


def arrays_from_npz(data: bytes) -> dict[str, Array]:
    """The arrays of `npz_bytes`, by name."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def history_bytes(history: Mapping[str, History]) -> bytes:
    """Series as one line of JSON, `[[name, n], …]`, then all epochs (int64), then all values (float64).

    Reading a hundred thousand of them needs no unpacking of archives.
    """
    series = [(name, history[name]) for name in sorted(history)]
    header = json.dumps([[name, len(item.epochs)] for name, item in series], ensure_ascii=False)
    epochs = b"".join(np.asarray(item.epochs, "<i8").tobytes() for _, item in series)
    values = b"".join(np.asarray(item.values, "<f8").tobytes() for _, item in series)
    return header.encode() + b"\n" + epochs + values


@dataclass(frozen=True)
class HistoryColumns:
    """Series one after another: `names` and `lengths` of each, `epochs` and `points` (values) of all [sum(lengths)]."""

    names: list[str]
    lengths: list[int]
    epochs: NDArray[np.int64]
    points: NDArray[np.float64]


def history_columns(data: bytes) -> HistoryColumns:
    """What `history_bytes` wrote, without a copy."""
    end = data.index(b"\n")
    names, lengths = _header(data[:end])
    total = sum(lengths)
    epochs = np.frombuffer(data, "<i8", total, end + 1)
    values = np.frombuffer(data, "<f8", total, end + 1 + 8 * total)
    return HistoryColumns(names, lengths, epochs, values)


@lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[list[str], list[int]]:
    """Names and lengths of series. Runs of one study have few different headers."""
    header = json.loads(text)
    return [name for name, _ in header], [length for _, length in header]


def history_from_bytes(data: bytes) -> dict[str, History]:
    """The series of `history_bytes`, by name."""
    columns = history_columns(data)
    ends = np.cumsum(columns.lengths, dtype=np.int64)
    starts = ends - columns.lengths
    return {
        name: History(epochs=columns.epochs[start:end].copy(), values=columns.points[start:end].copy())
        for name, start, end in zip(columns.names, starts, ends, strict=True)
    }
