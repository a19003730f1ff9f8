"""Tasks of the user's own code: what they are given, what they give back, and what they depend on."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import outside_seed
from kdrun.records import Outcome
from kdrun.tasks.callable import Call
from kdrun.tasks.command import Command
from kdrun.tasks.contract import RunFailed
from kdrun.tasks.measured import judged, lacking, read_responses
from kdrun.tasks.sine import Sine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def module(place: Path, name: str, text: str) -> None:
    path = place.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_function_gets_parameters_of_its_own_and_the_seed(place: Path) -> None:
    """What it does to them is not seen by the next run."""
    module(
        place,
        "spoils",
        "def main(params, seed):\n    params['list'].append(1)\n    return {'n': len(params['list']) + seed}\n",
    )
    task = Call(call="spoils:main", params={"list": [0]})
    assert [task.measure(5), task.measure(5)] == [{"n": 7.0}, {"n": 7.0}]


def test_a_function_may_stand_in_a_class(place: Path) -> None:
    """Dots after the colon are attributes."""
    module(place, "classes", "class A:\n    @staticmethod\n    def main(params, seed):\n        return {'x': 1}\n")
    assert Call(call="classes:A.main").measure(0) == {"x": 1.0}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("nowhere.train:main", "there is no module 'nowhere'"),
        ("holder.nowhere:main", "there is no module 'holder.nowhere'"),
        ("holder:other", "the module 'holder' has no 'other'"),
        ("holder:value", "which is no function but int"),
    ],
)
def test_code_that_is_not_there_is_said_to_be(place: Path, call: str, expected: str) -> None:
    """Before the first run; the key of the study is named."""
    module(place, "holder", "value = 3\n")
    with pytest.raises(RunFailed, match=expected):
        Call(call=call).look(place)


def test_a_module_that_lacks_another_is_not_blamed_for_it(place: Path) -> None:
    """The error is that of the import, with its place."""
    module(place, "lacks", "import nowhere_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        Call(call="lacks:main").look(place)


@pytest.mark.parametrize("call", ["train", "train:", ":main", "a b:main", "train:main()", "../x:main", "os;x:main"])
def test_only_module_and_function_are_allowed(call: str) -> None:
    """What is named is looked up, never evaluated."""
    with pytest.raises(ValidationError, match="module:function is allowed"):
        Call(call=call)


class Tensor:
    """One number in the way of PyTorch."""

    size = 1

    def item(self) -> float:
        return 0.25


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.array(0.25), np.array([0.25]), Tensor()])
def test_numbers_of_every_kind_are_read(value: Any) -> None:
    """Python's, numpy's, and tensors of one element."""
    got = read_responses({"x": value}, "main")
    assert got == {"x": 0.25}
    assert type(got["x"]) is float


def test_what_is_no_number_is_refused_and_what_is_not_finite_is_not() -> None:
    """Infinities make a run diverge, text makes it fail."""
    assert math.isinf(read_responses({"x": math.inf}, "main")["x"])
    for wrong in ({"x": "1"}, {"x": None}, {"x": [1.0]}, {"x": np.zeros(2)}, {"x": 1j}, {1: 1.0}, {}, None, 1.0, [1.0]):
        with pytest.raises(RunFailed, match="main gave"):
            read_responses(wrong, "main")


def test_missing_responses_are_named() -> None:
    """Those that the study judges and the run did not give."""
    assert lacking({"a": 1.0, "b": 2.0}, ["a"]) == ""
    assert lacking({"a": 1.0}, ["a", "b", "c"]) == "the run gave a, and not b, c, which the study's responses name"


def test_what_the_study_does_not_name_makes_no_run_diverge() -> None:
    """A named response that is no number does, and leaves nothing; runs of kdrun's own are left as they are."""
    task = Call(call="own:main")
    outcome = Outcome("a", "diverged", {"loss": 1.0}, error="extra: not finite")
    assert judged(outcome, task, ["loss"]) == Outcome("a", "done", {"loss": 1.0})
    assert judged(outcome, task, ["loss", "extra"]) == Outcome("a", "diverged", error="extra: not finite")
    assert judged(outcome, Sine(), ["loss"]) is outcome
    failed = Outcome("a", "failed", error="no")
    assert judged(failed, task, ["loss"]) is failed
    done = Outcome("a", "done", {"loss": 1.0})
    assert judged(done, task, ["loss"]) is done
    assert judged(done, task, ["acc"]).error == "the run gave loss, and not acc, which the study's responses name"
    assert (judged(done, task, ["acc"]).status, judged(done, Sine(), ["acc"]).status) == ("failed", "done")


def test_a_program_gets_its_arguments_and_its_last_line_is_read(tmp_path: Path) -> None:
    """Parameters and the seed where they belong; braces stand for themselves; blank lines at the end do not count."""
    text = "import json, sys\nprint('first')\nprint(json.dumps({'n': len(sys.argv), 'rate': float(sys.argv[1])}))\n"
    text += "print()\n"
    path = tmp_path / "p.py"
    path.write_text(text)
    task = Command(
        run=("{python}", str(path), "{rate}", "--seed={seed}", "{{x}}", "{flag}"), params={"rate": 0.5, "flag": True}
    )
    assert task.arguments(7)[2:] == ["0.5", "--seed=7", "{x}", "true"]
    assert task.measure(7) == {"n": 5.0, "rate": 0.5}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("print('{}')", "a mapping of at least one response"),
        ("print('nothing like it')", "a JSON object of responses is needed there"),
        ("print('[1]')", "a JSON object of responses is needed there"),
        ("", "a JSON object of responses is needed there"),
        ('print(\'{"x": "high"}\')', "x = 'high'; a number is needed"),
        ("print('so far'); raise SystemExit(3)", "ended with exit code 3; the last line that it printed: 'so far'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with signal 9"),
    ],
)
def test_a_program_that_does_not_keep_to_it_has_failed(script: str, expected: str) -> None:
    """The line that was found is shown."""
    with pytest.raises(RunFailed, match=expected):
        Command(run=(sys.executable, "-c", script.replace("{", "{{").replace("}", "}}"))).measure(0)


@pytest.mark.parametrize(
    ("run", "params", "expected"),
    [
        (("x", "{lr}"), {}, "found {lr} in run, but no params.lr; known: python, seed"),
        (("x",), {"lr": 1}, "params.lr is used nowhere in run"),
        (("x", "{seed}"), {"seed": 1}, "{seed} stands for something else"),
        (("x", "{"), {}, "found a single brace"),
        ((), {}, "at least 1 item"),
    ],
)
def test_places_and_parameters_have_to_match(run: tuple[str, ...], params: dict[str, Any], expected: str) -> None:
    """A parameter that nothing uses would be a factor without effect."""
    with pytest.raises(ValidationError, match=expected.replace("{", r"\{").replace("}", r"\}")):
        Command(run=run, params=params)


def test_a_program_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    """In the study's folder, and on PATH."""
    (tmp_path / "here.sh").write_text("#!/bin/sh\n")
    (tmp_path / "here.sh").chmod(0o755)
    Command(run=("./here.sh",)).look(tmp_path)
    Command(run=("sh",)).look(tmp_path)
    with pytest.raises(RunFailed, match="there is no such program in"):
        Command(run=("./nowhere.sh",)).look(tmp_path)
    with pytest.raises(RunFailed, match=r"write \{python\}"):
        Command(run=("python9",)).look(tmp_path)


SOURCES = {
    "pkg/__init__": "",
    "pkg/train": "import os, numpy\nfrom . import helper\nfrom .deep import inner\ndef main(p, s):\n    import late\n",
    "pkg/helper": "from pkg.deep.inner import value\n",
    "pkg/deep/__init__": "import second\n",
    "pkg/deep/inner": "value = 1\n",
    "second": "import pkg.train\n",
    "late": "def broken(:\n",
    "unused": "",
}


def test_the_sources_of_a_function_are_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    """Packages, relative imports, imports inside functions, files with mistakes in them and circles; nothing is run."""
    for name, text in SOURCES.items():
        module(tmp_path, name.replace("/", "."), text if name != "second" else text + "open('ran', 'w')\n")
    found = Call(call="pkg.train:main").sources(tmp_path)
    assert set(found) == {f"{name}.py" for name in SOURCES if name != "unused"}
    assert all(path.is_file() for path in found.values())
    assert not Path("ran").exists()


def test_the_sources_of_an_installed_function_are_those_of_its_package(tmp_path: Path) -> None:
    """What a package imports from elsewhere is a version, not a source."""
    found = Call(call="pydantic.main:BaseModel").sources(tmp_path)
    assert "pydantic/main.py" in found
    assert all(name.startswith("pydantic/") for name in found)


def test_the_sources_of_a_program_are_the_files_that_it_names(tmp_path: Path) -> None:
    """A Python file with what it imports; a data file; nothing from elsewhere."""
    for name, text in {"train": "import helper\n", "helper": "", "other": ""}.items():
        module(tmp_path, name, text)
    (tmp_path / "data.csv").write_text("1\n")
    found = Command(run=("python", "train.py", "data.csv", "/etc/passwd" * 100, "\0")).sources(tmp_path)
    assert sorted(found) == ["data.csv", "helper.py", "train.py"]


def test_replicates_of_a_study_have_different_seeds() -> None:
    """All below 2³², none twice, others in another study; the same in every version."""
    seeds = [outside_seed(42, replicate) for replicate in range(1, 20_001)]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**32
    assert np.std(seeds) == pytest.approx(2**32 / math.sqrt(12), rel=0.02)
    assert seeds[:2] != [outside_seed(43, 1), outside_seed(43, 2)]
    assert outside_seed(42, 1) == seeds[0] == 2_711_823_866
