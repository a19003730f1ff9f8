"""Digests: worked by hand, and blind to everything that is no result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from kdrun.records import Outcome, Run
from kdrun.store.digest import DigestRow, parameters_digest, responses_text, results_digest
from kdrun.store.runs import Store

NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_results_digest_by_hand() -> None:
    """The digest is that of the documented lines, ordered by run id, with float.hex and sorted names."""
    rows = [
        DigestRow("b", "failed", "{}", NOTHING),
        DigestRow("a", "done", responses_text({"train": 0.75, "eval": 0.5}), "12ab"),
    ]
    text = (
        '{"id":"a","status":"done","responses":{"eval":"0x1.0000000000000p-1","train":"0x1.8000000000000p-1"},'
        '"parameters":"12ab"}\n'
        f'{{"id":"b","status":"failed","responses":{{}},"parameters":"{NOTHING}"}}\n'
    )
    assert results_digest(rows) == hashlib.sha256(text.encode()).hexdigest()


def test_results_digest_of_a_known_text() -> None:
    """The digest of one run is the number that sha256sum printed for its line."""
    row = DigestRow("a", "done", responses_text({"eval_mse": 0.5}), NOTHING)
    assert results_digest([row]) == "c000f76267433e2df8a37ac33d6ed3a2f4480b21793cca2f8fce5841416722a0"


def test_missing_runs_have_no_line() -> None:
    """A run that is missing does not change the digest."""
    row = DigestRow("a", "done", "{}", NOTHING)
    assert results_digest([row, DigestRow("b", "missing", "{}", NOTHING)]) == results_digest([row])


@pytest.mark.parametrize(
    "other",
    [
        DigestRow("b", "done", '{"x":"0x1p0"}', "0"),
        DigestRow("a", "diverged", '{"x":"0x1p0"}', "0"),
        DigestRow("a", "done", '{"x":"0x1p1"}', "0"),
        DigestRow("a", "done", '{"y":"0x1p0"}', "0"),
        DigestRow("a", "done", '{"x":"0x1p0"}', "1"),
    ],
)
def test_every_part_of_a_run_counts(other: DigestRow) -> None:
    """Another id, status, response or network gives another digest."""
    assert results_digest([other]) != results_digest([DigestRow("a", "done", '{"x":"0x1p0"}', "0")])


def _committed(folder: Path, names: str, seconds: float, sources: str) -> str:
    pairs = [
        (Run(name, "treatment", 1, {}), Outcome(name, "done", {"y": ord(name) / 7}, {"w": np.ones(2)}, seconds=seconds))
        for name in names
    ]
    with Store.create(folder) as store:
        for pair in pairs:
            store.commit([pair], sources=lambda run: sources)
        return store.results_digest(sorted(names))


def test_digest_does_not_know_the_order_of_commits(tmp_path: Path) -> None:
    """Runs finished in another order, at another speed, from other sources have the same digest."""
    got = _committed(tmp_path / "one", "cab", 1.0, "x")
    assert got == _committed(tmp_path / "two", "bca", 2.0, "y")


def test_digest_is_of_the_runs_asked_for(tmp_path: Path) -> None:
    """Stored runs that the plan no longer holds do not count."""
    with Store.create(tmp_path) as store:
        store.commit([(Run(name, "treatment", 1, {}), Outcome(name, "done")) for name in "ab"])
        expected = results_digest([DigestRow("a", "done", "{}", NOTHING)])
        assert store.results_digest(["a", "never-run"]) == expected


def test_parameters_digest_by_hand() -> None:
    """The digest of arrays is that of a line and the bytes of each, by sorted name."""
    arrays = {"w": np.array([[1, 2, 3]], np.float32), "b": np.array([-1, 1], np.int8)}
    content = b'["b","|i1",[2]]\n\xff\x01' + b'["w","<f4",[1,3]]\n' + b"\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40"
    assert parameters_digest(arrays) == hashlib.sha256(content).hexdigest()


def test_parameters_digest_of_nothing() -> None:
    """A run without trained parameters has the digest of no bytes."""
    assert parameters_digest({}) == NOTHING


def test_parameters_digest_knows_values_not_layout() -> None:
    """Byte order, memory order and the order of names do not count; dtype, shape and values do."""
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = parameters_digest({"w": w, "b": np.ones(2)})
    same = {"b": np.ones(2), "w": np.asfortranarray(w.astype(">f4"))}
    assert parameters_digest(same) == expected
    for other in (w.astype(np.float64), w.reshape(3, 2), np.nextafter(w, np.float32(9))):
        assert parameters_digest({"w": other, "b": np.ones(2)}) != expected


def test_lines_are_json() -> None:
    """A line reads back as JSON, whatever the names hold."""
    row = DigestRow("a", "done", responses_text({'β"\n': 1.0}), "0")
    assert json.loads(row.line())["responses"] == {'β"\n': (1.0).hex()}
    assert "\n" not in row.line()
