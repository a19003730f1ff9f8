"""The store: what goes in comes out, whole or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdrun.errors import KdrunError, UsageError
from kdrun.records import GradientCheck, History, Outcome, Run
from kdrun.store import database
from kdrun.store.database import FILE_NAME, MIGRATIONS, SCHEMA_VERSION
from kdrun.store.runs import Store


def run_of(run_id: str, **changes: Any) -> Run:
    """A run of treatment 1 in replicate 1, with `changes`."""
    fields: dict[str, Any] = {"kind": "treatment", "treatment": 1, "replicate": 1, "spec": {"a": 1}, "levels": {}}
    return Run(run_id=run_id, **{**fields, **changes})


def done(run_id: str, **changes: Any) -> Outcome:
    """A finished run."""
    return Outcome(run_id, "done", **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.create(tmp_path) as created:
        yield created


FLOATS = {
    "zero": 0.0,
    "minus_zero": -0.0,
    "denormal": 5e-324,
    "infinite": math.inf,
    "minus_infinite": -math.inf,
    "nan": math.nan,
    "third": 1 / 3,
    "largest": sys.float_info.max,
}


def test_responses_come_back_to_the_bit(store: Store) -> None:
    """Every float64 comes back with its bits: denormals, infinities, nan and the sign of zero."""
    store.commit([(run_of("a"), done("a", responses=FLOATS))])
    got = store.outcome("a").responses
    expected = {name: np.float64(value).tobytes() for name, value in FLOATS.items()}
    assert {name: np.float64(value).tobytes() for name, value in got.items()} == expected


def test_runs_frame_reads_the_same_floats(store: Store) -> None:
    """The table of stored runs holds the same floats as the outcomes."""
    store.commit([(run_of("a"), done("a", responses=FLOATS))])
    got = store.runs_frame().loc[0, list(FLOATS)]
    assert {name: float(got[name]).hex() for name in FLOATS} == {name: x.hex() for name, x in FLOATS.items()}


def test_runs_frame_has_levels_as_text_and_holes_as_nan(store: Store) -> None:
    """Runs with other factors and responses share one table, empty where something does not apply."""
    store.commit(
        [
            (run_of("a", levels={"width": "16"}), done("a", responses={"mse": 0.5})),
            (run_of("b", kind="teacher", treatment=None), Outcome("b", "failed", error="why")),
        ]
    )
    got = store.runs_frame()
    assert list(got["width"].fillna("")) == ["16", ""]
    assert got["mse"].isna().tolist() == [False, True]
    assert got["treatment"].isna().tolist() == [False, True]
    assert got["error"].tolist() == ["", "why"]


def test_parameters_and_history_come_back(store: Store) -> None:
    """Trained arrays keep dtype, shape and values; histories keep names, epochs and values."""
    parameters = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T, "codes.w": np.array([-1, 0, 1], np.int8)}
    history = {
        "loss": History(np.array([0, 10]), np.array([1.5, np.nan])),
        "β": History(np.array([3]), np.array([2.0])),
    }
    store.commit([(run_of("a"), done("a", parameters=parameters, history=history))])
    got = store.outcome("a")
    for name, array in parameters.items():
        assert got.parameters[name].dtype == array.dtype
        np.testing.assert_array_equal(got.parameters[name], array)
    assert set(got.history) == set(history)
    for name, series in history.items():
        np.testing.assert_array_equal(got.history[name].epochs, series.epochs)
        np.testing.assert_array_equal(got.history[name].values, series.values)


def test_histories_are_one_table(store: Store) -> None:
    """Series of several runs become rows of run id, epoch, name and value; runs without any add none."""
    series = {"loss": History(np.array([0, 1]), np.array([4.0, 2.0])), "beta": History(np.array([0]), np.array([1.0]))}
    store.commit([(run_of("b"), done("b", history=series)), (run_of("a"), done("a")), (run_of("c"), done("c"))])
    got = store.histories(["a", "b"]).to_dict("list")
    expected = {"run_id": ["b"] * 3, "epoch": [0, 0, 1], "name": ["beta", "loss", "loss"], "value": [1.0, 4.0, 2.0]}
    assert got == expected


def test_histories_of_nothing_is_an_empty_table(store: Store) -> None:
    """Asked for no run, the table of series has its columns and no row."""
    got = store.histories([])
    assert list(got.columns) == ["run_id", "epoch", "name", "value"]
    assert len(got) == 0


def test_outcomes_keep_the_order_asked_for(store: Store) -> None:
    """Outcomes come in the order of the ids, and an id that is not stored is left out."""
    store.commit([(run_of(name), done(name)) for name in "abc"])
    assert list(store.outcomes(["c", "x", "a"])) == ["c", "a"]


def test_outcomes_leave_bulk_out_unless_asked(store: Store) -> None:
    """Parameters and histories are only read where they are wanted."""
    bulk = {"parameters": {"w": np.ones(2)}, "history": {"loss": History(np.array([0]), np.array([1.0]))}}
    store.commit([(run_of("a"), done("a", **bulk))])
    got = store.outcomes(["a"])["a"]
    assert (got.parameters, got.history) == ({}, {})


def test_a_second_outcome_replaces_the_first(store: Store) -> None:
    """A run tried again has its last outcome only."""
    store.commit([(run_of("a"), Outcome("a", "failed", error="out of memory"))])
    store.commit([(run_of("a"), done("a"))])
    assert store.statuses() == {"a": "done"}
    assert store.outcome("a").error == ""


def test_a_failing_commit_stores_nothing_of_it(store: Store) -> None:
    """When one outcome of a commit cannot be stored, none of it is, and what was there stays."""
    store.commit([(run_of("a"), done("a"))])
    with pytest.raises(sqlite3.IntegrityError):
        store.commit([(run_of("b"), done("b")), (run_of("c"), Outcome("c", "missing"))])
    assert store.statuses() == {"a": "done"}


def test_a_process_killed_while_committing_leaves_nothing_half(tmp_path: Path) -> None:
    """A process that dies inside a commit leaves what was committed before, and the file is sound."""
    script = f"""
        import os
        from pathlib import Path
        from kdrun.records import Outcome, Run
        from kdrun.store import runs
        store = runs.Store.create(Path({str(tmp_path)!r}))
        row = lambda name: (Run(name, "treatment", 1, {{}}), Outcome(name, "done"))
        store.commit([row("a")])
        class Dying:
            def __init__(self, connection): self.connection = connection
            def __enter__(self): return self.connection.__enter__()
            def __exit__(self, *ending): os._exit(9)
            def executemany(self, *arguments): return self.connection.executemany(*arguments)
        store._connection = Dying(store._connection)
        store.commit([row("b"), row("c")])
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, env=os.environ | _path())
    assert ended.returncode == 9
    with Store.open(tmp_path) as store:
        assert store.statuses() == {"a": "done"}


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_parameters_not_kept_leave_their_digest(store: Store) -> None:
    """Without its network a run has the same digest as with it."""
    outcome = done("a", parameters={"w": np.ones(3)})
    store.commit([(run_of("a"), outcome)])
    expected = store.results_digest(["a"])
    store.commit([(run_of("a"), outcome)], keep_parameters=False)
    assert store.outcome("a").parameters == {}
    assert store.results_digest(["a"]) == expected


def test_dropped_parameters_leave_their_digest(store: Store) -> None:
    """Dropping networks frees them alone: responses and digest stay."""
    store.commit([(run_of(name), done(name, parameters={"w": np.ones(3)})) for name in "ab"])
    expected = store.results_digest("ab")
    store.drop_parameters(["a"])
    assert store.runs_frame()["kept"].tolist() == [False, True]
    assert store.results_digest("ab") == expected


def test_more_ids_than_sqlite_takes_variables(store: Store) -> None:
    """Any number of ids can be asked for at once."""
    store.commit([(run_of("a"), done("a"))])
    assert list(store.outcomes([str(number) for number in range(300_000)] + ["a"])) == ["a"]


def test_an_unknown_run_names_its_neighbours(store: Store) -> None:
    """Asking for a run that is not there says which ids begin alike."""
    store.commit([(run_of("abcd1"), done("abcd1"))])
    with pytest.raises(UsageError, match="no run abcd2; near it: abcd1"):
        store.outcome("abcd2")


def test_runs_come_back(store: Store) -> None:
    """What a run was, and the resolved values that it depends on, are as they were."""
    spec = {"task": {"name": "sine", "dt": 0.1}, "β": [1, None, True]}
    first = Run("a", "treatment", 2, spec, ("t",), 3, None, {"width": "16"})
    second = Run("b", "comparator", 1, spec, ("t", "a"), None, "post_training", {})
    store.commit([(run, done(run.run_id)) for run in (first, second)])
    assert (store.run("a"), store.run("b")) == (first, second)
    with pytest.raises(UsageError, match="no run ab"):
        store.run("ab")


def test_gradient_checks_replace_the_last_ones(store: Store) -> None:
    """The checks of the last command come back in order, with nan and inf as they were."""
    store.save_gradient_checks([GradientCheck("old", "float64", 1, 0.1, 1e-6)])
    rows = [GradientCheck(name, "float32", 7, error, 1e-3) for name, error in (("b", math.inf), ("a", math.nan))]
    store.save_gradient_checks(rows)
    assert repr(store.gradient_checks()) == repr(rows)


def test_facts_are_kept(store: Store) -> None:
    """A fact comes back as the JSON data that it was, or as the default where there is none."""
    store.set_fact("reproducible", {"same": True})
    store.set_fact("reproducible", {"same": False})
    assert store.fact("reproducible") == {"same": False}
    assert store.fact("start", "never") == "never"


def test_creating_over_runs_is_refused(store: Store) -> None:
    """A store is not made where there is one."""
    with pytest.raises(UsageError, match="--fresh"):
        Store.create(store.path.parent)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    """Opening a folder that holds no runs says so."""
    with pytest.raises(UsageError, match="holds no runs"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no database, but it is long enough to be read as one" * 40])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is empty, or text, is refused with a way to mend it, and left as it is."""
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="damaged, or is none"):
        Store.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_cut_database_is_refused(tmp_path: Path, kept: float) -> None:
    """A database that lost its end is refused, wherever it was cut."""
    with Store.create(tmp_path) as store:
        store.commit([(run_of(f"{n:08}"), done(f"{n:08}", parameters={"w": np.ones(500)})) for n in range(40)])
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UsageError, match="damaged"):
        Store.open(tmp_path)


def test_a_database_with_a_spoilt_page_is_refused(tmp_path: Path) -> None:
    """A database of the right length with a page that is wrong is refused on opening, not in the middle of work."""
    with Store.create(tmp_path) as store:
        store.commit([(run_of(f"{n:08}"), done(f"{n:08}", error="x" * 300)) for n in range(400)])
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle + 8 : middle + 64] = b"\x01" * 56
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        Store.open(tmp_path)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A database from a newer kdrun is refused, and the text says to update."""
    Store.create(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(UsageError, match="newer kdrun"):
        Store.open(tmp_path)


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file that holds no runs is refused."""
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE runs (x)")
    connection.close()
    with pytest.raises(UsageError, match="no table of runs"):
        Store.open(tmp_path)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """A store opened for reading refuses to write."""
    Store.create(tmp_path).close()
    with Store.open(tmp_path, read_only=True) as store, pytest.raises(KdrunError, match="readonly"):
        store.commit([(run_of("a"), done("a"))])


def test_a_reader_leaves_no_files_behind(tmp_path: Path) -> None:
    """Reading a store leaves the folder and the bytes of the file as they were."""
    with Store.create(tmp_path) as store:
        store.commit([(run_of("a"), done("a"))])
    expected = (tmp_path / FILE_NAME).read_bytes()
    with Store.open(tmp_path, read_only=True) as store:
        assert store.statuses() == {"a": "done"}
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).read_bytes() == expected


def test_a_reader_sees_what_a_writer_commits(tmp_path: Path) -> None:
    """A report can be made while the study runs."""
    with Store.create(tmp_path) as writer, Store.open(tmp_path, read_only=True) as reader:
        writer.commit([(run_of("a"), done("a"))])
        assert reader.statuses() == {"a": "done"}


def test_folder_names_are_not_read_as_options(tmp_path: Path) -> None:
    """A folder whose name looks like a query, or holds spaces and letters of any script, is opened all the same."""
    folder = tmp_path / "a b?mode=memory#é%20"
    with Store.create(folder) as store:
        store.commit([(run_of("a"), done("a"))])
    with Store.open(folder, read_only=True) as store:
        assert store.statuses() == {"a": "done"}
    assert (folder / FILE_NAME).is_file()


def test_outcome_of_another_run_is_refused(store: Store) -> None:
    """An outcome cannot be stored under a run that it does not belong to."""
    with pytest.raises(ValueError, match="not one of run a"):
        store.commit([(run_of("a"), done("b"))])


def first_version(folder: Path) -> None:
    """A database as the first version of the format had it, with one run."""
    with Store.create(folder) as store:
        store.commit(
            [(run_of("a"), done("a", responses=FLOATS, parameters={"w": np.ones(3)}))], sources=lambda run: "x"
        )
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript("DROP TABLE running; DROP TABLE sources; PRAGMA user_version = 1;")
    connection.close()


def test_the_first_version_is_what_it_was() -> None:
    """Databases of users hold these tables: what makes them is never changed."""
    text = hashlib.sha256(MIGRATIONS[0].encode()).hexdigest()
    assert text == "5cf3c8805cf64753a86e166805179bf65ff1feaaee183624bdcdfdd6d8211453"


@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_database_is_brought_up_to_date(tmp_path: Path, read_only: bool) -> None:
    """By a reader too; what it holds stays, to the bit."""
    first_version(tmp_path)
    with Store.open(tmp_path, read_only=read_only) as store:
        assert store.outcome("a").responses.keys() == FLOATS.keys()
        assert (store.running(), store.sources(), store.made_by()) == ({}, {}, {"a": "x"})
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    with Store.open(tmp_path) as store:
        store.hand_out([run_of("b")])
        assert store.running().keys() == {"b"}


def test_an_older_database_that_cannot_be_written_to_is_read_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder on a read-only disk: its file stays as it is."""
    first_version(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    connect = sqlite3.connect

    def immutable(name: Any, **changes: Any) -> sqlite3.Connection:
        return connect(str(name).replace("mode=rw", "immutable=1"), **changes)

    monkeypatch.setattr(database.sqlite3, "connect", immutable)
    with Store.open(tmp_path, read_only=True) as store:
        assert store.statuses() == {"a": "done"}
        assert store.running() == {}
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_runs_are_running_until_their_outcome_is_stored(store: Store) -> None:
    """And no longer: one transaction stores the one and removes the other."""
    store.hand_out([run_of("a"), run_of("b"), run_of("c")])
    store.commit([(run_of("a"), done("a"))])
    assert store.running().keys() == {"b", "c"}
    with pytest.raises(ValueError, match="is not one of run"):
        store.commit([(run_of("b"), done("b")), (run_of("c"), done("x"))])
    assert store.running().keys() == {"b", "c"}
    store.forget_running()
    assert store.running() == {}


def test_what_a_fingerprint_is_made_of_is_kept(store: Store) -> None:
    """Files with their hashes; runs name the fingerprint."""
    store.keep_sources("f1", {"train.py": "abc"})
    store.keep_sources("f2", {"train.py": "abd", "helper.py": "1"})
    store.commit([(run_of("a"), done("a"))], sources=lambda run: "f2")
    assert store.sources() == {"f1": {"train.py": "abc"}, "f2": {"train.py": "abd", "helper.py": "1"}}
    assert store.made_by() == {"a": "f2"}


def test_runs_without_a_response_are_found(store: Store) -> None:
    """Those that are done; a response that is nan is there."""
    store.commit(
        [
            (run_of("a"), done("a", responses={"x": 1.0, "y_2": math.nan})),
            (run_of("b"), done("b", responses={"x": 1.0})),
            (run_of("c"), Outcome("c", "failed")),
        ]
    )
    assert store.without_response("y_2") == {"b"}
    assert store.without_response("x") == set()


def test_damage_that_shows_only_when_it_is_read_is_said_to_be(tmp_path: Path) -> None:
    """Not every damage shows when a file is opened."""
    Store.create(tmp_path).close()
    with pytest.raises(UsageError, match="the database is damaged, or is none"), Store.open(tmp_path):
        raise sqlite3.DatabaseError("malformed")
