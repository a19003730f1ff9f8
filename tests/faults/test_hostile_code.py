"""Code of the user's own that spoils its process, or says what others would read as markup, spoils nothing else."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from kdrun.results import Results
from tests.cli.command import kdrun
from tests.faults.commands import called, own_study

CODE = r"""
import os, sys, threading, time
from pathlib import Path
class Evil(BaseException): pass
class Name(str): pass
LOG = Path(__file__).with_name("log")
def is_same(number):
    try: return os.path.samestat(os.fstat(number), os.fstat(1))
    except OSError: return False
def main(params, seed):
    kind, fine = params["fate"], {"score": seed / 2**32}
    assert Path("own.py").exists(), "another folder"
    print("printed by", kind)
    if kind == "fork":
        if os.fork() == 0: return {"score": -1.0}
        os.wait()
    if kind == "fork_and_leave":
        if os.fork() == 0: sys.exit(9)
        fine["score"] = os.waitstatus_to_exitcode(os.wait()[1])
    if kind == "fork_and_crash":
        if os.fork() == 0: time.sleep(1000)
        os.kill(os.getpid(), 9)
    if kind == "thread": threading.Thread(target=time.sleep, args=(1000,)).start()
    if kind == "chdir": os.chdir("/")
    if kind == "streams": sys.stdout, sys.stderr = None, 3
    if kind == "close": os.close(1); os.close(2)
    if kind == "reopen":
        same = [number for number in range(50) if is_same(number)]
        for number in same: os.close(number)
        for _ in same: os.open(LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        print("kept", flush=True)
    if kind == "close_all": os.closerange(3, 1000)
    if kind == "modules": sys.modules.clear()
    if kind == "base": raise Evil("of its own")
    if kind == "interrupt": raise KeyboardInterrupt
    if kind == "group": raise BaseExceptionGroup("several", [Evil("one"), ValueError("two")])
    if kind == "huge": return {"score": -10**400}
    if kind == "kind_of_text": return {Name("score"): 1.0}
    if kind == "many": return fine | {f"r{i}": i for i in range(100_000)}
    if kind == "bad_name": return fine | {"\ud800": 1.0}
    if kind == "hostile":
        sys.stdout.buffer.write(b"\xff\x00\x1b[31m\x9b31m <script>alert(1)</script>\n"); sys.stdout.flush()
        raise ValueError("z" * 100_000 + "\n=1+1 <script>alert(2)</script> \x1b]0;t\x07 \ud800 \x00 \u202e |`[x](y)")
    return fine
"""
REASONS = {
    "fork_and_crash": "its worker process was ended by SIGKILL; the system does so where memory is short, twice",
    "close_all": "its worker process ended with exit code 1, twice",
    "modules": "its worker process ended with exit code 1, twice",
    "base": "own.Evil: of its own",
    "interrupt": "KeyboardInterrupt",
    "group": "ValueError: two",
    "bad_name": r"own:main gave a response called '\ud800'; names of responses are one line of letters",
    "hostile": "=1+1 <script>alert(2)</script>",
}
FINE = (
    "fork", "fork_and_leave", "thread", "chdir", "streams", "close", "kind_of_text", "many", "good", "reopen",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, str]:
    """The results of such a study, done by one worker at a time, and what was said."""
    place = tmp_path_factory.mktemp("hostile")
    # After the last one the worker has nowhere to print to.
    fates = ", ".join([*FINE[:-1], *REASONS, "huge", FINE[-1]])
    study = own_study(place, CODE, f"fate: {{sets: task.params.fate, levels: [{fates}]}}", replicates=1)
    done = kdrun("factorial", study, "--results", place / "out", "--workers", 1, "--timeout", 20)
    assert done.returncode == 1
    return Results.open(place / "out" / "own"), done.stderr + done.stdout


def test_each_run_comes_to_what_it_did_and_nothing_else(hostile: tuple[Results, str]) -> None:
    """What one run does to its process fails no other; a child that it forks is no second outcome."""
    found, _ = hostile
    outcomes = {run.levels["fate"]: found.stored.outcomes[run.run_id] for run in found.plan.runs}
    statuses = {fate: outcome.status for fate, outcome in outcomes.items()}
    expected = dict.fromkeys(FINE, "done") | dict.fromkeys(REASONS, "failed") | {"huge": "diverged"}
    assert statuses == expected, {fate: outcomes[fate].error for fate in expected if statuses[fate] != expected[fate]}
    for fate, reason in REASONS.items():
        assert outcomes[fate].reason.startswith(reason), fate
    assert outcomes["fork"].responses["score"] >= 0
    assert outcomes["fork_and_leave"].responses["score"] == 9
    assert len(outcomes["many"].responses) == 100_001
    assert "printed by base" in outcomes["base"].error
    assert len(outcomes["hostile"].error) < 30_000


def test_a_file_that_the_code_opens_in_place_of_standard_output_is_left_alone(tmp_path: Path) -> None:
    """What runs print is emptied before the next one: that file, and no other that has its number."""
    study = own_study(tmp_path, CODE, "fate: {sets: task.params.fate, levels: [good, reopen]}", replicates=1)
    assert kdrun("factorial", study, "--results", tmp_path / "out", "--workers", 1).returncode == 0
    assert (tmp_path / "log").read_text() == "kept\n"


def test_what_failing_code_says_is_no_markup_anywhere(hostile: tuple[Results, str]) -> None:
    """No control characters on the terminal or in files, no HTML, no formula, no line of any length."""
    found, said = hostile
    run = next(run for run in found.plan.runs if run.levels["fate"] == "hostile")
    code, shown = called(["show", str(found.folder), run.run_id])
    assert code == 0
    assert "=1+1" in shown
    for name in ("report.html", "report.md", "tables/runs.csv"):
        text = (found.folder / name).read_text()
        assert not CONTROL.search(text), name
        assert "<script>alert" not in text or name == "tables/runs.csv"
    assert not CONTROL.search(shown)
    assert not CONTROL.search(said)
    assert max(map(len, said.splitlines())) < 1000
    with (found.folder / "tables" / "runs.csv").open(newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell.startswith(("=", "+", "-", "@"))]


COMMANDS = {
    "no newline": (r"b'{\"score\": 1}'", "done"),
    "invalid UTF-8 before": (r"b'\\xff\\xfe\\n{\"score\": 1}\\n'", "done"),
    "a line separator in a name": (r"b'{\"score\": 1, \"a b\": \"x\\xe2\\x80\\xa8\"}'", "a number is needed"),
    "a progress bar": (r"b'50%\\r{\"score\": 1}\\r\\n\\n'", "done"),
    "a name twice": (r"b'{\"score\": 1, \"score\": 2}'", "'score' twice; each response is given once"),
    "not a number": (r"b'{\"score\": NaN}'", "diverged"),
    "a huge number": (r"b'{\"score\": ' + b'9' * 5000 + b'}'", "diverged"),
    "nested": (r"b'{\"score\": {\"a\": 1}}'", "a number is needed"),
    "very deep": (r"b'{\"score\": ' + b'[' * 100_000", "a JSON object of responses is needed"),
    "half a surrogate": (r"b'{\"score\": 1, \"\\\\ud800\": 2}'", "one line of letters"),
    "colours": (r"b'\\x1b[31m{\"score\": 1}'", "a JSON object of responses is needed"),
}


def test_whatever_a_program_prints_is_an_outcome(tmp_path: Path) -> None:
    """Each last line is read as JSON, or the run fails with a word about it."""
    code = (
        "import sys\nsys.stdout.buffer.write(["
        + ", ".join(text.replace("\\\\", "\\").replace('\\"', '"') for text, _ in COMMANDS.values())
        + "][int(sys.argv[1])])\n"
    )
    (tmp_path / "p.py").write_text(code)
    (tmp_path / "s.yaml").write_text(
        "schema: 1\nstudy: p\ntask: {name: command, run: ['{python}', p.py, '{n}']}\n"
        f"factors: {{n: {{sets: task.params.n, levels: {list(range(len(COMMANDS)))}}}}}\nreplicates: 1\n"
        "responses: [{name: score, scale: linear, better: higher}]\n"
    )
    assert kdrun("factorial", tmp_path / "s.yaml", "--results", tmp_path / "out").returncode == 1
    found = Results.open(tmp_path / "out" / "p")
    for run in found.plan.runs:
        kind, outcome = list(COMMANDS)[int(run.levels["n"])], found.stored.outcomes[run.run_id]
        expected = COMMANDS[kind][1]
        assert expected == outcome.status or expected in outcome.reason, (kind, outcome)
