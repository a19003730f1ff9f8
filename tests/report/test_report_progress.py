"""What is shown while a study runs."""

from __future__ import annotations

import io

from rich.console import Console

from kdrun.listener import Work
from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.progress import Lines, Pace, Screen, clock


def treatment(number: int, replicate: int) -> Run:
    return Run(
        run_id=f"{number}-{replicate}",
        kind="treatment",
        replicate=replicate,
        spec={},
        treatment=number,
        levels={"gradient": f"[red]level {number}"},
    )


RUNS = [treatment(number, replicate) for replicate in (1, 2, 3) for number in (1, 2)]
WORK = Work(
    planned=RUNS, todo=RUNS[2:], stored={"1-1": Outcome("1-1", "done", {"mse": 0.25})}, workers=2, response="mse"
)


def done(run: Run, seconds: float = 2.0) -> Outcome:
    return Outcome(run.run_id, "done", {"mse": 0.5}, seconds=seconds)


def test_time_left_comes_from_runs_of_the_same_kind():
    """One second for treatment 1 and three for treatment 2: what is left of each counts with its own."""
    pace = Pace(WORK)
    pace.begun -= 2.0
    pace.add(RUNS[2], done(RUNS[2], 1.0))
    pace.add(RUNS[3], done(RUNS[3], 3.0))
    assert pace.seconds_left() is not None
    assert 2.0 <= pace.seconds_left() <= 2.1


def test_time_left_is_unknown_before_the_first_run_ends():
    """Nothing is made up."""
    assert Pace(WORK).left_text() == "time left unknown"


def test_clock():
    """Minutes and seconds, hours where there are any."""
    assert [clock(seconds) for seconds in (4.4, 65, 3600)] == ["0:04", "1:05", "1:00:00"]


def test_plain_lines_tell_the_beginning_failures_and_the_end():
    """Quick successes in between are left out, a failure never is."""
    lines: list[str] = []
    display = Lines(lines.append)
    display.checked([GradientCheck("x", "float64", 3, 1e-9, 1e-6)])
    display.starting(WORK)
    display.finished(RUNS[2], done(RUNS[2]))
    display.finished(RUNS[3], Outcome(RUNS[3].run_id, "failed", error="Traceback\nValueError: no"))
    display.finished(RUNS[4], done(RUNS[4]))
    display.finished(RUNS[5], done(RUNS[5]))
    assert lines[0] == "gradients: 1 of 1 checks passed, worst relative error 1.0e-09 in double precision"
    assert lines[1] == "4 of 6 runs to do on 2 workers, 1 stored already"
    assert lines[2].startswith("[1/4] treatment 1, replicate 2: mse 0.5 in 2 s; ")
    assert lines[3].startswith("[2/4] treatment 2, replicate 2: failed: ValueError: no")
    assert lines[4].startswith("[4/4]")
    assert len(lines) == 5


def test_the_screen_shows_a_bar_and_the_table_filling_in():
    """Medians of what is done so far, stored runs included; text from the study is no markup."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    display = Screen(console)
    display.starting(WORK)
    display.finished(RUNS[2], done(RUNS[2]))
    console.file = io.StringIO()
    console.print(display._picture())
    display.ended()
    shown = console.file.getvalue()
    assert "[red]level 1" in shown
    assert "2/3" in shown
    assert "0.375" in shown
    assert "1/4 runs" in shown
