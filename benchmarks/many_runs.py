"""A hundred thousand runs of a function that does nothing: what kdrun itself costs.

    python benchmarks/many_runs.py [--runs 100000]

Seconds of `kdrun factorial` from command to prompt on all cores, the most memory that the coordinator used, the
largest worker, and seconds of the same command again, when nothing is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kdrun.store.runs import Store

CODE = "def main(params, seed):\n    return {'score': seed / 2**32 + params['a'] * params['b']}\n"
STUDY = """
schema: 1
study: many
task: {{name: callable, call: "trivial:main"}}
factors:
  a: {{sets: task.params.a, levels: [0, 1]}}
  b: {{sets: task.params.b, levels: [0, 1, 2, 3, 4]}}
replicates: {replicates}
responses: [{{name: score, scale: linear, better: higher}}]
"""
TREATMENTS = 10


def timed(place: Path) -> tuple[float, float]:
    """Seconds of the command, and the largest memory of the process itself in MB."""
    command = [sys.executable, "-m", "kdrun.cli", "factorial", "many.yaml", "--results", "out", "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"kdrun ended with {status}")
    return time.perf_counter() - start, used.ru_maxrss / 1000


def main() -> None:
    """Run the study, and again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "trivial.py").write_text(CODE)
        (place / "many.yaml").write_text(STUDY.format(replicates=runs // TREATMENTS))
        seconds, memory = timed(place)
        again = [timed(place)[0] for _ in range(3)]
        with Store.open(place / "out" / "many", read_only=True) as store:
            peak = store.fact("peak_memory")
            stored = len(store.statuses())
    table = Table(title=f"{stored:,} runs of a function that does nothing")
    for heading in ("all runs, s", "coordinator, MB", "largest worker, MB", "again, s (median of 3)"):
        table.add_column(heading, justify="right")
    table.add_row(f"{seconds:.1f}", f"{memory:.0f}", f"{peak / 1e6:.0f}", f"{sorted(again)[1]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
